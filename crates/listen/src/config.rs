//! A listener as written in the configuration.

use std::collections::BTreeMap;

use document::{ByteRate, Duration, OneOrMany, Toggle};
use schemars::JsonSchema;
use serde::Deserialize;
use tls::{CertificateConfig, ClientAuth};

/// A listener: one or more addresses on which clients connect, and how they are met there.
///
/// Example: `[listeners.https]` with `address = ":443"` and `tls = { cert = "site.pem", key = "site.key" }`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Config {
    /// Where to listen, one address or a list: `":8080"` (every address of this machine, IPv4 and IPv6),
    /// `"127.0.0.1:8080"`, `"[::1]:8080"`, or `"unix:/run/app.sock"` (made with mode 0660). `"[::]:443"` takes IPv4 as
    /// well, as `":443"` does. Port 0 stands for any free port. Required.
    ///
    /// A port below 1024 needs the capability `CAP_NET_BIND_SERVICE`.
    ///
    /// Example: `":8080"`
    pub address: Option<OneOrMany<String>>,

    /// What becomes of the connections:
    ///
    /// - `"http"`: their requests take the routes.
    /// - `"tcp"`: the bytes are passed on to a backend of `upstream` and back, whatever they mean. With `tls` they are
    ///   decrypted first.
    /// - `"tls-passthrough"`: the same for TLS, without decrypting it: the name that the client asks for (SNI) says to
    ///   which upstream.
    ///
    /// Default: `"http"`.
    ///
    /// Example: `"tcp"`
    pub mode: Option<ModeName>,

    /// The upstream of a listener of `mode = "tcp"` or `"tls-passthrough"`: its name, or a URL such as
    /// `"tcp://10.0.1.11:5432"`. A backend is chosen for each connection as it is for requests, and another one is tried
    /// when it cannot be connected to.
    ///
    /// Example: `"postgres"`
    pub upstream: Option<String>,

    /// With `mode = "tls-passthrough"`, the upstream for each name that clients may ask for: an exact name, or a
    /// wildcard for any number of first labels, of which the longest counts. What no name fits goes to `upstream`; where
    /// there is none, it is closed.
    ///
    /// Example: `{ "db.example.com" = "postgres", "*.example.org" = "tcp://10.0.1.12:443" }`
    pub sni: Option<BTreeMap<String, String>>,

    /// The protocols spoken: `"h1"` (HTTP/1.1 and 1.0), `"h2"` (HTTP/2, on a listener with `tls`), `"h2c"` (HTTP/2 in
    /// plaintext by prior knowledge, on a listener without).
    ///
    /// Default: `["h2", "h1"]` with `tls`, where a client that offers both (ALPN) gets `h2`; `["h1"]` without.
    ///
    /// Example: `["h1", "h2c"]`
    pub protocols: Option<OneOrMany<Protocol>>,

    /// The certificates that this listener serves, one or a list; with them it speaks TLS 1.2 and 1.3, without them
    /// plaintext. The client's server name (SNI) chooses among several.
    ///
    /// Example: `{ cert = "/etc/maitred/tls/api.pem", key = "/etc/maitred/tls/api.key" }`
    pub tls: Option<OneOrMany<CertificateConfig>>,

    /// The authorities whose certificates clients may show, in a PEM file; only on a listener with `tls`. A certificate
    /// that none of them issued, that has ended, or that is not for clients ends the handshake.
    ///
    /// What is known of the certificate is there for policies, and the origin is sent the certificate in the field
    /// `Client-Cert` (RFC 9440). A field of that name that a client sends itself is removed, on every listener. Requests
    /// for another host than the one that the handshake named (SNI) are answered with 421, and sessions are not resumed.
    /// Changes of the file are served without a reload, as those of certificates are.
    ///
    /// Default: clients are not asked for a certificate.
    ///
    /// Example: `"/etc/maitred/clients.pem"`
    pub client_ca: Option<String>,

    /// Whether a client must show a certificate: `"required"`, or `"optional"`, where one that it does show must be good
    /// all the same. Needs `client_ca`.
    ///
    /// Default: `"required"`.
    ///
    /// Example: `"optional"`
    pub client_auth: Option<ClientAuth>,

    /// The certificates that were taken back: a PEM file with a revocation list (CRL) for each authority that issues
    /// clients' certificates, those in between included. A certificate of an authority without a list is refused, and so
    /// is every certificate once the list has ended, so it must be renewed in time. Changes of the file are served
    /// without a reload. Needs `client_ca`.
    ///
    /// Example: `"/etc/maitred/clients.crl"`
    pub client_crl: Option<String>,

    /// The proxies in front of this listener, as networks (`"10.0.0.0/8"`) or addresses (`"192.0.2.7"`). What they say
    /// in `X-Forwarded-For`, `X-Forwarded-Proto` and their kin about the client is believed, and `X-Request-Id` is
    /// kept; from everybody else these fields are dropped. `"unix"` stands for whoever connects to a unix socket.
    ///
    /// Default: nobody.
    ///
    /// Example: `["10.0.0.0/8", "2001:db8::/32"]`
    pub trusted_proxies: Option<OneOrMany<String>>,

    /// Whether connections begin with a header of the PROXY protocol (version 1 or 2), by which a load balancer that
    /// passes bytes on tells who its client is: `"required"`, `"optional"` or `"off"`.
    ///
    /// Only what `trusted_proxies` send is believed. With `"required"` everybody else is refused, and so is a
    /// connection without the header; with `"optional"` a trusted proxy may leave it out, and from everybody else it is
    /// no HTTP. The header must be there within `timeouts.header`, before TLS. The client that it names stands for the
    /// peer everywhere: in limits, logs, and `X-Forwarded-For`.
    ///
    /// Default: `"off"`.
    ///
    /// Example: `"required"`
    pub proxy_protocol: Option<ProxyProtocol>,

    /// How many connections may be open at once. Those beyond are closed as soon as they are accepted, so that a
    /// client can turn elsewhere instead of waiting in a queue that nobody sees.
    ///
    /// Default: `100000`.
    pub max_connections: Option<u32>,

    /// How many connections a single client address may have open at once; an IPv6 client counts by its /64. Those
    /// beyond are closed as soon as they are accepted. `trusted_proxies` are not counted, since they carry the
    /// connections of many; a client that they name by the PROXY protocol is.
    ///
    /// Default: no limit.
    ///
    /// Example: `200`
    pub max_connections_per_ip: Option<u32>,

    /// `"https"` answers every request with a 308 to the same URL under `https`, whatever the routes say. For the
    /// plaintext listener beside one with `tls`.
    ///
    /// Example: `"https"`
    pub redirect: Option<Redirect>,

    /// How long a client may take.
    ///
    /// Example: `{ header = "10s", body = "30s", idle = "60s", min_rate = "100B/s" }`
    pub timeouts: Option<TimeoutsConfig>,
}

