//! The kinds of traffic that are measured.

use crate::shell::Failure;

/// One kind of traffic.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// What it is, in a few words.
    pub(crate) title: &'static str,
    /// The path that is asked for; the origin has one a size.
    pub(crate) path: &'static str,
    /// How it is asked for.
    pub(crate) transport: Transport,
    /// What the proxy is told to do with it.
    pub(crate) policy: Policy,
    /// Whether each request brings a body of 1 MiB.
    pub(crate) uploads: bool,
    /// How many backends the proxy chooses from.
    pub(crate) backends: usize,
    /// How many connections are held open.
    pub(crate) connections: u32,
    /// What the connections do.
    pub(crate) habit: Habit,
    /// How many clients, besides, never come to the end of their head. Only maitred has to bear them.
    pub(crate) slow: usize,
}

/// What the connections of a scenario do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Each asks again as soon as it has its answer.
    Busy,
    /// Each has its turn, as many at a time as there are where all are busy.
    InTurn,
    /// Each has asked once and is silent since. That takes memory, not time.
    Idle,
}

/// How requests reach the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/1.1 over connections that stay open.
    Plain,
    /// HTTP/1.1 with a connection for every request.
    PlainClose,
    /// HTTP/1.1 over TLS connections that stay open.
    Tls,
    /// HTTP/1.1 with a TLS connection, and so a full handshake, for every request.
    TlsClose,
    /// TLS 1.2 connections that resume a session and ask for nothing.
    TlsResumed,
    /// HTTP/2 over TLS, ten streams at a time on each connection.
    H2,
    /// HTTP/1.1 over TLS connections that stay open, and that a client's certificate is shown on.
    Presented,
}

impl Transport {
    /// Whether the proxy is asked on its TLS port.
    pub(crate) fn is_tls(self) -> bool {
        !matches!(self, Transport::Plain | Transport::PlainClose)
    }
}

/// What the proxy is told to do besides passing requests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing: one route for everything.
    Bare,
    /// 10,000 routes, of which one is asked for.
    Routes,
    /// Nothing either, beside slow clients.
    Slow,
    /// A line of JSON for each request.
    Log,
    /// An API key that has to be shown.
    Key,
    /// A signed token that has to be shown.
    Token,
    /// A name and a password.
    Basic,
    /// A token that its issuer was asked about.
    Introspection,
    /// A service that has decided.
    Forward,
    /// A client's certificate.
    Certificate,
    /// A session of somebody who has logged in.
    Login,
    /// A limit that is far away.
    Limit,
    /// Header edits and security headers.
    Headers,
    /// Whatever keeps failing backends from clients: balancing by load, retries, ejection, a breaker, a bounded pool.
    Resilient,
    /// Another try where a backend answers 503.
    Retry,
    /// The answer is kept, and comes from the cache.
    Cache,
    /// The answer is compressed for the client.
    Gzip,
    /// What `Gzip` does, by two workers on both cores.
    Workers,
    /// A full-featured route: log, key, limit and header edits.
    Full,
}

impl Policy {
    /// Whether the client has to show a key.
    pub(crate) fn wants_key(self) -> bool {
        matches!(self, Policy::Key | Policy::Full)
    }

    /// Whether the figure to compare with is our own bare route in the same run, rather than a peer.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Policy::Bare | Policy::Cache | Policy::Gzip)
    }

    /// What our own bare route does, where that is the measure: what two workers do, one of them does.
    pub(crate) fn bare(self) -> Self {
        if self == Policy::Workers { Policy::Gzip } else { Policy::Bare }
    }

    /// How many workers maitred has; each has a core.
    pub(crate) fn workers(self) -> u8 {
        if self == Policy::Workers { 2 } else { 1 }
    }
}

/// How many connections are many.
const MANY: u32 = 10_000;

const fn scenario(name: &'static str, title: &'static str, path: &'static str, transport: Transport) -> Scenario {
    Scenario {
        name,
        title,
        path,
        transport,
        policy: Policy::Bare,
        uploads: false,
        backends: 1,
        connections: 32,
        habit: Habit::Busy,
        slow: 0,
    }
}

/// A small request over a route with something that is on, against our own bare one.
const fn policy(name: &'static str, title: &'static str, policy: Policy) -> Scenario {
    Scenario { policy, ..scenario(name, title, "/tiny", Transport::Plain) }
}

