//! Sockets, accept loops, TLS termination and connection limits.
//!
//! [`Config`] is a listener as written, [`compile`] makes a [`Listener`] of it, [`Listeners::prepare`] takes the sockets
//! that are missing, and [`Listeners::apply`] begins to accept. Every connection that is let in, past its TLS handshake,
//! goes to a [`Serve`] as an [`Accepted`]: a stream that Pingora's HTTP engine takes, and the [`Connection`]'s facts.
//!
//! The accept loop is ours rather than Pingora's because Pingora fixes its listeners at start: these are opened, changed
//! and closed at any time. A socket is found again by its [`Place`], in a reload as in a successor of the process.
//! [`watch_certificates`] sees to it that new certificate files are served without any of that.
//!
//! ```
//! # use maitred_listen as listen;
//! use document::{At, Report};
//! use listen::Config;
//!
//! let written: Config = serde_json::from_str(r#"{ "address": "127.0.0.1:0", "trusted_proxies": "10.0.0.0/8" }"#).unwrap();
//! let mut report = Report::new();
//! let (at, keys) = (At::root().key("listeners").key("http"), tls::TicketKeys::default());
//! let listener = listen::compile("http", &written, &at, &keys, &mut report).unwrap();
//! assert!(listener.trusts("10.1.2.3".parse().unwrap()));
//! ```

mod accept;
mod address;
mod bind;
mod compile;
mod config;
mod connection;
mod holder;
mod listener;
mod listeners;
mod live;
mod mode;
mod place;
mod preamble;
mod secure;
mod site;
mod socket;
mod watch;
mod wire;

pub use address::{Address, NotAnAddress};
pub use bind::{BindCause, BindError};
pub use compile::{check_addresses, compile};
pub use config::{Config, ModeName, Protocol, ProxyProtocol, Redirect, TimeoutsConfig};
pub use connection::{Accepted, Connection, Serve, reset, socket, taken};
pub use filter::networks::Networks;
pub use holder::Holder;
pub use listener::{Listener, MinRate, Timeouts};
pub use listeners::{Change, Changed, Listeners, Listening, Staff};
pub use mode::{Mode, Streams};
pub use place::{Inherited, Place};
pub use socket::Socket;
pub use watch::watch_certificates;

/// The longest request target that any listener reads, in bytes; routes may ask for less (`max_url`).
pub const MAX_URL: usize = 64 * 1024;

/// The largest block of header fields that any listener reads, in bytes; routes may ask for less (`max_header`).
pub const MAX_HEADER: usize = 256 * 1024;
