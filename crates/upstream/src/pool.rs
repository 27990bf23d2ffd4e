//! The endpoints of an upstream as they come and go, and the choice among them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use balance::{Kind, Policy};
use telemetry::{DiscoveryMeters, UpstreamMeters};

use crate::{
    backend::{Addresses, Backend},
    breaker::Circuit,
    clock,
    discover::{Discovery, Listed},
    endpoint::{Endpoint, EndpointId, Need, Pick},
    maker::Maker,
    order::Duty,
    outlier,
    rules::{Panic, Rules},
    set::{Set, Tier},
    standing::EJECTED,
    state::State,
    sticky::Home,
    subset::{Labels, Subset, SubsetId, matches},
    tally::Tally,
};

/// A backend's weight is shared by its addresses: in parts of which so many make the whole.
const PARTS: u32 = 5_040;
/// How often an endpoint is chosen anew because somebody else has had its last place.
const GRIPS: usize = 4;
/// How often what was counted of backends that are gone is forgotten, in milliseconds, where backends come and go.
const FORGETS: u64 = 60_000;

/// The endpoints of one upstream of one configuration.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: Arc<str>,
    kind: Kind,
    pub(crate) rules: Arc<Rules>,
    /// In the order of the configuration, or as they were found.
    backends: ArcSwap<Vec<Arc<Backend>>>,
    /// Where backends are looked for.
    discovery: Option<Arc<Discovery>>,
    /// What is counted of looking for them, or for their addresses.
    looking: Option<DiscoveryMeters>,
    maker: Maker,
    state: State,
    set: ArcSwap<Set>,
    /// The labels of each subset that somebody asks for.
    subsets: Mutex<Vec<Labels>>,
    /// Held while the set is exchanged or an endpoint ejected.
    changing: Mutex<()>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) meters: Arc<UpstreamMeters>,
    /// Whether too few endpoints are healthy to go by their health.
    pub(crate) panicking: AtomicBool,
    /// Whether it was said that too few are healthy.
    told_panic: AtomicBool,
    /// When the shares of good answers were last compared, in milliseconds.
    compared: AtomicU64,
    /// When what was counted of backends that are gone was last forgotten, in milliseconds.
    forgot: AtomicU64,
    myself: Weak<Self>,
}

/// The endpoints with their weights, those that are preferred first.
type Ranks = BTreeMap<u8, Vec<(Arc<Endpoint>, u32)>>;

/// The endpoints of a set, by backend and address.
type Known<'k> = HashMap<(*const Backend, Option<SocketAddr>), &'k Arc<Endpoint>>;

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'w> {
    /// The endpoints that it has tried: others are preferred.
    pub tried: &'w [EndpointId],
    /// The hash of what the policy goes by, where it goes by a key.
    pub key: Option<u64>,
    /// Where the client has been before, and wants to be again.
    pub home: Option<Home>,
    /// Which backends alone will do.
    pub subset: Option<SubsetId>,
}

/// Why there is no endpoint for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// None has an address, or all are out of use.
    NoBackend,
    /// All have as many requests as they may have.
    Full,
    /// The circuit breakers of all that could be used are open.
    Open,
    /// It has as many requests as it can work on.
    Overloaded,
}

impl Pool {
    pub(crate) fn new(
        kind: Kind,
        rules: Rules,
        maker: Maker,
        backends: Vec<Arc<Backend>>,
        discovery: Option<Arc<Discovery>>,
    ) -> Arc<Self> {
        let is_named = |backend: &Arc<Backend>| matches!(backend.addresses, Addresses::Named(_));
        let provider = match &discovery {
            Some(discovery) => Some(discovery.provider()),
            None => backends.iter().any(is_named).then_some("dns"),
        };
        let pool = Arc::new_cyclic(|myself| Self {
            name: Arc::clone(&maker.name),
            kind,
            rules: Arc::new(rules),
            backends: ArcSwap::default(),
            discovery,
            looking: provider.map(|provider| maker.meters.discovery(provider)),
            state: maker.state.clone(),
            set: ArcSwap::default(),
            subsets: Mutex::default(),
            changing: Mutex::default(),
            tally: maker.state.tally(&maker.name),
            meters: Arc::clone(&maker.meters),
            maker,
            panicking: AtomicBool::new(false),
            told_panic: AtomicBool::new(false),
            compared: AtomicU64::new(clock::now()),
            forgot: AtomicU64::new(clock::now()),
            myself: myself.clone(),
        });
        match &pool.discovery {
            Some(discovery) => {
                discovery.tell(&pool.myself);
                pool.look_up();
            }
            None => {
                pool.follow(&backends);
                pool.backends.store(Arc::new(backends));
                pool.rebuild();
            }
        }
        pool
    }

