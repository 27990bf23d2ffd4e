//! A listener as run.

use std::{net::IpAddr, sync::Arc, time::Duration};

use filter::{Scheme, TlsFacts};
use tls::{ClientAuth, Store};

use crate::{Address, Config, Mode, Networks, ProxyProtocol, Redirect};

/// What holds for every connection of a listener; immutable.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the configuration, in metrics and in logs.
    pub name: Arc<str>,
    /// Where it listens, at least one address.
    pub addresses: Vec<Address>,
    /// What becomes of its connections. The rest of what concerns HTTP counts only where that is HTTP.
    pub mode: Mode,
    /// Whether HTTP/1 is spoken. With TLS this is seen to before a connection is served; in plaintext whoever serves it
    /// must.
    pub h1: bool,
    /// Whether HTTP/2 is offered in the TLS handshake.
    pub h2: bool,
    /// Whether HTTP/2 in plaintext is understood, by prior knowledge (RFC 9113 section 3.3).
    pub h2c: bool,
    /// How long clients may take.
    pub timeouts: Timeouts,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many of them may be of one client address.
    pub max_connections_per_ip: Option<u32>,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Where all its clients are sent, if they are.
    pub redirect: Option<Redirect>,
    /// Whether its clients are asked for a certificate, and whether they must show one.
    pub client_auth: Option<ClientAuth>,
    /// Whose forwarding headers are believed.
    pub(crate) trusted: Trusted,
    /// The certificates and the settings made from them; `None` in plaintext.
    pub(crate) tls: Option<Arc<Store>>,
    /// What it was compiled from.
    pub(crate) written: Config,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TLS handshake, and again for a whole request head.
    pub header: Duration,
    /// Between two pieces of a body.
    pub body: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// How fast bodies have to move.
    pub min_rate: Option<MinRate>,
}

/// How fast a client has to send what it has begun, and to take what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes a second.
    pub bytes: u64,
    /// How long it is waited for before its rate counts.
    pub grace: Duration,
}

impl MinRate {
    /// How many bytes are due after `waited`.
    pub fn due(&self, waited: Duration) -> u64 {
        u64::try_from(waited.as_millis() * u128::from(self.bytes) / 1000).unwrap_or(u64::MAX)
    }

    /// How long so many bytes may take.
    pub fn time_for(&self, bytes: usize) -> Duration {
        self.grace + Duration::from_millis((bytes as u64).saturating_mul(1000) / self.bytes.max(1))
    }
}

/// Whose forwarding headers are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trusted {
    pub networks: Networks,
    pub unix: bool,
}

impl Listener {
    /// Whether `other` is the same listener with the same settings. The files that these name may say other things.
    pub fn is_written_as(&self, other: &Self) -> bool {
        self.name == other.name && self.written == other.written
    }

    /// Takes over what `newer`, written as this one, has read from files.
    pub(crate) fn renew_from(&self, newer: &Self) {
        if let (Some(own), Some(newer)) = (&self.tls, &newer.tls) {
            own.take_over(newer);
        }
    }

    /// `https` with TLS, `http` without.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// How its URL begins: `http`, `https`, `tcp`, or `tls` where that is passed on as bytes.
    pub fn url_scheme(&self) -> &'static str {
        match &self.mode {
            Mode::Http => self.scheme().as_str(),
            Mode::Stream(streams) if streams.is_tls || self.tls.is_some() => "tls",
            Mode::Stream(_) => "tcp",
        }
    }

    /// Whether the forwarding headers of `address` are believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.networks.contains(address)
    }

    /// Whether there is anybody whose forwarding headers are believed.
    pub fn trusts_anybody(&self) -> bool {
        self.trusted.unix || !self.trusted.networks.is_empty()
    }

    /// Whether the forwarding headers of whoever connects by a unix socket are believed.
    pub fn trusts_unix(&self) -> bool {
        self.trusted.unix
    }

    /// The certificates that it serves; `None` in plaintext.
    pub fn certificates(&self) -> Option<&Arc<Store>> {
        self.tls.as_ref()
    }
}

/// What a handshake agreed on, in the words of the access log; `None` when the client's certificate, which rustls has
/// verified, cannot be read.
pub(crate) fn facts(session: &rustls::ServerConnection) -> Option<TlsFacts> {
    let client = match session.peer_certificates() {
        Some(chain) if !chain.is_empty() => Some(Box::new(tls::client_certificate(chain)?)),
        _ => None,
    };
    Some(TlsFacts {
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| iana(suite.suite())),
        server_name: session.server_name().map(|name| name.to_ascii_lowercase().into()),
        client,
    })
}

/// rustls has names of its own for the suites of TLS 1.3; these are the registered ones (RFC 8446 appendix B.4).
fn iana(suite: rustls::CipherSuite) -> &'static str {
    match suite {
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}
