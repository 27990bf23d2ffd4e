//! Takes an endpoint that fails again and again out of use for a while.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::clock;

/// The longest that an endpoint is out, in milliseconds, unless `eject_for` itself is longer.
const LONGEST: u64 = 300_000;

/// When to eject, as configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) consecutive_errors: u32,
    pub(crate) eject_for: Duration,
    /// The largest share of the endpoints that may be out at a time.
    pub(crate) max_ejected: f32,
    pub(crate) success_rate: Option<SuccessRate>,
}

/// What a successor is told of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    consecutive: u32,
    until: i64,
    since: i64,
    over: i64,
    times: u32,
}

/// When a share of good answers is low beside the others', as configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SuccessRate {
    /// How many standard deviations below the mean.
    pub(crate) deviations: f32,
    /// The least requests within an interval that a share is made of.
    pub(crate) requests: u32,
    /// The least endpoints with so many that are compared.
    pub(crate) backends: u32,
    pub(crate) interval: Duration,
}

/// One that gives so large a share of good answers is left alone however good the others are.
const GOOD_ENOUGH: f32 = 0.95;

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    consecutive: AtomicU32,
    /// In milliseconds; 0: not ejected.
    until: AtomicU64,
    /// When it was last ejected, and when it was or will be back.
    since: AtomicU64,
    over: AtomicU64,
    times: AtomicU32,
    /// Requests since the shares were last looked at, and in the lower half those among them that failed.
    count: AtomicU64,
}

impl Outlier {
    /// Counts a request for its share of good answers.
    pub(crate) fn count(&self, well: bool) {
        self.count.fetch_add(1 << 32 | u64::from(!well), Relaxed);
    }

    /// How many there were since the last time that this was asked, and how many of them failed.
    pub(crate) fn counted(&self) -> (u32, u32) {
        let count = self.count.swap(0, Relaxed);
        ((count >> 32) as u32, count as u32)
    }

    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// When it was last ejected.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// An answer came.
    pub(crate) fn success(&self) {
        if self.consecutive.load(Relaxed) != 0 {
            self.consecutive.store(0, Relaxed);
        }
    }

    /// None came; whether that was one too many.
    pub(crate) fn failure(&self, rules: &Rules) -> bool {
        self.consecutive.fetch_add(1, Relaxed) + 1 >= rules.consecutive_errors
    }

    /// Takes it out, for longer each time; gives for how long.
    pub(crate) fn eject(&self, rules: &Rules, now: u64) -> Duration {
        let base = rules.eject_for.as_millis() as u64;
        if now > self.over.load(Relaxed) + LONGEST.max(base) {
            self.times.store(0, Relaxed);
        }
        let times = u64::from(self.times.fetch_add(1, Relaxed)) + 1;
        let time = base.saturating_mul(times).min(LONGEST.max(base));
        self.since.store(now, Relaxed);
        self.until.store(now + time, Relaxed);
        self.over.store(now + time, Relaxed);
        self.consecutive.store(0, Relaxed);
        Duration::from_millis(time)
    }

    /// What there is to tell of it.
    pub(crate) fn learnt(&self, now: u64) -> Option<Learnt> {
        let time = |time: &AtomicU64| clock::from_now(time.load(Relaxed), now);
        let (consecutive, times) = (self.consecutive.load(Relaxed), self.times.load(Relaxed));
        let learnt = || Learnt {
            consecutive,
            until: time(&self.until),
            since: time(&self.since),
            over: time(&self.over),
            times,
        };
        (consecutive != 0 || times != 0).then(learnt)
    }

    /// Goes on as another one was.
    pub(crate) fn inherit(&self, learnt: &Learnt, now: u64) {
        self.consecutive.store(learnt.consecutive, Relaxed);
        self.until.store(clock::at(learnt.until, now), Relaxed);
        self.since.store(clock::at(learnt.since, now), Relaxed);
        self.over.store(clock::at(learnt.over, now), Relaxed);
        self.times.store(learnt.times, Relaxed);
    }

    /// Takes it back before its time.
    pub(crate) fn readmit(&self) {
        self.until.store(0, Relaxed);
        self.consecutive.store(0, Relaxed);
    }
}

