//! What stands under one key in memory, and what it weighs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use quick_cache::{Lifecycle, Weighter};

use crate::{key::Key, stored::Stored};

/// The answers under one key, the latest first.
pub(super) struct Variants {
    pub(super) answers: Vec<Arc<Stored>>,
    weight: u64,
    /// Others take their place. `quick_cache` tells of that as it does of an eviction.
    pub(super) are_replaced: AtomicBool,
}

impl Variants {
    /// Of these, the latest first, as many as take no more than `most`, and the latest in any case: what is too heavy for its
    /// shard is let go as a whole, and a few made up values of what an answer varies by must not come to that.
    pub(super) fn new(mut answers: Vec<Arc<Stored>>, most: u64) -> Arc<Self> {
        let (mut weight, mut fitting) = (0, 0);
        for own in answers.iter().map(|stored| stored.weight()) {
            if fitting > 0 && weight + own > most {
                break;
            }
            (weight, fitting) = (weight + own, fitting + 1);
        }
        answers.truncate(fitting);
        Arc::new(Self { answers, weight, are_replaced: AtomicBool::new(false) })
    }

    /// Whether one of them was asked for later than this one, for the same requests.
    pub(super) fn have_later(&self, stored: &Stored) -> bool {
        let asked = stored.freshness().asked();
        self.answers.iter().any(|other| stored.replaces(other) && other.freshness().asked() > asked)
    }
}

#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<Key, Arc<Variants>> for ByBytes {
    fn weight(&self, key: &Key, variants: &Arc<Variants>) -> u64 {
        key.0.len() as u64 + variants.weight
    }
}

#[derive(Clone)]
pub(super) struct CountEvictions(pub(super) Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Variants>> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, variants: Arc<Variants>) {
        if !variants.are_replaced.load(Ordering::Relaxed) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
