//! What outlives a configuration: addresses of host names, how endpoints are doing, what operators have ordered.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_lc_rs::rand;
use pingora_core::connectors::http::Connector;
use tokio::{
    runtime::Handle,
    task::{self, AbortHandle},
    time,
};
use zeroize::Zeroizing;

use crate::{
    backend::Backend,
    clock,
    discover::{Discover, Discovery},
    learnt::{Inherited, Known},
    name::Name,
    order::Orders,
    pool::Pool,
    probe::{self, Check, Probe},
    resolve::{Resolve, Service, System},
    split::{self, Arm, Split},
    standing::Standing,
    sweep,
    tally::Tally,
    token::{Source, Token},
};

/// What is known of host names, endpoints and upstreams, found again by name: a reload keeps what it knows of those that
/// stay.
///
/// Each thing is made when an upstream is compiled, which asks nobody; [`start`](State::start) begins the lookups and the
/// health checks, and they end with the last upstream that needs them.
#[derive(Clone)]
pub struct State(Arc<Kept>);

/// What is kept. Things that nobody uses any more are swept when the next one is made.
pub(crate) struct Kept {
    pub(crate) resolver: Arc<dyn Resolve>,
    discoveries: Mutex<HashMap<Box<str>, Weak<Discovery>>>,
    names: Mutex<Names>,
    standings: Mutex<HashMap<Place, Weak<Standing>>>,
    orders: Mutex<HashMap<Post, Weak<Orders>>>,
    tallies: Mutex<HashMap<Box<str>, Weak<Tally>>>,
    /// What another process has found out, until the upstreams of these names are compiled.
    concurrency: Mutex<BTreeMap<String, u32>>,
    probes: Mutex<HashMap<probe::Key, Weak<Probe>>>,
    tokens: Mutex<HashMap<Source, Weak<Token>>>,
    /// What cookies are signed with where the configuration has no secret for it.
    sticky_key: OnceLock<StickyKey>,
    /// Who asks for tokens.
    client: fetch::Client,
    /// The pools of the configuration in force.
    live: Mutex<HashMap<Arc<str>, Weak<Pool>>>,
    /// The splits of the configuration in force, by route.
    splits: Mutex<HashMap<Box<str>, Weak<[Arm]>>>,
    next_id: AtomicU32,
    /// What the process before knew.
    inherited: Mutex<Option<Inherited>>,
    running: OnceLock<Running>,
}

/// A key that leaves no copy of itself behind.
pub type StickyKey = Zeroizing<[u8; 32]>;

/// By host and port; of one there are as many as there are ways to say how often it is looked up.
type Names = HashMap<(Box<str>, u16), Vec<Weak<Name>>>;

/// An endpoint's upstream, its backend, and its address where the backend has several.
type Place = (Arc<str>, Arc<str>, Option<SocketAddr>);

/// An upstream and one of its backends.
type Post = (Arc<str>, Arc<str>);

/// What asks and looks after things in the background.
struct Running {
    runtime: Handle,
    connector: Arc<Connector>,
    sweeper: AbortHandle,
}

impl Default for State {
    fn default() -> Self {
        Self::new(System::default())
    }
}

impl State {
    /// A state that asks `resolver`; [`State::default`] asks the system's.
    pub fn new(resolver: impl Resolve) -> Self {
        Self(Arc::new(Kept {
            resolver: Arc::new(resolver),
            discoveries: Mutex::default(),
            names: Mutex::default(),
            standings: Mutex::default(),
            orders: Mutex::default(),
            tallies: Mutex::default(),
            concurrency: Mutex::default(),
            probes: Mutex::default(),
            tokens: Mutex::default(),
            sticky_key: OnceLock::new(),
            client: fetch::Client::default(),
            live: Mutex::default(),
            splits: Mutex::default(),
            next_id: AtomicU32::new(0),
            inherited: Mutex::default(),
            running: OnceLock::new(),
        }))
    }

