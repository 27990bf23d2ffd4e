//! What happened between two looks at a server.

use std::time::Instant;

use admin::{Bucket, Latency, Route, UpstreamTraffic};
use serde::Serialize;
use serde_json::Value;

/// One look.
pub struct Sample {
    pub at: Instant,
    pub status: Value,
    pub routes: Vec<Route>,
    pub upstreams: Vec<UpstreamTraffic>,
}

/// What happened between two looks.
#[derive(Debug, Serialize)]
pub struct Load {
    /// What the server says of itself now.
    pub status: Value,
    /// All routes together.
    pub total: Line,
    /// The busiest first.
    pub routes: Vec<Line>,
    /// Every upstream with its backends.
    pub upstreams: Vec<Upstream>,
}

/// One route, or all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Line {
    pub name: String,
    pub requests_per_second: f64,
    pub client_errors_per_second: f64,
    /// Statuses of 500 and above, and requests that got no answer.
    pub failures_per_second: f64,
    pub bytes_out_per_second: f64,
    pub in_flight: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    #[serde(skip)]
    latency: telemetry::Latency,
}

/// One upstream.
#[derive(Debug, Serialize)]
pub struct Upstream {
    pub name: String,
    /// Until the head of an answer.
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    /// New connections a second.
    pub connects_per_second: f64,
    pub backends: Vec<Backend>,
}

/// One backend of an upstream.
#[derive(Debug, Serialize)]
pub struct Backend {
    pub address: String,
    pub attempts_per_second: f64,
    /// Answers of 500 and above, and attempts without an answer.
    pub failures_per_second: f64,
    /// Addresses that its name has.
    pub resolved: usize,
    pub state: String,
}

impl Load {
    /// What happened from one look to the next. Another process begins anew, and so does what is told of it.
    pub fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let same = before.status["pid"] == now.status["pid"];
        let old_route = |name: &str| before.routes.iter().find(|route| same && route.name == name);
        let mut routes: Vec<Line> =
            now.routes.iter().map(|route| line(old_route(&route.name), route, seconds)).collect();
        let total = routes.iter().fold(Line { name: "all".into(), ..Line::default() }, Line::with).told();
        routes
            .sort_by(|a, b| b.requests_per_second.total_cmp(&a.requests_per_second).then_with(|| a.name.cmp(&b.name)));
        let old_upstream = |name: &str| before.upstreams.iter().find(|upstream| same && upstream.name == name);
        let upstreams =
            now.upstreams.iter().map(|upstream| upstream_of(old_upstream(&upstream.name), upstream, seconds)).collect();
        Self { status: now.status.clone(), total, routes, upstreams }
    }
}

fn line(before: Option<&Route>, now: &Route, seconds: f64) -> Line {
    let rate = |of: &dyn Fn(&Route) -> u64| of(now).saturating_sub(before.map_or(0, of)) as f64 / seconds;
    let class = |name: &'static str| move |route: &Route| route.classes.get(name).copied().unwrap_or(0);
    Line {
        name: now.name.clone(),
        requests_per_second: rate(&|route| route.requests_total),
        client_errors_per_second: rate(&class("4xx")),
        failures_per_second: rate(&class("5xx")) + rate(&class("none")),
        bytes_out_per_second: rate(&|route| route.bytes_out),
        in_flight: now.in_flight,
        latency: since(before.map(|route| &route.latency), &now.latency),
        ..Line::default()
    }
    .told()
}

impl Line {
    /// This and another together.
    fn with(mut self, other: &Self) -> Self {
        self.requests_per_second += other.requests_per_second;
        self.client_errors_per_second += other.client_errors_per_second;
        self.failures_per_second += other.failures_per_second;
        self.bytes_out_per_second += other.bytes_out_per_second;
        self.in_flight += other.in_flight;
        self.latency.count += other.latency.count;
        self.latency.sum += other.latency.sum;
        for (own, more) in self.latency.within.iter_mut().zip(other.latency.within) {
            *own += more;
        }
        self
    }

    /// With its quantiles, now that all is counted.
    fn told(mut self) -> Self {
        [self.p50, self.p95, self.p99] = [0.5, 0.95, 0.99].map(|share| self.latency.quantile(share));
        self
    }
}

