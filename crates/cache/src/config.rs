//! The cache, as written: its zone, and what a route keeps in it.

use std::collections::BTreeMap;

use document::{Duration, OneOrMany, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where answers are kept.
///
/// ```toml
/// [cache]
/// memory = "256MiB"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "cache")]
pub struct ZoneConfig {
    /// How much memory all kept answers may take together, heads included. What is asked for often stays; what was asked
    /// for once makes room first. At least `"1MiB"`. Default `"128MiB"`.
    ///
    /// Example: `memory = "1GiB"`
    pub memory: Option<Size>,

    /// A folder and how much of it: answers are kept there as well, and outlive the process. Default: none.
    ///
    /// Example: `disk = { path = "/var/cache/maitred", size = "10GiB" }`
    pub disk: Option<DiskConfig>,

    /// Whether answers are kept in the Redis of `[redis]` as well, where every process with the same `prefix` finds them:
    /// those with a content of up to 256 KiB, for a day at most. While Redis is away or slow it is done without. The
    /// clocks of the processes must agree. Default `false`.
    ///
    /// Example: `redis = true`
    pub redis: Option<bool>,
}

/// Where on disk answers are kept.
///
/// A process that ends in the middle of writing leaves nothing that is taken for an answer: all of a file has sums, and
/// nothing is given before its sum was right. One process uses a folder at a time; another one waits for it, and keeps
/// answers in memory meanwhile.
///
/// ```toml
/// [cache]
/// disk = { path = "/var/cache/maitred", size = "10GiB" }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "disk")]
pub struct DiskConfig {
    /// The folder, which begins with `/`. It is made if it is not there.
    ///
    /// Example: `path = "/var/cache/maitred"`
    pub path: Option<String>,

    /// How much of the disk all files may take together; what is just being written comes on top. What is known of them
    /// takes up to a sixty-fourth of it of memory. At least `"16MiB"`.
    ///
    /// Example: `size = "10GiB"`
    pub size: Option<Size>,
}

/// A route's `cache` as written: `true`, a duration, or the table of [`CacheTable`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CacheConfig {
    pub(crate) table: CacheTable,
}

document::shorthand!(
    CacheConfig,
    CacheTable,
    "`true`, a duration such as \"5m\", or a table about what is kept",
    str = CacheConfig::from_text,
    bool = CacheConfig::from_bool,
);

impl CacheConfig {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { table: CacheTable { ttl: Some(text.parse()?), ..CacheTable::default() } })
    }

    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("expected `true`, a duration or a table".into()) }
    }
}

impl From<CacheTable> for CacheConfig {
    fn from(table: CacheTable) -> Self {
        Self { table }
    }
}

/// Keeps answers to `GET` and gives them to whoever asks again, as RFC 9111 has it for a shared cache.
///
/// `cache = true` keeps what the origin allows, for as long as it says. `cache = "5m"` keeps for five minutes what the
/// origin says nothing about. Never kept: what says `no-store` or `private`, what sets a cookie, what was asked for with
/// `Authorization` unless the answer says `public`, `must-revalidate` or `s-maxage`, parts (206), and what ended before
/// its end. Requests for the same thing at the same time are one request to the origin.
///
/// Answers of a route that knows who calls are kept apart for each caller. Every answer says in `Cache-Status` (RFC 9211)
/// what became of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "cache")]
pub struct CacheTable {
    /// How long an answer is fresh whose origin does not say: for the statuses 200, 203, 204, 300, 301 and 308. Without
    /// it, such an answer is fresh for a tenth of its age by `Last-Modified`, at most a day.
    ///
    /// Default: none. Example: `ttl = "5m"`.
    pub ttl: Option<Duration>,

    /// Whether `ttl` and `status` count even where the origin says how long. What it forbids stays forbidden.
    ///
    /// Default: `false`. Example: `override = true`.
    #[serde(rename = "override")]
    pub replace: Option<bool>,

