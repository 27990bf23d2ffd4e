//! Who sent a request, as far as the connection and the trusted proxies before it tell.

use std::{fmt, net::IpAddr, net::SocketAddr, sync::Arc};

use http::HeaderValue;

use crate::Trace;

/// The client of one request. Made by `arrive`, read by every concern.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address, seen through trusted proxies; `None` for a unix socket whose peer named nobody.
    pub address: Option<IpAddr>,
    /// The peer of the connection itself: the client, or the proxy before us.
    pub peer: Option<SocketAddr>,
    /// Whether `peer` is one of the listener's `trusted_proxies`, so that its forwarding headers are believed.
    pub trusted: bool,
    /// The scheme the client used, seen through trusted proxies.
    pub scheme: Scheme,
    /// The port the client connected to.
    pub port: u16,
    /// The listener that the connection came in by.
    pub listener: ListenerName,
    /// What the TLS handshake agreed on; `None` on a plaintext connection.
    pub tls: Option<Arc<TlsFacts>>,
    /// The request's id, made here or kept from a trusted peer.
    pub request_id: RequestId,
    /// The request's place in a distributed trace; [`Trace::child`] makes the span of each attempt.
    pub trace: Trace,
}

impl Client {
    /// A client on this machine that speaks plaintext to `listener`: where `explain` starts from, and tests.
    pub fn local(listener: ListenerName) -> Self {
        Self {
            address: Some(IpAddr::from([127, 0, 0, 1])),
            peer: None,
            trusted: false,
            scheme: Scheme::Http,
            port: 80,
            listener,
            tls: None,
            request_id: RequestId::new(0, 0),
            trace: Trace::new(1, 1),
        }
    }
}

/// A listener's name, shared by every connection that it accepts.
pub type ListenerName = Arc<str>;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plaintext HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as written in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL of this scheme leaves out.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a TLS handshake agreed on; shared by all requests of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// The certificate that the client has shown and proved to be its own; `None` when it was not asked or showed none.
    pub client: Option<Box<ClientCertificate>>,
}

/// A client's certificate, verified in the handshake against the listener's authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject as RFC 4514 writes it, the most specific part first: `CN=orders,O=Partner`.
    pub subject: Box<str>,
    /// Its other names (subjectAltName, RFC 5280 section 4.2.1.6), in the order of the certificate.
    pub names: Box<[AlternativeName]>,
    /// Its serial number, in lower-case hexadecimal.
    pub serial: Box<str>,
    /// The SHA-256 of the whole certificate, in lower-case hexadecimal.
    pub fingerprint: Box<str>,
    /// The whole certificate, as the field `Client-Cert` carries it (RFC 9440 section 2.2).
    pub field: HeaderValue,
    /// What came with it, in DER: the authorities between it and one that is trusted, where the client knows of any.
    pub intermediates: Box<[Box<[u8]>]>,
    /// The SHA-256 of all of it, which tells it from any other that was ever shown.
    pub shown: [u8; 32],
}

/// A name that a certificate gives its owner besides the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host name, in lower case; may be a wildcard.
    Dns(Box<str>),
    /// An e-mail address.
    Email(Box<str>),
    /// A URI, such as a SPIFFE id.
    Uri(Box<str>),
    /// An IP address.
    Address(IpAddr),
}

/// A request's id: text of up to 64 visible ASCII bytes, held without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    length: u8,
    bytes: [u8; RequestId::CAPACITY],
}

impl RequestId {
    /// The longest id that is kept from a peer.
    pub const CAPACITY: usize = 64;

    /// Keeps an id that a peer sent: 1 to 64 bytes of visible ASCII without quotes or backslashes.
    pub fn from_peer(text: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if text.is_empty() || text.len() > Self::CAPACITY || !text.iter().all(plain) {
            return None;
        }
        let mut bytes = [0; Self::CAPACITY];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { length: text.len() as u8, bytes })
    }

    /// A new id in UUIDv7 form (RFC 9562 section 5.7) from milliseconds since the Unix epoch and 74 or more random bits.
    pub fn new(unix_millis: u64, random: u128) -> Self {
        let value = (u128::from(unix_millis) & 0xFFFF_FFFF_FFFF) << 80
            | 0x7 << 76
            | ((random >> 64) & 0xFFF) << 64
            | 0b10 << 62
            | (random & 0x3FFF_FFFF_FFFF_FFFF);
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; Self::CAPACITY];
        for dash in [8, 13, 18, 23] {
            bytes[dash] = b'-';
        }
        // Where each byte's two digits stand, between the dashes.
        const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        for (byte, at) in value.to_be_bytes().into_iter().zip(AT) {
            bytes[at] = HEX[usize::from(byte >> 4)];
            bytes[at + 1] = HEX[usize::from(byte & 0xF)];
        }
        Self { length: 36, bytes }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_a_uuid_of_version_seven() {
        let id = RequestId::new(0x0192_3456_789A, u128::MAX);
        assert_eq!(id.as_str(), "01923456-789a-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_peers_id_is_kept_only_when_it_is_plain_text() {
        assert_eq!(RequestId::from_peer(b"abc-1").map(|id| id.to_string()), Some("abc-1".into()));
        for refused in [&b""[..], b"a b", b"a\"b", b"a\nb", &[b'a'; 65]] {
            assert_eq!(RequestId::from_peer(refused), None);
        }
    }
}
