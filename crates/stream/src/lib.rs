//! Connections that are passed on as they are: listeners of `mode = "tcp"` and `"tls-passthrough"`.
//!
//! [`Relay`] serves them: it finds the upstream, for TLS by the name that the client asks for, connects to a backend as
//! it is done for requests, and carries bytes both ways until both sides have ended. An idle connection holds no buffer.

mod carry;
mod connect;
mod hello;
mod relay;

pub use relay::Relay;
