//! Certificates by name, and the TLS settings built from them.
//!
//! [`CertificateConfig`] is one certificate as written. [`compile()`] reads and checks everything that a listener's TLS
//! side is made of, and the result is a [`Store`]: [`Certificates`], searched by the name that a client asks for (SNI,
//! RFC 6066 section 3), and the settings that handshakes are made with. A [`Watch`] makes it anew when the files have
//! changed, while connections are being made. [`TicketKeys`] outlive all of it.
//!
//! What can be wrong with a certificate is found when it is loaded: a file that cannot be read, a key that does not
//! match, a chain out of order, a certificate that has ended. A handshake can then only fail for the client's reasons.
//!
//! ```
//! # use maitred_tls as tls;
//! use document::{At, Report};
//! use tls::{CertificateConfig, TicketKeys, Written, compile};
//!
//! let site = CertificateConfig { cert: Some("/nowhere/site.pem".into()), key: Some("/nowhere/site.key".into()) };
//! let written = Written { certificates: vec![site], ..Written::default() };
//! let (at, mut report) = (At::root().key("listeners").key("https"), Report::new());
//! assert!(compile(written, &at, &TicketKeys::default(), &mut report).is_none());
//! assert_eq!(report.errors(), 2); // neither file can be read, and both are reported
//! ```

mod certificate;
mod certificates;
mod client;
mod clock;
mod compile;
mod config;
mod files;
mod load;
mod pem;
mod reader;
mod server;
mod store;
mod tickets;
mod trust;
mod watch;

pub use certificate::Certificate;
pub use certificates::Certificates;
pub use client::client_certificate;
pub use compile::{Written, compile};
pub use config::{CertificateConfig, ClientAuth};
pub use server::{Alpn, ServerError};
pub use store::Store;
pub use tickets::{NotTicketKeys, TicketKeys, Tickets};
pub use trust::Clients;
pub use watch::{Event, Stage, Subject, Watch, Watched};
