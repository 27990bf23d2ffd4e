//! When a request is tried again, and how soon.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use filter::Reason;

use crate::{reading::Reading, tally::Tally};

/// So many retries at a time are always within the budget.
const ALWAYS: u32 = 3;
/// The longest back-off, as a multiple of the shortest.
const LONGEST: u32 = 10;

/// When and how often a request is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retries {
    /// How many more tries a request has after the first.
    pub attempts: u32,
    /// What is worth another try.
    pub on: Conditions,
    /// How many of the requests under way may be retries; `None` for any number.
    pub(crate) budget: Option<f32>,
    pub(crate) backoff: Duration,
}

/// What is worth another try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    pub(crate) connect: bool,
    pub(crate) reset: bool,
    pub(crate) timeout: bool,
    pub(crate) statuses: Box<[u16]>,
    /// A bit for each code of gRPC.
    pub(crate) grpc: u32,
}

/// The conditions that have a word, and those of gRPC with their codes.
pub(crate) const WORDS: [&str; 3] = ["connect", "reset", "timeout"];
pub(crate) const GRPC: [(&str, u32); 5] =
    [("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13), ("unavailable", 14)];

impl Default for Conditions {
    fn default() -> Self {
        Self { connect: true, reset: true, timeout: false, statuses: Box::default(), grpc: 0 }
    }
}

impl Conditions {
    /// Whether an attempt that failed like this is worth another.
    pub fn cover(&self, reading: Reading) -> bool {
        match reading.reason {
            // The backend was there, and has refused what it was sent: either word says it.
            Reason::UpstreamReset if !reading.sent => self.connect || self.reset,
            _ if !reading.sent => self.connect,
            Reason::UpstreamTimeout => self.timeout,
            _ => self.reset,
        }
    }

    /// Whether an answer with this status is worth another try.
    pub fn cover_status(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }

    /// Whether an answer with this `grpc-status` is worth another try.
    pub fn cover_grpc(&self, status: &[u8]) -> bool {
        self.grpc != 0 && code(status).is_some_and(|code| self.grpc >> code & 1 == 1)
    }
}

/// The number of a `grpc-status`: 0 to 16.
fn code(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|code| *code <= 16)
}

impl Retries {
    /// How long to wait before the retry number `n`, counted from 1: anything up to a bound that doubles, so that those
    /// who failed together do not come back together.
    pub fn backoff(&self, n: u32) -> Duration {
        let bound = self.backoff.saturating_mul((1 << n.min(16)) - 1).min(self.backoff.saturating_mul(LONGEST));
        bound.mul_f64(fastrand::f64())
    }

    fn has_budget(&self, tally: &Tally) -> bool {
        let Some(budget) = self.budget else { return true };
        let (retries, total) = (tally.retries.load(Relaxed), tally.total.load(Relaxed));
        retries < ALWAYS || (retries as f32) < budget * total as f32
    }
}

/// A retry of something that was sent, from the moment that it is decided until it is over.
#[derive(Debug)]
pub struct Resend {
    tally: Arc<Tally>,
    /// Whether it waits yet, and has no endpoint that would count it as under way.
    waits: bool,
}

impl Resend {
    pub(crate) fn new(retries: &Retries, tally: &Arc<Tally>) -> Option<Self> {
        retries.has_budget(tally).then(|| {
            tally.retries.fetch_add(1, Relaxed);
            tally.total.fetch_add(1, Relaxed);
            Self { tally: Arc::clone(tally), waits: true }
        })
    }

    /// It has an endpoint.
    pub fn is_under_way(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.tally.total.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Resend {
    fn drop(&mut self) {
        self.is_under_way();
        self.tally.retries.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Fault;

    fn retries() -> Retries {
        let backoff = Duration::from_millis(25);
        Retries { attempts: 1, on: Conditions::default(), budget: Some(0.2), backoff }
    }

    #[test]
    fn the_back_off_grows_and_is_bounded() {
        for _ in 0..200 {
            assert!(retries().backoff(1) <= Duration::from_millis(25));
            assert!(retries().backoff(2) <= Duration::from_millis(75));
            assert!(retries().backoff(40) <= Duration::from_millis(250));
        }
        assert!((0..200).any(|_| retries().backoff(2) > Duration::from_millis(25)));
    }

    #[test]
    fn retries_are_a_share_of_what_is_under_way() {
        let tally = Tally::default();
        let has = |total: u32, under_way: u32| {
            tally.total.store(total, Relaxed);
            tally.retries.store(under_way, Relaxed);
            retries().has_budget(&tally)
        };
        assert!(has(1, 0) && has(3, 2) && !has(3, 3));
        assert!(has(100, 19) && !has(100, 20));
    }

    #[test]
    fn what_is_worth_another_try() {
        let sent = |reason| Reading { reason, fault: Fault::Backend, sent: true };
        let on = Conditions::default();
        assert!(on.cover(sent(Reason::UpstreamReset)) && !on.cover(sent(Reason::UpstreamTimeout)));
        assert!(on.cover(Reading { sent: false, ..sent(Reason::UpstreamRefused) }));
        let refused = Reading { fault: Fault::Nobody, sent: false, ..sent(Reason::UpstreamReset) };
        for (connect, reset) in [(true, false), (false, true), (false, false)] {
            assert_eq!(Conditions { connect, reset, ..on.clone() }.cover(refused), connect || reset);
        }
        assert!(!on.cover_status(503) && !on.cover_grpc(b"14"));
        let on = Conditions { statuses: [502, 503].into(), grpc: 1 << 14, ..on };
        assert!(on.cover_status(503) && !on.cover_status(200) && !on.cover_grpc(b""));
        assert!(on.cover_grpc(b"14") && !on.cover_grpc(b"0") && !on.cover_grpc(b"99"));
    }
}