    /// Begins to look up every name in use and to ask every endpoint that is to be asked. To be called within the Tokio
    /// runtime that is to carry this, after each compilation that is going to be used.
    pub fn start(&self) {
        let begin = || Running {
            runtime: Handle::current(),
            connector: Arc::new(Connector::new(None)),
            sweeper: task::spawn(sweep::keep_sweeping(Arc::downgrade(&self.0))).abort_handle(),
        };
        let running = self.0.running.get_or_init(begin);
        self.start_looking();
        for probe in in_use(&self.0.probes) {
            probe.start(&running.runtime, &running.connector);
        }
    }

    /// Looks up every name in use, and asks no backend anything; waits at most for `limit`. Returns the hosts that have no
    /// address. To be called within a Tokio runtime.
    pub async fn look_up(&self, limit: Duration) -> Vec<Box<str>> {
        self.start_looking();
        // Late is not wrong: those without an address are returned either way.
        let _ = time::timeout(limit, self.looked()).await;
        self.unresolved()
    }

    /// Begins to look for everything that is looked for in DNS or files.
    fn start_looking(&self) {
        in_use(&self.0.discoveries).iter().for_each(|discovery| discovery.start(&self.0));
        self.start_names(&self.in_use());
    }

    pub(crate) fn start_names(&self, names: &[Arc<Name>]) {
        names.iter().for_each(|name| name.start(&self.0.resolver));
    }

    /// Ready once everything has been looked for once.
    async fn looked(&self) {
        for discovery in in_use(&self.0.discoveries) {
            discovery.settled().await;
        }
        for name in self.in_use() {
            name.settled().await;
        }
    }

    fn unresolved(&self) -> Vec<Box<str>> {
        self.in_use().iter().filter(|name| !name.is_resolved()).map(|name| name.host.clone()).collect()
    }

    /// Does what [`start`](State::start) does and waits until each name has been looked up once, and each endpoint asked
    /// once, at most for `limit`. What is left then keeps being tried. Returns the hosts that have no address yet.
    pub async fn first_resolution(&self, limit: Duration) -> Vec<Box<str>> {
        self.start();
        let all = async {
            self.looked().await;
            // There may be more to ask by now.
            self.start();
            for probe in in_use(&self.0.probes) {
                probe.settled().await;
            }
        };
        // Late is not wrong: those without an address are returned either way.
        let _ = time::timeout(limit, all).await;
        self.unresolved()
    }

    /// Whether a server runs on it: what comes from now on is new.
    pub(crate) fn is_running(&self) -> bool {
        self.0.running.get().is_some()
    }

    pub(crate) fn connector(&self) -> Option<Arc<Connector>> {
        self.0.running.get().map(|running| Arc::clone(&running.connector))
    }

    /// What `kept` is the inside of.
    pub(crate) fn of(kept: &Arc<Kept>) -> Self {
        Self(Arc::clone(kept))
    }

    /// The name `host` with `port`, made where nobody uses it yet. It begins with the addresses that are known of it: looked
    /// up at other times here, or by the process before.
    pub(crate) fn name(&self, host: &str, port: u16, refresh: Option<Duration>) -> Arc<Name> {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() == names.capacity() {
            names.retain(|_, same| same.iter().any(|name| name.strong_count() > 0));
        }
        let same = names.entry((host.into(), port)).or_default();
        same.retain(|name| name.strong_count() > 0);
        let known: Vec<Arc<Name>> = same.iter().filter_map(Weak::upgrade).collect();
        if let Some(found) = known.iter().find(|name| name.refresh == refresh) {
            return Arc::clone(found);
        }
        let made = Arc::new(Name::new(host, port, refresh));
        let here = known.iter().find(|name| name.is_resolved()).map(|name| name.sockets());
        if let Some(addresses) = here.or_else(|| self.inherited(|inherited| inherited.addresses(host, port))) {
            made.begin_with(addresses);
        }
        same.push(Arc::downgrade(&made));
        made
    }

    /// The names in use that have addresses.
    pub(crate) fn resolved(&self) -> Vec<Arc<Name>> {
        self.in_use().into_iter().filter(|name| name.is_resolved()).collect()
    }

