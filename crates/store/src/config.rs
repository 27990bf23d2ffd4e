//! The connection to Redis, as written.

use document::{Duration, OneOrMany, Secret};
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
    /// database: `redis://localhost:6379/2`. Several for a cluster or for sentinels: whichever of them answers names the
    /// others.
    ///
    /// Example: `url = "redis://localhost:6379"`
    pub url: Option<OneOrMany<String>>,
    /// Whether it is a cluster. Default `false`.
    ///
    /// Example: `cluster = true`
    pub cluster: Option<bool>,
    /// The name of the primary, where `url` says where sentinels are: they are asked which Redis it is, at a start and
    /// whenever the connection was lost. With `rediss://` both the sentinels and Redis are reached over TLS.
    ///
    /// Example: `sentinel = "mymaster"`
    pub sentinel: Option<String>,
    /// The password of the sentinels, where they have one.
    ///
    /// Example: `sentinel_password = "${file:/run/secrets/sentinel}"`
    pub sentinel_password: Option<Secret>,
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
    /// How long a request waits for it at most, all its limits together. From `"1ms"` to `"1s"`. Default `"20ms"`.
    ///
    /// Example: `timeout = "10ms"`
    pub timeout: Option<Duration>,
    /// What the names of keys begin with: processes that count together have the same. Default `"maitred"`.
    ///
    /// Example: `prefix = "staging"`
    pub prefix: Option<String>,
}
