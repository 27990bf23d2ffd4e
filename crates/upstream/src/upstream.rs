//! An upstream as run: which backends there are, and which one is next.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use pingora_core::{connectors::http::Connector, upstreams::peer::HttpPeer};
use proxy_protocol::{Ends, Version};
use telemetry::UpstreamMeters;
use tokio::time::timeout_at;

use crate::{
    announce,
    backend::Backend,
    clock,
    condition::{self, Condition},
    credentials::Credentials,
    endpoint::{EndpointId, Pick},
    hedge::{After, Hedge, Hedged},
    key::Key,
    order::Order,
    pool::{Missed, Pool, Wish},
    retry::{Resend, Retries},
    state::State,
    sticky::Sticky,
    subset::SubsetId,
    sweep,
    target::Protocol,
};

/// A named set of backends that serve the same thing.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) pool: Arc<Pool>,
    pub(crate) key: Option<Key>,
    pub(crate) timeout: Duration,
    pub(crate) connect: Duration,
    pub(crate) retries: Retries,
    pub(crate) proxy_protocol: Option<Version>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) sticky: Option<Arc<Sticky>>,
    pub(crate) hedge: Option<Hedge>,
    pub(crate) state: State,
    pub(crate) speaks_h2: bool,
    pub(crate) discovers: Option<Protocol>,
}

impl Upstream {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &Arc<str> {
        &self.pool.name
    }

    /// Its backends, in the order of the configuration, or as they were found. For somebody who looks now and then, not
    /// for a request.
    pub fn backends(&self) -> impl ExactSizeIterator<Item = Arc<Backend>> {
        self.pool.backends().to_vec().into_iter()
    }

    /// Whether any of its backends is spoken to in HTTP/2, now or later.
    pub fn speaks_h2(&self) -> bool {
        self.speaks_h2
    }

    /// How its backends are spoken to, where they are found while the server runs.
    pub fn discovers(&self) -> Option<Protocol> {
        self.discovers
    }

