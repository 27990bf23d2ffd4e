//! The whole document as written: loading, includes, defaults, shorthand routes.
