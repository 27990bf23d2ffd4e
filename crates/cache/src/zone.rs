//! Where answers are kept: in memory, bounded in bytes, for all routes together.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use http::HeaderMap;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use crate::{
    flight::{Boarded, Flight, Landed},
    freshness::Millis,
    key::Key,
    purge::Selector,
    stored::{Stored, Url},
};

/// How many answers are kept under one key for different values of what they vary by.
const VARIANTS: usize = 32;

/// In how many parts the memory is split, each with a lock of its own. Few, because each bounds its own share.
const SHARDS: usize = 4;

/// How many places there are for the moment when something under a path was changed. Two paths that share a place make each
/// other's answers be fetched once more, and nothing worse.
const PLACES: usize = 1 << 16;

/// For how long a key is known whose answer was not kept, so that requests for it do not wait for each other.
const ALONE: Millis = 120_000;

/// How many such keys are known.
const MOST_ALONE: usize = 16 * 1024;

/// How many purges are remembered for the sake of what was being fetched meanwhile.
const PURGES: usize = 64;

/// All kept answers. Outlives every configuration.
pub struct Zone {
    kept: Cache<Key, Arc<Variants>, ByBytes, quick_cache::DefaultHashBuilder, CountEvictions>,
    /// Changing what is kept under a key is two steps.
    changing: Mutex<()>,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    alone: Cache<u64, Millis>,
    changed: OnceLock<Box<[AtomicU64]>>,
    purges: Mutex<VecDeque<(Millis, Selector)>>,
    evictions: Arc<AtomicU64>,
    capacity: AtomicU64,
}

/// The answers under one key, the latest first.
struct Variants(Vec<Arc<Stored>>, u64);

/// What the zone holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// How many bytes it may hold.
    pub capacity: u64,
    /// How many bytes it holds.
    pub bytes: u64,
    /// Under how many keys.
    pub entries: u64,
    /// How many were let go to make room.
    pub evictions: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Variants>> for ByBytes {
    fn weight(&self, key: &Key, variants: &Arc<Variants>) -> u64 {
        key.0.len() as u64 + variants.1
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Variants>> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Arc<Variants>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::new()
    }
}

