//! The connection to Redis, as written.

use document::{Duration, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// The Redis that several processes share what they count in: `store = "redis"` of a limit.
///
/// ```toml
/// [redis]
/// url      = "redis://${REDIS_HOST:-localhost}:6379"
/// password = "${file:/run/secrets/redis}"
/// ```
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "redis")]
pub struct Config {
    /// Where it is: `redis://HOST:PORT`, `rediss://HOST:PORT` for TLS, or `unix:/PATH`. A number as its path is the
    /// database: `redis://localhost:6379/2`.
    ///
    /// Example: `url = "redis://localhost:6379"`
    pub url: Option<String>,
    /// The user to log in as. Default: Redis' own `default`.
    ///
    /// Example: `username = "maitred"`
    pub username: Option<String>,
    /// The password to log in with.
    ///
    /// Example: `password = "${file:/run/secrets/redis}"`
    pub password: Option<Secret>,
    /// A file with the authorities that its certificate may be from, in PEM. Default: those of the system.
    ///
    /// Example: `ca = "/etc/maitred/redis-ca.pem"`
    pub ca: Option<String>,
    /// How long a request waits for it at most. From `"1ms"` to `"1s"`. Default `"20ms"`.
    ///
    /// Example: `timeout = "10ms"`
    pub timeout: Option<Duration>,
    /// What the names of keys begin with: processes that count together have the same. Default `"maitred"`.
    ///
    /// Example: `prefix = "staging"`
    pub prefix: Option<String>,
}
