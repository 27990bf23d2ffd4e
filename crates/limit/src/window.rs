//! At most so many in any window of time, exactly.
//!
//! Every charge is remembered until the window has passed it. Charges of the same millisecond share a word, and so do
//! those of the same 512th of the window where the limit is larger than that many: the word then says the end of that
//! part, so that nothing is ever let go too early, and late by a 512th at most.

use crate::{
    cell::Cell,
    clock::{MILLISECOND, Now},
    rule::{Said, Standing},
};

/// How many words a window needs at most.
const PARTS: u64 = 512;

/// The bits of a word that count.
const COUNT_BITS: u32 = 24;

/// The most that one word counts, and so the largest limit of a window.
pub(crate) const MOST: u32 = (1 << COUNT_BITS) - 1;

/// An exact sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// How many in any window.
    limit: u32,
    /// Its length in milliseconds.
    length: u64,
    /// How far apart charges are told from each other, in milliseconds.
    quantum: u64,
}

/// A run of charges: when the last of them was, and how many.
fn run(word: u64) -> (u64, u32) {
    (word >> COUNT_BITS, (word & u64::from(MOST)) as u32)
}

fn word(label: u64, count: u32) -> u64 {
    label << COUNT_BITS | u64::from(count)
}

impl Window {
    pub(crate) fn new(limit: u32, length: std::time::Duration) -> Self {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX >> COUNT_BITS).max(1);
        let quantum = if u64::from(limit) <= PARTS { 1 } else { length.div_ceil(PARTS) };
        Self { limit: limit.min(MOST), length, quantum }
    }

    /// Its numbers, for a successor.
    pub(crate) fn words(&self) -> [u64; 3] {
        [self.limit.into(), self.length, self.quantum]
    }

    pub(crate) fn of_words([limit, length, quantum]: [u64; 3]) -> Self {
        let limit = u32::try_from(limit).unwrap_or(MOST).min(MOST);
        Self { limit, length: length.clamp(1, u64::MAX >> COUNT_BITS), quantum: quantum.clamp(1, length.max(1)) }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn millis(&self) -> u64 {
        self.length
    }

    pub(crate) fn quantum(&self) -> u64 {
        self.quantum
    }

    /// In seconds, rounded up.
    pub(crate) fn seconds(&self) -> u64 {
        self.length.div_ceil(1000)
    }

    /// The millisecond that a charge of now is remembered under.
    fn label(&self, now: Now) -> u64 {
        let millis = now.millis();
        millis - millis % self.quantum + self.quantum - 1
    }

    /// From when on a run says nothing any more: a window after the end of its millisecond.
    fn end(&self, label: u64) -> u64 {
        label + self.length + 1
    }

    /// The runs that still count, and how much they say together.
    fn live<'c>(&self, cell: &'c Cell, now: Now) -> (&'c [u64], u32) {
        let mut used = cell.used;
        let mut past = 0;
        for &word in &cell.words {
            let (label, count) = run(word);
            if self.end(label) > now.millis() {
                break;
            }
            used = used.saturating_sub(count);
            past += 1;
        }
        (&cell.words[past..], used)
    }

    pub(crate) fn ask(&self, cell: &Cell, now: Now, cost: u32) -> Said {
        let (runs, used) = self.live(cell, now);
        let until = |label: u64| (self.end(label).saturating_sub(now.millis())) * MILLISECOND;
        let after = used.saturating_add(cost);
        if after <= self.limit {
            let reset = runs.first().map_or(self.length * MILLISECOND, |&word| until(run(word).0));
            return Said::Free(Standing { remaining: self.limit - after, reset });
        }
        let mut needed = after - self.limit;
        for &word in runs {
            let (label, count) = run(word);
            if count >= needed {
                return Said::Full { wait: until(label) };
            }
            needed -= count;
        }
        Said::Full { wait: self.length * MILLISECOND }
    }

    /// `roomy` says whether the cell may take more memory. Returns what to give back by.
    pub(crate) fn charge(&self, cell: &mut Cell, now: Now, cost: u32, roomy: bool) -> u64 {
        let (runs, used) = self.live(cell, now);
        let past = cell.words.len() - runs.len();
        cell.words.drain(..past);
        let label = self.label(now);
        cell.used = used.saturating_add(cost);
        // Of two workers the one that read the clock first may come last.
        cell.expires = cell.expires.max(u32::try_from(self.end(label) / 1000 + 1).unwrap_or(u32::MAX - 1));
        if let Some(last) = cell.words.last_mut() {
            let (newest, count) = run(*last);
            // A limit is at most MOST, so that what passes fits.
            if newest >= label {
                *last = word(newest, (count + cost).min(MOST));
                return newest;
            }
        }
        if !roomy && cell.words.len() == cell.words.capacity() {
            join_nearest(cell);
        }
        cell.words.push(word(label, cost));
        label
    }

    pub(crate) fn give_back(&self, cell: &mut Cell, label: u64, cost: u32) {
        // Runs that were joined since carry the later label.
        let Some(index) = cell.words.iter().position(|&word| run(word).0 >= label) else { return };
        let (label, count) = run(cell.words[index]);
        let returned = cost.min(count);
        cell.used = cell.used.saturating_sub(returned);
        if returned == count {
            cell.words.remove(index);
        } else {
            cell.words[index] = word(label, count - returned);
        }
    }
}

/// Joins the two runs that are nearest to each other under the later label: what they say is held longer, never shorter.
fn join_nearest(cell: &mut Cell) {
    let gap = |pair: &[u64]| run(pair[1]).0 - run(pair[0]).0;
    let nearest = cell.words.windows(2).enumerate().min_by_key(|(_, pair)| gap(pair));
    let Some(index) = nearest.map(|(index, _)| index) else { return };
    let ((_, earlier), (label, later)) = (run(cell.words[index]), run(cell.words[index + 1]));
    cell.words[index] = word(label, (earlier + later).min(MOST));
    cell.words.remove(index + 1);
}

#[cfg(test)]
mod tests;