    pub(crate) fn backends(&self) -> Arc<Vec<Arc<Backend>>> {
        self.backends.load_full()
    }

    /// From now on the pool is told when the addresses of these change.
    fn follow(&self, backends: &[Arc<Backend>]) {
        for backend in backends {
            if let Addresses::Named(name) = &backend.addresses {
                name.tell(&self.myself);
            }
        }
    }

    /// Takes over the backends as they were found last. Those that stay are the same as before.
    pub(crate) fn look_up(&self) {
        let Some(discovery) = &self.discovery else { return };
        {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let old = self.backends.load_full();
            let known: HashMap<&str, &Arc<Backend>> = old.iter().map(|backend| (&*backend.label, backend)).collect();
            let mut new = Vec::new();
            let make = |listed: &Listed| {
                let same = |backend: &&&Arc<Backend>| {
                    backend.weight == listed.weight
                        && backend.labels == listed.labels
                        && backend.rank == self.maker.rank(listed)
                        && backend.protocol == listed.target.protocol
                };
                if let Some(backend) = known.get(listed.target.label().as_str()).filter(same) {
                    return Some(Arc::clone(backend));
                }
                let made = self.maker.backend(listed)?;
                new.push(Arc::clone(&made));
                Some(made)
            };
            let backends: Vec<Arc<Backend>> = discovery.found().iter().filter_map(make).collect();
            self.follow(&new);
            self.backends.store(Arc::new(backends));
        }
        self.rebuild();
        if self.state.is_live(self) {
            self.forget_others();
        }
    }

    /// Forgets what was counted of backends that are gone.
    pub(crate) fn forget_others(&self) {
        self.forgot.store(clock::now(), Relaxed);
        let backends = self.backends.load();
        let labels: Vec<&str> = backends.iter().map(|backend| &*backend.label).collect();
        self.meters.retain_backends(&labels);
    }

    /// Counts that backends or their addresses were looked for in vain.
    pub(crate) fn not_found(&self) {
        if let Some(looking) = &self.looking {
            looking.found(None);
        }
    }

    pub(crate) fn set(&self) -> Arc<Set> {
        self.set.load_full()
    }

    /// Takes over the addresses and weights as they are now. What is known of an endpoint that stays is kept.
    pub(crate) fn rebuild(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.set.load_full();
        let place = |endpoint: &Endpoint| (Arc::as_ptr(&endpoint.backend), endpoint.address);
        let known: Known<'_> = old.endpoints().map(|endpoint| (place(endpoint), endpoint)).collect();
        let mut ranks = Ranks::new();
        for backend in self.backends.load().iter() {
            let addresses: Vec<Option<SocketAddr>> = match &backend.addresses {
                Addresses::Fixed => vec![None],
                Addresses::Named(name) => name.sockets().into_iter().map(Some).collect(),
            };
            let parts = PARTS / u32::try_from(addresses.len().max(1)).unwrap_or(PARTS).min(PARTS);
            let rank = ranks.entry(backend.rank).or_default();
            for address in addresses {
                let weight = backend.weight_now().min(u32::MAX / PARTS) * parts;
                rank.push((self.endpoint(&known, backend, address), weight));
            }
        }
        let subset = |labels: &Labels| Subset { labels: labels.clone(), tiers: self.tiers(&ranks, labels) };
        let subsets = self.subsets.lock().unwrap_or_else(PoisonError::into_inner).iter().map(subset).collect();
        let tiers = self.tiers(&ranks, &Labels::new());
        let endpoints = || tiers.iter().flat_map(|tier| &tier.endpoints);
        let homes = endpoints().filter_map(|one| Some((one.mark.as_ref()?.home, Arc::clone(one)))).collect();
        let set = Set { tiers, subsets, homes };
        let count = set.endpoints().count();
        self.set.store(Arc::new(set));
        if let Some(looking) = &self.looking {
            looking.found(Some(count));
        }
    }