    /// How long a backend may take to the first byte of its answer, each try.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect
    }

    /// When and how often a request is tried again.
    pub fn retries(&self) -> &Retries {
        &self.retries
    }

    /// What its backends are shown of maitred.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// What the balancing policy goes by, where it goes by a key of the request.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// How clients are kept at one backend, where they are.
    pub fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_deref()
    }

    /// The subset of the backends that have all of these labels. To be asked when a configuration is compiled.
    pub fn subset(&self, labels: &BTreeMap<String, String>) -> Option<SubsetId> {
        self.pool.subset(labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect())
    }

    /// The backends that requests of a subset go to, or of all; for somebody who looks now and then.
    pub fn backends_in(&self, subset: Option<SubsetId>) -> Vec<Arc<Backend>> {
        let (set, mut backends) = (self.pool.set(), self.pool.backends().to_vec());
        backends.retain(|backend| subset.is_none_or(|subset| set.has_backend(subset, backend)));
        backends
    }

    /// Whether any of the backends that there are is in the subset.
    pub fn has_any(&self, subset: SubsetId) -> bool {
        !self.backends_in(Some(subset)).is_empty()
    }

    /// What is counted of it.
    pub fn meters(&self) -> &UpstreamMeters {
        &self.pool.meters
    }

    /// Makes the connections of `peer` begin with a header that tells the client's, where the configuration asks for one.
    pub fn announce(&self, peer: &mut HttpPeer, client: impl FnOnce() -> Ends) {
        if let Some(version) = self.proxy_protocol {
            announce::announce(peer, version, &client());
        }
    }

    /// The header that a connection begins with to tell `client`, where the configuration asks for one.
    pub fn header(&self, client: &Ends) -> Option<Vec<u8>> {
        self.proxy_protocol.map(|version| proxy_protocol::encode(version, client))
    }

    /// The endpoint for an attempt that nothing is known of but which were `tried`: one that is not among those, as long
    /// as there is one.
    pub fn pick(&self, tried: &[EndpointId]) -> Option<Pick> {
        self.choose(&Wish { tried, ..Wish::default() }).ok()
    }

    /// The endpoint for the next attempt. Where the client's own has no place left it is [`Missed::Full`], although another
    /// may have one.
    pub fn choose(&self, wish: &Wish<'_>) -> Result<Pick, Missed> {
        self.pool.choose(wish)
    }

    /// The endpoint for the next attempt. Where all have as many requests as they may have it waits for one, as long as
    /// the configuration says and not beyond `deadline`; where too many wait already it does not.
    pub async fn choose_or_wait(&self, wish: &Wish<'_>, deadline: Option<Instant>) -> Result<Pick, Missed> {
        let chosen = self.choose(wish);
        if chosen.as_ref().err() != Some(&Missed::Full) {
            return chosen;
        }
        let queue = self.pool.rules.queue;
        // In a box, since it is large and seldom needed.
        let waited = if queue.is_zero() { chosen } else { Box::pin(self.wait(wish, queue, deadline)).await };
        match wish.home {
            // Who has waited for its own in vain goes to another.
            Some(_) if waited.as_ref().err() == Some(&Missed::Full) => self.choose(&Wish { home: None, ..*wish }),
            _ => waited,
        }
    }

    async fn wait(&self, wish: &Wish<'_>, queue: Duration, deadline: Option<Instant>) -> Result<Pick, Missed> {
        let set = self.pool.set();
        let places = self.pool.rules.max_connections.unwrap_or(0).saturating_mul(set.endpoints().count() as u32);
        let Some(waiting) = self.pool.tally.wait(places) else { return Err(Missed::Full) };
        let end = Instant::now() + queue;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        loop {
            let mut freed = pin!(waiting.freed());
            freed.as_mut().enable();
            let chosen = self.choose(wish);
            if chosen.as_ref().err() != Some(&Missed::Full) {
                return chosen;
            }
            if timeout_at(end.into(), freed).await.is_err() {
                return Err(Missed::Full);
            }
        }
    }

    /// Whether a request whose connection to the endpoint last `tried` could not be made has another address of the same
    /// host to go to. Trying that is a part of connecting, not a retry of the request (RFC 8305 section 5): it needs no
    /// retry to be left, since nothing has been sent.
    pub fn has_another_address(&self, tried: &[EndpointId]) -> bool {
        tried.len() < MOST_ADDRESSES && self.pool.has_another_address(tried)
    }

    /// What makes and keeps connections for requests that are maitred's own; `None` while no server runs.
    pub fn connector(&self) -> Option<Arc<Connector>> {
        self.state.connector()
    }

    /// Leave for one more retry of something that was sent, where it stays within the budget of `retries`.
    pub fn resend(&self, retries: &Retries) -> Option<Resend> {
        Resend::new(retries, &self.pool.tally)
    }

    /// When another backend is asked as well.
    pub fn hedge(&self) -> Option<&Hedge> {
        self.hedge.as_ref()
    }

    /// From now on it is known what `hedge` goes by.
    pub fn watch(&self, hedge: &Hedge) {
        if matches!(hedge.after, After::Percentile(_)) {
            self.pool.tally.hedging.watch();
        }
    }

    /// How long a backend is waited for before another is asked as well; `None` while that is not known.
    pub fn hedge_after(&self, hedge: &Hedge) -> Option<Duration> {
        self.pool.tally.hedging.after(hedge.after)
    }

    /// Another endpoint than those that were tried, for a request that one of them has already; `None` where there is none, or `hedge`
    /// allows no more.
    pub fn rival(&self, hedge: &Hedge, wish: &Wish<'_>) -> Option<(Pick, Hedged)> {
        let hedged = Hedged::new(hedge, &self.pool.tally)?;
        let pick = self.choose(&Wish { home: None, ..*wish }).ok()?;
        (!wish.tried.contains(&pick.endpoint())).then_some((pick, hedged))
    }

    /// How many requests it may have at a time, where that is found out.
    pub fn concurrency(&self) -> Option<u32> {
        self.pool.rules.adaptive.as_ref().map(|rules| self.pool.tally.adaptive.limit(rules))
    }

    /// Carries out what an operator wants of the backend `label`; whether there is such a backend.
    pub fn order(&self, label: &str, order: &Order) -> bool {
        let backends = self.pool.backends();
        let Some(backend) = backends.iter().find(|backend| &*backend.label == label) else { return false };
        backend.orders.give(order, clock::now());
        self.pool.rebuild();
        sweep::sweep(&self.pool);
        true
    }

    /// How a backend of this upstream is doing.
    pub fn condition(&self, backend: &Backend) -> Condition {
        condition::of(&self.pool, backend)
    }

    /// How many requests wait for a place.
    pub fn waiting(&self) -> u32 {
        self.pool.tally.waiting()
    }

    /// To be called when the configuration that this upstream is part of goes live: from now on it is looked after, and
    /// what was counted of backends that are gone is forgotten.
    pub fn goes_live(&self) {
        self.pool.forget_others();
        self.state.goes_live(&self.pool);
        sweep::sweep(&self.pool);
    }
}

/// How many addresses of hosts are tried for one request.
const MOST_ADDRESSES: usize = 4;
