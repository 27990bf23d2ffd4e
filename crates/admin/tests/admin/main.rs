//! The admin listener over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

mod api;
mod running;
mod socket;
