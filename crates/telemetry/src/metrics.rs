//! The registry of everything that is counted, and the exposition of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::{Counter, IntCounter, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector};

use crate::{
    AuthMeters, Followers, RouteReading, UpstreamReading,
    connections::AllConnections,
    families::Families,
    listener::ListenerMeters,
    mirror::MirrorMeters,
    route::{RouteMeters, UNMATCHED},
    upstream::UpstreamMeters,
};

/// Everything that is counted. Kept for the life of the process: handles asked for again after a reload are the same
/// counters, found by name.
#[derive(Debug)]
pub struct Metrics {
    build: Build,
    registry: Registry,
    families: Arc<Families>,
    listeners: Mutex<BTreeMap<Box<str>, Arc<ListenerMeters>>>,
    /// The place of the next listener. No two have the same, be they gone: routes keep what they count by it.
    next_listener: AtomicUsize,
    upstreams: Mutex<BTreeMap<Box<str>, Arc<UpstreamMeters>>>,
    connections: Arc<AllConnections>,
    routes: Mutex<BTreeMap<Box<str>, Arc<RouteMeters>>>,
    certificates: Mutex<BTreeSet<Box<str>>>,
    followers: Arc<Followers>,
    cache: OnceLock<ReadCache>,
}

/// Asks the cache what it holds.
struct ReadCache(Box<dyn Fn() -> Vec<(&'static str, CacheReading)> + Send + Sync>);

impl std::fmt::Debug for ReadCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadCache")
    }
}

/// What a tier of the cache holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheReading {
    /// Bytes.
    pub bytes: u64,
    /// Keys.
    pub entries: u64,
    /// Keys that were let go to make room, since the start.
    pub evictions: u64,
    /// Answers that it could not take in time, since the start.
    pub dropped: u64,
    /// Answers that were not what had been given to it, since the start.
    pub broken: u64,
}

/// What this build is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// The version of maitred.
    pub version: &'static str,
    /// The commit it was built from; `-` when unknown.
    pub revision: &'static str,
    /// The compiler's version.
    pub rustc: &'static str,
    /// The TLS library.
    pub tls: &'static str,
}

/// How many requests there were, all routes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that are over, however they ended.
    pub requests: u64,
    /// Those among them that ended with a status of 500 or above.
    pub server_errors: u64,
}

impl Metrics {
    /// A registry with every family, and those of the process.
    #[expect(clippy::expect_used, reason = "the table of families is a constant, and a test makes it")]
    pub fn new(build: &Build) -> Self {
        let registry = Registry::new();
        let families = Families::register(&registry).expect("every row of the table is a valid metric");
        registry.register(Box::new(ProcessCollector::for_self())).expect("no row has a name of the process's");
        families.build_info.with_label_values(&[build.version, build.revision, build.rustc, build.tls]).set(1);
        families.access_log_dropped_total.with_label_values::<&str>(&[]);
        families.audit_dropped_total.with_label_values::<&str>(&[]);
        for result in ["applied", "refused"] {
            families.config_reloads_total.with_label_values(&[result]);
        }
        Self {
            build: *build,
            registry,
            families: Arc::new(families),
            listeners: Mutex::default(),
            next_listener: AtomicUsize::new(0),
            upstreams: Mutex::default(),
            connections: Arc::default(),
            routes: Mutex::default(),
            certificates: Mutex::default(),
            followers: Arc::default(),
            cache: OnceLock::new(),
        }
    }

    /// Counters that nobody will see, for a configuration that may come to nothing.
    pub fn scratch(&self) -> Self {
        Self::new(&self.build)
    }

