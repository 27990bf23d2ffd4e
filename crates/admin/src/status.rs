//! What `/api/v1/status` says of the server.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Admin, Generation, rates::Rates};

/// What the server says of itself; made by the binary, which knows its parts.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Status {
    /// The configuration's first file, as a whole path; null where it is no file.
    pub config: Option<String>,
    /// How long requests under way may take when the server stops, in seconds.
    pub grace_seconds: u64,
    /// How many threads serve requests.
    pub threads: usize,
    /// The last reload; null while the server runs what it was started with.
    pub last_reload: Option<Reload>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The upstreams.
    pub upstreams: Vec<Upstream>,
    /// The Redis that processes share what they count in; null where none is configured.
    pub redis: Option<Redis>,
    /// The limits that routes have, by name.
    pub limits: Vec<LimitReading>,
    /// The cache; null where no route keeps answers.
    pub cache: Option<crate::CacheReading>,
}

/// A limit, and how many it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "StatusLimit")]
pub struct LimitReading {
    /// Its name.
    pub name: String,
    /// How many keys it refuses at the moment, of the last thousand that limits have refused.
    pub limited: usize,
}

/// A Redis, and how it is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "StatusRedis")]
pub struct Redis {
    /// Whether it answers.
    pub up: bool,
    /// Since when it is as it is.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub since: SystemTime,
    /// Why it does not answer.
    pub error: Option<String>,
    /// How many calls have failed.
    pub failed_total: u64,
}

/// A reload.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "LastReload")]
pub struct Reload {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub time: SystemTime,
    /// Whether the configuration was applied; otherwise the one before is still served.
    pub applied: bool,
}

/// One listener.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The addresses that it accepts on.
    pub addresses: Vec<String>,
    /// The certificates that it shows; none in plaintext.
    pub certificates: Vec<Certificate>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// The names that it is valid for.
    pub names: Vec<String>,
    /// The file that it was read from.
    pub file: String,
    /// When it ends, RFC 3339.
    pub not_after: String,
    /// How many days are left; negative when it has ended.
    pub days_left: i64,
}

impl Certificate {
    /// A certificate that ends so many seconds after 1970 began.
    pub fn new(names: Vec<String>, file: String, not_after: i64) -> Self {
        let ends = Timestamp::from_second(not_after).unwrap_or(Timestamp::MAX);
        let days_left = (ends.as_second() - Timestamp::now().as_second()).div_euclid(86_400);
        Self { names, file, not_after: ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), days_left }
    }
}

/// One upstream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "StatusUpstream")]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its backends.
    pub backends: Vec<Backend>,
    /// Requests that wait for a backend that has room.
    pub waiting: u32,
    /// How many requests it may have at a time, where `adaptive_concurrency` finds that out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_limit: Option<u32>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Its address as written in the configuration.
    pub address: String,
    /// The addresses that its name resolves to now; its own when it is not a name.
    pub resolved: Vec<String>,
    /// Its weight.
    pub weight: u32,
    /// How it is doing: `up`, `starting`, `drain`, `down`, `open`, `ejected`, `unreachable`, `failing` or `unresolved`.
    #[serde(default)]
    pub state: String,
    /// What was wrong with its last health check.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Requests under way.
    #[serde(default)]
    pub in_flight: u32,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

/// A time as `2026-11-21T21:45:03.127Z`.
pub(crate) fn timestamp(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The server at a glance.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub(crate) struct Report {
    /// The version of maitred.
    version: &'static str,
    /// The commit that it was built from; `-` when unknown.
    revision: &'static str,
    /// `starting`, `ready` or `draining`.
    phase: &'static str,
    /// The id of the process.
    pid: u32,
    /// When it started, RFC 3339.
    started: String,
    /// How long ago that was.
    uptime_seconds: u64,
    /// How many requests were answered since.
    requests_total: u64,
    /// How many requests are being served.
    in_flight: u64,
    /// How much is going on.
    rates: Rates,
    /// The configuration in force; null while the server starts.
    generation: Option<Generation>,
    #[serde(flatten)]
    status: Status,
}

pub(crate) fn report(admin: &Admin) -> Report {
    let (started, at) = admin.started;
    Report {
        version: admin.build.version,
        revision: admin.build.revision,
        phase: admin.readiness().as_str(),
        pid: std::process::id(),
        started: timestamp(at),
        uptime_seconds: started.elapsed().as_secs(),
        requests_total: admin.metrics.requests_total(),
        in_flight: admin.metrics.in_flight(),
        rates: admin.readings.rates(Instant::now(), admin.metrics.totals()),
        generation: admin.control().ok().and_then(|control| control.history().into_iter().next()),
        status: (admin.status)(),
    }
}
