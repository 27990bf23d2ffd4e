//! What messages call things: nouns for tables, the words of other programs, and what later releases bring.

use document::{At, Vocabulary};

/// The vocabulary of the whole document.
pub(crate) const WORDS: Vocabulary = Vocabulary { noun, synonyms: SYNONYMS, remark };

fn noun(at: &At) -> Option<&'static str> {
    let keys: Vec<&str> = at.keys().iter().map(String::as_str).collect();
    Some(match keys[..] {
        [] => "maitred.toml",
        ["listeners", _] => "a listener",
        ["upstreams", _] => "an upstream",
        ["routes", _] => "a route",
        ["auth", _] => "a policy",
        ["defaults"] => "`defaults`",
        ["limits", _] => "a limit",
        [.., "ban"] => "`ban`",
        ["redis"] => "`redis`",
        ["tests", _] => "a test",
        ["tests", _, "expect"] => "`expect`",
        ["server"] => "`server`",
        ["cache"] | [.., "cache"] => "`cache`",
        ["logging"] => "`logging`",
        ["admin"] => "`admin`",
        ["upstreams", _, "backends", ..] => "a backend",
        [.., last] if last.parse::<usize>().is_ok() => return None,
        [.., "request"] => "`request`",
        [.., "response"] => "`response`",
        [.., "require"] => "`require`",
        [.., "auth"] => "a policy",
        [.., "limit"] | [.., "limit", _] => "`limit`",
        [.., "mirror"] => "`mirror`",
        [.., "compare"] => "`compare`",
        [.., "cors"] => "`cors`",
        [.., "compress"] => "`compress`",
        [.., "tls"] => "`tls`",
        [.., "pool"] => "`pool`",
        [.., "timeouts"] => "`timeouts`",
        [.., "access"] => "`access`",
        _ => return None,
    })
}

