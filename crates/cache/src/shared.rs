//! The tier in Redis, which several processes share: small answers, what was changed, and what was purged.
//!
//! Nobody depends on it. A request waits for Redis no longer than `timeout` of `[redis]` says, and not at all while it is
//! away; what is to be written is written by tasks of their own, a bounded number at once. Where what is known is not in Redis,
//! nothing older is to be there: it is taken away, if not now then when Redis is back.

mod telling;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use filter::View;
use http::{HeaderMap, HeaderName};
use store::{Down, Store};
use tokio::sync::{Notify, Semaphore};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    content::Content,
    course::Course,
    freshness::{self, Millis},
    key::{Key, selecting},
    ledger::{self, Ledger, Purge},
    lock,
    stored::{Label, Stored},
    wire::{In, Out},
    zone::{Reading, Zone},
};

/// The largest content that is shared.
const MOST: usize = 256 * 1024;

/// The longest that anything is shared.
const DAY: Millis = 24 * 60 * 60 * 1000;

/// What is not good for so long is not worth the way.
const WORTH: Millis = 1000;

/// How many answers are written at the same time.
const WRITERS: usize = 32;

/// Of how many names it is remembered that what is there is older than what is known, until Redis has been told.
const MOST_OLDER: usize = 4096;

/// The tier in Redis.
pub(crate) struct Shared {
    redis: Store,
    ledger: Arc<Ledger>,
    /// It is known what others have purged. Until then nothing that is there is believed: a purge takes nothing away from there.
    is_told: AtomicBool,
    writers: Arc<Semaphore>,
    /// What the others do not know yet, and whose turn it is.
    changed: Mutex<BTreeSet<usize>>,
    turn: AtomicUsize,
    purges: Mutex<VecDeque<Purge>>,
    /// Under which names there may be something that is older than what is known, and what is to be there.
    older: Mutex<BTreeMap<String, Instead>>,
    /// What was asked for by then is not believed: there was no room for the names of all that is older than what is known.
    believed: AtomicU64,
    /// What is in its place, once the configuration names another Redis.
    heir: OnceLock<Arc<Shared>>,
    wake: Arc<Notify>,
    dropped: AtomicU64,
    broken: AtomicU64,
}

/// What takes the place of what was asked for by then: a value and for how many milliseconds, or nothing.
#[derive(Clone, PartialEq, Eq)]
struct Instead {
    asked: Millis,
    value: Option<(Vec<u8>, Millis)>,
}

impl Shared {
    /// The tier in this Redis. To be called within a Tokio runtime.
    pub(crate) fn open(redis: &Store, ledger: Arc<Ledger>, zone: Weak<Zone>) -> Arc<Self> {
        let redis = redis.twin();
        redis.goes_live();
        let shared = Arc::new(Self {
            redis,
            ledger,
            is_told: AtomicBool::new(false),
            writers: Arc::new(Semaphore::new(WRITERS)),
            changed: Mutex::default(),
            turn: AtomicUsize::new(0),
            purges: Mutex::default(),
            older: Mutex::default(),
            believed: AtomicU64::new(0),
            heir: OnceLock::new(),
            wake: Arc::default(),
            dropped: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        });
        tokio::spawn(telling::tell_others(Arc::downgrade(&shared)));
        tokio::spawn(telling::follow_others(Arc::downgrade(&shared), zone));
        shared
    }