    /// Asks `read` from now on what the tiers of the cache hold, whenever somebody looks.
    pub fn watch_cache(&self, read: impl Fn() -> Vec<(&'static str, CacheReading)> + Send + Sync + 'static) {
        // Of two caches the first would count; there is one.
        let _ = self.cache.set(ReadCache(Box::new(read)));
    }

    fn read_cache(&self) {
        let Some(ReadCache(read)) = self.cache.get() else { return };
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (tier, reading) in read() {
            let CacheReading { bytes, entries, evictions, dropped, broken } = reading;
            self.families.cache_bytes.with_label_values(&[tier]).set(signed(bytes));
            self.families.cache_entries.with_label_values(&[tier]).set(signed(entries));
            for (family, count) in [
                (&self.families.cache_evictions_total, evictions),
                (&self.families.cache_dropped_total, dropped),
                (&self.families.cache_broken_total, broken),
            ] {
                let counter = family.with_label_values(&[tier]);
                counter.inc_by(count.saturating_sub(counter.get()));
            }
        }
    }

    /// What is counted without its gauge being told at once.
    fn read_connections(&self) {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.values().for_each(|upstream| upstream.read_connections());
    }

    /// Forgets the listeners, routes, upstreams, limits and policies that are not among these, their counters included: what is not
    /// configured any more is not told of, and configurations that come and go leave nothing behind. What a request that
    /// is still under way on one of them brings back goes with the next call.
    pub fn retain<'n>(
        &self,
        listeners: impl IntoIterator<Item = &'n str>,
        routes: impl IntoIterator<Item = &'n str>,
        upstreams: impl IntoIterator<Item = &'n str>,
        limits: impl IntoIterator<Item = &'n str>,
        policies: impl IntoIterator<Item = &'n str>,
    ) {
        let listeners = listeners.into_iter().collect();
        let routes = routes.into_iter().chain([UNMATCHED]).collect();
        let upstreams = upstreams.into_iter().collect();
        forget(&self.listeners, &listeners);
        forget(&self.routes, &routes);
        forget(&self.upstreams, &upstreams);
        let (limits, policies) = (limits.into_iter().collect(), policies.into_iter().collect());
        for (label, wanted) in [
            ("listener", &listeners),
            ("route", &routes),
            ("upstream", &upstreams),
            ("limit", &limits),
            ("auth", &policies),
        ] {
            self.families.retain(label, wanted);
        }
    }

    /// Calls `count` with each code that was answered with, and how often; for one code more than once. Walks all
    /// counters: for somebody who looks now and then, not for a request.
    pub fn answers(&self, mut count: impl FnMut(&str, u64)) {
        for family in self.families.http_requests_total.collect() {
            for metric in family.get_metric() {
                let code = metric.get_label().iter().find(|label| label.name() == "code");
                count(code.map_or("", |code| code.value()), metric.get_counter().get_value() as u64);
            }
        }
    }

