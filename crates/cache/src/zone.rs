//! Where answers are kept, for all routes together: in memory, bounded in bytes, with the other tiers behind it.

mod boarding;
mod news;
mod purging;
mod size;
mod variants;

use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use filter::View;
use http::{HeaderMap, header::AUTHORIZATION};
use quick_cache::{OptionsBuilder, sync::Cache};

use self::{
    boarding::Flights,
    news::News,
    purging::Gates,
    variants::{ByBytes, CountEvictions, Variants},
};
use crate::{
    compile::{SHARE, Settings},
    content::{Coding, Content},
    course::{Course, Courses},
    disk::Disk,
    freshness::Millis,
    key::{Key, Selecting},
    ledger::{self, Ledger},
    lock,
    room::{Place, Room},
    shared::Shared,
    status::Tier,
    stored::Stored,
};

/// How many answers are kept under one key for different values of what they vary by.
const VARIANTS: usize = 32;

/// In how many parts the memory is split, each with a lock of its own. Few, because each bounds its own share, and the largest
/// answer, a quarter of the memory with what it takes besides, has to fit into one.
const SHARDS: usize = 2;

/// How many keys are known whose answers are not kept.
const MOST_ALONE: usize = 16 * 1024;

/// All kept answers. Outlives every configuration.
pub struct Zone {
    kept: Cache<Key, Arc<Variants>, ByBytes, quick_cache::DefaultHashBuilder, CountEvictions>,
    /// Changing what is kept under a key is two steps.
    changing: Mutex<()>,
    /// So is changing how much may be kept.
    sizing: Mutex<()>,
    gates: Gates,
    flights: Mutex<HashMap<Key, Flights>>,
    courses: Arc<Courses>,
    alone: Cache<u64, Millis>,
    ledger: Arc<Ledger>,
    news: News,
    room: Arc<Room>,
    pub(crate) disk: ArcSwapOption<Disk>,
    shared: ArcSwapOption<Shared>,
    evictions: Arc<AtomicU64>,
    capacity: AtomicU64,
}

