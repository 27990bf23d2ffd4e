//! What goes through: routes, upstreams, and the certificates that clients are shown.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telemetry::{RouteReading, UpstreamReading};

use crate::{Admin, Backend, Certificate, answer::Answer, call::Call};

/// How long things took, as far as buckets know; the rest is estimated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// How long all of them took together, in seconds.
    pub sum_seconds: f64,
    /// Half of them took at most so long, in seconds; null while there were none.
    pub p50: Option<f64>,
    /// 95 of 100 took at most so long.
    pub p95: Option<f64>,
    /// 99 of 100 took at most so long.
    pub p99: Option<f64>,
    /// How many took at most as long as each bound.
    pub buckets: Vec<Bucket>,
}

/// How many took at most so long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// The bound, in seconds.
    pub le: f64,
    /// How many.
    pub count: u64,
}

/// What goes through a route, since the process started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Its name; `-` for requests that no route took.
    pub name: String,
    /// How many requests are over.
    pub requests_total: u64,
    /// The same by the class of their status, `1xx` to `5xx`; `none` stands for those that got no answer.
    pub classes: BTreeMap<String, u64>,
    /// How many are being served.
    pub in_flight: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
    /// From a request's first byte until its answer was sent.
    pub latency: Latency,
    /// What it matches and does, as the configuration in force says; of a single route only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// What goes to an upstream, since the process started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its backends.
    pub backends: Vec<UpstreamBackend>,
    /// From the start of an attempt until the head of its answer.
    pub first_byte: Latency,
    /// How long new connections took to make.
    pub connect: Latency,
    /// What it is made of, as the configuration in force says; of a single upstream only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// One backend and what came of the attempts sent to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamBackend {
    /// Its address, weight, and the addresses that its name resolves to.
    #[serde(flatten)]
    pub backend: Backend,
    /// How many attempts were sent to it.
    pub attempts_total: u64,
    /// The same by what came of them: a status, or the word for why there was none.
    pub answers: BTreeMap<String, u64>,
}

/// A certificate and where it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ListenerCertificate")]
pub(crate) struct Shown {
    /// The listener that shows it.
    listener: String,
    #[serde(flatten)]
    certificate: Certificate,
}

impl From<&telemetry::Latency> for Latency {
    fn from(latency: &telemetry::Latency) -> Self {
        let bounds = telemetry::Latency::bounds().iter().zip(latency.within);
        Self {
            count: latency.count,
            sum_seconds: latency.sum,
            p50: latency.quantile(0.5),
            p95: latency.quantile(0.95),
            p99: latency.quantile(0.99),
            buckets: bounds.map(|(le, count)| Bucket { le: *le, count }).collect(),
        }
    }
}

impl From<RouteReading> for Route {
    fn from(reading: RouteReading) -> Self {
        let names = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
        let classes = names.into_iter().zip(reading.classes).filter(|(_, count)| *count > 0);
        Self {
            requests_total: reading.classes.iter().sum(),
            classes: classes.map(|(name, count)| (name.to_owned(), count)).collect(),
            in_flight: reading.in_flight,
            bytes_in: reading.bytes_in,
            bytes_out: reading.bytes_out,
            latency: (&reading.latency).into(),
            name: reading.name,
            config: None,
        }
    }
}

fn upstream(name: String, backends: Vec<Backend>, reading: Option<&UpstreamReading>) -> Upstream {
    let answers = |address: &str| -> BTreeMap<String, u64> {
        let all = reading.into_iter().flat_map(|reading| &reading.answers);
        all.filter(|(backend, ..)| backend == address).map(|(_, code, count)| (code.clone(), *count)).collect()
    };
    let backends = backends.into_iter().map(|backend| {
        let answers = answers(&backend.address);
        UpstreamBackend { attempts_total: answers.values().sum(), answers, backend }
    });
    let latency = |of: fn(&UpstreamReading) -> &telemetry::Latency| reading.map(of).map(Into::into).unwrap_or_default();
    Upstream {
        backends: backends.collect(),
        first_byte: latency(|reading| &reading.first_byte),
        connect: latency(|reading| &reading.connect),
        name,
        config: None,
    }
}

fn all_routes(admin: &Admin) -> impl Iterator<Item = Route> {
    admin.metrics.route_readings().into_iter().map(Route::from)
}

fn all_upstreams(admin: &Admin) -> impl Iterator<Item = Upstream> {
    let readings = admin.metrics.upstream_readings();
    (admin.status)().upstreams.into_iter().map(move |told| {
        let reading = readings.iter().find(|reading| reading.name == told.name);
        upstream(told.name, told.backends, reading)
    })
}

pub(super) fn routes(admin: &Admin, _: &Call) -> Answer {
    Answer::ok(&all_routes(admin).collect::<Vec<_>>())
}

pub(super) fn route(admin: &Admin, call: &Call) -> Answer {
    match all_routes(admin).find(|route| route.name == call.name()) {
        Some(route) => Answer::ok(&Route { config: written(admin, "routes", &route.name), ..route }),
        None => nobody("route", call.name()),
    }
}

pub(super) fn upstreams(admin: &Admin, _: &Call) -> Answer {
    Answer::ok(&all_upstreams(admin).collect::<Vec<_>>())
}

pub(super) fn one_upstream(admin: &Admin, call: &Call) -> Answer {
    match all_upstreams(admin).find(|upstream| upstream.name == call.name()) {
        Some(upstream) => Answer::ok(&Upstream { config: written(admin, "upstreams", &upstream.name), ..upstream }),
        None => nobody("upstream", call.name()),
    }
}

/// One backend of an upstream.
pub(super) fn backend(admin: &Admin, upstream: &str, address: &str) -> Result<Answer, Answer> {
    let found = all_upstreams(admin).find(|told| told.name == upstream);
    let found = found.and_then(|told| told.backends.into_iter().find(|told| told.backend.address == address));
    found.map(|backend| Answer::ok(&backend)).ok_or_else(|| nobody("backend", address))
}

pub(super) fn certificates(admin: &Admin, _: &Call) -> Answer {
    let shown = (admin.status)().listeners.into_iter().flat_map(|listener| {
        let name = listener.name;
        listener.certificates.into_iter().map(move |certificate| Shown { listener: name.clone(), certificate })
    });
    Answer::ok(&shown.collect::<Vec<_>>())
}

/// What the configuration in force says of one thing.
fn written(admin: &Admin, section: &str, name: &str) -> Option<Value> {
    admin.control().ok()?.effective().get(section)?.get(name).cloned()
}

fn nobody(kind: &str, name: &str) -> Answer {
    Answer::problem(StatusCode::NOT_FOUND, &format!("there is no {kind} `{name}`"))
}
