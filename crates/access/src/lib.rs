//! Which shapes and sizes of request may enter.