impl Zone {
    /// A zone that holds nothing until it is given [room](Zone::resize).
    pub fn new() -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).estimated_items_capacity(1024).weight_capacity(0);
        let built = options.build();
        let lifecycle = CountEvictions(evictions.clone());
        let hasher = quick_cache::DefaultHashBuilder::default;
        let kept = match built {
            Ok(options) => Cache::with_options(options, ByBytes, hasher(), lifecycle),
            Err(_) => Cache::with(1024, 0, ByBytes, hasher(), lifecycle),
        };
        Self {
            kept,
            changing: Mutex::default(),
            flights: Mutex::default(),
            alone: Cache::new(MOST_ALONE),
            changed: OnceLock::new(),
            purges: Mutex::default(),
            evictions,
            capacity: AtomicU64::new(0),
        }
    }

    /// Gives it so many bytes; what does not fit any more is let go.
    pub fn resize(&self, bytes: u64) {
        if self.capacity.swap(bytes, Ordering::Relaxed) != bytes {
            self.kept.set_capacity(bytes);
        }
        if bytes == 0 {
            self.kept.clear();
        }
    }

    /// What it holds.
    pub fn reading(&self) -> Reading {
        Reading {
            capacity: self.capacity.load(Ordering::Relaxed),
            bytes: self.kept.weight(),
            entries: self.kept.len() as u64,
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    /// The kept answer for a request.
    pub fn find(&self, key: &Key, request: &HeaderMap) -> Option<Arc<Stored>> {
        let variants = self.kept.get(key)?;
        let found = variants.0.iter().find(|stored| stored.is_for(request))?;
        self.is_valid(found).then(|| found.clone())
    }

    /// Whether anything is kept under a key, for whichever request.
    pub fn has(&self, key: &Key) -> bool {
        self.kept.peek(key).is_some()
    }

    /// Keeps an answer whose content is whole.
    pub fn keep(&self, key: &Key, stored: Arc<Stored>) {
        if !stored.content().is_whole() || !self.is_valid(&stored) || self.was_purged(&stored) {
            return;
        }
        let _changing = lock(&self.changing);
        let mut variants = vec![stored];
        if let Some(old) = self.kept.peek(key) {
            let others = old.0.iter().filter(|other| !variants[0].replaces(other) && self.is_valid(other));
            variants.extend(others.take(VARIANTS - 1).cloned().collect::<Vec<_>>());
        }
        let weight = variants.iter().map(|stored| stored.weight()).sum();
        self.kept.insert(key.clone(), Arc::new(Variants(variants, weight)));
        self.alone.remove(&hash(key));
    }

    /// Lets go of what is kept under a key.
    pub fn forget(&self, key: &Key) {
        let _changing = lock(&self.changing);
        self.kept.remove(key);
    }

    /// Something was changed at this path of this host: what was asked for before is not to be used again (RFC 9111
    /// section 4.4). All its queries are meant, and every route.
    pub fn change(&self, host: &str, path: &str, now: Millis) {
        let places = self.changed.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        if let Some(place) = places.get(place(host, path)) {
            place.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Lets go of what the selector means, or makes it stale where `soft`. Says how many answers it were.
    pub fn purge(&self, selector: &Selector, soft: bool, now: Millis) -> u64 {
        if !soft {
            let mut purges = lock(&self.purges);
            if purges.len() == PURGES {
                purges.pop_front();
            }
            purges.push_back((now, selector.clone()));
        }
        let mut count = 0;
        let mut matching = Vec::new();
        for (key, variants) in self.kept.iter() {
            let mut any = false;
            for stored in variants.0.iter().filter(|stored| selector.means(stored)) {
                count += 1;
                any = true;
                // Of a key whose answers are let go together, the others are only asked for anew.
                stored.outdate(now);
            }
            if any && !soft {
                matching.push(key);
            }
        }
        for key in matching {
            self.drop_matching(&key, selector);
        }
        count
    }

    fn drop_matching(&self, key: &Key, selector: &Selector) {
        let _changing = lock(&self.changing);
        let Some(variants) = self.kept.peek(key) else { return };
        let left: Vec<_> = variants.0.iter().filter(|stored| !selector.means(stored)).cloned().collect();
        if left.is_empty() {
            self.kept.remove(key);
        } else {
            let weight = left.iter().map(|stored| stored.weight()).sum();
            self.kept.insert(key.clone(), Arc::new(Variants(left, weight)));
        }
    }

    /// Whether what was asked for before has been purged since.
    fn was_purged(&self, stored: &Stored) -> bool {
        let purges = lock(&self.purges);
        purges.iter().any(|(when, selector)| stored.freshness().asked() <= *when && selector.means(stored))
    }

    fn is_valid(&self, stored: &Stored) -> bool {
        let Url { host, path, .. } = stored.url();
        let places = self.changed.get();
        let changed = places.and_then(|places| places.get(place(host, path)));
        changed.is_none_or(|changed| changed.load(Ordering::Relaxed) < stored.freshness().asked())
    }

    /// Joins the fetch of this key that is under way, or begins one. One whose head is there already is joined where it
    /// `does`, like an answer that is kept: it was not asked for on behalf of who comes now. Keys whose answers are not
    /// kept are fetched by each for itself.
    pub fn board(self: &Arc<Self>, key: &Key, now: Millis, does: impl Fn(&Stored) -> bool) -> Boarded {
        if self.alone.get(&hash(key)).is_some_and(|until| now < until) {
            return Boarded::Leads(Flight::alone());
        }
        let mut flights = lock(&self.flights);
        let joinable = |flight: &&Arc<Flight>| match flight.landed() {
            Some(Landed::Shared(stored)) => does(&stored),
            Some(_) => false,
            None => true,
        };
        if let Some(flight) = flights.get(key).filter(joinable) {
            return Boarded::Follows(flight.ticket());
        }
        let flight = Flight::shared(self.clone(), key.clone());
        flights.insert(key.clone(), flight.clone());
        Boarded::Leads(flight)
    }

    /// Ends what others can join.
    pub(crate) fn land(&self, key: &Key, flight: &Flight) {
        let mut flights = lock(&self.flights);
        if flights.get(key).is_some_and(|known| std::ptr::eq(&**known, flight)) {
            flights.remove(key);
        }
    }

    /// Whether a fetch of this key is under way.
    pub fn is_flying(&self, key: &Key) -> bool {
        lock(&self.flights).contains_key(key)
    }

    /// The answer under this key is not kept: requests for it shall not wait for each other.
    pub fn leave_alone(&self, key: &Key, now: Millis) {
        self.alone.insert(hash(key), now + ALONE);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn place(host: &str, path: &str) -> usize {
    hash(&(host, path)) as usize % PLACES
}

#[cfg(test)]
mod tests;