/// The places of those whose share of good answers is too low, each of `counts` being requests and failures: as Envoy's
/// outlier detection by success rate, more than so many standard deviations below the mean of all that have had enough
/// requests, where enough have.
pub(crate) fn too_low(counts: &[(u32, u32)], rules: &SuccessRate) -> Vec<usize> {
    let rate = |&(all, failed): &(u32, u32)| 1.0 - failed as f32 / all as f32;
    let enough = |(all, _): &&(u32, u32)| *all > 0 && *all >= rules.requests;
    let rates: Vec<f32> = counts.iter().filter(enough).map(rate).collect();
    if rates.is_empty() || rates.len() < rules.backends as usize {
        return Vec::new();
    }
    let number = rates.len() as f32;
    let mean = rates.iter().sum::<f32>() / number;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f32>() / number;
    let threshold = (mean - rules.deviations * variance.sqrt()).min(GOOD_ENOUGH);
    let low = |(_, count): &(usize, &(u32, u32))| enough(count) && rate(count) < threshold;
    counts.iter().enumerate().filter(low).map(|(index, _)| index).collect()
}

/// How many of `count` endpoints may be out at a time: one where there is another, and what the share allows.
pub(crate) fn most_ejected(rules: &Rules, count: usize) -> usize {
    let share = (rules.max_ejected * count as f32).floor() as usize;
    if rules.max_ejected == 0.0 { 0 } else { share.max(1).min(count.saturating_sub(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { consecutive_errors: 3, eject_for: Duration::from_secs(30), max_ejected: 0.5, success_rate: None };

    #[test]
    fn only_errors_in_a_row_count() {
        let outlier = Outlier::default();
        for _ in 0..10 {
            assert!(!outlier.failure(&RULES) && !outlier.failure(&RULES));
            outlier.success();
        }
        assert!(!outlier.failure(&RULES) && !outlier.failure(&RULES) && outlier.failure(&RULES));
    }

    #[test]
    fn it_is_out_for_longer_each_time() {
        let outlier = Outlier::default();
        assert_eq!(outlier.eject(&RULES, 1_000).as_secs(), 30);
        assert!(outlier.is_ejected(30_999) && !outlier.is_ejected(31_000));
        assert_eq!(outlier.eject(&RULES, 40_000).as_secs(), 60);
        for _ in 0..20 {
            assert!(outlier.eject(&RULES, 100_000).as_secs() <= 300);
        }
        assert_eq!(outlier.eject(&RULES, 10_000_000).as_secs(), 30, "long ago is forgotten");
        outlier.readmit();
        assert!(!outlier.is_ejected(10_000_001));
    }

    #[test]
    fn never_all_are_out() {
        assert_eq!([1, 2, 3, 4, 5, 10].map(|count| most_ejected(&RULES, count)), [0, 1, 1, 2, 2, 5]);
        let all = Rules { max_ejected: 1.0, ..RULES };
        assert_eq!([1, 2, 10].map(|count| most_ejected(&all, count)), [0, 1, 9]);
        let none = Rules { max_ejected: 0.0, ..RULES };
        assert_eq!(most_ejected(&none, 10), 0);
    }

    #[test]
    fn a_low_share_of_good_answers_stands_out_among_the_others() {
        let rules = SuccessRate { deviations: 1.9, requests: 100, backends: 5, interval: Duration::from_secs(10) };
        let good = [(200, 0); 4];
        let with = |last: (u32, u32)| too_low(&[&good[..], &[last]].concat(), &rules);
        assert_eq!(with((200, 100)), [4]);
        assert_eq!(with((200, 200)), [4]);
        assert_eq!(with((200, 1)), [0; 0], "far from the others, and good all the same");
        assert_eq!(with((99, 99)), [0; 0], "too few requests to tell");
        assert_eq!(too_low(&[(200, 100); 5], &rules), [0; 0], "all are alike");
        assert_eq!(too_low(&[], &rules), [0; 0]);
        let outlier = Outlier::default();
        [true, false, true].into_iter().for_each(|well| outlier.count(well));
        assert_eq!((outlier.counted(), outlier.counted()), ((3, 1), (0, 0)));
    }
}
