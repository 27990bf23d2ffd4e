//! A circuit breaker: after too many failures nothing is sent for a while, and then one request to see.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};
pub(crate) use telemetry::Circuit;

use crate::clock;

/// When to open, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) failures: u32,
    pub(crate) within: Duration,
    pub(crate) open_for: Duration,
}

/// The breaker of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Until when nothing is sent, in milliseconds; 0: closed. Past: half open.
    open_until: AtomicU64,
    /// Whether the one request of a half-open breaker is under way.
    trial: AtomicBool,
    failures: AtomicU32,
    /// Since when failures are counted.
    since: AtomicU64,
}

/// What a successor is told of a breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    open_until: i64,
    failures: u32,
    since: i64,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Be sent.
    Granted,
    /// Be sent, and tell how the endpoint is.
    Trial,
    Refused,
}

impl Breaker {
    pub(crate) fn circuit(&self, now: u64) -> Circuit {
        match self.open_until.load(Relaxed) {
            0 => Circuit::Closed,
            until if now < until => Circuit::Open,
            _ => Circuit::HalfOpen,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.open_until.load(Relaxed) == 0
    }

    /// Whether a request would get leave now.
    pub(crate) fn would_let(&self, now: u64) -> bool {
        match self.circuit(now) {
            Circuit::Closed => true,
            Circuit::HalfOpen => !self.trial.load(Relaxed),
            Circuit::Open => false,
        }
    }

    /// Asks leave for a request.
    pub(crate) fn ask(&self, now: u64) -> Leave {
        match self.circuit(now) {
            Circuit::Closed => Leave::Granted,
            Circuit::HalfOpen if !self.trial.swap(true, Relaxed) => Leave::Trial,
            _ => Leave::Refused,
        }
    }

    /// An answer came; whether that closes it.
    pub(crate) fn success(&self, trial: bool) -> bool {
        if !trial {
            return false;
        }
        self.failures.store(0, Relaxed);
        self.open_until.store(0, Relaxed);
        self.trial.store(false, Relaxed);
        true
    }

    /// None came; whether that opens it.
    pub(crate) fn failure(&self, trial: bool, rules: &Rules, now: u64) -> bool {
        if !trial {
            if self.open_until.load(Relaxed) != 0 {
                return false; // it was under way when the breaker opened
            }
            if now > self.since.load(Relaxed) + rules.within.as_millis() as u64 {
                self.since.store(now, Relaxed);
                self.failures.store(0, Relaxed);
            }
            if self.failures.fetch_add(1, Relaxed) + 1 < rules.failures {
                return false;
            }
        }
        self.open_until.store(now + rules.open_for.as_millis() as u64, Relaxed);
        self.trial.store(false, Relaxed);
        true
    }

    /// What there is to tell of it.
    pub(crate) fn learnt(&self, now: u64) -> Option<Learnt> {
        let (open_until, failures) = (self.open_until.load(Relaxed), self.failures.load(Relaxed));
        let since = clock::from_now(self.since.load(Relaxed), now);
        let learnt = || Learnt { open_until: clock::from_now(open_until, now), failures, since };
        (open_until != 0 || failures != 0).then(learnt)
    }

    /// Goes on as another one was.
    pub(crate) fn inherit(&self, learnt: &Learnt, now: u64) {
        self.open_until.store(clock::at(learnt.open_until, now), Relaxed);
        self.failures.store(learnt.failures, Relaxed);
        self.since.store(clock::at(learnt.since, now), Relaxed);
    }

    /// Nobody asks for it any more: it is as if it had never been.
    pub(crate) fn reset(&self) {
        self.failures.store(0, Relaxed);
        self.open_until.store(0, Relaxed);
        self.trial.store(false, Relaxed);
    }

    /// A trial ended without telling anything, such as when its client left.
    pub(crate) fn give_back(&self) {
        self.trial.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { failures: 3, within: Duration::from_secs(10), open_for: Duration::from_secs(30) };

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        assert!(!breaker.failure(false, &RULES, 1_000) && !breaker.failure(false, &RULES, 2_000));
        assert!(breaker.failure(false, &RULES, 3_000));
        breaker
    }

    #[test]
    fn failures_spread_over_time_do_not_open_it() {
        let breaker = Breaker::default();
        for now in 1..20 {
            assert!(!breaker.failure(false, &RULES, now * 6_000));
        }
        assert_eq!(breaker.circuit(200_000), Circuit::Closed);
    }

    #[test]
    fn one_request_tries_what_is_open() {
        let breaker = opened();
        assert_eq!((breaker.ask(32_999), breaker.circuit(32_999)), (Leave::Refused, Circuit::Open));
        assert!(breaker.would_let(33_000));
        assert_eq!((breaker.ask(33_000), breaker.ask(33_000)), (Leave::Trial, Leave::Refused));
        assert!(!breaker.would_let(33_000));
        assert!(breaker.failure(true, &RULES, 34_000));
        assert_eq!(breaker.circuit(63_999), Circuit::Open);
        assert_eq!(breaker.ask(64_000), Leave::Trial);
        breaker.give_back();
        assert_eq!(breaker.ask(64_001), Leave::Trial);
        assert!(breaker.success(true));
        assert_eq!((breaker.ask(64_002), breaker.circuit(64_002)), (Leave::Granted, Circuit::Closed));
    }

    #[test]
    fn what_was_under_way_when_it_opened_says_nothing() {
        let breaker = opened();
        assert!(!breaker.failure(false, &RULES, 4_000));
        assert!(!breaker.success(false));
        assert_eq!(breaker.circuit(5_000), Circuit::Open);
    }
}
