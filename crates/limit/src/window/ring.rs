//! A window in short, for times when there is no memory for more: nine counts in the place that every key has.
//!
//! Each count is of an eighth of the window, and is let go as a whole when the beginning of its eighth is a window ago. So
//! nothing is held for longer than it would be exactly, and nobody who keeps to a limit is refused because others have
//! taken the memory; and nothing is held for less than seven eighths of the window.

use crate::cell::Words;

/// The parts of a window.
pub(super) const EIGHTHS: u64 = 8;

/// How many of them a window may reach into.
const LANES: usize = 9;

/// The bit of the first word that no moment of a run has: 17 years after the machine was switched on.
const MARK: u64 = 1 << 63;

/// Where the moment is in the first word, whose lowest bits are the first count.
const MOMENT_BITS: u32 = 24;

/// The most that a lane counts, in units.
pub(super) const MOST: u32 = u16::MAX as u32;

/// What is counted, the newest part first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ring {
    /// The millisecond in which the newest part began.
    begin: u64,
    /// In units of the window, so that sixteen bits do for any limit.
    lanes: [u16; LANES],
}

/// What one lane stands for depends on the limit, which a reload may change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// How long a part is, in milliseconds.
    pub(super) part: u64,
    /// How many requests a unit is.
    pub(super) unit: u32,
}

impl Scale {
    /// When the part began that a millisecond is in. Whoever comes back to a part finds it as it was.
    pub(super) fn begin(self, millis: u64) -> u64 {
        millis - millis % self.part
    }
}

impl Ring {
    /// An empty one, whose newest part began then.
    pub(super) fn new(begin: u64) -> Self {
        Self { begin, lanes: [0; LANES] }
    }

    /// What the words of a cell say, where they are a ring.
    pub(super) fn of(words: &[u64]) -> Option<Self> {
        let &[first, second, third] = words else { return None };
        if first & MARK == 0 {
            return None;
        }
        let mut lanes = [first as u16; LANES];
        for (index, lane) in lanes.iter_mut().skip(1).enumerate() {
            *lane = ([second, third][index / 4] >> (16 * (index % 4))) as u16;
        }
        Some(Self { begin: (first & !MARK) >> MOMENT_BITS, lanes })
    }

    /// As the words of a cell, which have no memory beside it then.
    pub(super) fn words(&self) -> Words {
        let mut words = [MARK | self.begin << MOMENT_BITS | u64::from(self.lanes[0]), 0, 0];
        for (index, lane) in self.lanes.iter().skip(1).enumerate() {
            words[1 + index / 4] |= u64::from(*lane) << (16 * (index % 4));
        }
        Words::from_buf(words)
    }

    /// When its newest part began.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// When a lane began.
    fn began(&self, lane: usize, scale: Scale) -> u64 {
        self.begin.saturating_sub(scale.part * lane as u64)
    }

    /// The lane of the part that began then; `None` for one that was too long ago.
    fn lane(&self, begin: u64, scale: Scale) -> Option<usize> {
        let parts = self.begin.saturating_sub(begin).div_ceil(scale.part);
        usize::try_from(parts).ok().filter(|lane| *lane < LANES)
    }

    /// How many requests all lanes stand for: what is used, and less than a unit more.
    fn sum(&self, scale: Scale) -> u32 {
        let units: u32 = self.lanes.iter().map(|lane| u32::from(*lane)).sum();
        units.saturating_mul(scale.unit)
    }

    /// Moves on to the part of this millisecond.
    pub(super) fn turn(&mut self, millis: u64, scale: Scale) {
        let begin = scale.begin(millis);
        // Of two workers the one that read the clock first may come last.
        if begin > self.begin {
            let parts = usize::try_from((begin - self.begin).div_ceil(scale.part)).unwrap_or(LANES).min(LANES);
            self.lanes.rotate_right(parts);
            self.lanes[..parts].fill(0);
            self.begin = begin;
        }
    }

    /// Lets go what has ended, and says what is still used of `used`.
    pub(super) fn pass(&mut self, mut used: u32, scale: Scale, ended: impl Fn(u64) -> bool) -> u32 {
        for lane in 0..LANES {
            if self.lanes[lane] > 0 && ended(self.began(lane, scale)) {
                used = used.saturating_sub(u32::from(self.lanes[lane]) * scale.unit);
                self.lanes[lane] = 0;
            }
        }
        used.min(self.sum(scale))
    }

    /// Counts in the newest part, of which `used` is the sum of all then.
    pub(super) fn add(&mut self, used: u32, scale: Scale) {
        self.add_to(0, used, scale);
    }

    /// The same in the part that began then. Says whether there still is one.
    pub(super) fn add_at(&mut self, begin: u64, used: u32, scale: Scale) -> bool {
        let lane = self.lane(begin, scale);
        lane.inspect(|lane| self.add_to(*lane, used, scale)).is_some()
    }

    fn add_to(&mut self, lane: usize, used: u32, scale: Scale) {
        let units = used.saturating_sub(self.sum(scale)).div_ceil(scale.unit);
        self.lanes[lane] = self.lanes[lane].saturating_add(u16::try_from(units).unwrap_or(u16::MAX));
    }

    /// Takes `cost` of `used` back out of the part that began then. Says what is used still.
    pub(super) fn give_back(&mut self, begin: u64, used: u32, cost: u32, scale: Scale) -> u32 {
        let Some(lane) = self.lane(begin, scale) else { return used };
        let over = self.sum(scale).saturating_sub(used);
        let used = used.saturating_sub(cost.min(u32::from(self.lanes[lane]) * scale.unit + over));
        let units = (self.sum(scale).saturating_sub(used) / scale.unit).min(self.lanes[lane].into());
        self.lanes[lane] -= units as u16;
        used
    }

    /// When each part began in which there was something, the oldest first, and how much.
    pub(super) fn runs(&self, scale: Scale) -> impl Iterator<Item = (u64, u32)> {
        let lanes = (0..LANES).rev().filter(|lane| self.lanes[*lane] > 0);
        lanes.map(move |lane| (self.began(lane, scale), u32::from(self.lanes[lane]) * scale.unit))
    }
}
