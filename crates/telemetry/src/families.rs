//! Every metric there is: one row each.

use std::collections::HashSet;

use prometheus::{
    CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

/// The bounds that OpenTelemetry recommends for the duration of HTTP requests, in seconds.
pub(crate) const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// One metric as the manual lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The name with its prefix.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// The kinds of metric that Prometheus knows and we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Kind {
    /// The word that the exposition format has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A family of metrics that can be made from its row.
trait Family: prometheus::core::Collector + Clone + 'static {
    const KIND: Kind;
    fn make(row: &Row) -> prometheus::Result<Self>;
}

impl Family for CounterVec {
    const KIND: Kind = Kind::Counter;
    fn make(row: &Row) -> prometheus::Result<Self> {
        Self::new(Opts::new(row.name, row.help), row.labels)
    }
}

impl Family for IntCounterVec {
    const KIND: Kind = Kind::Counter;
    fn make(row: &Row) -> prometheus::Result<Self> {
        Self::new(Opts::new(row.name, row.help), row.labels)
    }
}

impl Family for IntGaugeVec {
    const KIND: Kind = Kind::Gauge;
    fn make(row: &Row) -> prometheus::Result<Self> {
        Self::new(Opts::new(row.name, row.help), row.labels)
    }
}

impl Family for HistogramVec {
    const KIND: Kind = Kind::Histogram;
    fn make(row: &Row) -> prometheus::Result<Self> {
        Self::new(HistogramOpts::new(row.name, row.help).buckets(SECONDS.to_vec()), row.labels)
    }
}

/// Removes the series of a family for which `gone` holds, given the values of its `labels` in their order.
fn remove<B: MetricVecBuilder>(family: &MetricVec<B>, labels: &[&str], gone: impl Fn(&[&str]) -> bool)
where
    MetricVec<B>: Collector,
{
    for metrics in family.collect() {
        for metric in metrics.get_metric() {
            let of = |name: &&str| {
                metric.get_label().iter().find(|pair| pair.name() == *name).map_or("", |pair| pair.value())
            };
            let values: Vec<&str> = labels.iter().map(of).collect();
            if gone(&values) {
                // Already gone is as good.
                let _ = family.remove_label_values(&values);
            }
        }
    }
}

macro_rules! families {
    ($($name:ident: $type:ident [$($label:ident),*] $help:literal;)+) => {
        /// Every metric of maitred's own, in the order of the manual. Those of the process are Prometheus' standard ones.
        pub const ROWS: &[Row] = &[$(Row {
            name: concat!("maitred_", stringify!($name)),
            kind: <$type as Family>::KIND,
            labels: &[$(stringify!($label)),*],
            help: $help,
        }),+];

        /// The families themselves, registered.
        #[derive(Debug)]
        pub(crate) struct Families { $(pub(crate) $name: $type,)+ }

        impl Families {
            pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
                let mut rows = ROWS.iter();
                let mut next = || rows.next().ok_or(prometheus::Error::AlreadyReg);
                $(
                    let $name = <$type as Family>::make(next()?)?;
                    registry.register(Box::new($name.clone()))?;
                )+
                Ok(Self { $($name),+ })
            }

            /// Removes every series in which the label `label` has a value that is not `wanted`.
            pub(crate) fn retain(&self, label: &str, wanted: &HashSet<&str>) {
                $({
                    let labels: &[&str] = &[$(stringify!($label)),*];
                    if let Some(place) = labels.iter().position(|name| *name == label) {
                        remove(&self.$name, labels, |values| !wanted.contains(values[place]));
                    }
                })+
            }

            /// Removes every series of the upstream `upstream` whose backend is not `wanted`.
            pub(crate) fn retain_backends(&self, upstream: &str, wanted: &[&str]) {
                $({
                    let labels: &[&str] = &[$(stringify!($label)),*];
                    if let [Some(first), Some(second)] =
                        ["upstream", "backend"].map(|label| labels.iter().position(|name| *name == label))
                    {
                        let gone = |values: &[&str]| values[first] == upstream && !wanted.contains(&values[second]);
                        remove(&self.$name, labels, gone);
                    }
                })+
            }
        }
    };
}

