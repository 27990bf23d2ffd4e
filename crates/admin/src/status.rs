//! What `/api/v1/status` says of the server.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::Admin;

/// What the server says of itself; made by the binary, which knows its parts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// How many threads serve requests.
    pub threads: usize,
    /// The last reload; `None` while the server runs what it was started with.
    pub last_reload: Option<Reload>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The upstreams.
    pub upstreams: Vec<Upstream>,
}

/// A reload.
#[derive(Debug, Clone, Serialize)]
pub struct Reload {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Whether the configuration was applied; otherwise the one before is still served.
    pub applied: bool,
}

/// One listener.
#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The addresses that it accepts on.
    pub addresses: Vec<String>,
}

/// One upstream.
#[derive(Debug, Clone, Serialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// One backend.
#[derive(Debug, Clone, Serialize)]
pub struct Backend {
    /// Its address as written in the configuration.
    pub address: String,
    /// The addresses that its name resolves to now; its own when it is not a name.
    pub resolved: Vec<String>,
    /// Its weight.
    pub weight: u32,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

/// A time as `2026-11-21T21:45:03.127Z`.
pub(crate) fn timestamp(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The whole answer.
pub(crate) fn document(admin: &Admin) -> Value {
    let (started, at) = admin.started;
    let mut document = json!({
        "version": admin.build.version,
        "revision": admin.build.revision,
        "phase": admin.phase().as_str(),
        "pid": std::process::id(),
        "started": timestamp(at),
        "uptime_seconds": started.elapsed().as_secs(),
        "requests_total": admin.metrics.requests_total(),
        "in_flight": admin.metrics.in_flight(),
    });
    let told = serde_json::to_value((admin.status)()).unwrap_or_default();
    if let (Value::Object(document), Value::Object(told)) = (&mut document, told) {
        document.extend(told);
    }
    document
}
