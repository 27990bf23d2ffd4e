//! At most so many in any window of time, exactly.
//!
//! Every charge is remembered until the window has passed it. Charges of the same millisecond share a word, and so do
//! those of the same 512th of the window where the limit is larger than that many: the word then says the end of that
//! part, so that nothing is ever let go too early, and late by a 512th at most.
//!
//! Where there is no memory for one word more, a window goes on as a [ring](ring), which needs none, and is exact again once there is
//! plenty.

mod ring;

use ring::{Ring, Scale};

use crate::{
    cell::{Cell, Words},
    clock::{MILLISECOND, Now},
    rule::{Said, Standing},
    shard::Room,
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

    /// What the lanes of a ring stand for.
    fn scale(&self) -> Scale {
        Scale { part: self.length.div_ceil(ring::EIGHTHS), unit: self.limit.div_ceil(ring::MOST).max(1) }
    }

    /// When the part of a ring began that a run belongs to: no run is of before its 512th.
    fn part(&self, label: u64) -> u64 {
        self.scale().begin((label + 1).saturating_sub(self.quantum))
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
        if let Some(mut ring) = Ring::of(&cell.words) {
            let scale = self.scale();
            let used = ring.pass(cell.used, scale, |began| self.end(began) <= now.millis());
            return self.say(ring.runs(scale), used, now, cost);
        }
        let (runs, used) = self.live(cell, now);
        self.say(runs.iter().map(|word| run(*word)), used, now, cost)
    }

    /// What is said where `runs` still count, which are `used` together.
    fn say(&self, mut runs: impl Iterator<Item = (u64, u32)>, used: u32, now: Now, cost: u32) -> Said {
        let until = |label: u64| (self.end(label).saturating_sub(now.millis())) * MILLISECOND;
        let after = used.saturating_add(cost);
        if after <= self.limit {
            let reset = runs.next().map_or(self.length * MILLISECOND, |(label, _)| until(label));
            return Said::Free(Standing { remaining: self.limit - after, reset });
        }
        let mut needed = after - self.limit;
        for (label, count) in runs {
            if count >= needed {
                return Said::Full { wait: until(label) };
            }
            needed -= count;
        }
        Said::Full { wait: self.length * MILLISECOND }
    }

    /// `room` says whether the cell may take more memory. Returns what to give back by.
    pub(crate) fn charge(&self, cell: &mut Cell, now: Now, cost: u32, room: Room) -> u64 {
        let label = self.label(now);
        // Of two workers the one that read the clock first may come last.
        cell.expires = cell.expires.max(u32::try_from(self.end(label) / 1000 + 1).unwrap_or(u32::MAX - 1));
        if let Some(ring) = Ring::of(&cell.words) {
            if room < Room::Plenty {
                return self.charge_ring(ring, cell, now, cost);
            }
            self.spread(ring, cell);
        }
        let (runs, used) = self.live(cell, now);
        let past = cell.words.len() - runs.len();
        cell.words.drain(..past);
        if cell.words.len() * 8 < cell.words.capacity() {
            cell.words.shrink_to_fit();
        }
        cell.used = used.saturating_add(cost);
        if let Some(last) = cell.words.last_mut() {
            let (newest, count) = run(*last);
            // A limit is at most MOST, so that what passes fits.
            if newest >= label {
                *last = word(newest, (count + cost).min(MOST));
                return newest;
            }
        }
        if cell.words.len() == cell.words.capacity() && room == Room::None {
            cell.used = used;
            let ring = self.gather(cell);
            return self.charge_ring(ring, cell, now, cost);
        }
        cell.words.push(word(label, cost));
        label
    }

    fn charge_ring(&self, mut ring: Ring, cell: &mut Cell, now: Now, cost: u32) -> u64 {
        let scale = self.scale();
        // In this order: what a turn lets fall has ended, and is to be taken out of what is used.
        let used = ring.pass(cell.used, scale, |began| self.end(began) <= now.millis());
        ring.turn(now.millis(), scale);
        cell.used = used.saturating_add(cost);
        ring.add(cell.used, scale);
        cell.words = ring.words();
        self.of_part(ring.begin())
    }

    /// The moment of a run that stands for a part of a ring, and leads back to it.
    fn of_part(&self, begin: u64) -> u64 {
        begin + self.quantum - 1
    }

    /// The runs of a cell as a ring. What is of before its oldest part is let go.
    fn gather(&self, cell: &mut Cell) -> Ring {
        let (scale, newest) = (self.scale(), cell.words.last().map_or(0, |word| run(*word).0));
        let (mut ring, mut used) = (Ring::new(self.part(newest)), 0);
        for (label, count) in cell.words.iter().map(|word| run(*word)) {
            if ring.add_at(self.part(label), used + count, scale) {
                used += count;
            }
        }
        cell.used = used;
        ring
    }

    /// A ring as the runs of a cell.
    fn spread(&self, ring: Ring, cell: &mut Cell) {
        let (mut words, mut left) = (Words::new(), cell.used);
        for (began, count) in ring.runs(self.scale()) {
            let count = count.min(left);
            left -= count;
            if count > 0 {
                words.push(word(self.of_part(began), count));
            }
        }
        (cell.used, cell.words) = (cell.used - left, words);
    }

    pub(crate) fn give_back(&self, cell: &mut Cell, label: u64, cost: u32) {
        if let Some(mut ring) = Ring::of(&cell.words) {
            cell.used = ring.give_back(self.part(label), cell.used, cost, self.scale());
            cell.words = ring.words();
            return;
        }
        // One that was part of a ring meanwhile carries an earlier label.
        let Some(index) = cell.words.iter().rposition(|&word| run(word).0 <= label) else { return };
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

#[cfg(test)]
mod tests;