    /// Takes over what the tier of before has not told yet. It was not told either what is older there than what is known, so
    /// nothing of before is believed where there is any.
    pub(crate) fn inherit(self: &Arc<Self>, before: &Self) {
        let mut purges = lock(&before.purges);
        let mut changed = lock(&before.changed);
        // What is still to come comes here.
        let _ = before.heir.set(self.clone());
        lock(&self.changed).append(&mut changed);
        for purge in purges.drain(..) {
            purge.wait_in(&mut lock(&self.purges));
        }
        drop((purges, changed));
        let is_writing = before.writers.available_permits() < WRITERS;
        let now = if is_writing || !lock(&before.older).is_empty() { freshness::now() } else { 0 };
        self.believed.fetch_max(now.max(before.believed.load(Ordering::Relaxed)), Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(crate) fn is_of(&self, redis: &Store) -> bool {
        self.redis.is_like(redis)
    }

    pub(crate) fn reading(&self) -> Reading {
        let (dropped, broken) = (self.dropped.load(Ordering::Relaxed), self.broken.load(Ordering::Relaxed));
        Reading { dropped, broken, ..Reading::default() }
    }

    /// The kept answer for a request.
    pub(crate) async fn find(&self, key: &Key, request: &View<'_>) -> Option<Stored> {
        if !self.is_told.load(Ordering::Acquire) {
            return None;
        }
        let place = usize::from(ledger::place(request.host, request.path));
        let asked = [self.name(key), self.place(place)];
        if self.is_older(&asked[0]) {
            return None;
        }
        let mut values = self.redis.values(&asked).await.ok()?.into_iter();
        let (value, changed) = (values.next()?, values.next()?);
        if let Some(when) = changed.and_then(|when| Store::moment(&when)) {
            self.ledger.change_place(place, when);
        }
        let fields = &request.head.headers;
        let value = value?;
        let stored = match Value::read(&value) {
            Some(Value::Answer(record, content)) => read(key, record, content),
            Some(Value::Varies(names)) => {
                let asked = [self.variant(key, &names, fields)];
                if self.is_older(&asked[0]) {
                    return None;
                }
                let value = self.redis.values(&asked).await.ok()?.into_iter().next()??;
                match Value::read(&value) {
                    Some(Value::Answer(record, content)) => read(key, record, content),
                    _ => None,
                }
            }
            None => None,
        };
        let Some(stored) = stored else {
            self.broken.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.learn(stored.label()).await.ok()?;
        let (label, asked) = (stored.label(), stored.freshness().asked());
        stored.outdate(self.ledger.outdated(label, asked));
        let is_believed = asked > self.believed.load(Ordering::Relaxed);
        (is_believed && self.ledger.counts(label, asked) && stored.is_for(fields)).then_some(stored)
    }

    /// Asks when the groups of an answer were changed.
    async fn learn(&self, label: &Label) -> Result<(), Down> {
        let places: Vec<usize> = label.group_places().iter().map(|place| usize::from(*place)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = places.iter().map(|place| self.place(*place)).collect();
        for (place, changed) in places.into_iter().zip(self.redis.values(&names).await?) {
            if let Some(when) = changed.and_then(|when| Store::moment(&when)) {
                self.ledger.change_place(place, when);
            }
        }
        Ok(())
    }

    /// Writes an answer some time soon, if it is small and worth it. Where it is not, or cannot be written, what is older is
    /// not to stay in its place.
    pub(crate) fn keep(self: &Arc<Self>, course: &Arc<Course>, stored: &Arc<Stored>) {
        let key = course.key();
        let lasts = stored.freshness().does_for(freshness::now()).min(DAY);
        let content = stored.content().bytes().filter(|content| content.len() <= MOST && lasts >= WORTH);
        let Some(content) = content else { return self.leave_out(key, stored, lasts) };
        let Ok(writer) = self.writers.clone().try_acquire_owned() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return self.leave_out(key, stored, lasts);
        };
        let own = Value::Answer(&stored.record(key), &content).written(stored);
        let mut values = vec![(self.own_name(key, stored), own)];
        values.extend(self.varies(key, stored));
        {
            let mut older = lock(&self.older);
            let asked = stored.freshness().asked();
            for (name, _) in &values {
                // Where what is known is later than this, it is still to be told.
                if older.get(name).is_some_and(|instead| instead.asked <= asked) {
                    older.remove(name);
                }
            }
        }
        let (shared, course, stored) = (self.clone(), course.clone(), stored.clone());
        tokio::spawn(async move {
            let wrote = shared.write(&values, lasts, &stored).await;
            if wrote.is_err() {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
            // Who knows something later says so first, and then takes away what is here, or has put it in its place.
            if wrote.is_err() || stored.is_overtaken() {
                shared.replace(stored.freshness().asked(), values.into_iter().map(|(name, _)| (name, None)));
            }
            drop((writer, course));
        });
    }

    async fn write(&self, values: &[(String, Vec<u8>)], lasts: Millis, stored: &Stored) -> Result<(), Down> {
        for (name, value) in values {
            // Another process may have put something later there.
            if stored.is_overtaken() || !self.redis.put_after(name, value, lasts).await? {
                break;
            }
        }
        Ok(())
    }

    /// An answer is kept, but not here: what is older is not to be given in its place. Those for other requests stay.
    fn leave_out(&self, key: &Key, stored: &Stored, lasts: Millis) {
        let varies = self.varies(key, stored).map(|(name, value)| (name, (lasts >= WORTH).then_some((value, lasts))));
        let names = [(self.own_name(key, stored), None)].into_iter().chain(varies);
        self.replace(stored.freshness().asked(), names);
    }

    /// An answer is not kept at all: nothing under its key is to be given in its place, nor under the names of those that
    /// are `gone`. Without one it is they alone that are not to be found any more. What was `asked` for later stays.
    pub(crate) fn let_go(&self, key: &Key, asked: Millis, stored: Option<&Stored>, gone: &[Arc<Stored>]) {
        let own = stored.map(|stored| [self.own_name(key, stored), self.name(key)]);
        let names: Vec<_> = gone.iter().map(|gone| self.own_name(key, gone)).chain(own.into_iter().flatten()).collect();
        if !names.is_empty() {
            self.replace(asked, names.into_iter().map(|name| (name, None)));
        }
    }

    fn replace(&self, asked: Millis, names: impl IntoIterator<Item = (String, Option<(Vec<u8>, Millis)>)>) {
        let mut older = lock(&self.older);
        for (name, value) in names {
            let known = older.get(&name).map(|instead| instead.asked);
            if known.is_some_and(|known| known > asked) {
                continue;
            }
            if known.is_some() || older.len() < MOST_OLDER {
                older.insert(name, Instead { asked, value });
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                self.believed.store(freshness::now(), Ordering::Relaxed);
            }
        }
        drop(older);
        self.wake.notify_one();
    }

    /// Whether what is under a name is not to be used, because Redis was not told yet that there is something newer.
    fn is_older(&self, name: &str) -> bool {
        lock(&self.older).contains_key(name)
    }

    /// Something was changed there; the others are told.
    pub(crate) fn change(&self, place: usize) {
        let mut changed = lock(&self.changed);
        if let Some(heir) = self.heir.get() {
            drop(changed);
            heir.change(place);
        } else if changed.insert(place) {
            self.wake.notify_one();
        }
    }

    /// The others are told of a purge, if not now then when Redis is back.
    pub(crate) fn publish(&self, purge: &Purge) {
        let mut purges = lock(&self.purges);
        if let Some(heir) = self.heir.get() {
            drop(purges);
            return heir.publish(purge);
        }
        purge.wait_in(&mut purges);
        self.wake.notify_one();
    }

    fn name(&self, key: &Key) -> String {
        format!("{}:cache:{:032x}", self.redis.prefix(), key.hash())
    }

    /// The name of the answer itself.
    fn own_name(&self, key: &Key, stored: &Stored) -> String {
        if stored.selecting().is_empty() {
            return self.name(key);
        }
        let values_of = |wanted: &HeaderName| {
            stored.selecting().iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.clone())
        };
        self.variant_of(key, &names(stored), values_of)
    }

    /// What stands under the key where the answer does not, because it varies.
    fn varies(&self, key: &Key, stored: &Stored) -> Option<(String, Vec<u8>)> {
        let names = names(stored);
        (!names.is_empty()).then(|| (self.name(key), Value::Varies(names).written(stored)))
    }

    fn variant(&self, key: &Key, names: &[HeaderName], request: &HeaderMap) -> String {
        self.variant_of(key, names, |name| selecting(request, name))
    }

    fn variant_of(&self, key: &Key, names: &[HeaderName], value: impl Fn(&HeaderName) -> Option<Vec<u8>>) -> String {
        let mut out = Out::default();
        for name in names {
            out.text(name.as_str().as_bytes());
            out.maybe(value(name).as_deref());
        }
        format!("{}:{:032x}", self.name(key), xxh3_128(&out.0))
    }

    /// Where the moment of a change stands. It was written otherwise, and without `at`, before it was put in order.
    fn place(&self, place: usize) -> String {
        format!("{}:cache:changed:at:{place}", self.redis.prefix())
    }

    fn list(&self) -> String {
        format!("{}:cache:purges", self.redis.prefix())
    }
}

/// What an answer varies by.
fn names(stored: &Stored) -> Vec<HeaderName> {
    stored.selecting().iter().map(|(name, _)| name.clone()).collect()
}

/// What stands under a name: an answer, or what answers depend on that stand under further names.
enum Value<'a> {
    Answer(&'a [u8], &'a [u8]),
    Varies(Vec<HeaderName>),
}

impl<'a> Value<'a> {
    fn written(&self, stored: &Stored) -> Vec<u8> {
        let mut out = Out::default();
        out.0.extend_from_slice(Store::order(stored.freshness().asked()).as_bytes());
        match self {
            Self::Answer(record, content) => {
                out.flag(true);
                out.text(record);
                out.0.extend_from_slice(content);
            }
            Self::Varies(names) => {
                out.flag(false);
                names.iter().for_each(|name| out.text(name.as_str().as_bytes()));
            }
        }
        let sum = xxh3_64(&out.0);
        out.number(sum);
        out.0
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        let (value, sum) = value.split_at_checked(value.len().checked_sub(8)?)?;
        if In(sum).number()? != xxh3_64(value) {
            return None;
        }
        let mut from = In(value);
        from.take(store::ORDER)?;
        if from.flag()? {
            let record = from.text()?;
            return Some(Self::Answer(record, from.0));
        }
        let mut names = Vec::new();
        while !from.0.is_empty() {
            names.push(HeaderName::from_bytes(from.text()?).ok()?);
        }
        Some(Self::Varies(names))
    }
}

fn read(key: &Key, record: &[u8], content: &[u8]) -> Option<Stored> {
    let (own, stored) = Stored::read(record, Content::whole(Bytes::copy_from_slice(content)))?;
    (own == key.sealed()).then_some(stored)
}