fn upstream_of(before: Option<&UpstreamTraffic>, now: &UpstreamTraffic, seconds: f64) -> Upstream {
    let latency = since(before.map(|upstream| &upstream.first_byte), &now.first_byte);
    let connects = now.connect.count.saturating_sub(before.map_or(0, |upstream| upstream.connect.count));
    let backends = now.backends.iter().map(|backend| {
        let old = before.into_iter().flat_map(|upstream| &upstream.backends);
        let old = old.clone().find(|old| old.backend.address == backend.backend.address);
        let attempts = backend.attempts_total.saturating_sub(old.map_or(0, |old| old.attempts_total));
        let failed = |backend: &admin::UpstreamBackend| -> u64 {
            let answers = backend.answers.iter().filter(|(code, _)| !code.starts_with(['1', '2', '3', '4']));
            answers.map(|(_, count)| count).sum()
        };
        Backend {
            address: backend.backend.address.clone(),
            attempts_per_second: attempts as f64 / seconds,
            failures_per_second: failed(backend).saturating_sub(old.map_or(0, failed)) as f64 / seconds,
            resolved: backend.backend.resolved.len(),
            state: backend.backend.state.clone(),
        }
    });
    Upstream {
        name: now.name.clone(),
        p50: latency.quantile(0.5),
        p95: latency.quantile(0.95),
        p99: latency.quantile(0.99),
        connects_per_second: connects as f64 / seconds,
        backends: backends.collect(),
    }
}

/// What was observed since. A server with other buckets than ours is told of without quantiles.
fn since(before: Option<&Latency>, now: &Latency) -> telemetry::Latency {
    let mut since = telemetry::Latency::default();
    let known = now.buckets.iter().map(|bucket| bucket.le).eq(telemetry::Latency::bounds().iter().copied());
    if !known {
        return since;
    }
    let old =
        |index: usize| before.and_then(|before| before.buckets.get(index)).map_or(0, |bucket: &Bucket| bucket.count);
    since.count = now.count.saturating_sub(before.map_or(0, |before| before.count));
    since.sum = (now.sum_seconds - before.map_or(0.0, |before| before.sum_seconds)).max(0.0);
    for (index, (within, bucket)) in since.within.iter_mut().zip(&now.buckets).enumerate() {
        *within = bucket.count.saturating_sub(old(index));
    }
    since
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn latency(count: u64, bucket: usize) -> Latency {
        let bounds = telemetry::Latency::bounds();
        let counted = |(index, le): (usize, &f64)| Bucket { le: *le, count: if index >= bucket { count } else { 0 } };
        Latency { count, buckets: bounds.iter().enumerate().map(counted).collect(), ..Latency::default() }
    }

    fn route(name: &str, good: u64, bad: u64) -> Route {
        Route {
            name: name.into(),
            requests_total: good + bad,
            classes: [("2xx".into(), good), ("5xx".into(), bad)].into(),
            in_flight: 3,
            bytes_in: 0,
            bytes_out: 1000 * good,
            latency: latency(good + bad, 2),
            config: None,
        }
    }

    fn upstream(attempts: u64, refused: u64) -> UpstreamTraffic {
        serde_json::from_value(json!({
            "name": "users",
            "backends": [{
                "address": "10.0.0.1:80", "resolved": ["10.0.0.1:80"], "weight": 1, "attempts_total": attempts,
                "answers": { "200": attempts - refused, "upstream_refused": refused },
            }],
            "first_byte": latency(attempts, 0), "connect": latency(1, 0),
        }))
        .unwrap()
    }

    pub(crate) fn load() -> Load {
        let start = Instant::now();
        let sample = |seconds, pid, routes, upstreams| Sample {
            at: start + Duration::from_secs(seconds),
            status: json!({ "version": "0.3.2", "phase": "ready", "uptime_seconds": 61, "pid": pid }),
            routes,
            upstreams,
        };
        let before = sample(0, 7, vec![route("users", 100, 0), route("orders", 50, 0)], vec![upstream(100, 0)]);
        let now = sample(2, 7, vec![route("users", 120, 0), route("orders", 130, 20)], vec![upstream(300, 100)]);
        Load::between(&before, &now)
    }

    #[test]
    fn rates_are_what_was_added_since() {
        let load = load();
        let names: Vec<&str> = load.routes.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["orders", "users"], "the busiest first");
        let orders = &load.routes[0];
        assert_eq!((orders.requests_per_second, orders.failures_per_second, orders.in_flight), (50.0, 10.0, 3));
        assert_eq!((load.total.requests_per_second, load.total.in_flight), (60.0, 6));
        assert_eq!(load.total.p99.map(|seconds| (seconds * 1000.0).round()), Some(25.0));
        let backend = &load.upstreams[0].backends[0];
        assert_eq!((backend.attempts_per_second, backend.failures_per_second), (100.0, 50.0));
    }

    #[test]
    fn a_new_process_begins_anew() {
        let sample = |pid: u32, count| Sample {
            at: Instant::now(),
            status: json!({ "pid": pid }),
            routes: vec![route("users", count, 0)],
            upstreams: Vec::new(),
        };
        let (before, mut now) = (sample(7, 1000), sample(8, 5));
        now.at = before.at + Duration::from_secs(1);
        assert_eq!(Load::between(&before, &now).total.requests_per_second, 5.0);
    }
}
