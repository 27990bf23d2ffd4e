//! What the world has taught us, kept beside the configuration and found again by name.

use std::sync::Arc;

use telemetry::{CacheReading, Metrics};

/// Outlives every snapshot.
#[derive(Clone)]
pub struct State {
    /// Counters; a route or upstream of the same name counts on.
    pub metrics: Arc<Metrics>,
    /// Addresses that host names resolved to.
    pub upstreams: upstream::State,
    /// What issuers of tokens have published.
    pub auth: auth::State,
    /// Files that are followed as they change.
    pub files: document::Followers,
    /// What limits have counted; a limit of the same name goes on with it.
    pub limits: limit::State,
    /// Answers that are kept.
    pub cache: Arc<cache::Zone>,
    /// The connection to Redis; the same settings go on with it.
    pub redis: store::Kept,
    /// What TLS sessions are resumed with; a listener of the same name goes on with its keys.
    pub ticket_keys: tls::TicketKeys,
}

impl State {
    /// The same, with counters of its own: for a configuration that may come to nothing, and whose tests are not to depend
    /// on what clients do.
    pub fn scratch(&self) -> Self {
        Self {
            metrics: Arc::new(self.metrics.scratch()),
            limits: limit::State::default(),
            redis: self.redis.fork(),
            ..self.clone()
        }
    }

    /// A state that knows nothing yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let cache: Arc<cache::Zone> = Arc::default();
        let watched = cache.clone();
        metrics.watch_cache(move || {
            let told = |cache::Reading { bytes, entries, evictions, dropped, broken, .. }| CacheReading {
                bytes,
                entries,
                evictions,
                dropped,
                broken,
            };
            watched.tiers().into_iter().map(|(tier, reading)| (tier, told(reading))).collect()
        });
        Self {
            metrics,
            upstreams: upstream::State::default(),
            auth: auth::State::default(),
            files: document::Followers::default(),
            limits: limit::State::default(),
            cache,
            redis: store::Kept::default(),
            ticket_keys: tls::TicketKeys::default(),
        }
    }
}
