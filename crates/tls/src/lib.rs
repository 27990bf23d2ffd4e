//! Certificates by name, and the TLS settings built from them.
//!
//! [`CertificateConfig`] is one certificate as written, [`compile`] reads and checks a listener's list of them, and
//! [`Certificates`] is the result: immutable, searched by the name that a client asks for (SNI, RFC 6066 section 3).
//! A [`Store`] holds the certificates in use and can be given new ones while connections are being made;
//! [`server_config`] builds the TLS side of a listener on it.
//!
//! What can be wrong with a certificate is found when it is loaded: a file that cannot be read, a key that does not
//! match, a chain out of order, a certificate that has ended. A handshake can then only fail for the client's reasons.
//!
//! ```
//! # use maitred_tls as tls;
//! use document::{At, Report};
//! use tls::{CertificateConfig, compile};
//!
//! let written = CertificateConfig { cert: Some("/nowhere/site.pem".into()), key: Some("/nowhere/site.key".into()) };
//! let mut report = Report::new();
//! assert!(compile(&[written], &At::root().key("tls"), &mut report).is_none());
//! assert_eq!(report.errors(), 2); // neither file can be read, and both are reported
//! ```

mod certificate;
mod compile;
mod config;
mod pem;
mod server;
mod store;

pub use certificate::Certificate;
pub use compile::compile;
pub use config::CertificateConfig;
pub use server::{Alpn, ServerError, server_config};
pub use store::{Certificates, Store};