    /// What the meters of every route say, by name; those of requests that no route took are among them.
    pub fn route_readings(&self) -> Vec<RouteReading> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.values().map(|route| route.reading()).collect()
    }

    /// What the meters of every upstream say, by name.
    pub fn upstream_readings(&self) -> Vec<UpstreamReading> {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let mut readings: BTreeMap<&str, UpstreamReading> =
            upstreams.iter().map(|(name, upstream)| (&**name, upstream.reading())).collect();
        for family in self.families.upstream_requests_total.collect() {
            for metric in family.get_metric() {
                let label = |name: &str| metric.get_label().iter().find(|label| label.name() == name);
                let value = |name: &str| label(name).map(|label| label.value()).unwrap_or_default();
                if let Some(reading) = readings.get_mut(value("upstream")) {
                    let count = metric.get_counter().get_value() as u64;
                    reading.answers.push((value("backend").to_owned(), value("code").to_owned(), count));
                }
            }
        }
        readings.into_values().collect()
    }

    /// The meters of the listener `name`; the same ones every time.
    pub fn listener(&self, name: &str) -> Arc<ListenerMeters> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = listeners.get(name) {
            return Arc::clone(found);
        }
        let made = Arc::new(ListenerMeters::new(name, self.next_listener.fetch_add(1, Relaxed), &self.families));
        listeners.insert(name.into(), Arc::clone(&made));
        made
    }

    /// The meters of the route `name`; the same ones every time.
    pub fn route(&self, name: &str) -> Arc<RouteMeters> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = routes.get(name) {
            return Arc::clone(found);
        }
        let made = Arc::new(RouteMeters::new(name, &self.families));
        routes.insert(name.into(), Arc::clone(&made));
        made
    }

    /// The counters of the policy `name`, which asks for `scheme`: one for each result and in the order of `results`; the same ones every time.
    pub fn auth(&self, name: &str, scheme: &str, results: &[&str]) -> AuthMeters {
        let counters = results.iter().map(|result| self.families.auth_total.with_label_values(&[name, scheme, result]));
        AuthMeters::new(counters.collect())
    }

    /// The meters of requests that no route took, and of those that could not be read: route `-`.
    pub fn unmatched(&self) -> Arc<RouteMeters> {
        self.route(UNMATCHED)
    }

    /// The meters of the upstream `name`; the same ones every time.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMeters> {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = upstreams.get(name) {
            return Arc::clone(found);
        }
        let made = Arc::new(UpstreamMeters::new(name, &self.families, &self.connections));
        upstreams.insert(name.into(), Arc::clone(&made));
        made
    }

    /// The counters of the copies of requests of the route `route`; the same ones every time.
    pub fn mirror(&self, route: &str) -> MirrorMeters {
        MirrorMeters::new(|result| self.families.mirror_requests_total.with_label_values(&[route, result]))
    }

    /// The counter of what came of requests under the limit `limit`.
    pub fn limit(&self, limit: &str, result: &str) -> IntCounter {
        self.families.limit_total.with_label_values(&[limit, result])
    }

    /// The counter of the seconds for which the limit `limit` has held something back.
    pub fn limit_throttled(&self, limit: &str) -> Counter {
        self.families.limit_throttled_seconds_total.with_label_values(&[limit])
    }

    /// The counter of keys that have used up most of a quota of the limit `limit`.
    pub fn limit_short(&self, limit: &str) -> IntCounter {
        self.families.limit_short_total.with_label_values(&[limit])
    }

    /// Says when each certificate ends, as (name, seconds since 1970); names not among them are forgotten.
    pub fn certificates<'n>(&self, certificates: impl IntoIterator<Item = (&'n str, i64)>) {
        let family = &self.families.tls_certificate_expiry_timestamp_seconds;
        let mut known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut named = BTreeSet::new();
        for (name, expiry) in certificates {
            family.with_label_values(&[name]).set(expiry);
            named.insert(Box::from(name));
        }
        // Afterwards, so that nobody who looks meanwhile misses one.
        for gone in known.difference(&named) {
            let _ = family.remove_label_values(&[gone]);
        }
        *known = named;
    }

    /// Counts a change of a listener's certificate files, which was applied or refused.
    pub fn certificates_reloaded(&self, listener: &str, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.families.tls_certificate_reloads_total.with_label_values(&[listener, result]).inc();
    }

    /// Says which configuration is in force.
    pub fn generation(&self, id: u64) {
        let gauge = self.families.config_generation.with_label_values::<&str>(&[]);
        gauge.set(i64::try_from(id).unwrap_or(i64::MAX));
    }

    /// Says that the process started with a configuration.
    pub fn config_loaded(&self) {
        self.config_outcome(true);
    }

    /// Counts a configuration given to the running server, which was applied or refused.
    pub fn config_reloaded(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.families.config_reloads_total.with_label_values(&[result]).inc();
        self.config_outcome(applied);
    }

    fn config_outcome(&self, applied: bool) {
        self.families.config_last_reload_successful.with_label_values::<&str>(&[]).set(i64::from(applied));
        if applied {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let gauge = self.families.config_last_reload_success_timestamp_seconds.with_label_values::<&str>(&[]);
            gauge.set(i64::try_from(now).unwrap_or(i64::MAX));
        }
    }

    /// Those who follow the access log; the same ones for every log that is opened.
    pub fn followers(&self) -> &Arc<Followers> {
        &self.followers
    }

    /// The counter of access log records that were dropped.
    /// What counts the lines of the audit log that are lost.
    pub fn audit_dropped(&self) -> IntCounter {
        self.families.audit_dropped_total.with_label_values::<&str>(&[])
    }

    pub(crate) fn access_log_dropped(&self) -> IntCounter {
        self.families.access_log_dropped_total.with_label_values::<&str>(&[])
    }

    /// How many requests were answered since the process started. Walks all counters: for a status page, not for a request.
    pub fn requests_total(&self) -> u64 {
        let families = self.families.http_requests_total.collect();
        families
            .iter()
            .flat_map(|family| family.get_metric())
            .map(|metric| metric.get_counter().get_value() as u64)
            .sum()
    }

    /// How many requests there were so far. Walks the routes, and allocates nothing: cheap enough for every second.
    pub fn totals(&self) -> Totals {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.values().fold(Totals::default(), |totals, route| {
            let (requests, server_errors) = route.finished();
            Totals { requests: totals.requests + requests, server_errors: totals.server_errors + server_errors }
        })
    }

    /// How many requests are being served. Walks one gauge per route.
    pub fn in_flight(&self) -> u64 {
        let families = self.families.http_requests_in_flight.collect();
        let sum: f64 = families.iter().flat_map(|family| family.get_metric()).map(|m| m.get_gauge().get_value()).sum();
        sum.max(0.0) as u64
    }

    /// All metrics in the text format of Prometheus, version 0.0.4.
    pub fn encode(&self) -> String {
        self.read_cache();
        self.read_connections();
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            log::error!("metrics cannot be written: {error}");
            String::new()
        })
    }
}

/// Drops the entries that are not wanted.
fn forget<T>(kept: &Mutex<BTreeMap<Box<str>, T>>, wanted: &HashSet<&str>) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| wanted.contains(&**name));
}

#[cfg(test)]
mod tests;
