//! Which route a request takes: host, path, method, header, query, cookie.

mod host;
mod normal;
mod pattern;
mod spelling;

pub use normal::normalise;
