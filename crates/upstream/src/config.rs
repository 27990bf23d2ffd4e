//! An upstream, as written.

mod adaptive;
mod credentials;
mod health;
mod hedge;
mod mirror;
mod retries;
mod sticky;

use std::collections::BTreeMap;

use document::{Duration, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

pub use adaptive::{AdaptiveConcurrency, AdaptiveConcurrencyTable};
pub use credentials::Credentials;
pub use health::{CircuitBreaker, HealthCheck, HealthCheckTable, Outlier, SuccessRate};
pub use hedge::{Hedge, HedgeTable};
pub use mirror::{Compare, Mirror, MirrorTable};
pub use retries::{Retries, RetriesTable};
pub use sticky::{SameSite, Sticky, StickyTable};

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

    /// Where backends are looked for while the server runs, in place of `backends`. What is found takes the place of what was
    /// found before without a reload; what cannot be found, or is empty, changes nothing.
    ///
    /// - `"dns://users.internal:8080"`: every address of a host name, as a URL in `backends` with a host name.
    /// - `"srv://_http._tcp.users.internal"`: the hosts and ports that SRV records name (RFC 2782), by their priorities and
    ///   weights.
    /// - `"file:///etc/maitred/users.toml"`: a file of TOML with one key, `backends`, written as here. It is looked at every
    ///   second. A file that cannot be used when the configuration is loaded is an error.
    ///
    /// After a `?` may follow `scheme=https`, or another scheme of `backends`, which all that is found is spoken to by
    /// (default `http`), and `refresh=10s`, how often to look (default: as long as the answer holds, at least 1s, at most 5m).
    ///
    /// Example: `discover = "srv://_http._tcp.users.internal?refresh=10s"`
    pub discover: Option<String>,

    /// How a backend is chosen. Default `"round_robin"`.
    ///
    /// - `"round_robin"`: each backend in turn, as often as its weight says and spread as evenly as possible (smooth
    ///   weighted round robin: with weights 5, 1 and 1 `a a b a c a a`).
    /// - `"random"`: a lot is drawn for each request; the weight is the chance.
    /// - `"least_requests"`: the one with the fewest requests under way in proportion to its weight. Among more than
    ///   eight backends two are compared.
    /// - `"p2c"`: the one of two drawn by lot that has fewer requests under way (power of two choices), unless it usually
    ///   takes ten times as long as the other to answer.
    /// - `"ewma"`: the one of two drawn by lot that is likely to answer first, by how long its answers took of late and
    ///   how many it is working on (peak EWMA over 10s).
    /// - `"hash:ip"`, `"hash:header:X-User"`, `"hash:cookie:visitor"`, `"hash:path"`, `"hash:user"`: requests with the same
    ///   client address (of IPv6 the first 64 bits), field, cookie, path or user, as `auth` has found out, go to the same
    ///   backend, and hardly any moves when backends come or go (Maglev). A backend takes up to 1.25 times its share of the
    ///   requests under way; what is beyond goes to the next one. A request without the field, cookie or user goes
    ///   anywhere. `"hash:user"` is refused where no route to the upstream has `auth`, and warned of for each that has
    ///   none where others do.
    ///
    /// Example: `balance = "least_requests"`
    pub balance: Option<String>,

    /// Keeps a client at the backend that answered it first, by a cookie that maitred signs: `"cookie:NAME"`, or a table.
    /// Default: nobody is kept anywhere.
    ///
    /// The cookie tells no address, and a client cannot make up one that leads anywhere. Who has it comes back for as long as
    /// the backend is well, and waits for it where it has as many requests as it may have (`pool.queue`); a backend that an
    /// operator drains keeps those that it has. Where it is down, ejected, refuses connections or is gone, another one
    /// answers, which the client is kept at from then on. Answers that come by way of a `cache` keep nobody anywhere.
    ///
    /// Example: `sticky = "cookie:backend"`
    pub sticky: Option<Sticky>,

    /// The zone that maitred runs in. Backends of this zone are used before those of others, which are used when none of
    /// the zone is well. Default: none, zones do not matter.
    ///
    /// Example: `prefer_zone = "${ZONE}"`
    pub prefer_zone: Option<String>,

    /// How long a backend that is new or back takes to its full share of the requests. It begins with a tenth. Default:
    /// it has its share at once.
    ///
    /// Example: `slow_start = "30s"`
    pub slow_start: Option<Duration>,

    /// Below this share of healthy backends all are used, healthy or not: so many can hardly be down, and the few that
    /// are left would break down as well. Default: only when none is healthy. `"0%"`: never, and where none is healthy
    /// the client is answered 503.
    ///
    /// Example: `panic_threshold = "50%"`
    pub panic_threshold: Option<String>,

    /// How long a backend may take to the first byte of its answer, each try. Default `"30s"`.
    ///
    /// The time runs from when the request has been sent: while a client still has to send some of its body, it is the
    /// client that is waited for. Over HTTP/2 an upload has the idle time of the route's streams where that is longer.
    /// A backend that has begun its answer and then falls silent for as long is given up as well, except in an
    /// upgraded connection (WebSocket), a stream of events or gRPC, where silence is normal and the route's idle time
    /// counts.
    ///
    /// Example: `timeout = "5s"`
    pub timeout: Option<Duration>,

    /// The connections that are kept open to the backends.
    ///
    /// Example: `pool = { idle = "60s", connect = "2s" }`
    pub pool: Option<Pool>,

    /// How often a request is tried again at another backend, 0 to 10, or a table. Default 1.
    ///
    /// Only what is safe to repeat: a request that never reached a backend, or one with an idempotent method (RFC 9110
    /// section 9.2.2) whose body is no longer than 64 KiB. Nothing is repeated once an answer has begun to go to the
    /// client. A POST reaches an origin at most once.
    ///
    /// Example: `retries = { attempts = 2, on = ["connect", "reset", "503"] }`
    pub retries: Option<Retries>,

    /// Asks another backend as well where one takes longer than most, and takes the answer that begins first: how long to
    /// wait, such as `"p95"` or `"100ms"`, or a table. Default: never.
    ///
    /// Only requests that are safe to repeat: those with an idempotent method whose body is there as a whole and no longer than
    /// 64 KiB, but for streams, upgrades, and routes whose `limit` counts what an upstream is sent. An answer of 500 or above
    /// is not what a second backend was asked for: the first is waited for on.
    ///
    /// Example: `hedge = { after = "p95", max = 1 }`
    pub hedge: Option<Hedge>,

    /// Finds out how many requests the upstream can work on at a time, and refuses what is beyond (503 `upstream_overloaded`
    /// with `Retry-After`): `true`, or a table. Default: it is sent whatever comes.
    ///
    /// What counts is the time to the first byte of answers: while half of them come about as fast as at best in the last
    /// minute the limit grows, and where they take longer it shrinks. A limit that is known (`pool.max_connections`) is better
    /// where there is one; this is for upstreams of which nobody knows it, or that share their machines.
    ///
    /// Example: `adaptive_concurrency = { min = 10, max = 200 }`
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,

    /// Asks every backend again and again whether it is well, and uses those that are not only when no other is left:
    /// `"tcp"`, `"grpc"`, a path such as `"/health"`, or a table. Default: none is asked.
    ///
    /// Upstreams that name the same backend and ask it the same share the answer, and a reload keeps it. What a backend
    /// answers first decides, at the start of the server as well as when it comes later.
    ///
    /// Example: `health_check = { path = "/health", interval = "5s" }`
    pub health_check: Option<HealthCheck>,

    /// Takes a backend out of use that fails again and again. `false`: never. On by default.
    ///
    /// What counts is an attempt that got no answer (closed, reset, nonsense, or none within `timeout`) or one of 502,
    /// 503 and 504, without a good answer in between. What the client or maitred itself is to blame for does not. A
    /// backend that refuses connections needs no counting: the first refusal takes it out of use, until a connection can
    /// be made again, which is tried four times a second.
    ///
    /// Example: `outlier = { consecutive_errors = 5, eject_for = "30s", max_ejected = "50%" }`
    pub outlier: Option<document::Toggle<Outlier>>,

    /// Sends a backend nothing for a while after too many failures, and then one request to see. Default: none.
    ///
    /// Failures are attempts without an answer, and answers of 500 and above. Unlike `outlier` it may take all backends
    /// out of use: then the client is answered 503 at once (`circuit_open`).
    ///
    /// Example: `circuit_breaker = { failures = 5, within = "10s", open_for = "30s" }`
    pub circuit_breaker: Option<CircuitBreaker>,

    /// TLS towards the backends; for the schemes `https` and `h2`.
    ///
    /// Example: `tls = { ca = "/etc/maitred/internal-ca.pem" }`
    pub tls: Option<Tls>,

    /// What the backends are shown so that they let maitred in: a fixed value, or a token of OAuth 2.0. It is part of no
    /// log, dump or message. Default: nothing.
    ///
    /// Example: `credentials = { header = "Authorization", value = "Bearer ${file:/run/secrets/shipping}" }`
    pub credentials: Option<Credentials>,

    /// Every connection to a backend begins with a header of the PROXY protocol, which tells the client's address to a
    /// backend that cannot read `X-Forwarded-For`: `"v1"` is a line of text, `"v2"` binary. Default: none.
    ///
    /// The header tells the client as seen through the listener's `trusted_proxies`, and the address that it connected
    /// to. It comes before TLS. A connection is kept for further requests of the same client connection only, so that
    /// backends see more of them than without; over HTTP/2 it carries one of them at a time.
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
    /// Whether it is used only when no other can be.
    pub backup: Option<bool>,
    /// The zone that it is in.
    pub zone: Option<String>,
    /// What it is labelled with.
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether it is written as a table.
    pub(crate) is_table: bool,
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

    /// Whether it is used only when no other backend is well. Default `false`.
    ///
    /// Example: `backup = true`
    pub backup: Option<bool>,

    /// The zone that it is in; see `prefer_zone`.
    ///
    /// Example: `zone = "b"`
    pub zone: Option<String>,

    /// What it is labelled with, for routes that want some backends alone (`subset`). Default: nothing.
    ///
    /// Example: `labels = { version = "2" }`
    pub labels: Option<BTreeMap<String, String>>,
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

    /// How long a connection is used for new requests at most, up to a tenth less, so that those which were made together do
    /// not end together. `false`: for as long as it lives. Default `"1h"`: whoever is new behind a name, an address that
    /// moves or a balancer gets its share of the connections in the end.
    ///
    /// What a connection carries by then goes on to its end. One of a route that leads to HTTP/2 and HTTP/1.1 backends both
    /// carries one more request over HTTP/1.1, which tells the backend that it is the last.
    ///
    /// Example: `lifetime = "10m"`
    pub lifetime: Option<document::Toggle<Duration>>,

    /// How long connecting may take, the TLS handshake included. Default `"2s"`.
    ///
    /// Example: `connect = "2s"`
    pub connect: Option<Duration>,

    /// How many requests a backend has at a time, and with HTTP/1.1 so as many connections. Default: any number.
    ///
    /// Example: `max_connections = 1000`
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,

    /// How long a request waits when all backends have as many as they may have. As many may wait as may be under way.
    /// Default `"1s"`; `"0s"`: none waits. A client that waited in vain is answered 503 (`upstream_busy`).
    ///
    /// Example: `queue = "1s"`
    pub queue: Option<Duration>,
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
        let backend = Backend { url: Some(url.into()), ..Backend::default() };
        Self { backends: Some(OneOrMany(vec![backend])), ..Self::default() }
    }
}

impl Backend {
    fn from_text(url: &str) -> Result<Self, String> {
        Ok(Self { url: Some(url.into()), ..Self::default() })
    }
}

impl From<BackendTable> for Backend {
    fn from(BackendTable { url, weight, backup, zone, labels }: BackendTable) -> Self {
        Self { url, weight, backup, zone, labels, is_table: true }
    }
}

document::shorthand!(
    Backend,
    BackendTable,
    "a URL such as \"http://10.0.1.11:8080\" or a table with `url` and `weight`",
    str = Backend::from_text
);
