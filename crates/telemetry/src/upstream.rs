//! What is counted per upstream and backend.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use filter::Reason;
use prometheus::{Histogram, IntCounter, IntGauge};

use crate::{Connections, Latency, UpstreamReading, connections::AllConnections, families::Families, slots::Slots};

/// Room for codes, per backend.
const CODES: usize = 16;

/// The handles of one upstream.
#[derive(Debug)]
pub struct UpstreamMeters {
    name: Box<str>,
    families: Arc<Families>,
    first_byte: Histogram,
    connect: Histogram,
    retries: [OnceLock<IntCounter>; Reason::ALL.len()],
    hedges: OnceLock<[IntCounter; 3]>,
    concurrency_limit: OnceLock<IntGauge>,
    panic: OnceLock<IntGauge>,
    connections: Arc<AllConnections>,
    backends: Mutex<BTreeMap<Box<str>, Arc<BackendMeters>>>,
}

/// The handles of one backend of an upstream.
#[derive(Debug)]
pub struct BackendMeters {
    upstream: Box<str>,
    name: Box<str>,
    families: Arc<Families>,
    weight: IntGauge,
    up: IntGauge,
    circuit: OnceLock<IntGauge>,
    ejections: IntCounter,
    checks: OnceLock<[IntCounter; 2]>,
    requests: Slots,
    connections: Arc<Connections>,
    active: IntGauge,
    idle: IntGauge,
}

/// The handles of one upstream's discovery.
#[derive(Debug)]
pub struct DiscoveryMeters {
    backends: IntGauge,
    errors: IntCounter,
}

impl DiscoveryMeters {
    /// Says how many backends were found, or counts that nothing was that could be used.
    pub fn found(&self, count: Option<usize>) {
        match count {
            Some(count) => self.backends.set(i64::try_from(count).unwrap_or(i64::MAX)),
            None => self.errors.inc(),
        }
    }
}

impl UpstreamMeters {
    pub(crate) fn new(name: &str, families: &Arc<Families>, connections: &Arc<AllConnections>) -> Self {
        let labels = [name];
        Self {
            name: name.into(),
            families: Arc::clone(families),
            first_byte: families.upstream_request_duration_seconds.with_label_values(&labels),
            connect: families.upstream_connect_duration_seconds.with_label_values(&labels),
            retries: [const { OnceLock::new() }; Reason::ALL.len()],
            hedges: OnceLock::new(),
            concurrency_limit: OnceLock::new(),
            panic: OnceLock::new(),
            connections: Arc::clone(connections),
            backends: Mutex::default(),
        }
    }

    /// The upstream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The meters of the backend `name`, which is its address as written; the same ones every time. Takes a lock: to be
    /// asked when a configuration is compiled, never per request.
    pub fn backend(&self, name: &str) -> Arc<BackendMeters> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = backends.get(name) {
            return Arc::clone(found);
        }
        let connections = self.connections.to(&self.name, name);
        let made = Arc::new(BackendMeters::new(&self.name, name, &self.families, connections));
        backends.insert(name.into(), Arc::clone(&made));
        made
    }

    /// The meters of its discovery by `provider`. Takes a lock: to be asked when a configuration is compiled.
    pub fn discovery(&self, provider: &str) -> DiscoveryMeters {
        let labels = [self.name(), provider];
        DiscoveryMeters {
            backends: self.families.discovery_backends.with_label_values(&labels),
            errors: self.families.discovery_errors_total.with_label_values(&labels),
        }
    }

    /// Forgets the backends that are not among `names`, their counters included: where addresses keep changing, what was
    /// counted of each of them would only ever grow. What a request that is still under way brings back goes with the
    /// next call.
    pub fn retain_backends(&self, names: &[&str]) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|name, _| names.contains(&&**name));
        self.families.retain_backends(&self.name, names);
    }

    /// Says how many connections its backends have now.
    pub(crate) fn read_connections(&self) {
        let backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.values().for_each(|backend| backend.read_connections());
    }

    /// What the meters say now, but for the answers of backends.
    pub(crate) fn reading(&self) -> UpstreamReading {
        let mut reading = UpstreamReading {
            name: self.name.to_string(),
            first_byte: Latency::default(),
            connect: Latency::default(),
            answers: Vec::new(),
        };
        reading.first_byte.add(&self.first_byte);
        reading.connect.add(&self.connect);
        reading
    }

    /// Observes how long the head of an answer took from the start of its attempt.
    pub fn first_byte(&self, duration: Duration) {
        self.first_byte.observe(duration.as_secs_f64());
    }

    /// Observes how long a new connection took, TLS included.
    pub fn connect(&self, duration: Duration) {
        self.connect.observe(duration.as_secs_f64());
    }

    /// Counts a request that another backend was asked as well.
    pub fn hedged(&self, result: Hedged) {
        let resolve = |word| self.families.upstream_hedges_total.with_label_values(&[self.name(), word]);
        self.hedges.get_or_init(|| ["won", "lost", "failed"].map(resolve))[result as usize].inc();
    }

    /// Says how many requests it may have at a time.
    pub fn concurrency_limit(&self, limit: u32) {
        let resolve = || self.families.upstream_concurrency_limit.with_label_values(&[self.name()]);
        self.concurrency_limit.get_or_init(resolve).set(i64::from(limit));
    }

    /// Says whether backends are used although they are not healthy, because too few are.
    pub fn panics(&self, panics: bool) {
        let resolve = || self.families.upstream_panic.with_label_values(&[self.name()]);
        self.panic.get_or_init(resolve).set(i64::from(panics));
    }

    /// Counts another attempt after one that failed for `reason`.
    pub fn retry(&self, reason: Reason) {
        let Some(slot) = reason.index().and_then(|index| self.retries.get(index)) else { return };
        let resolve = || self.families.upstream_retries_total.with_label_values(&[self.name(), reason.word()]);
        slot.get_or_init(resolve).inc();
    }
}

