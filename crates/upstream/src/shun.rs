//! Remembers that an endpoint could not be connected to, so that others are preferred until it can be again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::clock;

/// How long the first failure counts, in milliseconds; each further one doubles it.
const FIRST: u64 = 10_000;
/// The longest that failures count, in milliseconds.
const LONGEST: u64 = 300_000;

/// When an endpoint may be preferred again. One failure is enough: nobody accepts connections there, and no client can
/// have caused that. It is forgotten as soon as a connection can be made (see [`crate::sweep`]); the time is for those to
/// which none can be made from here.
#[derive(Debug, Default)]
pub(crate) struct Shun {
    /// In milliseconds; 0: never failed, or forgotten.
    until: AtomicU64,
    /// When the last failure was over.
    over: AtomicU64,
    strikes: AtomicU32,
}

/// What a successor is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    until: i64,
    over: i64,
    strikes: u32,
}

impl Shun {
    /// What there is to tell of it.
    pub(crate) fn learnt(&self, now: u64) -> Option<Learnt> {
        let time = |time: &AtomicU64| clock::from_now(time.load(Relaxed), now);
        let strikes = self.strikes.load(Relaxed);
        (strikes != 0).then(|| Learnt { until: time(&self.until), over: time(&self.over), strikes })
    }

    /// Goes on as another one was.
    pub(crate) fn inherit(&self, learnt: &Learnt, now: u64) {
        self.until.store(clock::at(learnt.until, now), Relaxed);
        self.over.store(clock::at(learnt.over, now), Relaxed);
        self.strikes.store(learnt.strikes, Relaxed);
    }

    pub(crate) fn is_shunned(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// Remembers a failure; whether it is the first for a while.
    pub(crate) fn strike(&self, now: u64) -> bool {
        let until = self.until.load(Relaxed);
        if now < until {
            return false; // One of many requests that were under way: the same failure.
        }
        if now > self.over.load(Relaxed) + LONGEST {
            self.strikes.store(0, Relaxed);
        }
        let strikes = self.strikes.fetch_add(1, Relaxed).min(16);
        let until = now + (FIRST << strikes).min(LONGEST);
        self.until.store(until, Relaxed);
        self.over.store(until, Relaxed);
        true
    }

    /// Forgets the failure: a connection can be made.
    pub(crate) fn forget(&self) {
        self.until.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_longer_the_more_there_are_and_are_forgotten() {
        let shun = Shun::default();
        assert!(!shun.is_shunned(1));
        assert!(shun.strike(1_000));
        assert!(!shun.strike(1_001));
        assert!(shun.is_shunned(10_999) && !shun.is_shunned(11_000));
        assert!(shun.strike(12_000));
        assert!(shun.is_shunned(31_999) && !shun.is_shunned(32_000));
        assert!(shun.strike(32_000 + LONGEST + 1));
        assert!(!shun.is_shunned(32_000 + LONGEST + 1 + FIRST), "long ago");
        shun.strike(500_000);
        shun.forget();
        assert!(!shun.is_shunned(500_001));
    }
}
