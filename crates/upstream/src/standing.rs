//! What is known of one endpoint of an upstream: kept while any configuration has it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::{
    breaker::Breaker, clock, generation::Generation, latency::Latency, learnt::Known, outlier::Outlier, shun::Shun,
};

/// Reasons to look closer before an endpoint is picked. Where none is set, one look is enough.
pub(crate) const SHUNNED: u8 = 1;
pub(crate) const EJECTED: u8 = 2;
pub(crate) const BROKEN: u8 = 4;
pub(crate) const STARTING: u8 = 8;

/// The least part of its share that an endpoint gets while it starts.
const LEAST: f32 = 0.1;

/// How an endpoint is doing.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Standing {
    /// No two endpoints have the same, be they gone.
    pub(crate) id: u32,
    /// Requests under way.
    pub(crate) load: AtomicU32,
    marks: AtomicU8,
    pub(crate) shun: Shun,
    pub(crate) outlier: Outlier,
    pub(crate) breaker: Breaker,
    pub(crate) latency: Latency,
    pub(crate) generation: Generation,
    /// Since when it starts slowly, in milliseconds.
    started: AtomicU64,
    /// Whether it was fit for requests when it was last looked at.
    pub(crate) up: AtomicBool,
    /// Whether somebody is finding out whether a connection can be made.
    pub(crate) looked_at: AtomicBool,
}

impl Standing {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            load: AtomicU32::new(0),
            marks: AtomicU8::new(0),
            shun: Shun::default(),
            outlier: Outlier::default(),
            breaker: Breaker::default(),
            latency: Latency::default(),
            generation: Generation::default(),
            started: AtomicU64::new(0),
            up: AtomicBool::new(true),
            looked_at: AtomicBool::new(false),
        }
    }

    pub(crate) fn marks(&self) -> u8 {
        self.marks.load(Relaxed)
    }

    pub(crate) fn mark(&self, mark: u8) {
        self.marks.fetch_or(mark, Relaxed);
    }

    /// Takes a mark away that `holds` says no more of.
    pub(crate) fn unmark(&self, mark: u8, holds: impl Fn() -> bool) {
        self.marks.fetch_and(!mark, Relaxed);
        // It may have come back in between.
        if holds() {
            self.mark(mark);
        }
    }

    /// Begins with little and gets more from now on.
    pub(crate) fn start_slowly(&self, now: u64) {
        self.started.store(now, Relaxed);
        self.mark(STARTING);
    }

    pub(crate) fn is_starting(&self) -> bool {
        self.marks() & STARTING != 0
    }

    /// The part of its share that it gets now, of a start that takes `window` milliseconds.
    pub(crate) fn share(&self, window: u64, now: u64) -> f32 {
        let age = now.saturating_sub(self.started.load(Relaxed));
        if age >= window { 1.0 } else { (age as f32 / window as f32).max(LEAST) }
    }

    /// What there is to tell a successor.
    pub(crate) fn learnt(&self, now: u64) -> Known {
        Known {
            outlier: self.outlier.learnt(now),
            shun: self.shun.learnt(now),
            breaker: self.breaker.learnt(now),
            latency: self.latency.learnt(now),
            started: self.is_starting().then(|| clock::from_now(self.started.load(Relaxed), now)),
            check: None,
        }
    }

    /// Goes on as in the process before.
    pub(crate) fn inherit(&self, known: &Known, now: u64) {
        if let Some(outlier) = &known.outlier {
            self.outlier.inherit(outlier, now);
        }
        if let Some(shun) = &known.shun {
            self.shun.inherit(shun, now);
        }
        if let Some(breaker) = &known.breaker {
            self.breaker.inherit(breaker, now);
        }
        let marks = [
            (EJECTED, self.outlier.is_ejected(now)),
            (SHUNNED, self.shun.is_shunned(now)),
            (BROKEN, !self.breaker.is_closed()),
        ];
        marks.into_iter().filter(|(_, holds)| *holds).for_each(|(mark, _)| self.mark(mark));
        if let Some(latency) = known.latency {
            self.latency.inherit(latency, now);
        }
        if let Some(started) = known.started {
            self.start_slowly(clock::at(started, now));
        }
    }

    /// Takes a place of at most `most`.
    pub(crate) fn take_place(&self, most: Option<u32>) -> bool {
        match most {
            None => {
                self.load.fetch_add(1, Relaxed);
                true
            }
            Some(most) => self.load.fetch_update(Relaxed, Relaxed, |load| (load < most).then_some(load + 1)).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_slow_and_ends() {
        let standing = Standing::new(1);
        standing.start_slowly(1_000);
        assert_eq!(standing.share(10_000, 1_000), LEAST);
        assert_eq!(standing.share(10_000, 6_000), 0.5);
        assert_eq!(standing.share(10_000, 11_000), 1.0);
        assert_eq!(standing.marks(), STARTING);
        standing.unmark(STARTING, || false);
        assert_eq!(standing.marks(), 0);
    }

    #[test]
    fn places_are_taken_one_by_one() {
        let standing = Standing::new(1);
        assert!(standing.take_place(Some(2)) && standing.take_place(Some(2)));
        assert!(!standing.take_place(Some(2)));
        assert!(standing.take_place(None));
    }
}
