//! Who was refused lately, for an operator who looks.

use std::{
    hash::BuildHasherDefault,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use indexmap::IndexMap;

use crate::{counters::Hashed, shard::Taken};

/// How many are remembered.
const CAPACITY: usize = 1024;

/// How many are looked at when one has to go.
const CANDIDATES: usize = 8;

/// The keys that limits have refused, the last thousand or so.
#[derive(Debug, Default)]
pub struct Limited(Mutex<IndexMap<Hashed, Entry, BuildHasherDefault<Taken>>>);

/// One key that a limit has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Whom it concerns. What may be a secret stands there as a fingerprint.
    pub key: Box<str>,
    /// How often it was refused since it was first.
    pub refused: u64,
    /// When it was refused last.
    pub last: SystemTime,
    /// When it may come again.
    pub until: SystemTime,
}

impl Limited {
    /// Remembers a refusal. `name` is asked for the limit and the key of one that is not known yet.
    pub(crate) fn note(&self, key: Hashed, wait: Duration, name: impl FnOnce() -> (Arc<str>, Box<str>)) {
        let last = SystemTime::now();
        let until = last + wait;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&key) {
            entry.refused += 1;
            (entry.last, entry.until) = (last, until);
            return;
        }
        if entries.len() >= CAPACITY {
            let start = fastrand::usize(..CAPACITY);
            let candidates = (0..CANDIDATES).map(|step| (start + step) % CAPACITY);
            let oldest = candidates.min_by_key(|index| entries.get_index(*index).map(|(_, entry)| entry.last));
            oldest.map(|index| entries.swap_remove_index(index));
        }
        let (limit, name) = name();
        entries.insert(key, Entry { limit, key: name, refused: 1, last, until });
    }

    /// Those that may not come again yet, the one refused last first.
    pub fn now(&self) -> Vec<Entry> {
        let now = SystemTime::now();
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut limited: Vec<Entry> = entries.values().filter(|entry| entry.until > now).cloned().collect();
        limited.sort_by_key(|entry| std::cmp::Reverse(entry.last));
        limited
    }

    /// The key that is shown so, where it was refused lately.
    pub(crate) fn find(&self, limit: &str, key: &str) -> Option<Hashed> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|(_, entry)| *entry.limit == *limit && *entry.key == *key).map(|(hashed, _)| *hashed)
    }

    pub(crate) fn forget(&self, key: Hashed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).swap_remove(&key);
    }
}
