//! The integration tests live in `src/main.rs`, one module a subject; this library is empty so that Cargo builds one test binary.
