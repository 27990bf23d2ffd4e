//! What the admin listener can ask of the running server; the binary's one task for changes answers.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{ApiKey, FreshKey, KeyOrder, Limit, LimitKey, NoKey};

/// The running server, as far as it can be told what to do. Every call is carried out by one task, one at a time.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Applies the configuration file as it is now.
    async fn reload(&self, order: Reload) -> Reloaded;
    /// Keeps the configuration that was applied on trial (`Reload::confirm`).
    async fn confirm(&self) -> Result<Generation, String>;
    /// Goes back to a generation of the history; the one before the current where none is named.
    async fn rollback(&self, to: Option<u64>) -> Reloaded;
    /// Hands the sockets to a new process and drains.
    async fn upgrade(&self, order: Upgrade) -> Result<Upgraded, String>;
    /// Drains and stops, or stops at once.
    async fn stop(&self, now: bool);
    /// The generations that are kept, the newest first.
    fn history(&self) -> Vec<Generation>;
    /// The configuration in force as written, its secrets redacted.
    fn sources(&self) -> Vec<Source>;
    /// The configuration in force with its defaults applied, its secrets redacted.
    fn effective(&self) -> serde_json::Value;
    /// Says what is wrong with a configuration that is no file, and changes nothing.
    fn check(&self, text: &str) -> Checked;

    /// The places of secrets that both configurations have and that differ; why nothing can be said, where the order is
    /// wrong.
    fn other_secrets(&self, sealed: &Sealed) -> Result<Vec<String>, String>;
    /// Carries out what is wanted of a backend of an upstream; whether there is such a backend.
    fn order_backend(&self, upstream: &str, backend: &str, order: BackendOrder) -> bool;
    /// Gives upstreams of a route's split other weights, and says how all are then; `None` where there is no such split.
    fn weigh_split(
        &self,
        _route: &str,
        _weights: &BTreeMap<String, u32>,
    ) -> Option<Result<BTreeMap<String, u32>, String>> {
        None
    }
    /// Says which route a request takes in the configuration in force, and why.
    fn explain(&self, request: Explain) -> Result<serde_json::Value, String>;
    /// Every limit, and whom it refuses.
    fn limits(&self) -> Vec<Limit> {
        Vec::new()
    }
    /// Where a key stands under the limit `limit`; `None` where there is no such limit.
    fn limit_key(&self, _limit: &str, _key: &str) -> Option<LimitKey> {
        None
    }
    /// Forgives a key what it has used up, and says where it stands then; or why it is not forgiven everywhere. `None` where
    /// there is no such limit.
    async fn reset_limit_key(&self, _limit: &str, _key: &str) -> Option<Result<LimitKey, String>> {
        None
    }
    /// Every API key. Reads files.
    fn keys(&self) -> Result<Vec<ApiKey>, NoKey> {
        Ok(Vec::new())
    }
    /// Makes an API key. Writes a file.
    fn add_key(&self, _order: &KeyOrder) -> Result<FreshKey, NoKey> {
        Err(NoKey::Unknown("there is no file of keys".into()))
    }
    /// Takes an API key out of its file, and says which it was.
    fn revoke_key(&self, _id: &str, _policy: Option<&str>) -> Result<String, NoKey> {
        Err(NoKey::Unknown("there is no file of keys".into()))
    }
    /// What the cache holds.
    fn cache(&self) -> CacheReading;
    /// Lets go of kept answers.
    async fn purge(&self, purge: &Purge) -> Result<Purged, String>;
    /// Asks for what clients will ask for, so that the cache has it.
    async fn warm(&self, order: Warm) -> Result<Warmed, String>;
}

/// What is to be asked for, so that the cache has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Warm {
    /// URLs, or paths on the first listener; at most 1,000.
    #[schemars(length(max = 1000))]
    pub urls: Vec<String>,
    /// Header fields of each request, where answers depend on any.
    pub headers: std::collections::BTreeMap<String, String>,
    /// How many are asked for at the same time, from 1 to 64; 8 where nothing is said.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<usize>,
}

/// What came of it, in the order of the URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warmed {
    /// How many answers the cache has now that it did not have, or that were stale.
    pub stored: usize,
    /// How many it had already.
    pub kept: usize,
    /// How many it does not have.
    pub failed: usize,
    /// What came of each URL.
    pub urls: Vec<WarmedUrl>,
}

/// What came of one URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WarmedUrl {
    /// The URL, as it was given.
    pub url: String,
    /// In one word.
    pub outcome: WarmOutcome,
    /// The status of the answer; none where there was none.
    pub status: Option<u16>,
    /// What the cache said (`Cache-Status`), or why there was no answer.
    pub detail: String,
    /// How much content it has, as it was sent.
    pub bytes: u64,
    /// How long it took.
    pub took_ms: u64,
}

/// What came of one URL, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarmOutcome {
    /// The cache has it now.
    Stored,
    /// The cache had it already.
    Kept,
    /// The cache does not have it: its route keeps nothing, the origin forbids it, or there was no answer.
    Failed,
}

/// Which kept answers are to be let go: exactly one of `url`, `prefix`, `tag` and `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// Those of a URL, or of a path on every host; without a query, of all its queries. A `*` at the end makes it a prefix.
    pub url: Option<String>,
    /// Those whose URL, or path on any host, begins so.
    pub prefix: Option<String>,
    /// Those with this tag.
    pub tag: Option<String>,
    /// All of them.
    pub all: bool,
    /// Make them stale instead: they are still given where stale answers are, while they are asked for anew.
    pub soft: bool,
}

/// What a purge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Purged {
    /// How many answers it were.
    pub purged: u64,
}

