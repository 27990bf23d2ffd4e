//! What is counted per route.

use std::sync::{Arc, OnceLock};

use filter::Reason;
use http::Method;
use prometheus::{Histogram, IntCounter, IntGauge};

use crate::{Cached, Latency, ListenerMeters, Record, RouteReading, families::Families, slots::Slots};

/// The name under which requests without a route are counted.
pub const UNMATCHED: &str = "-";

/// How many listeners a route keeps tables for; requests of further ones are counted by name.
const LISTENERS: usize = 16;

/// Room for combinations of method and code, per listener. Most routes see fewer than ten.
const CODES: usize = 32;

/// Room for reasons, per listener.
const REASONS: usize = 16;

/// The values of the label `method`.
const METHODS: [&str; 10] = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER"];

/// The values of the label `code_class`; the last stands for requests that got no answer.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "-"];

/// The place of `5xx` among the classes.
const SERVER_ERRORS: usize = 4;

/// The handles of one route. What depends on the answer is resolved by name the first time it is needed, and found
/// without a lock from then on.
#[derive(Debug)]
pub struct RouteMeters {
    name: Box<str>,
    families: Arc<Families>,
    in_flight: IntGauge,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    durations: [OnceLock<Histogram>; CLASSES.len()],
    cached: [OnceLock<IntCounter>; Cached::ALL.len()],
    by_listener: [OnceLock<PerListener>; LISTENERS],
}

/// What a route counts for each listener that it is reached by.
#[derive(Debug)]
struct PerListener {
    requests: Slots,
    errors: Slots,
    /// Most routes have no policy in shadow.
    shadowed: OnceLock<Slots>,
}

/// What a reason is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// A request that was refused for it, or ended early.
    Refused,
    /// One that passed, because the policy is in shadow.
    Shadowed,
}

/// A request counted as in flight until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the request as done"]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RouteMeters {
    pub(crate) fn new(name: &str, families: &Arc<Families>) -> Self {
        let labels = [name];
        Self {
            name: name.into(),
            families: Arc::clone(families),
            in_flight: families.http_requests_in_flight.with_label_values(&labels),
            bytes_in: families.http_request_bytes_total.with_label_values(&labels),
            bytes_out: families.http_response_bytes_total.with_label_values(&labels),
            durations: [const { OnceLock::new() }; CLASSES.len()],
            cached: [const { OnceLock::new() }; Cached::ALL.len()],
            by_listener: [const { OnceLock::new() }; LISTENERS],
        }
    }

    /// The route's name; [`UNMATCHED`] for requests without one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a request that is over: `record` is closed, `method` is `None` when it could not be read.
    pub fn finish(&self, listener: &ListenerMeters, method: Option<&Method>, record: &Record) {
        self.count(listener, method_index(method), record.status);
        if record.reason != Reason::None {
            self.count_reason(listener, record.reason, Told::Refused);
        }
        if record.shadow != Reason::None {
            self.count_reason(listener, record.shadow, Told::Shadowed);
        }
        let class = class_index(record.status);
        let duration = self.durations[class].get_or_init(|| {
            self.families.http_request_duration_seconds.with_label_values(&[self.name(), CLASSES[class]])
        });
        duration.observe(record.duration.as_secs_f64());
        if let Some(cached) = record.cache {
            let labels = [self.name(), cached.word()];
            let counter = self.cached.get(cached as usize);
            let resolve = || self.families.cache_requests_total.with_label_values(&labels);
            if let Some(counter) = counter {
                counter.get_or_init(resolve).inc();
            }
        }
        if record.bytes_in > 0 {
            self.bytes_in.inc_by(record.bytes_in);
        }
        if record.bytes_out > 0 {
            self.bytes_out.inc_by(record.bytes_out);
        }
    }

    /// How many requests the cache was asked about, and how many of them were answered with what it has.
    pub fn cached(&self) -> (u64, u64) {
        let of = |cached: Cached| self.cached.get(cached as usize).and_then(OnceLock::get).map_or(0, IntCounter::get);
        let hits = of(Cached::Hit) + of(Cached::Stale);
        (hits + of(Cached::Miss) + of(Cached::Revalidated), hits)
    }

    /// How many requests are over, and how many of them ended with a status of 500 or above.
    pub(crate) fn finished(&self) -> (u64, u64) {
        let of = |class: &OnceLock<Histogram>| class.get().map_or(0, Histogram::get_sample_count);
        (self.durations.iter().map(of).sum(), of(&self.durations[SERVER_ERRORS]))
    }

    /// What the meters say now.
    pub fn reading(&self) -> RouteReading {
        let mut latency = Latency::default();
        let mut classes = [0; CLASSES.len()];
        for (class, duration) in classes.iter_mut().zip(&self.durations) {
            if let Some(duration) = duration.get() {
                *class = duration.get_sample_count();
                latency.add(duration);
            }
        }
        RouteReading {
            name: self.name.to_string(),
            classes,
            in_flight: u64::try_from(self.in_flight.get()).unwrap_or(0),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            latency,
        }
    }

    fn count(&self, listener: &ListenerMeters, method: usize, status: u16) {
        let known = (100..600).contains(&status);
        let resolve = || {
            let code = if known { status.to_string() } else { "-".to_owned() };
            let labels = [listener.name(), self.name(), METHODS[method], &code];
            self.families.http_requests_total.with_label_values(&labels)
        };
        let key = (method as u32) << 16 | if known { u32::from(status) } else { 0 };
        match self.tables(listener) {
            Some(tables) => tables.requests.add(key, 1, resolve),
            None => resolve().inc(),
        }
    }

    fn count_reason(&self, listener: &ListenerMeters, reason: Reason, told: Told) {
        let family = match told {
            Told::Refused => &self.families.http_errors_total,
            Told::Shadowed => &self.families.http_shadowed_total,
        };
        let resolve = || family.with_label_values(&[listener.name(), self.name(), reason.word()]);
        match (self.tables(listener), told) {
            (Some(tables), Told::Refused) => tables.errors.add(reason as u32, 1, resolve),
            (Some(tables), Told::Shadowed) => {
                tables.shadowed.get_or_init(|| Slots::new(REASONS)).add(reason as u32, 1, resolve);
            }
            (None, _) => resolve().inc(),
        }
    }

    fn tables(&self, listener: &ListenerMeters) -> Option<&PerListener> {
        let slot = self.by_listener.get(listener.index())?;
        Some(slot.get_or_init(|| PerListener {
            requests: Slots::new(CODES),
            errors: Slots::new(REASONS),
            shadowed: OnceLock::new(),
        }))
    }
}

fn method_index(method: Option<&Method>) -> usize {
    let known = method.and_then(|method| METHODS.iter().position(|name| *name == method.as_str()));
    known.unwrap_or(METHODS.len() - 1)
}

fn class_index(status: u16) -> usize {
    match status {
        100..600 => usize::from(status / 100) - 1,
        _ => CLASSES.len() - 1,
    }
}