    /// For how long after it became stale an answer is still given, while it is asked for anew in the background. Counts
    /// where the origin says nothing of `stale-while-revalidate` and does not forbid it.
    ///
    /// Default: none. Example: `stale = "1m"`.
    pub stale: Option<Duration>,

    /// For how long after it became stale an answer is still given where the origin cannot be reached or answers 500,
    /// 502, 503 or 504. Counts where the origin says nothing of `stale-if-error` and does not forbid it. A client that wants the
    /// origin to be asked (`no-cache`, `max-age`) gets it then as well, stale or not; without it, it gets the error.
    ///
    /// Default: none. Example: `stale_if_error = "1h"`.
    pub stale_if_error: Option<Duration>,

    /// How long answers of a status are fresh whose origin does not say: `404`, or `5xx` for all of a class. `4xx` does not
    /// mean those by which a single request is refused, for what it says or who sends it: 400, 401, 403, 407, 408, 417, 421,
    /// 425, 429 and 431. They are kept where they are named themselves, and then given to everybody.
    ///
    /// Default: none. Example: `status = { 404 = "10s", 301 = "1h" }`.
    pub status: Option<BTreeMap<String, Duration>>,

    /// What tells answers apart: `"scheme"`, `"host"`, `"path"`, `"query"` (all of it, as it stands), `"query:*"` (all of
    /// it, its parameters in the order of their names), `"query:!NAME"` (the same without these, such as
    /// `"query:!utm_*"`), `"query:NAME"` (these alone), `"header:NAME"` and `"cookie:NAME"`. `"path"` must be among them. But
    /// for `"query"`, the origin is asked with what tells answers apart, and nothing else of the query: what tells nothing
    /// apart must not change the answer.
    ///
    /// Default: `["scheme", "host", "path", "query"]`. Example: `key = ["host", "path", "query:page"]`.
    pub key: Option<OneOrMany<String>>,

    /// Request headers that answers depend on, beside those that the origin names in `Vary`. They are added to it.
    ///
    /// Default: none. Example: `vary = "Accept-Language"`.
    pub vary: Option<OneOrMany<String>>,

    /// Requests that are neither answered from the cache nor kept: those that have `"cookie:NAME"`, `"header:NAME"` or
    /// `"query:NAME"`.
    ///
    /// Default: none. Example: `bypass = ["cookie:session"]`.
    pub bypass: Option<OneOrMany<String>>,

    /// Names of answer headers that list tags, by which answers can be purged together. `Cache-Groups` (RFC 9875) counts
    /// always.
    ///
    /// Default: none. Example: `tags = "Cache-Tag"`.
    pub tags: Option<OneOrMany<String>>,

    /// Names of answer headers that say to caches like this one alone how long an answer is fresh and who may keep it (RFC
    /// 9213): the first that is there and can be read counts instead of `Cache-Control` and `Expires`. Each is a list of
    /// directives as in `Cache-Control`, in lower case. `[]` where none counts.
    ///
    /// Default: `["CDN-Cache-Control"]`. Example: `targeted = ["Maitred-Cache-Control", "CDN-Cache-Control"]`.
    pub targeted: Option<OneOrMany<String>>,

    /// Who may let go of kept answers with the method `PURGE`: addresses and networks of clients. Nobody else gets more than
    /// a 403, and without it PURGE is a method like any other, which the origin gets.
    ///
    /// Default: none. Example: `purge = ["10.0.0.0/8", "::1"]`.
    pub purge: Option<OneOrMany<String>>,

    /// The largest content that is kept: at most a quarter of `memory` of `[cache]`, or of its `disk` where that is more. What
    /// is larger than a quarter of `memory` is written to disk as it comes, if the origin says how long it is.
    ///
    /// Default: `"8MiB"`, or that quarter where it is less. Example: `max_object = "1MiB"`.
    pub max_object: Option<Size>,
}