/// What the cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheReading {
    /// How many bytes of memory it may hold; 0 where no route keeps answers.
    pub capacity: u64,
    /// How many bytes of memory it holds.
    pub bytes: u64,
    /// Under how many keys.
    pub entries: u64,
    /// How many keys were let go to make room, since the process started.
    pub evictions: u64,
    /// How many requests it was asked about, on the routes of now.
    #[serde(default)]
    pub requests: u64,
    /// How many of them were answered with what it has.
    #[serde(default)]
    pub hits: u64,
    /// What each of its tiers holds.
    #[serde(default)]
    pub tiers: Vec<CacheTier>,
}

/// What a tier of the cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheTier {
    /// `memory`, `disk` or `redis`.
    pub tier: String,
    /// How many bytes it may hold; 0 where maitred does not bound it.
    pub capacity: u64,
    /// How many bytes it holds; 0 for `redis`, which others write to as well.
    pub bytes: u64,
    /// Under how many keys; 0 for `redis`.
    pub entries: u64,
    /// How many keys were let go to make room, since the process started.
    pub evictions: u64,
    /// How many answers it could not take in time.
    pub dropped: u64,
    /// How many answers were not what had been written, and were fetched anew instead.
    pub broken: u64,
}

/// What is to be said of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// Whether a server would run it.
    pub valid: bool,
    /// Everything that is to be said of it, as people read it, without colour.
    pub report: String,
    /// The same, a JSON document for each diagnostic.
    pub diagnostics: Vec<serde_json::Value>,
}

/// The secrets of a configuration, so that they can be compared with those in force and are not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// What the digests are made with, in base64: at least sixteen bytes, chosen anew each time.
    pub salt: String,
    /// HMAC-SHA256 of place, a zero byte and secret in base64, by place: `admin.token`.
    pub secrets: std::collections::BTreeMap<String, String>,
}

/// A request that nobody sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Its method; GET where none is named.
    #[serde(default)]
    pub method: Option<String>,
    /// Its URL, or a path on the first listener.
    pub url: String,
    /// Its header fields.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// Who is taken to call, whatever the headers show.
    #[serde(default)]
    pub user: Option<String>,
}

/// How a configuration is to be applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ReloadOrder")]
pub struct Reload {
    /// Say what would change, and change nothing.
    pub dry_run: bool,
    /// Go back by itself unless confirmed within this time.
    pub confirm: Option<Seconds>,
    /// Go back as soon as this holds, such as `5xx>1%`.
    pub abort_if: Option<String>,
}

/// A time in whole seconds, at most 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Seconds(pub u64);

impl Seconds {
    /// The longest time that can be ordered: clocks end somewhere.
    pub const MOST: Self = Self(365 * 24 * 60 * 60);
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = Self(u64::deserialize(deserializer)?);
        if seconds.0 > Self::MOST.0 {
            return Err(Error::custom(format!("{} s is more than the longest time, 365 days", seconds.0)));
        }
        Ok(seconds)
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(seconds.0)
    }
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// In one word.
    pub outcome: Outcome,
    /// The generation in force now.
    pub generation: Generation,
    /// How long it took.
    pub took_ms: u64,
    /// What changed, in words: `+1 route (invoices)`.
    pub changes: Vec<String>,
    /// Settings that only an upgrade can change: `server.threads`.
    pub waiting: Vec<String>,
    /// How long what is in force is still on trial; null where it is not.
    pub on_trial: Option<Seconds>,
    /// Everything that is to be said of the configuration, as people read it, without colour.
    pub report: String,
    /// The same, a JSON document for each diagnostic.
    pub diagnostics: Vec<serde_json::Value>,
}

/// A reload in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In force.
    Applied,
    /// In force, but for what waits for an upgrade.
    NeedsUpgrade,
    /// Nothing differs from what is in force.
    Unchanged,
    /// Nothing was changed, because it was only asked what would.
    DryRun,
    /// Nothing was changed, because something is wrong.
    Refused,
}

impl Outcome {
    /// The word for it, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::NeedsUpgrade => "needs_upgrade",
            Outcome::Unchanged => "unchanged",
            Outcome::DryRun => "dry_run",
            Outcome::Refused => "refused",
        }
    }
}

/// One configuration that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Counts from 1 in each history.
    pub id: u64,
    /// The first digits of the SHA-256 of its files.
    pub sha: String,
    /// Since when it is or was in force, RFC 3339.
    pub since: String,
    /// What brought it: `start`, `reload`, `rollback`, `upgrade`, `abort`.
    pub by: String,
}

/// One file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Its path.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// How the binary is to be upgraded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "UpgradeOrder")]
pub struct Upgrade {
    /// The new binary; the one that this process was started from where none is named.
    pub binary: Option<PathBuf>,
    /// How long the new process may take to become ready; 60 s where nothing is said.
    pub timeout: Option<Seconds>,
}

/// A new process has the sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgraded {
    /// Its version.
    pub version: String,
    /// Its id.
    pub pid: u32,
    /// How many sockets it took.
    pub sockets: usize,
    /// How long it took to become ready.
    pub took_ms: u64,
    /// The old process's version.
    pub old_version: String,
    /// The old process's id: it ends when it has drained.
    pub old_pid: u32,
    /// How many connections the old process has left to drain.
    pub draining: usize,
}

/// What is wanted of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackendOrder {
    /// `ready`: as health and weight say; `drain`: no further requests but those of clients that are kept there, and those under way end; `down`: out of use.
    /// As before where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BackendState>,
    /// Its weight, 0 to 1000; as before where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub weight: Option<u32>,
    /// For how long: `10m`; then all is as configured. Until the process ends where nothing is said.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// Whether a backend is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// As health and weight say.
    Ready,
    /// No further requests.
    Drain,
    /// Out of use.
    Down,
}
