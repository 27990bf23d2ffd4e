//! An estimate of how often each of millions of clients has come, in memory that is the same whatever comes.
//!
//! A count-min sketch (Cormode and Muthukrishnan, 2005): a key is counted once in each of a few rows, in a place that
//! others share, and the smallest of the counts is nearest to the truth and never below it. Each place knows two windows
//! of the clock; of the one before counts what the sliding window still covers, as if it had been spread evenly.
//!
//! A place is one word: sixteen bits of the number of its window, then what was counted in the window before, then what
//! was counted in this one. What is too old counts as nothing, so that nothing has to be cleared.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    clock::{MILLISECOND, Now},
    counters::Hashed,
    rule::{Said, Standing},
    window::{MOST, Window},
};

/// How many rows there are. With probability 1 - 1/e^4 an estimate is too large by no more than [`WIDTH`] / e allows.
const ROWS: usize = 4;

/// How many places a row has: one too many, at most, for each 96,000 that were counted.
const WIDTH: usize = 1 << 18;

/// The bits of a count.
const BITS: u32 = 24;

/// What has been counted: 8 MiB.
pub(crate) struct Sketch(Box<[AtomicU64]>);

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sketch")
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self((0..ROWS * WIDTH).map(|_| AtomicU64::new(0)).collect())
    }
}

/// What one place says in a window: what was counted in the one before, and in this one.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    before: u32,
    now: u32,
}

impl Place {
    fn of(word: u64, epoch: u64) -> Self {
        let (before, now) = ((word >> BITS) as u32 & MOST, word as u32 & MOST);
        match (epoch & 0xffff).wrapping_sub(word >> (2 * BITS)) & 0xffff {
            0 => Self { before, now },
            1 => Self { before: now, now: 0 },
            _ => Self::default(),
        }
    }

    fn word(self, epoch: u64) -> u64 {
        (epoch & 0xffff) << (2 * BITS) | u64::from(self.before.min(MOST)) << BITS | u64::from(self.now.min(MOST))
    }
}

impl Sketch {
    /// The number of the window, and how many milliseconds of it are over.
    fn time(window: &Window, now: Now) -> (u64, u64) {
        (now.millis() / window.millis(), now.millis() % window.millis())
    }

    /// The places of a key, which is as good as random already.
    fn places(&self, key: Hashed) -> impl Iterator<Item = &AtomicU64> {
        (0..ROWS).filter_map(move |row| self.0.get(row * WIDTH + (key.0 >> (row * 24)) as usize % WIDTH))
    }

    /// The smallest of both counts.
    fn look(&self, key: Hashed, epoch: u64) -> Place {
        let smaller =
            |one: Place, other: Place| Place { before: one.before.min(other.before), now: one.now.min(other.now) };
        self.places(key).map(|place| Place::of(place.load(Relaxed), epoch)).reduce(smaller).unwrap_or_default()
    }

    pub(crate) fn ask(&self, window: &Window, key: Hashed, now: Now, cost: u32) -> Said {
        let (epoch, past) = Self::time(window, now);
        let (length, limit) = (window.millis(), u64::from(window.limit()));
        let Place { before, now } = self.look(key, epoch);
        let (before, after) = (u64::from(before), u64::from(now) + u64::from(cost));
        let fades = |count: u64, past: u64| (count * (length - past)).div_ceil(length);
        let used = fades(before, past) + after;
        if let Some(remaining) = limit.checked_sub(used) {
            let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
            return Said::Free(Standing { remaining, reset: (length - past) * MILLISECOND });
        }
        // The moment from which on `count` of a window that is over leaves this much room.
        let until = |count: u64, room: u64| length - (room * length / count.max(1)).min(length);
        let wait = match limit.checked_sub(after) {
            Some(room) => until(before, room).saturating_sub(past),
            None => length - past + until(u64::from(now), limit.saturating_sub(u64::from(cost))),
        };
        Said::Full { wait: wait.max(1) * MILLISECOND }
    }

    /// Counts, and returns what to give back by.
    pub(crate) fn charge(&self, window: &Window, key: Hashed, now: Now, cost: u32) -> u64 {
        let (epoch, _) = Self::time(window, now);
        self.change(key, epoch, |place| place.now = place.now.saturating_add(cost));
        epoch
    }

    pub(crate) fn give_back(&self, window: &Window, key: Hashed, now: Now, by: u64, cost: u32) {
        let (epoch, _) = Self::time(window, now);
        match epoch - by.min(epoch) {
            0 => self.change(key, epoch, |place| place.now = place.now.saturating_sub(cost)),
            1 => self.change(key, epoch, |place| place.before = place.before.saturating_sub(cost)),
            _ => {}
        }
    }

    /// Takes what a key is estimated at out of its places. Says whether that was anything.
    pub(crate) fn forgive(&self, window: &Window, key: Hashed, now: Now) -> bool {
        let (epoch, _) = Self::time(window, now);
        let own = self.look(key, epoch);
        self.change(key, epoch, |place| {
            place.now = place.now.saturating_sub(own.now);
            place.before = place.before.saturating_sub(own.before);
        });
        own.now > 0 || own.before > 0
    }

    fn change(&self, key: Hashed, epoch: u64, change: impl Fn(&mut Place)) {
        for word in self.places(key) {
            let changed = |before: u64| {
                let mut place = Place::of(before, epoch);
                change(&mut place);
                Some(place.word(epoch))
            };
            // It always changes to something.
            let _ = word.fetch_update(Relaxed, Relaxed, changed);
        }
    }

    /// Every place that says anything, for a successor.
    pub(crate) fn export(&self) -> impl Iterator<Item = (u32, u64)> {
        let words = self.0.iter().map(|word| word.load(Relaxed)).enumerate();
        words.filter(|(_, word)| *word != 0).map(|(index, word)| (index as u32, word))
    }

    /// Goes on with a place as a predecessor had it.
    pub(crate) fn import(&self, index: u32, word: u64) {
        if let Some(place) = self.0.get(index as usize) {
            place.store(word, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