    /// The endpoints with these labels, in the order in which they are preferred.
    fn tiers(&self, ranks: &Ranks, labels: &Labels) -> Box<[Tier]> {
        let tier = |rank: &Vec<(Arc<Endpoint>, u32)>| {
            let wanted = rank.iter().filter(|(endpoint, _)| matches(labels, &endpoint.backend));
            let (endpoints, weights): (Vec<Arc<Endpoint>>, Vec<u32>) = wanted.cloned().unzip();
            let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.name()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Some(Tier { policy: Policy::new(self.kind, &weights, &names)?, endpoints: endpoints.into() })
        };
        ranks.values().filter_map(tier).collect()
    }

    /// The subset with these labels, which requests may ask for from now on.
    pub(crate) fn subset(&self, labels: Labels) -> Option<SubsetId> {
        let mut subsets = self.subsets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = subsets.iter().position(|subset| *subset == labels);
        let place = known.unwrap_or(subsets.len());
        if known.is_none() {
            subsets.push(labels);
        }
        drop(subsets);
        if known.is_none() {
            self.rebuild();
        }
        u16::try_from(place).ok().map(SubsetId)
    }

    fn endpoint(&self, known: &Known<'_>, backend: &Arc<Backend>, address: Option<SocketAddr>) -> Arc<Endpoint> {
        if let Some(known) = known.get(&(Arc::as_ptr(backend), address)) {
            return Arc::clone(known);
        }
        let (standing, is_new) = self.state.standing(&self.name, &backend.label, address);
        let known = if is_new { self.state.known(&self.name, &backend.label, address) } else { None };
        if is_new && known.is_none() && self.rules.slow_start.is_some() && self.state.is_running() {
            standing.start_slowly(clock::now());
        }
        let probe = backend.check.as_ref().map(|check| self.state.probe(check, backend, address));
        if let Some(known) = known {
            known.tell(&standing, probe.as_deref());
        }
        let sticks = self.maker.sticks.as_ref();
        let name = || crate::endpoint::name(backend, address);
        Arc::new(Endpoint {
            mark: sticks.and_then(|sticky| sticky.mark(&self.name, &name())),
            probe,
            backend: Arc::clone(backend),
            address,
            standing,
            tally: Arc::clone(&self.tally),
            rules: Arc::clone(&self.rules),
            pool: self.myself.clone(),
        })
    }

    /// The endpoint for the next attempt.
    pub(crate) fn choose(&self, wish: &Wish<'_>) -> Result<Pick, Missed> {
        if let Some(rules) = &self.rules.adaptive
            && !self.tally.adaptive.has_room(rules, self.tally.total.load(Relaxed))
        {
            return Err(Missed::Overloaded);
        }
        let set = self.set.load();
        if let Some(endpoint) = wish.home.and_then(|home| set.homes.get(&home))
            && endpoint.keeps(wish.tried, clock::now())
            && set.has(wish.subset, endpoint)
        {
            match endpoint.take() {
                Some(pick) => return Ok(pick),
                None if endpoint.is_full() => return Err(Missed::Full),
                None => {}
            }
        }
        let now = OnceCell::new();
        let healthy = !self.panicking.load(Relaxed);
        let best = Need { healthy, untried: true, at_best: true };
        if let Some(pick) = grip(&set, best, wish, &now) {
            return Ok(pick);
        }
        let second = [Need { at_best: false, ..best }, Need { at_best: false, untried: false, ..best }];
        let open = healthy && self.is_open(&set, wish.subset);
        let last = [true, false].map(|untried| Need { healthy: false, untried, at_best: false });
        // Rather one that has failed for this request than one that fails everybody's, unless all of them do.
        let needs =
            if open { [second[0], last[0], second[1], last[1]] } else { [second[0], second[1], second[0], second[1]] };
        let pick = needs.into_iter().find_map(|need| grip(&set, need, wish, &now));
        pick.ok_or_else(|| missed(&set, wish.subset))
    }

    /// Whether endpoints are used although they are not healthy.
    fn is_open(&self, set: &Set, subset: Option<SubsetId>) -> bool {
        let now = clock::now();
        self.rules.panic != Panic::Never && !set.endpoints_of(subset).any(|endpoint| endpoint.is_healthy(now))
    }

    pub(crate) fn has_another_address(&self, tried: &[EndpointId]) -> bool {
        self.set.load().has_sibling(tried)
    }

