//! When a second backend is asked as well, because the first one takes its time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    durations::{Counted, Durations},
    tally::Tally,
};

/// The percentiles that one may go by.
pub(crate) const PERCENTILES: [(&str, f32); 5] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// One at a time is always within the budget.
const ALWAYS: u32 = 1;
/// What is kept of the counts from one look to the next, four times a second: what is ten seconds old counts for a third.
const KEPT: f32 = 0.975;
/// So few answers do not tell which one is late.
const ENOUGH: f32 = 50.0;

/// When and how often another backend is asked as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Hedge {
    pub(crate) after: After,
    /// How many more backends are asked at most.
    pub max: u32,
    /// How many of the requests under way may be such; `None` for any number.
    pub(crate) budget: Option<f32>,
}

impl Hedge {
    /// No other backend is asked.
    pub const NEVER: Self = Self { after: After::Percentile(0), max: 0, budget: None };

    /// As `explain` says it: `after p95, at most 1`.
    pub fn describe(&self) -> String {
        let after = match self.after {
            After::Time(time) => document::Duration(time).to_string(),
            After::Percentile(place) => PERCENTILES.get(place).map_or("", |(name, _)| name).to_owned(),
        };
        if self.max == 0 { "never".to_owned() } else { format!("after {after}, at most {}", self.max) }
    }
}

/// How long a backend is waited for before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Time(Duration),
    /// As long as the upstream's answers take; the place of the percentile.
    Percentile(usize),
}

/// How long an upstream's answers take, and how many of its requests are asked for a second time.
#[derive(Debug, Default)]
pub(crate) struct Hedging {
    /// Whether anybody goes by a percentile.
    watched: AtomicBool,
    durations: Durations,
    counted: Mutex<Counted>,
    /// The percentiles in microseconds; 0 where they are not known.
    percentiles: [AtomicU64; PERCENTILES.len()],
    under_way: AtomicU32,
}

impl Hedging {
    /// From now on it is counted how long answers take.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Relaxed);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    pub(crate) fn count(&self, took: Duration) {
        if self.is_watched() {
            self.durations.count(took);
        }
    }

    /// Finds the percentiles anew.
    pub(crate) fn look(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.fade(KEPT);
        self.durations.add_to(&mut counted);
        for (percentile, (_, share)) in self.percentiles.iter().zip(PERCENTILES) {
            let known = counted.quantile(share).filter(|_| counted.total() >= ENOUGH);
            percentile.store(known.map_or(0, |time| time.as_micros() as u64), Relaxed);
        }
    }

    /// How long to wait for a backend; `None` while that is not known.
    pub(crate) fn after(&self, after: After) -> Option<Duration> {
        match after {
            After::Time(time) => Some(time),
            After::Percentile(place) => {
                let micros = self.percentiles.get(place)?.load(Relaxed);
                (micros > 0).then(|| Duration::from_micros(micros))
            }
        }
    }
}

/// A request that is sent for a second time, while it is under way.
#[derive(Debug)]
pub struct Hedged(Arc<Tally>);

impl Hedged {
    /// `None` where it would be beyond the budget.
    pub(crate) fn new(hedge: &Hedge, tally: &Arc<Tally>) -> Option<Self> {
        let total = tally.total.load(Relaxed);
        let room = |under_way: u32| {
            let within = hedge.budget.is_none_or(|budget| (under_way as f32) < budget * total as f32);
            (under_way < ALWAYS || within).then_some(under_way + 1)
        };
        tally.hedging.under_way.fetch_update(Relaxed, Relaxed, room).ok().map(|_| Self(Arc::clone(tally)))
    }
}

impl Drop for Hedged {
    fn drop(&mut self) {
        self.0.hedging.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_known_once_enough_has_been_seen() {
        let hedging = Hedging::default();
        hedging.count(Duration::from_secs(1));
        hedging.watch();
        let p95 = After::Percentile(3);
        (0..49).for_each(|_| hedging.count(Duration::from_millis(10)));
        hedging.look();
        assert_eq!(hedging.after(p95), None);
        (0..60).for_each(|_| hedging.count(Duration::from_millis(10)));
        hedging.look();
        let known = hedging.after(p95).unwrap();
        assert!((Duration::from_millis(10)..Duration::from_millis(12)).contains(&known), "{known:?}");
        assert_eq!(hedging.after(After::Time(known)), Some(known));
    }

    #[test]
    fn hedges_are_a_share_of_what_is_under_way() {
        let (tally, hedge) =
            (Arc::new(Tally::default()), Hedge { after: After::Percentile(0), max: 1, budget: Some(0.1) });
        let first = Hedged::new(&hedge, &tally).unwrap();
        assert!(Hedged::new(&hedge, &tally).is_none());
        tally.total.store(20, Relaxed);
        let second = Hedged::new(&hedge, &tally).unwrap();
        assert!(Hedged::new(&hedge, &tally).is_none());
        drop((first, second));
        assert_eq!(tally.hedging.under_way.load(Relaxed), 0);
    }
}