/// Words of nginx, HAProxy, Envoy, Traefik, Caddy, Kong and of guides to API gateways, with ours in order of likelihood:
/// the first that the table knows is proposed.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("aborttimeout", &["timeout"]),
    ("accesslog", &["access"]),
    ("access_log", &["access"]),
    ("addr", &["address"]),
    ("allowcredentials", &["credentials"]),
    ("allow_credentials", &["credentials"]),
    ("allowedheaders", &["headers"]),
    ("allowed_headers", &["headers"]),
    ("allowedmethods", &["methods"]),
    ("allowed_methods", &["methods"]),
    ("allowedorigins", &["origins"]),
    ("allowed_origins", &["origins"]),
    ("allowheaders", &["headers"]),
    ("allow_headers", &["headers"]),
    ("allowmethods", &["methods"]),
    ("allow_methods", &["methods"]),
    ("alloworigin", &["origins"]),
    ("alloworigins", &["origins"]),
    ("allow_origins", &["origins"]),
    ("authentication", &["auth"]),
    ("authorization", &["require", "auth"]),
    ("backend", &["upstream", "backends", "upstreams"]),
    ("backends", &["upstream", "upstreams"]),
    ("bind", &["address", "listen"]),
    ("ca_file", &["ca"]),
    ("cert_file", &["cert"]),
    ("certfile", &["cert"]),
    ("certificate", &["cert"]),
    ("certificates", &["tls"]),
    ("client_max_body_size", &["max_body"]),
    ("clusters", &["upstreams"]),
    ("compression", &["compress"]),
    ("connectiontimeout", &["connect"]),
    ("connection_timeout", &["connect"]),
    ("connect_timeout", &["connect", "pool"]),
    ("connectionpooling", &["pool"]),
    ("connection_pool", &["pool"]),
    ("cookies", &["cookie"]),
    ("default", &["defaults"]),
    ("destination", &["upstream"]),
    ("domain", &["host"]),
    ("domains", &["host"]),
    ("endpoints", &["backends"]),
    ("entrypoints", &["listener", "listeners"]),
    ("exposedheaders", &["expose"]),
    ("exposeheaders", &["expose"]),
    ("expose_headers", &["expose"]),
    ("frontends", &["listeners"]),
    ("graceperiod", &["grace_period"]),
    ("headers", &["header", "set"]),
    ("healthcheck", &["health_check"]),
    ("hostname", &["host"]),
    ("hostnames", &["host"]),
    ("hosts", &["host", "backends"]),
    ("idletimeout", &["idle"]),
    ("idle_timeout", &["idle"]),
    ("key_names", &["header"]),
    ("keepalive", &["idle", "pool"]),
    ("keepalive_timeout", &["idle"]),
    ("key_file", &["key"]),
    ("keyfile", &["key"]),
    ("lb_policy", &["balance"]),
    ("load_balancing", &["balance"]),
    ("location", &["path", "to"]),
    ("log", &["logging"]),
    ("logs", &["logging"]),
    ("log_level", &["level"]),
    ("maxage", &["max_age"]),
    ("maxbodysize", &["max_body"]),
    ("max_body_size", &["max_body"]),
    ("maxconnections", &["max_connections"]),
    ("maxrequests", &["requests"]),
    ("methods", &["method"]),
    ("origin", &["origins", "backends"]),
    ("password", &["secret"]),
    ("paths", &["path"]),
    ("port", &["address", "listen"]),
    ("prefix", &["path"]),
    ("private_key", &["key"]),
    ("proxy_pass", &["upstream"]),
    ("proxy_read_timeout", &["timeout"]),
    ("proxy_set_header", &["request", "set"]),
    ("query_params", &["query"]),
    ("ratelimit", &["limit", "limits"]),
    ("rate_limit", &["limit", "limits"]),
    ("ratelimiting", &["limit", "limits"]),
    ("rate_limiting", &["limit", "limits"]),
    ("read_timeout", &["timeout"]),
    ("request_headers", &["request"]),
    ("response_headers", &["response"]),
    ("retry", &["retries"]),
    ("roles", &["role"]),
    ("scopes", &["scope"]),
    ("retry_attempts", &["retries"]),
    ("return", &["respond", "redirect"]),
    ("rewrite", &["request"]),
    ("route", &["routes"]),
    ("security", &["security_headers"]),
    ("securityheaders", &["security_headers"]),
    ("security_headers", &["security_headers"]),
    ("server_name", &["host", "sni"]),
    ("servers", &["backends", "upstreams"]),
    ("service", &["upstream"]),
    ("services", &["upstreams"]),
    ("services_url", &["backends"]),
    ("skipsuccessfulrequests", &["count"]),
    ("ssl", &["tls"]),
    ("ssl_certificate", &["cert", "tls"]),
    ("ssl_certificate_key", &["key", "tls"]),
    ("ssl_verify", &["verify"]),
    ("strip_prefix", &["request", "rewrite"]),
    ("target", &["upstream", "backends", "to"]),
    ("targets", &["backends"]),
    ("timeoutms", &["timeout"]),
    ("uri", &["path", "backends"]),
    ("url", &["backends", "upstream", "to"]),
    ("urls", &["backends"]),
    ("verbosity", &["level"]),
    ("windowms", &["window"]),
    ("workers", &["threads"]),
    ("worker_processes", &["threads"]),
];

/// Sections of later releases.
const SECTIONS: &[&str] = &["analytics", "tracing", "waf"];

/// Keys of routes of later releases.
const ROUTE: &[&str] = &[
    "ab",
    "aggregate",
    "bots",
    "deprecated",
    "graphql",
    "grpc",
    "hedge",
    "images",
    "maintenance",
    "minify",
    "openapi",
    "soap",
    "waf",
    "xml",
];

/// Keys of upstreams of later releases.
const UPSTREAM: &[&str] = &["credentials", "hedge"];

/// Keys of listeners of later releases.
const LISTENER: &[&str] = &["allow", "auth", "client_auth", "client_ca", "deny"];

fn remark(at: &At) -> Option<String> {
    let keys: Vec<&str> = at.keys().iter().map(String::as_str).collect();
    let later = match keys[..] {
        ["metrics"] => {
            let served = "metrics are served at `/metrics` of the admin address, and nothing about them can be set";
            return Some(served.into());
        }
        [key] => SECTIONS.contains(&key),
        ["routes", _, key] | ["defaults", key] => ROUTE.contains(&key),
        ["upstreams", _, key] => UPSTREAM.contains(&key),
        ["listeners", _, key] => LISTENER.contains(&key),
        _ => false,
    };
    let key = at.last();
    later.then(|| format!("`{key}` comes with a later release of maitred; this one would not do what it says"))
}