/// What a tier holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// How many bytes it may hold; 0 where that is not known.
    pub capacity: u64,
    /// How many bytes it holds.
    pub bytes: u64,
    /// Under how many keys.
    pub entries: u64,
    /// How many were let go to make room.
    pub evictions: u64,
    /// How many answers it could not take in time.
    pub dropped: u64,
    /// How many it had that were not what had been given to it.
    pub broken: u64,
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
            sizing: Mutex::default(),
            gates: Gates::default(),
            flights: Mutex::default(),
            courses: Arc::default(),
            alone: Cache::new(MOST_ALONE),
            ledger: Arc::default(),
            news: News::default(),
            room: Arc::default(),
            disk: ArcSwapOption::empty(),
            shared: ArcSwapOption::empty(),
            evictions,
            capacity: AtomicU64::new(0),
        }
    }

    /// Gives it the room and the tiers of a configuration. What is on disk stays there, for when it is configured again.
    pub fn arrange(self: &Arc<Self>, settings: &Settings, redis: Option<&store::Store>) {
        self.resize(settings.memory);
        let now = self.disk.load_full();
        match (&settings.disk, now) {
            (Some(wanted), Some(disk)) if disk.is_in(&wanted.path) => disk.resize(wanted, settings.memory),
            (wanted, before) => {
                before.iter().for_each(|disk| disk.close());
                let open = |wanted| Disk::open(wanted, settings.memory, self.ledger.clone(), self.room.clone());
                let opened = wanted.as_ref().map(open).transpose();
                let told = |error| log::error!("cache: nothing is kept on disk: {error}");
                self.disk.store(opened.unwrap_or_else(|error| {
                    told(error);
                    None
                }));
            }
        }
        let redis = redis.filter(|_| settings.redis);
        let now = self.shared.load_full();
        match (redis, now) {
            (Some(redis), Some(shared)) if shared.is_of(redis) => {}
            (redis, before) => {
                let opened = redis.map(|redis| Shared::open(redis, self.ledger.clone(), Arc::downgrade(self)));
                if let (Some(opened), Some(before)) = (&opened, before) {
                    opened.inherit(&before);
                }
                self.shared.store(opened);
            }
        }
    }

    /// Lets go of the tiers that another process may want to have.
    pub fn close(&self) {
        self.disk.load().iter().for_each(|disk| disk.close());
    }

    /// Closes it, and waits until what is to be written is. To be called where waiting is allowed.
    pub fn finish(&self, longest: Duration) {
        self.close();
        self.disk.load().iter().for_each(|disk| disk.wait(longest));
    }

    /// What each of its tiers holds.
    pub fn tiers(&self) -> Vec<(&'static str, Reading)> {
        let disk = self.disk.load_full().map(|disk| ("disk", disk.reading()));
        let shared = self.shared.load_full().map(|shared| ("redis", shared.reading()));
        [("memory", self.reading())].into_iter().chain(disk).chain(shared).collect()
    }

    /// What it holds in memory.
    pub fn reading(&self) -> Reading {
        Reading {
            capacity: self.capacity.load(Ordering::Relaxed),
            bytes: self.kept.weight(),
            entries: self.kept.len() as u64,
            evictions: self.evictions.load(Ordering::Relaxed),
            ..Reading::default()
        }
    }

    /// The kept answer for a request, in memory.
    pub fn find(&self, key: &Key, request: &HeaderMap) -> Option<Arc<Stored>> {
        let (variants, request) = (self.kept.get(key)?, Selecting::of(request));
        let found = variants.answers.iter().find(|stored| stored.answers(&request))?;
        self.is_valid(found).then(|| found.clone())
    }

    /// Whether anything is kept under a key that may be used again, for whichever request.
    pub fn has(&self, key: &Key) -> bool {
        self.kept.peek(key).is_some_and(|variants| variants.answers.iter().any(|stored| self.is_valid(stored)))
    }

    /// Whether there is a file with an answer to the request.
    pub fn has_on_disk(&self, key: &Key, request: &HeaderMap) -> bool {
        self.disk.load().as_ref().is_some_and(|disk| disk.has(key, request))
    }

    /// Looks for an answer in the other tiers, and takes it into memory where it is small. One that was asked for before
    /// `than` is of no use. Says where it was.
    pub async fn seek(&self, key: &Key, request: &View<'_>, than: Millis) -> Option<(Arc<Stored>, Tier)> {
        let (disk, shared) = (self.disk.load_full().filter(|_| than == 0), self.shared.load_full());
        if disk.is_none() && shared.is_none() {
            return None;
        }
        let course = self.begin(key);
        if let Some(disk) = disk
            && let Some((stored, _coming)) = disk.find(key, &request.head.headers).await
        {
            if stored.content().file().is_none() {
                course.bring(&stored);
                self.keep_in_memory(&course, stored.clone());
            }
            return Some((stored, Tier::Disk));
        }
        let stored = Arc::new(shared?.find(key, request).await.filter(|stored| stored.freshness().asked() > than)?);
        course.bring(&stored);
        self.keep_in_memory(&course, stored.clone());
        Some((stored, Tier::Redis))
    }

    /// Content of which nothing has come, and of which so much may be kept. It has no more than there is room for beside all other.
    pub fn content(&self, length: Option<u64>, most: u64) -> Arc<Content> {
        Content::growing(length, most, self.place())
    }

    /// Room for something that is made to be kept.
    pub fn place(&self) -> Place {
        self.room.place()
    }

    /// Something under this key is about to be asked for, on its way into the cache.
    pub fn begin(&self, key: &Key) -> Arc<Course> {
        self.courses.begin(key)
    }

    /// Whether other processes may have what is kept here no more.
    pub fn is_shared(&self) -> bool {
        self.shared.load().is_some()
    }

    /// Whether nothing was changed or purged since it was asked for that it is about, and no later one has come meanwhile. What
    /// was made stale by order is from here on.
    pub fn counts(&self, stored: &Stored) -> bool {
        self.outdate(stored);
        !stored.is_overtaken() && self.ledger.counts(stored.label(), stored.freshness().asked())
    }

    /// Keeps an answer to this request whose content is whole, unless a later one for the same requests was faster.
    pub fn keep(&self, course: &Arc<Course>, stored: Arc<Stored>, request: &HeaderMap) {
        let (key, asked) = (course.key(), stored.freshness().asked());
        course.bring(&stored);
        let is_late = || self.kept.peek(key).is_some_and(|variants| variants.have_later(&stored));
        if !stored.content().is_whole() || !self.counts(&stored) || is_late() {
            return;
        }
        course.overtake(asked, request, Some(&stored));
        if stored.content().grows_in().is_none()
            && let Some(disk) = &*self.disk.load()
        {
            disk.keep(course, &stored);
        }
        if let Some(shared) = &*self.shared.load() {
            shared.keep(course, &stored);
        }
        if stored.content().is_in_memory() {
            self.keep_in_memory(course, stored);
        } else {
            self.drop_of(key, |other| stored.replaces(other) && other.freshness().asked() < asked);
        }
    }

    /// The longest content that is kept in memory.
    pub fn most_in_memory(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed) / SHARE
    }

    /// Whether content of this length can be kept at all. An answer whose length nobody tells is kept in memory or not.
    pub fn has_room(&self, stored: &Stored) -> bool {
        let fits = stored.content().length().is_none_or(|length| length <= self.most_in_memory());
        fits || self.disk.load().as_ref().is_some_and(|disk| disk.takes(stored))
    }

    /// Makes room in memory for an answer that is to be kept and of which nothing has come yet, or has it written to disk as it
    /// comes, where memory is not to hold it.
    pub async fn prepare(&self, key: &Key, stored: &Stored) {
        let Some(most) = stored.content().most() else { return };
        let Some(length) = stored.content().length().filter(|length| *length > self.most_in_memory()) else {
            return self.make_room(most);
        };
        let disk = self.disk.load_full();
        let file = match &disk {
            Some(disk) => disk.begin(key, stored, length).await,
            None => None,
        };
        match file {
            Some(file) => stored.content().grow_in(file),
            None => stored.content().pass(),
        }
    }

    /// [Keeps](Zone::keep) an answer whose content may have been written to disk as it came.
    pub async fn keep_fetched(&self, course: &Arc<Course>, stored: Arc<Stored>, request: &HeaderMap) {
        if stored.content().has_passed() {
            return self.let_go_of_older(course, &stored, request);
        }
        if let (Some(file), Some(disk)) = (stored.content().grows_in().cloned(), self.disk.load_full())
            && stored.content().is_whole()
        {
            self.outdate(&stored);
            disk.adopt(course, &stored, file).await;
        }
        self.keep(course, stored, request);
    }

    /// What was purged or overtaken is not kept. It was [brought](Course::bring) before.
    fn keep_in_memory(&self, course: &Course, stored: Arc<Stored>) {
        self.insert(course, &stored);
        // Who knows something later says so first, and then looks whether it is here, without the lock.
        if stored.is_overtaken() {
            self.drop_of(course.key(), |other| std::ptr::eq(other, &*stored));
        }
    }

    fn insert(&self, course: &Course, stored: &Arc<Stored>) {
        let key = course.key();
        let _changing = lock(&self.changing);
        if self.was_purged(stored, course.began()) || stored.is_overtaken() {
            return;
        }
        self.outdate(stored);
        stored.content().settle(&self.room);
        let (stored, does) = (stored.clone(), stored.does_while_revalidating(crate::now()));
        let mut variants = vec![stored];
        if let Some(old) = self.kept.peek(key) {
            if old.have_later(&variants[0]) {
                return;
            }
            old.are_replaced.store(true, Ordering::Relaxed);
            let others = old.answers.iter().filter(|other| !variants[0].replaces(other) && self.is_valid(other));
            variants.extend(others.take(VARIANTS - 1).cloned().collect::<Vec<_>>());
            // What comes out of another tier need not be the latest.
            variants.sort_by_key(|stored| Reverse(stored.freshness().asked()));
        }
        self.kept.insert(key.clone(), Variants::new(variants, self.most_in_memory()));
        if does {
            self.alone.remove(&hash(key));
        }
    }

    /// Keeps the content of an answer in another coding as well, for as long as the answer is kept.
    pub fn keep_encoded(&self, key: &Key, stored: &Arc<Stored>, coding: Coding, bytes: Bytes) {
        // What is too heavy for its shard is let go as a whole.
        if stored.weight() + bytes.len() as u64 > self.capacity.load(Ordering::Relaxed) / 5 * 2 {
            return;
        }
        stored.content().keep_encoded(coding, bytes, &self.room);
        let _changing = lock(&self.changing);
        let Some(variants) = self.kept.peek(key) else { return };
        if variants.answers.iter().any(|answer| Arc::ptr_eq(answer, stored)) {
            // It weighs more than it did.
            variants.are_replaced.store(true, Ordering::Relaxed);
            self.kept.insert(key.clone(), Variants::new(variants.answers.clone(), self.most_in_memory()));
        }
    }

    /// Something was changed at this path of this host: what was asked for before is not to be used again (RFC 9111
    /// section 4.4). All its queries are meant, and every route.
    pub fn change(&self, host: &str, path: &str, now: Millis) {
        let place = self.ledger.change(host, path, now);
        self.changed(place);
        self.shared.load().iter().for_each(|shared| shared.change(place));
    }

    fn changed(&self, place: usize) {
        self.disk.load().iter().for_each(|disk| disk.change(place));
        self.news.change(place);
    }

    /// The same for all answers of this host that are of this group (RFC 9875).
    pub fn change_group(&self, host: &str, group: &str, now: Millis) {
        self.change(&ledger::of_group(host), group, now);
    }

    /// Lets go of those answers under a key that are meant, in memory, and gives them.
    fn drop_of(&self, key: &Key, is_meant: impl Fn(&Stored) -> bool) -> Vec<Arc<Stored>> {
        // Most often there is nothing under the key, which takes no lock that all share to be seen.
        if self.kept.peek(key).is_none_or(|variants| !variants.answers.iter().any(|stored| is_meant(stored))) {
            return Vec::new();
        }
        let _changing = lock(&self.changing);
        let Some(variants) = self.kept.peek(key) else { return Vec::new() };
        let (gone, left): (Vec<_>, Vec<_>) = variants.answers.iter().cloned().partition(|stored| is_meant(stored));
        if left.is_empty() {
            self.kept.remove(key);
        } else if !gone.is_empty() {
            variants.are_replaced.store(true, Ordering::Relaxed);
            self.kept.insert(key.clone(), Variants::new(left, self.most_in_memory()));
        }
        gone
    }

    /// An answer is known that is not kept: nothing that is older is to be given to such a request in its place, out of
    /// whichever tier, nor to come there yet. Where it has `Authorization`, what is kept for everybody else is none of its
    /// business: only what is known to be for it is let go.
    pub fn let_go_of_older(&self, course: &Course, stored: &Stored, request: &HeaderMap) {
        let (key, asked) = (course.key(), stored.freshness().asked());
        course.overtake(asked + 1, request, None);
        if let Some(disk) = &*self.disk.load() {
            disk.let_go_for(key, asked, request);
        }
        let asking = Selecting::of(request);
        let is_older = |other: &Stored| other.freshness().asked() <= asked && other.answers(&asking);
        let mut gone = self.drop_of(key, is_older);
        if let Some(shared) = &*self.shared.load() {
            let own = (!request.contains_key(AUTHORIZATION)).then_some(stored);
            shared.let_go(key, asked, own, &gone);
        }
        // Who began to look into the other tiers after the first word may have found there what is gone by now.
        course.overtake(asked + 1, request, None);
        gone = self.drop_of(key, is_older);
        if let Some(shared) = &*self.shared.load()
            && !gone.is_empty()
        {
            shared.let_go(key, asked, None, &gone);
        }
    }

    /// Nothing that is kept in memory changes for as long as it is held.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, ()> {
        lock(&self.changing)
    }

    /// Whether an answer that was found at `since` or later was purged meanwhile, or before and may not have been let go of yet.
    pub fn was_purged(&self, stored: &Stored, since: Millis) -> bool {
        self.ledger.was_purged(stored.label(), stored.freshness().asked(), since)
    }

    /// Makes stale what was to be while it was on its way.
    fn outdate(&self, stored: &Stored) {
        stored.outdate(self.ledger.outdated(stored.label(), stored.freshness().asked()));
    }

    /// Whether nothing was changed since it was asked for that an answer is about.
    pub fn is_valid(&self, stored: &Stored) -> bool {
        self.ledger.is_valid(stored.label(), stored.freshness().asked())
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
