//! The tier in Redis, which several processes share: small answers, what was changed, and what was purged.
//!
//! Nobody depends on it. A request waits for Redis no longer than `timeout` of `[redis]` says, and not at all while it is
//! away; what is to be written is written by tasks of their own, a bounded number at once.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use filter::View;
use http::{HeaderMap, HeaderName};
use store::{Down, Store};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    content::Content,
    freshness::{self, Millis},
    key::{Key, selecting},
    ledger::{self, Ledger, PURGES, Purge},
    lock,
    purge::Selector,
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

/// How often it is looked for purges of others.
const PULSE: Duration = Duration::from_secs(1);

/// The tier in Redis.
pub(crate) struct Shared {
    redis: Store,
    ledger: Arc<Ledger>,
    writers: Arc<Semaphore>,
    /// What the others do not know yet.
    changed: Mutex<BTreeSet<usize>>,
    purges: Mutex<VecDeque<Purge>>,
    wake: Arc<Notify>,
    dropped: Arc<AtomicU64>,
    broken: AtomicU64,
}

impl Shared {
    /// The tier in this Redis. To be called within a Tokio runtime.
    pub(crate) fn open(redis: &Store, ledger: Arc<Ledger>, zone: Weak<Zone>) -> Arc<Self> {
        let redis = redis.twin();
        redis.goes_live();
        let shared = Arc::new(Self {
            redis,
            ledger,
            writers: Arc::new(Semaphore::new(WRITERS)),
            changed: Mutex::default(),
            purges: Mutex::default(),
            wake: Arc::default(),
            dropped: Arc::default(),
            broken: AtomicU64::new(0),
        });
        tokio::spawn(keep_up(Arc::downgrade(&shared), zone));
        shared
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
        let place = ledger::place(request.host, request.path);
        let asked = [self.name(key), self.place(place)];
        let mut values = self.redis.values(&asked).await.ok()?.into_iter();
        let (value, changed) = (values.next()?, values.next()?);
        if let Some(when) = changed.and_then(|when| In(&when).number()) {
            self.ledger.change_place(place, when);
        }
        let fields = &request.head.headers;
        let value = value?;
        let stored = match Value::read(&value) {
            Some(Value::Answer(record, content)) => read(key, record, content),
            Some(Value::Varies(names)) => {
                let asked = [self.variant(key, &names, fields)];
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
        (self.ledger.counts(label, asked) && stored.is_for(fields)).then_some(stored)
    }

    /// Asks when the groups of an answer were changed.
    async fn learn(&self, label: &Label) -> Result<(), Down> {
        let places: Vec<usize> = label.group_places().collect();
        if places.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = places.iter().map(|place| self.place(*place)).collect();
        for (place, changed) in places.into_iter().zip(self.redis.values(&names).await?) {
            if let Some(when) = changed.and_then(|when| In(&when).number()) {
                self.ledger.change_place(place, when);
            }
        }
        Ok(())
    }

    /// Writes an answer some time soon, if it is small and worth it.
    pub(crate) fn keep(&self, key: &Key, stored: &Stored) {
        let lasts = stored.freshness().does_for(freshness::now()).min(DAY);
        let Some(content) = stored.content().bytes().filter(|content| content.len() <= MOST) else { return };
        if lasts < WORTH {
            return;
        }
        let Ok(writer) = self.writers.clone().try_acquire_owned() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let names: Vec<HeaderName> = stored.selecting().iter().map(|(name, _)| name.clone()).collect();
        let mut values = vec![(self.name(key), Value::Answer(&stored.record(key), &content).written())];
        if !names.is_empty() {
            let values_of = |wanted: &HeaderName| {
                stored.selecting().iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.clone())
            };
            values[0].0 = self.variant_of(key, &names, values_of);
            values.push((self.name(key), Value::Varies(names).written()));
        }
        let (redis, dropped) = (self.redis.clone(), self.dropped.clone());
        tokio::spawn(async move {
            for (name, value) in values {
                if redis.put(&name, &value, lasts).await.is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
            drop(writer);
        });
    }

    /// Something was changed there; the others are told.
    pub(crate) fn change(&self, place: usize) {
        if lock(&self.changed).insert(place) {
            self.wake.notify_one();
        }
    }

    /// The others are told of a purge, if not now then when Redis is back.
    pub(crate) fn publish(&self, purge: &Purge) {
        let mut purges = lock(&self.purges);
        if purges.len() == PURGES {
            *purges = [Purge { soft: false, selector: Selector::All, ..purge.clone() }].into();
        }
        purges.push_back(purge.clone());
        self.wake.notify_one();
    }

    /// Tells what the others do not know yet.
    async fn tell(&self) -> Result<(), Down> {
        loop {
            let Some(place) = lock(&self.changed).first().copied() else { break };
            let when = self.ledger.changed_at(place);
            self.redis.put(&self.place(place), &when.to_le_bytes(), DAY).await?;
            // What was changed again meanwhile is told again.
            if self.ledger.changed_at(place) == when {
                lock(&self.changed).remove(&place);
            }
        }
        loop {
            let Some(purge) = lock(&self.purges).front().cloned() else { return Ok(()) };
            let mut out = Out::default();
            out.number(purge.when);
            out.flag(purge.soft);
            purge.selector.write(&mut out);
            self.redis.append(&self.list(), &out.0, PURGES).await?;
            let mut purges = lock(&self.purges);
            if purges.front() == Some(&purge) {
                purges.pop_front();
            }
        }
    }

    fn name(&self, key: &Key) -> String {
        format!("{}:cache:{:032x}", self.redis.prefix(), key.hash())
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

    fn place(&self, place: usize) -> String {
        format!("{}:cache:changed:{place}", self.redis.prefix())
    }

    fn list(&self) -> String {
        format!("{}:cache:purges", self.redis.prefix())
    }
}

/// What stands under a name: an answer, or what answers depend on that stand under further names.
enum Value<'a> {
    Answer(&'a [u8], &'a [u8]),
    Varies(Vec<HeaderName>),
}

impl<'a> Value<'a> {
    fn written(&self) -> Vec<u8> {
        let mut out = Out::default();
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
    (own == *key).then_some(stored)
}

/// Tells what the others do not know, and carries out what they have ordered, for as long as the tier is there.
async fn keep_up(shared: Weak<Shared>, zone: Weak<Zone>) {
    let Some(wake) = shared.upgrade().map(|shared| shared.wake.clone()) else { return };
    let mut last = "0".to_owned();
    loop {
        {
            let (Some(shared), Some(zone)) = (shared.upgrade(), zone.upgrade()) else { return };
            // While Redis is away it stays what is to be told.
            let _ = shared.tell().await;
            if let Ok(entries) = shared.redis.since(&shared.list(), &last, PURGES).await {
                if let Some((name, _)) = entries.last() {
                    last.clone_from(name);
                }
                follow(&shared.ledger, zone, &entries).await;
            }
        }
        let _ = timeout(PULSE, wake.notified()).await;
    }
}

async fn follow(ledger: &Ledger, zone: Arc<Zone>, entries: &[(String, Vec<u8>)]) {
    let read = |(_, entry): &(String, Vec<u8>)| {
        let mut from = In(entry);
        Some(Purge { when: from.number()?, soft: from.flag()?, selector: Selector::take(&mut from)? })
    };
    let purges: Vec<Purge> = entries.iter().filter_map(read).collect();
    // What was before the oldest that is known is known no more.
    if let Some(oldest) = purges.first().filter(|_| entries.len() >= PURGES) {
        ledger.forget_before(oldest.when);
    }
    if !purges.is_empty() {
        let carry_out = move || purges.iter().map(|purge| zone.carry_out(purge)).sum::<u64>();
        let _ = tokio::task::spawn_blocking(carry_out).await;
    }
}