impl Scenario {
    /// Every scenario, in the order of the table.
    pub(crate) const ALL: &'static [Scenario] = &[
        scenario("tiny", "HTTP/1.1 keep-alive, 2-byte body", "/tiny", Transport::Plain),
        scenario("10k", "HTTP/1.1 keep-alive, 10 KiB body", "/10k", Transport::Plain),
        Scenario { connections: 8, ..scenario("1m", "HTTP/1.1 keep-alive, 1 MiB body", "/1m", Transport::Plain) },
        Scenario {
            connections: 8,
            uploads: true,
            ..scenario("upload", "HTTP/1.1 keep-alive, 1 MiB request body", "/upload", Transport::Plain)
        },
        scenario("close", "HTTP/1.1, a new connection for each request", "/tiny", Transport::PlainClose),
        scenario("tls", "HTTP/1.1 over TLS, keep-alive, 2-byte body", "/tiny", Transport::Tls),
        Scenario {
            connections: 8,
            ..scenario("handshake", "a full TLS handshake for each request", "/tiny", Transport::TlsClose)
        },
        Scenario {
            connections: 1,
            ..scenario("resumed", "TLS 1.2 connections that resume a session", "/tiny", Transport::TlsResumed)
        },
        Scenario {
            connections: 10,
            ..scenario("h2", "HTTP/2 over TLS, 10 × 10 streams, 2-byte body", "/tiny", Transport::H2)
        },
        Scenario {
            backends: 10,
            ..scenario("balanced", "HTTP/1.1 keep-alive, 2-byte body, 10 backends in turn", "/tiny", Transport::Plain)
        },
        Scenario {
            policy: Policy::Cache,
            connections: 100,
            ..scenario("cache-10k", "HTTP/1.1 keep-alive, 10 KiB body from the cache", "/kept/10k", Transport::Plain)
        },
        Scenario {
            policy: Policy::Cache,
            connections: 100,
            ..scenario("cache-1m", "HTTP/1.1 keep-alive, 1 MiB body from the cache", "/kept/1m", Transport::Plain)
        },
        Scenario {
            policy: Policy::Gzip,
            ..scenario("gzip", "HTTP/1.1 keep-alive, 32 KiB of JSON compressed by gzip", "/json", Transport::Plain)
        },
        policy("routes", "one of 10,000 routes", Policy::Routes),
        Scenario {
            slow: 2000,
            ..policy("slow", "beside 2,000 clients that send a byte of their head a second", Policy::Slow)
        },
        policy("log", "with a JSON access log", Policy::Log),
        policy("key", "with an API key", Policy::Key),
        policy("token", "with a JWT", Policy::Token),
        policy("basic", "with a name and a password", Policy::Basic),
        policy("introspection", "with a token that its issuer was asked about", Policy::Introspection),
        policy("forward", "with a service that has decided", Policy::Forward),
        Scenario {
            transport: Transport::Presented,
            ..policy("mtls", "over TLS with a client's certificate, against TLS without", Policy::Certificate)
        },
        policy("login", "with the session of a login by OpenID Connect", Policy::Login),
        policy("limit", "with a rate limit", Policy::Limit),
        policy("headers", "with header edits", Policy::Headers),
        Scenario {
            backends: 16,
            ..policy("resilient", "16 backends with retries, ejection, breaker and pool limits", Policy::Resilient)
        },
        Scenario {
            backends: 2,
            path: "/busy",
            ..policy("retry", "2 backends of which one answers 503: every other request is tried twice", Policy::Retry)
        },
        Scenario {
            path: "/orders",
            ..policy("workers", "two workers, one core each, against one: 256 KiB of JSON by gzip", Policy::Workers)
        },
        policy("full", "a full-featured route: log, key, limit, headers", Policy::Full),
        Scenario {
            connections: MANY,
            habit: Habit::InTurn,
            ..scenario("active", "HTTP/1.1 over 10,000 connections in turn, 2-byte body", "/tiny", Transport::Plain)
        },
        Scenario {
            connections: MANY,
            habit: Habit::Idle,
            ..scenario("idle", "memory of 10,000 idle connections", "/tiny", Transport::Plain)
        },
        Scenario {
            connections: MANY,
            habit: Habit::Idle,
            ..scenario("idle-tls", "memory of 10,000 idle connections over TLS", "/tiny", Transport::Tls)
        },
    ];

    /// The scenario of that name.
    pub(crate) fn named(name: &str) -> Result<&'static Scenario, Failure> {
        let found = Self::ALL.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|scenario| scenario.name).collect();
            Failure::usage(format!("no scenario is named `{name}`; there are {}", names.join(", ")))
        })
    }
}