    /// The place that `text` names and `source` looks at, which nobody looks at yet where it is made. It begins with what is known
    /// of the same SRV records: looked up at other times here, or by the process before.
    pub(crate) fn discovery(&self, text: &str, source: Arc<dyn Discover>) -> Arc<Discovery> {
        let known = in_use(&self.0.discoveries);
        let (discovery, is_new) = find(&self.0.discoveries, text.into(), || Discovery::new(text, source));
        if is_new {
            let here = |name: &str| known.iter().find_map(|one| Some(one.services().filter(|(of, _)| *of == name)?.1));
            let before = |name: &str| self.inherited(|inherited| inherited.services(name));
            discovery.go_on_with(|name| here(name).or_else(|| before(name)));
        }
        discovery
    }

    /// What SRV records have said, by the name that they are of.
    pub(crate) fn services(&self) -> BTreeMap<Box<str>, Vec<Service>> {
        let discoveries = in_use(&self.0.discoveries);
        discoveries.iter().filter_map(|one| one.services()).map(|(name, services)| (name.into(), services)).collect()
    }

    /// Whether `pool` is part of the configuration in force.
    pub(crate) fn is_live(&self, pool: &Pool) -> bool {
        let live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(&pool.name).is_some_and(|live| std::ptr::eq(live.as_ptr(), pool))
    }

    /// How the endpoint of a backend is doing, and whether nothing was known of it.
    pub(crate) fn standing(
        &self,
        upstream: &Arc<str>,
        backend: &Arc<str>,
        address: Option<SocketAddr>,
    ) -> (Arc<Standing>, bool) {
        let place = (Arc::clone(upstream), Arc::clone(backend), address);
        find(&self.0.standings, place, || Standing::new(self.0.next_id.fetch_add(1, Relaxed)))
    }

    /// What is ordered of a backend.
    pub(crate) fn orders(&self, upstream: &str, backend: &str) -> Arc<Orders> {
        let (orders, is_new) = find(&self.0.orders, (upstream.into(), backend.into()), Orders::default);
        if is_new && let Some(ordered) = self.inherited(|inherited| inherited.order(upstream, backend)) {
            orders.inherit(&ordered, clock::now());
        }
        orders
    }

    /// What the process before knew of an endpoint that is new to this one.
    pub(crate) fn known(&self, upstream: &str, backend: &str, address: Option<SocketAddr>) -> Option<Known> {
        self.inherited(|inherited| inherited.endpoint(upstream, backend, address))
    }

    fn inherited<T>(&self, ask: impl FnOnce(&mut Inherited) -> Option<T>) -> Option<T> {
        self.0.inherited.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(ask)
    }

    /// Goes on with what the process before knew.
    pub(crate) fn keep_inherited(&self, inherited: Inherited) {
        *self.0.inherited.lock().unwrap_or_else(PoisonError::into_inner) = Some(inherited);
    }

    /// The pools of the configuration in force.
    pub(crate) fn live(&self) -> Vec<Arc<Pool>> {
        self.0.live()
    }

    /// The token that `source` gives out; it is asked for when the first request needs it.
    pub(crate) fn token(&self, source: Source) -> Arc<Token> {
        let client = self.0.client.clone();
        find(&self.0.tokens, source.clone(), || Token::new(source, client)).0
    }

    /// What cookies are signed with where the configuration has no secret for it: random, and the same for as long as the
    /// process and those that take over from it run. `None` where the system gives no random numbers.
    pub fn sticky_key(&self) -> Option<&StickyKey> {
        if let Some(key) = self.0.sticky_key.get() {
            return Some(key);
        }
        let mut key = StickyKey::default();
        rand::fill(key.as_mut_slice()).ok()?;
        Some(self.0.sticky_key.get_or_init(|| key))
    }

    /// Goes on with the key of another process, unless one of its own is in use.
    pub fn keep_sticky_key(&self, key: &[u8]) {
        if let Ok(key) = <[u8; 32]>::try_from(key) {
            // One that is in use has signed cookies already.
            let _ = self.0.sticky_key.set(key.into());
        }
    }