/// What becomes of a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeName {
    /// Their requests take the routes.
    #[default]
    Http,
    /// Their bytes go to an upstream.
    Tcp,
    /// Their TLS goes to an upstream as it is.
    TlsPassthrough,
}

/// A protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    H1,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 in plaintext, by prior knowledge (RFC 9113 section 3.3).
    H2c,
}

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do, and come from trusted proxies.
    Required,
}

/// Where a whole listener sends its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Redirect {
    /// To the same URL under `https`.
    Https,
}

/// How long a client may take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct TimeoutsConfig {
    /// For the TLS handshake, and again for the whole head of a request, from its first byte to its last.
    ///
    /// Default: `"10s"`.
    pub header: Option<Duration>,

    /// Between two pieces of a body, either way.
    ///
    /// Default: `"30s"`.
    pub body: Option<Duration>,

    /// How fast a client has to send a body that it has begun, or take an answer, at the least: one byte now and then
    /// would hold a request for as long as it likes. `false`: as slowly as it likes.
    ///
    /// Only the time counts for which maitred waits for the client, and only once that is a third of `body`; after as
    /// many bytes as that time allows for it starts anew. gRPC, streams of events and WebSockets are exempt. Over
    /// HTTP/2 a slow client cannot always be told from a slow backend, and a minute more goes by.
    ///
    /// Default: `"100B/s"`.
    ///
    /// Example: `min_rate = "1KiB/s"`
    pub min_rate: Option<Toggle<ByteRate>>,

    /// Between two requests on a connection, after which the connection is closed. With `mode = "tcp"` or
    /// `"tls-passthrough"`: how long nothing may pass, either way.
    ///
    /// Default: `"60s"`; `"1h"` for these two.
    pub idle: Option<Duration>,
}
