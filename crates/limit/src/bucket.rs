//! A steady rate with a bounded burst: the token bucket, as the generic cell rate algorithm (ITU-T I.371) counts it.
//!
//! The one word of a cell is the theoretical arrival time: when the bucket will be full again. Each request moves it on by
//! one interval; it may lie ahead by as many intervals as the burst allows.

use crate::{
    cell::Cell,
    clock::{Now, SECOND},
    rule::{Said, Standing},
};

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Nanoseconds that one token takes to come back, rounded up.
    interval: u64,
    burst: u32,
}

impl Bucket {
    pub(crate) fn new(count: u64, per: std::time::Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        Self { interval: per.div_ceil(count.max(1)).max(1), burst: burst.max(1) }
    }

    /// Its numbers, for a successor.
    pub(crate) fn words(&self) -> [u64; 3] {
        [self.interval, self.burst.into(), 0]
    }

    pub(crate) fn of_words([interval, burst, _]: [u64; 3]) -> Self {
        Self { interval: interval.max(1), burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1) }
    }

    pub(crate) fn burst(&self) -> u32 {
        self.burst
    }

    /// How long an empty bucket takes to fill, in seconds, rounded up.
    pub(crate) fn seconds(&self) -> u64 {
        self.depth().div_ceil(SECOND)
    }

    /// Microseconds that one token takes to come back, rounded up.
    pub(crate) fn micros(&self) -> u64 {
        self.interval.div_ceil(1000)
    }

    fn depth(&self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst))
    }

    /// How far the arrival time lies ahead after `cost` more.
    fn ahead(&self, cell: &Cell, now: Now, cost: u32) -> u64 {
        let ahead = cell.words.first().map_or(0, |arrival| arrival.saturating_sub(now.0));
        ahead.saturating_add(self.interval.saturating_mul(u64::from(cost)))
    }

    pub(crate) fn ask(&self, cell: &Cell, now: Now, cost: u32) -> Said {
        let (ahead, depth) = (self.ahead(cell, now, cost), self.depth());
        if ahead > depth {
            return Said::Full { wait: ahead - depth };
        }
        let remaining = u32::try_from((depth - ahead) / self.interval).unwrap_or(u32::MAX);
        // Until one more is there: what is missing of the token that is coming back.
        let reset = match ahead % self.interval {
            0 => self.interval.min(ahead.max(1)),
            part => part,
        };
        Said::Free(Standing { remaining, reset })
    }

    pub(crate) fn charge(&self, cell: &mut Cell, now: Now, cost: u32) -> u64 {
        let ahead = self.ahead(cell, now, cost);
        self.set(cell, now.0.saturating_add(ahead), ahead);
        0
    }

    pub(crate) fn give_back(&self, cell: &mut Cell, now: Now, cost: u32) {
        let Some(&arrival) = cell.words.first() else { return };
        let arrival = arrival.saturating_sub(self.interval.saturating_mul(u64::from(cost)));
        self.set(cell, arrival, arrival.saturating_sub(now.0));
    }

    fn set(&self, cell: &mut Cell, arrival: u64, ahead: u64) {
        cell.words.clear();
        cell.words.push(arrival);
        cell.used = u32::try_from(ahead.div_ceil(self.interval)).unwrap_or(u32::MAX);
        cell.expires = u32::try_from(arrival / SECOND + 1).unwrap_or(u32::MAX - 1);
    }
}

#[cfg(test)]
mod tests;