    /// How much is going on in an upstream.
    pub(crate) fn tally(&self, upstream: &str) -> Arc<Tally> {
        let (tally, is_new) = find(&self.0.tallies, upstream.into(), Tally::default);
        let mut known = self.0.concurrency.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = known.remove(upstream).filter(|_| is_new) {
            tally.adaptive.resume(limit);
        }
        tally
    }

    /// How many requests upstreams can work on, as far as that was found out.
    pub fn concurrency(&self) -> BTreeMap<String, u32> {
        let tallies = self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |tally: &Weak<Tally>| tally.upgrade()?.adaptive.known();
        tallies.iter().filter_map(|(name, tally)| Some((name.to_string(), known(tally)?))).collect()
    }

    /// Goes on with what another process has found out.
    pub fn keep_concurrency(&self, known: BTreeMap<String, u32>) {
        *self.0.concurrency.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The probe of an endpoint; it asks nobody until the configuration is going to be used.
    pub(crate) fn probe(&self, check: &Arc<Check>, backend: &Arc<Backend>, address: Option<SocketAddr>) -> Arc<Probe> {
        let key = probe::Key::new(check, backend, address);
        let (probe, _) = find(&self.0.probes, key, || Probe::new(check, backend, address));
        probe.count_for(backend);
        probe
    }

    /// From now on `pool` is the one in force of its name.
    pub(crate) fn goes_live(&self, pool: &Arc<Pool>) {
        let mut live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, pool| pool.strong_count() > 0);
        live.insert(Arc::clone(&pool.name), Arc::downgrade(pool));
    }

    /// The weights of a route's split that the process before was given, at the start: a reload goes by the file.
    pub(crate) fn weights(&self, route: &str) -> Option<split::Learnt> {
        if self.is_running() { None } else { self.inherited(|inherited| inherited.weights(route)) }
    }

    /// From now on `arms` are those in force of the route's split.
    pub(crate) fn split_goes_live(&self, route: &str, arms: &Arc<[Arm]>) {
        let mut splits = self.0.splits.lock().unwrap_or_else(PoisonError::into_inner);
        splits.retain(|_, arms| arms.strong_count() > 0);
        splits.insert(route.into(), Arc::downgrade(arms));
    }

    /// What operators have said of the splits in force.
    pub(crate) fn live_splits(&self) -> Vec<split::Learnt> {
        let splits = self.0.splits.lock().unwrap_or_else(PoisonError::into_inner);
        splits.iter().filter_map(|(route, arms)| Split::learnt(route, &arms.upgrade()?)).collect()
    }

    fn in_use(&self) -> Vec<Arc<Name>> {
        let names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.values().flatten().filter_map(Weak::upgrade).collect()
    }
}

impl Kept {
    pub(crate) fn live(&self) -> Vec<Arc<Pool>> {
        in_use(&self.live)
    }

    /// Begins to ask the endpoints of a pool in force that have come since.
    pub(crate) fn start_probes(&self, pool: &Pool) {
        let Some(running) = self.running.get() else { return };
        for probe in pool.set().endpoints().filter_map(|endpoint| endpoint.probe.as_ref()) {
            probe.start(&running.runtime, &running.connector);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

/// What is kept under `key`, made where nobody uses it; and whether it was made.
fn find<K: Eq + Hash, V>(kept: &Mutex<HashMap<K, Weak<V>>>, key: K, make: impl FnOnce() -> V) -> (Arc<V>, bool) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept.get(&key).and_then(Weak::upgrade) {
        return (found, false);
    }
    if kept.len() == kept.capacity() {
        // Before it grows, and so seldom enough to cost nothing.
        kept.retain(|_, value| value.strong_count() > 0);
    }
    let made = Arc::new(make());
    kept.insert(key, Arc::downgrade(&made));
    (made, true)
}

fn in_use<K, V>(kept: &Mutex<HashMap<K, Weak<V>>>) -> Vec<Arc<V>> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.values().filter_map(Weak::upgrade).collect()
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("names", &self.in_use()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