/// What became of a second request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedged {
    /// Its answer was the first.
    Won = 0,
    /// Another one's was.
    Lost = 1,
    /// It came to nothing.
    Failed = 2,
}

impl BackendMeters {
    fn new(upstream: &str, name: &str, families: &Arc<Families>, connections: Arc<Connections>) -> Self {
        let in_state = |state| families.upstream_connections.with_label_values(&[upstream, name, state]);
        Self {
            upstream: upstream.into(),
            name: name.into(),
            families: Arc::clone(families),
            weight: families.backend_weight.with_label_values(&[upstream, name]),
            up: families.backend_up.with_label_values(&[upstream, name]),
            circuit: OnceLock::new(),
            ejections: families.backend_ejections_total.with_label_values(&[upstream, name]),
            checks: OnceLock::new(),
            requests: Slots::new(CODES),
            connections,
            active: in_state("active"),
            idle: in_state("idle"),
        }
    }

    /// The backend's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its upstream.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// The connections to it.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    fn read_connections(&self) {
        self.active.set(self.connections.active());
        self.idle.set(self.connections.idle());
    }

    /// Says what weight the backend has.
    pub fn weight(&self, weight: u32) {
        self.weight.set(i64::from(weight));
    }

    /// Says whether the backend gets requests.
    pub fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    /// Says how its circuit breaker is.
    pub fn circuit(&self, state: i64) {
        let labels = [self.upstream(), self.name()];
        self.circuit.get_or_init(|| self.families.circuit_breaker_state.with_label_values(&labels)).set(state);
    }

    /// Says that it has no circuit breaker. One that it had stands as closed.
    pub fn has_no_circuit(&self) {
        if let Some(circuit) = self.circuit.get() {
            circuit.set(0);
        }
    }

    /// Counts that it was taken out of use.
    pub fn ejected(&self) {
        self.ejections.inc();
    }

    /// Counts a health check.
    pub fn checked(&self, well: bool) {
        let resolve = |result| {
            self.families.backend_health_checks_total.with_label_values(&[self.upstream(), self.name(), result])
        };
        self.checks.get_or_init(|| ["failed", "ok"].map(resolve))[usize::from(well)].inc();
    }

    /// Counts an attempt that was answered with `status`.
    pub fn answered(&self, status: u16) {
        let status = if (100..600).contains(&status) { status } else { 0 };
        self.count(u32::from(status), || if status == 0 { "-".to_owned() } else { status.to_string() });
    }

    /// Counts a stream that was connected.
    pub fn connected(&self) {
        self.count(1 << 17, || "tcp".to_owned());
    }

    /// Counts an attempt that got no answer.
    pub fn failed(&self, reason: Reason) {
        self.count(1 << 16 | reason as u32, || reason.word().to_owned());
    }

    fn count(&self, key: u32, code: impl Fn() -> String) {
        self.requests.add(key, 1, || {
            self.families.upstream_requests_total.with_label_values(&[self.upstream(), self.name(), &code()])
        });
    }
}
