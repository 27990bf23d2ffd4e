//! How many requests an upstream may have at a time, found out from how long its answers take.
//!
//! A gradient, as Envoy's adaptive concurrency and Netflix's concurrency limits have it: while answers come about as fast as
//! they have at best the limit grows by its square root, and where they take longer it shrinks in proportion. Before a best
//! time is forgotten, the limit is let down for a moment to where nothing should have to wait, so that under lasting load the
//! next best time is a true one as well; an upstream that is slower for good gets a new one within a minute.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::durations::{Counted, Durations};

/// What a limit begins with, where its bounds allow.
const START: u32 = 20;
/// So few answers say nothing.
const ENOUGH: u32 = 20;
/// Nor do times of which a part is this machine's own.
const NOISE: Duration = Duration::from_millis(1);
/// A best time holds for as long, in milliseconds, and at most twice that.
const HOLDS: u64 = 30_000;
/// What is left free where the best time is looked for.
const SPARE: f32 = 0.9;
/// The limit never shrinks by more at a time.
const STEEPEST: f32 = 0.5;

/// As configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// How much longer than at best answers may take, as a part of it.
    pub(crate) tolerance: f32,
}

/// What is known of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Adaptive {
    /// 0 before it is known.
    limit: AtomicU32,
    /// Whether half of the limit or more was in use since it was last looked at: what nobody needs does not grow.
    used: AtomicBool,
    best: Mutex<Best>,
}

/// The best of the times of late.
#[derive(Debug, Default)]
struct Best {
    now: Option<Duration>,
    before: Option<Duration>,
    since: u64,
}

impl Best {
    /// The best of all that holds, `sample` among it, and whether it is time to look for a new one.
    fn with(&mut self, sample: Duration, now: u64) -> (Duration, bool) {
        let is_due = now.saturating_sub(self.since) > HOLDS;
        if is_due {
            (self.before, self.now, self.since) = (self.now, None, now);
        }
        let best = self.now.map_or(sample, |best| best.min(sample));
        self.now = Some(best);
        (self.before.map_or(best, |before| before.min(best)), is_due)
    }
}

impl Adaptive {
    /// How many there may be now.
    pub(crate) fn limit(&self, rules: &Rules) -> u32 {
        match self.limit.load(Relaxed) {
            0 => START.clamp(rules.min, rules.max),
            // A reload may have moved the bounds.
            limit => limit.clamp(rules.min, rules.max),
        }
    }

    /// Whether there is room for one more beside `total`. Requests that ask at the same moment may all be told that there is:
    /// as many too many as there are threads.
    pub(crate) fn has_room(&self, rules: &Rules, total: u32) -> bool {
        let limit = self.limit(rules);
        if total >= limit / 2 && !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
        total < limit
    }

    /// What has been found out; `None` before anything was.
    pub(crate) fn known(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit > 0)
    }

    /// Goes on with what another process has found out.
    pub(crate) fn resume(&self, limit: u32) {
        self.limit.store(limit, Relaxed);
    }

    /// Takes in what was counted, where it is enough to tell.
    pub(crate) fn look(&self, rules: &Rules, durations: &Durations, now: u64) {
        if durations.waiting() < ENOUGH {
            return;
        }
        let mut counted = Counted::default();
        durations.add_to(&mut counted);
        self.adapt(rules, &counted, now);
    }

    fn adapt(&self, rules: &Rules, counted: &Counted, now: u64) {
        let Some(sample) = counted.quantile(0.5) else { return };
        let (best, is_due) = self.best.lock().unwrap_or_else(PoisonError::into_inner).with(sample, now);
        let allowed = best.mul_f32(1.0 + rules.tolerance) + NOISE;
        let (limit, used) = (self.limit(rules), self.used.swap(false, Relaxed));
        let next = if is_due && sample > best {
            // As many as there would be if none of them had to wait.
            (limit as f32 * best.as_secs_f32() / sample.as_secs_f32() * SPARE) as u32
        } else if sample > allowed {
            let part = (allowed.as_secs_f32() / sample.as_secs_f32()).max(STEEPEST);
            ((limit as f32 * part) as u32).min(limit.saturating_sub(1))
        } else if used {
            limit + (limit as f32).sqrt().ceil() as u32
        } else {
            limit
        };
        self.limit.store(next.clamp(rules.min, rules.max), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { min: 5, max: 500, tolerance: 0.5 };

    /// An upstream that works on so many requests at a time, each for 100 ms; what is beyond waits.
    fn run(adaptive: &Adaptive, capacity: u32, wanted: u32, from: u64, rounds: u64) -> Vec<u32> {
        let round = |n: u64| {
            let under_way = wanted.min(adaptive.limit(&RULES));
            adaptive.has_room(&RULES, under_way - 1);
            let took = 100.0 * (under_way as f32 / capacity as f32).max(1.0);
            let durations = Durations::default();
            (0..100).for_each(|_| durations.count(Duration::from_secs_f32(took / 1000.0)));
            adaptive.look(&RULES, &durations, from + n * 250);
            adaptive.limit(&RULES)
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn it_settles_near_what_the_upstream_can_do() {
        let adaptive = Adaptive::default();
        assert_eq!(adaptive.limit(&RULES), START);
        // Ten minutes at full load: what is best is found again and again.
        let limits = run(&adaptive, 100, 10_000, 0, 2_400);
        for limit in &limits[100..] {
            assert!((70..=200).contains(limit), "{limit} of {limits:?}");
        }
    }

    #[test]
    fn what_nobody_needs_does_not_grow_and_the_bounds_hold() {
        let adaptive = Adaptive::default();
        assert!(run(&adaptive, 1_000, 5, 0, 50).iter().all(|limit| *limit == START));
        assert_eq!(*run(&adaptive, 100_000, 10_000, 20_000, 200).last().unwrap(), RULES.max);
        assert!(!adaptive.has_room(&RULES, RULES.max) && adaptive.has_room(&RULES, RULES.max - 1));
        let slow = Adaptive::default();
        run(&slow, 100, 50, 0, 10);
        assert_eq!(*run(&slow, 1, 10_000, 2_500, 20).last().unwrap(), RULES.min);
    }

    #[test]
    fn an_upstream_that_is_slower_for_good_is_not_held_down_for_ever() {
        let adaptive = Adaptive::default();
        run(&adaptive, 100, 10_000, 0, 100);
        let slower = |from: u64, rounds: u64| {
            for n in 0..rounds {
                adaptive.has_room(&RULES, adaptive.limit(&RULES) - 1);
                let durations = Durations::default();
                (0..100).for_each(|_| durations.count(Duration::from_millis(400)));
                adaptive.look(&RULES, &durations, from + n * 250);
            }
            adaptive.limit(&RULES)
        };
        assert_eq!(slower(25_000, 100), RULES.min);
        assert!(slower(50_000, 400) > 100, "{}", adaptive.limit(&RULES));
    }

    #[test]
    fn too_few_answers_say_nothing() {
        let (adaptive, durations) = (Adaptive::default(), Durations::default());
        (0..ENOUGH - 1).for_each(|_| durations.count(Duration::from_secs(9)));
        adaptive.look(&RULES, &durations, 0);
        assert_eq!((adaptive.limit(&RULES), durations.waiting()), (START, ENOUGH - 1));
    }
}