families! {
    http_requests_total: IntCounterVec [listener, route, method, code]
        "Requests answered. An unusual method counts as _OTHER, a request that no route took or that could not be read as route -, one that got no answer as code -.";
    http_errors_total: IntCounterVec [listener, route, reason]
        "Requests that maitred refused, answered with an error of its own, or that ended early; the reason is the word in the access log's error.";
    http_shadowed_total: IntCounterVec [listener, route, reason]
        "Requests that a policy with mode shadow would have refused; the reason is the word in the access log's shadow.";
    http_request_duration_seconds: HistogramVec [route, code_class]
        "From the first byte of a request until its answer was sent.";
    http_requests_in_flight: IntGaugeVec [route]
        "Requests that are being served.";
    http_request_bytes_total: IntCounterVec [route]
        "Bytes of request bodies received.";
    http_response_bytes_total: IntCounterVec [route]
        "Bytes of response bodies sent.";
    connections: IntGaugeVec [listener, protocol]
        "Client connections that are open.";
    connections_total: IntCounterVec [listener, protocol]
        "Client connections accepted.";
    stream_bytes_total: IntCounterVec [listener, direction]
        "Bytes that listeners of mode tcp and tls-passthrough passed on: in from clients, out to them.";
    stream_errors_total: IntCounterVec [listener, reason]
        "Connections of such listeners that were refused or did not end well; the reason is the word in the access log's error.";
    tls_handshakes_total: IntCounterVec [listener, version, result]
        "TLS handshakes with clients; the version is - when none was agreed on.";
    tls_certificate_expiry_timestamp_seconds: IntGaugeVec [name]
        "When a certificate ends, in seconds since 1970; the name is the first that it covers.";
    tls_certificate_reloads_total: IntCounterVec [listener, result]
        "Changes of a listener's certificate files: applied, or refused because they cannot be used.";
    upstream_requests_total: IntCounterVec [upstream, backend, code]
        "Attempts sent to backends; where no answer came the code is the reason's word, and for a stream tcp.";
    upstream_request_duration_seconds: HistogramVec [upstream]
        "From the start of an attempt until the head of its answer was there.";
    upstream_connect_duration_seconds: HistogramVec [upstream]
        "How long new connections to backends took to make, TLS included.";
    upstream_connections: IntGaugeVec [upstream, backend, state]
        "Connections to a backend that are open: active where they carry a request, an upgraded connection or a stream, idle where they wait for the next one. Those of health checks are not among them.";
    upstream_retries_total: IntCounterVec [upstream, reason]
        "Attempts that were made because the one before had failed for this reason.";
    upstream_hedges_total: IntCounterVec [upstream, result]
        "Requests that another backend was asked as well: won where its answer was the first, lost where it was not, failed.";
    upstream_concurrency_limit: IntGaugeVec [upstream]
        "How many requests an upstream may have at a time, where adaptive_concurrency finds that out.";
    upstream_panic: IntGaugeVec [upstream]
        "Whether so few backends of an upstream are healthy that all of them are used: by default where none is.";
    backend_up: IntGaugeVec [upstream, backend]
        "Whether a backend gets requests: not failing its health check, not ejected, not refusing connections, no circuit breaker open.";
    backend_weight: IntGaugeVec [upstream, backend]
        "A backend's weight.";
    backend_health_checks_total: IntCounterVec [upstream, backend, result]
        "Health checks of a backend: ok or failed.";
    backend_ejections_total: IntCounterVec [upstream, backend]
        "How often a backend was taken out of use after errors in a row.";
    circuit_breaker_state: IntGaugeVec [upstream, backend]
        "A backend's circuit breaker: 0 closed, 1 half open, 2 open.";
    auth_total: IntCounterVec [auth, scheme, result]
        "Requests asked who they are from, by policy and what it asks for: ok, missing, invalid, expired, forbidden, or error where nobody could tell.";
    limit_total: IntCounterVec [limit, result]
        "Requests that a limit was asked about: allowed, limited, delayed, shadowed, which passed because the limit is not obeyed, or store_error, where Redis could not be asked.";
    mirror_requests_total: IntCounterVec [route, result]
        "Copies of requests that a mirror was sent or was not: answered, same or different where the answers are compared, failed, timeout, too_large, or dropped where too many were under way.";
    discovery_backends: IntGaugeVec [upstream, provider]
        "Backends that an upstream's discovery has found.";
    discovery_errors_total: IntCounterVec [upstream, provider]
        "Times that discovery found nothing that could be used; what was found before stays in use.";
    limit_throttled_seconds_total: CounterVec [limit]
        "For how long a limit has held back requests, or their content.";
    limit_short_total: IntCounterVec [limit]
        "How often a key has come to four fifths of a quota: somebody should know before it is used up.";
    cache_requests_total: IntCounterVec [route, result]
        "Requests of routes that keep answers: hit, miss, stale, revalidated, or bypass for those that the cache was not asked about.";
    cache_bytes: IntGaugeVec [tier]
        "What kept answers take.";
    cache_entries: IntGaugeVec [tier]
        "Under how many keys answers are kept.";
    cache_evictions_total: IntCounterVec [tier]
        "Keys that were let go to make room.";
    cache_dropped_total: IntCounterVec [tier]
        "Answers that a tier could not take in time: they are kept in the others.";
    cache_broken_total: IntCounterVec [tier]
        "Kept answers that were not what had been written, and were fetched anew instead.";
    config_reloads_total: IntCounterVec [result]
        "Configurations given to the running server: applied or refused.";
    config_last_reload_successful: IntGaugeVec []
        "Whether the last configuration given to the server was applied.";
    config_last_reload_success_timestamp_seconds: IntGaugeVec []
        "When a configuration was last applied, in seconds since 1970.";
    config_generation: IntGaugeVec []
        "The number of the configuration in force, as `maitred history` has it.";
    access_log_dropped_total: IntCounterVec []
        "Access log records dropped because the log could not be written as fast as they came.";
    audit_dropped_total: IntCounterVec []
        "Records of the audit log dropped because it could not be written as fast as they came.";
    build_info: IntGaugeVec [version, revision, rustc, tls]
        "Always 1; the labels say what this build is made of.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for row in ROWS {
            assert!(row.name.starts_with("maitred_"), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
            let histogram = row.kind == Kind::Histogram;
            assert!(!histogram || row.name.ends_with("_seconds"), "{}", row.name);
            for bounded_by_clients in ["path", "host", "ip", "user"] {
                assert!(!row.labels.contains(&bounded_by_clients), "{}", row.name);
            }
        }
    }
}