    /// Takes an endpoint out of use, unless too many are.
    pub(crate) fn eject(&self, endpoint: &Endpoint, why: &str) {
        let Some(rules) = &self.rules.outlier else { return };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, now) = (self.set.load(), clock::now());
        let is_out = |endpoint: &Endpoint| endpoint.standing.outlier.is_ejected(now);
        if is_out(endpoint) {
            return;
        }
        let (count, out) = (set.endpoints().count(), set.endpoints().filter(|endpoint| is_out(endpoint)).count());
        let (name, upstream) = (endpoint.name(), &self.name);
        if out >= outlier::most_ejected(rules, count) {
            log::debug!("`{name}` of upstream `{upstream}` fails, and stays: {out} of {count} are out already");
            return;
        }
        let time = endpoint.standing.outlier.eject(rules, now);
        endpoint.standing.mark(EJECTED);
        endpoint.backend.meters.ejected();
        log::warn!("`{name}` of upstream `{upstream}` is ejected for {time:?} after {why}");
    }

    /// Takes out who gives far fewer good answers than the others, when it is time to compare.
    pub(crate) fn compare(&self, set: &Set, now: u64) {
        let Some(rules) = self.rules.outlier.as_ref().and_then(|rules| rules.success_rate.as_ref()) else { return };
        if now < self.compared.load(Relaxed) + rules.interval.as_millis() as u64 {
            return;
        }
        self.compared.store(now, Relaxed);
        let endpoints: Vec<&Arc<Endpoint>> = set.endpoints().collect();
        let counts: Vec<(u32, u32)> = endpoints.iter().map(|endpoint| endpoint.standing.outlier.counted()).collect();
        for index in outlier::too_low(&counts, rules) {
            let (all, failed) = counts[index];
            self.eject(endpoints[index], &format!("{failed} of {all} requests failed, far more than elsewhere"));
        }
    }

    /// Looks at how long answers have taken, for whoever goes by it, and at what is left of backends that are gone.
    pub(crate) fn look(&self, now: u64) {
        let Tally { adaptive, durations, hedging, .. } = &*self.tally;
        // A request that was under way when its backend went has brought its counters back.
        if self.discovery.is_some() && now > self.forgot.load(Relaxed) + FORGETS {
            self.forget_others();
        }
        if let Some(rules) = &self.rules.adaptive {
            adaptive.look(rules, durations, now);
            self.meters.concurrency_limit(adaptive.limit(rules));
        }
        if hedging.is_watched() {
            hedging.look();
        }
    }

    /// Decides anew whether too few endpoints are healthy to go by it, and tells.
    pub(crate) fn review(&self, set: &Set, now: u64) {
        let (mut all, mut healthy) = (0_u32, 0_u32);
        for endpoint in set.endpoints().filter(|endpoint| endpoint.backend.duty() != Duty::Drain) {
            all += 1;
            healthy += u32::from(endpoint.is_healthy(now));
        }
        let panics = match self.rules.panic {
            Panic::Never => false,
            // Each request sees that for itself.
            Panic::NoneHealthy => healthy == 0 && all > 0,
            Panic::Below(share) => {
                let panics = (healthy as f32) < share * all as f32;
                self.panicking.store(panics, Relaxed);
                panics
            }
        };
        self.meters.panics(panics);
        if self.told_panic.swap(panics, Relaxed) == panics || all < 2 {
            return;
        }
        let upstream = &self.name;
        match panics {
            true => log::warn!("only {healthy} of {all} backends of upstream `{upstream}` are healthy: all are used"),
            false => log::info!("{healthy} of {all} backends of upstream `{upstream}` are healthy: the others rest"),
        }
    }
}

fn grip(set: &Set, need: Need, wish: &Wish<'_>, now: &OnceCell<u64>) -> Option<Pick> {
    (0..GRIPS).find_map(|_| match set.pick(need, wish, now) {
        None => Some(None),
        Some(endpoint) => endpoint.take().map(Some),
    })?
}

fn missed(set: &Set, subset: Option<SubsetId>) -> Missed {
    let now = clock::now();
    let in_use = || set.endpoints_of(subset).filter(|endpoint| endpoint.backend.duty() == Duty::Ready);
    if in_use().any(|endpoint| endpoint.is_full() && endpoint.standing.breaker.would_let(now)) {
        return Missed::Full;
    }
    match in_use().any(|endpoint| endpoint.standing.breaker.circuit(now) != Circuit::Closed) {
        true => Missed::Open,
        false => Missed::NoBackend,
    }
}

#[cfg(test)]
mod tests;
