//! The integration tests: the real binary, real sockets, real tools. One module a subject; each test says what a client
//! sent, what the origin saw and what came back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with a sentence that says what was awaited"
)]

mod problems;
mod routing;
mod normalisation;
