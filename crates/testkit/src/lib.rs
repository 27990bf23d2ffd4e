//! A proxy on a free port, an origin with byte-level control, and clients to prove what each side saw.
//!
//! A test says what the [`Origin`] answers, starts a [`Proxy`] in front of it from a few lines of TOML, sends a
//! [`Request`] and looks at both ends: the [`Response`] that the client got and what the origin [`Seen`]. Nothing here
//! sleeps and nothing uses a fixed port: a test opens a [`Gate`] where time matters, and every wait ends after ten
//! seconds with a sentence that says what was awaited.
//!
//! ```no_run
//! # async fn example() {
//! use maitred_testkit::{Answer, Origin, Proxy};
//!
//! let origin = Origin::start(|_| Answer::text("hello")).await;
//! let proxy = Proxy::start(format!("[routes]\n\"/*\" = \"{origin}\"")).await;
//! assert_eq!(proxy.get("/greeting").await.expect(200).text(), "hello");
//! assert_eq!(origin.request().await.target, "/greeting");
//! # }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with a sentence that says what was awaited"
)]

mod body;
mod caller;
mod cgi;
mod client;
mod fields;
mod gate;
mod grpc;
mod mmdb;
mod origin;
mod provider;
mod proxy;
mod stream;
mod tls;
mod wait;
mod wire;

pub use body::{Body, pattern};
pub use caller::Caller;
pub use cgi::Cgi;
pub use client::{Connection, Curl, H2, Incoming, Outgoing, Request, Response, WebSocket, curl, tool, websocket};
pub use fields::Fields;
pub use gate::Gate;
pub use grpc::{Messages, message};
pub use mmdb::Mmdb;
pub use origin::{Answer, Builder as OriginBuilder, Origin, Outcome, Seen};
pub use provider::Provider;
pub use proxy::{Exit, Proxy, Spawned, Starter, binary, maitred};
pub use stream::{Address, Stream};
pub use tls::{Authority, Certificate, TlsClient};
pub use wait::{LIMIT, within, within_limit};
pub use wire::{Cut, Framing, Wire};
