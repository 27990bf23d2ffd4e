//! The TLS settings of a listener.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use crate::{Certificates, Tickets};

/// The protocols that a listener offers within TLS (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1` alone.
    Http1,
    /// `h2` alone.
    Http2,
    /// Both; `h2` is chosen when the client offers both.
    #[default]
    Both,
    /// None: what the client offers goes unanswered.
    None,
}

/// TLS could not be set up: the cryptographic library has no random numbers, or cannot speak TLS 1.2 and 1.3.
#[derive(Debug)]
pub struct ServerError(rustls::Error);

/// The cryptography in use: aws-lc-rs, named wherever it is needed, because more than one provider is linked and a
/// process-wide default would depend on who comes first.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// TLS 1.2 and 1.3 with the library's cipher suites, sessions resumed by tickets that the client keeps, and no early
/// data.
///
/// Where clients are asked for certificates no session is resumed: a resumed one is not verified again, so that a
/// certificate that was taken back, or whose authority is trusted no longer, would go on being good.
pub(crate) fn config(
    certificates: &Arc<Certificates>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    alpn: Alpn,
    tickets: &Arc<Tickets>,
) -> Result<Arc<ServerConfig>, ServerError> {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(certificates);
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12])?;
    let mut config = match clients {
        Some(verifier) => {
            let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
        None => {
            let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
            let tickets: Arc<dyn ProducesTickets> = Arc::<Tickets>::clone(tickets);
            config.ticketer = tickets;
            config
        }
    };
    config.alpn_protocols = alpn.names().iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

impl Alpn {
    /// The registered names, the preferred one first.
    const fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Both => &[b"h2", b"http/1.1"],
            Self::None => &[],
        }
    }
}

impl From<rustls::Error> for ServerError {
    fn from(error: rustls::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS cannot be set up: {}", self.0)
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
