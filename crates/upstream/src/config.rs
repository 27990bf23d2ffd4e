//! An upstream, as written.

use document::{Duration, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

/// A named set of backends that serve the same thing, and how to reach them.
///
/// ```toml
/// [upstreams.users]
/// backends = ["http://10.0.1.11:8080", { url = "http://10.0.1.12:8080", weight = 3 }]
/// timeout  = "5s"
/// ```
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "upstream")]
pub struct Config {
    /// Where the requests go: a URL, a table with a URL and a weight, or a list of them. Required.
    ///
    /// The URL has a scheme, a host and a port, and nothing else: which path an origin is asked for is the route's to
    /// say (`request.rewrite`).
    ///
    /// - `http://10.0.1.11:8080`: HTTP/1.1 in the clear. The port may be left out: 80.
    /// - `https://crm.internal:8443`: HTTP/1.1 over TLS. The port may be left out: 443. HTTP/2 is not negotiated, since a
    ///   WebSocket could not be opened over it.
    /// - `h2://grpc.internal`: HTTP/2 over TLS, for gRPC. The port may be left out: 443.
    /// - `h2c://10.0.1.11:50051`: HTTP/2 in the clear, with prior knowledge (RFC 9113 section 3.3). The port may be left
    ///   out: 80.
    /// - `unix:/run/app.sock`: HTTP/1.1 over a unix socket.
    /// - `tcp://10.0.1.11:5432`: bytes as they come, for listeners of `mode = "tcp"` or `"tls-passthrough"`. They also
    ///   take `unix:`, the first `http://` and `h2c://`, the second `https://` and `h2://`.
    ///
    /// A host name is resolved in the background, never while a request waits: through `/etc/hosts` and then the name
    /// servers of `/etc/resolv.conf`, again when the answer's TTL is over (at least 1s, at most 5m). All its addresses
    /// are used in turn and share the backend's weight. When a name can no longer be resolved, its last addresses stay.
    ///
    /// Example: `backends = ["http://users-1:8080", { url = "http://users-2:8080", weight = 3 }]`
    pub backends: Option<OneOrMany<Backend>>,

    /// How a backend is chosen. The default and, so far, the only policy is `"round_robin"`: each backend in turn, as
    /// often as its weight says and spread as evenly as possible (smooth weighted round robin: with weights 5, 1 and 1
    /// `a a b a c a a`).
    ///
    /// Example: `balance = "round_robin"`
    pub balance: Option<Balance>,

    /// How long a backend may take to the first byte of its answer, each try. Default `"30s"`.
    ///
    /// The time runs from when the request has been sent; while a body is being uploaded over HTTP/1.1 it starts anew
    /// with every piece of it. A backend that has begun its answer and then falls silent for as long is given up as
    /// well, except in an upgraded connection (WebSocket), a stream of events or gRPC, where silence is normal and the
    /// route's idle time counts.
    ///
    /// Example: `timeout = "5s"`
    pub timeout: Option<Duration>,

    /// The connections that are kept open to the backends.
    ///
    /// Example: `pool = { idle = "60s", connect = "2s" }`
    pub pool: Option<Pool>,

    /// How often a request is tried again at another backend, 0 to 10. Default 1.
    ///
    /// Only what is safe to repeat: a request that never reached a backend, or one with an idempotent method (RFC 9110
    /// section 9.2.2) that got no answer at all. A POST reaches an origin at most once.
    ///
    /// Example: `retries = 2`
    #[schemars(range(max = 10))]
    pub retries: Option<u32>,

    /// TLS towards the backends; for the schemes `https` and `h2`.
    ///
    /// Example: `tls = { ca = "/etc/maitred/internal-ca.pem" }`
    pub tls: Option<Tls>,

    /// Every connection to a backend begins with a header of the PROXY protocol, which tells the client's address to a
    /// backend that cannot read `X-Forwarded-For`: `"v1"` is a line of text, `"v2"` binary. Default: none.
    ///
    /// The header tells the client as seen through the listener's `trusted_proxies`, and the address that it connected
    /// to. It comes before TLS. A connection is kept for further requests of the same client connection only, so that
    /// backends see more of them than without.
    ///
    /// A backend that does not expect the header answers 400 or closes the connection: nginx expects it with
    /// `listen … proxy_protocol`, HAProxy with `accept-proxy`.
    ///
    /// Example: `proxy_protocol = "v2"`
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// How the PROXY protocol's header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// One backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub url: Option<String>,
    /// Its share of the requests in proportion to the others' weights.
    pub weight: Option<u32>,
}

/// One backend with its weight.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "backend")]
pub struct BackendTable {
    /// Where it is, such as `"http://10.0.1.12:8080"`. Required.
    pub url: Option<String>,

    /// Its share of the requests in proportion to the other backends' weights, 0 to 1000. Default 1. A backend of weight
    /// 0 gets none.
    ///
    /// Example: `weight = 3`
    #[schemars(range(max = 1000))]
    pub weight: Option<u32>,
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each backend in turn, as often as its weight says and spread as evenly as possible.
    RoundRobin,
}

/// The connections that are kept open to the backends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "pool")]
pub struct Pool {
    /// How long an unused connection is kept open for the next request. Default `"60s"`. Best kept below the time after
    /// which the origin itself closes idle connections.
    ///
    /// Example: `idle = "60s"`
    pub idle: Option<Duration>,

    /// How long connecting may take, the TLS handshake included. Default `"2s"`.
    ///
    /// Example: `connect = "2s"`
    pub connect: Option<Duration>,
}

/// TLS towards the backends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "upstream tls")]
pub struct Tls {
    /// A file with the certificates (PEM) of the authorities that sign the backends' certificates. They replace those
    /// that the system trusts.
    ///
    /// Example: `ca = "/etc/maitred/internal-ca.pem"`
    pub ca: Option<String>,

    /// The name that the backend's certificate must carry, also sent as server name indication. Default: the host of
    /// the backend's URL.
    ///
    /// Example: `sni = "crm.internal"`
    pub sni: Option<String>,

    /// The certificate (PEM, followed by its chain) that maitred shows to the backends. Needs `key`.
    ///
    /// Example: `cert = "/etc/maitred/client.pem"`
    pub cert: Option<String>,

    /// The private key (PEM) of `cert`.
    ///
    /// Example: `key = "/etc/maitred/client.key"`
    pub key: Option<String>,

    /// Whether the backend's certificate is checked. Default `true`. With `false` anyone who can redirect the traffic
    /// can read and change it.
    ///
    /// Example: `verify = false`
    pub verify: Option<bool>,
}

impl Config {
    /// The upstream that a route's `upstream = "http://…"` stands for.
    pub fn from_url(url: impl Into<String>) -> Self {
        let backend = Backend { url: Some(url.into()), weight: None };
        Self { backends: Some(OneOrMany(vec![backend])), ..Self::default() }
    }
}

impl Backend {
    fn from_text(url: &str) -> Result<Self, String> {
        Ok(Self { url: Some(url.into()), weight: None })
    }
}

impl From<BackendTable> for Backend {
    fn from(BackendTable { url, weight }: BackendTable) -> Self {
        Self { url, weight }
    }
}

document::shorthand!(
    Backend,
    BackendTable,
    "a URL such as \"http://10.0.1.11:8080\" or a table with `url` and `weight`",
    str = Backend::from_text
);
