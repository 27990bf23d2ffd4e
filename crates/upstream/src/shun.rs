//! Remembers that an address could not be reached, so that the other addresses of its name are preferred for a while.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// How long the first failure counts, in milliseconds; each further one doubles it.
const FIRST: u64 = 10_000;
/// The longest that failures count, in milliseconds.
const LONGEST: u64 = 300_000;

/// When an address may be preferred again. Matters only between addresses of one name (a host with an IPv6 address that
/// nothing listens on, say): which backends are healthy is a question of its own.
#[derive(Debug, Default)]
pub(crate) struct Shun {
    /// In milliseconds since the process began; 0: never failed.
    until: AtomicU64,
    strikes: AtomicU32,
}

impl Shun {
    /// Whether the address failed lately.
    pub(crate) fn is_shunned(&self) -> bool {
        self.is_shunned_at(now)
    }

    /// Remembers a failure.
    pub(crate) fn strike(&self) {
        self.strike_at(now());
    }

    fn is_shunned_at(&self, now: impl FnOnce() -> u64) -> bool {
        // The clock is not read for an address that never failed.
        match self.until.load(Relaxed) {
            0 => false,
            until => now() < until,
        }
    }

    fn strike_at(&self, now: u64) {
        let until = self.until.load(Relaxed);
        if now < until {
            return; // One of many requests that were under way: the same failure.
        }
        if now > until + LONGEST {
            self.strikes.store(0, Relaxed);
        }
        let strikes = self.strikes.fetch_add(1, Relaxed).min(16);
        self.until.store(now + (FIRST << strikes).min(LONGEST), Relaxed);
    }
}

fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_longer_the_more_there_are_and_are_forgotten() {
        let shun = Shun::default();
        assert!(!shun.is_shunned_at(|| 0));
        shun.strike_at(1_000);
        shun.strike_at(1_001);
        assert!(shun.is_shunned_at(|| 10_999));
        assert!(!shun.is_shunned_at(|| 11_000));
        shun.strike_at(12_000);
        assert!(shun.is_shunned_at(|| 31_999));
        assert!(!shun.is_shunned_at(|| 32_000));
        shun.strike_at(32_000 + LONGEST + 1);
        assert!(!shun.is_shunned_at(|| 32_000 + LONGEST + 1 + FIRST));
    }
}
