//! The integration tests: the real binary, real sockets, real tools. One module a subject; each test says what a client
//! sent, what the origin saw and what came back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with a sentence that says what was awaited"
)]

mod setting;

mod cors;
mod forwarding;
mod headers;
mod hop_by_hop;
mod normalisation;
mod problems;
mod rewriting;
mod routing;
