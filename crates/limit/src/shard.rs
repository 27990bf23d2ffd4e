//! One part of the table of what is counted, behind a lock of its own.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use indexmap::IndexMap;
use smallvec::SmallVec;

use crate::{
    ask::Charge,
    cell::{Cell, HELD},
    clock::Now,
    counters::{Hashed, KEYS, SHARDS, SPILLED},
    journal::{Act, Journal},
    rule::Rule,
};

/// How many keys are looked at when one has to go.
const CANDIDATES: usize = 8;

/// The fewest keys for which room is kept.
const SMALL: usize = 64;

/// A part, in lines of memory that it shares with no other: workers that count different keys do not meet.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Part(Mutex<Shard>);

/// What memory there is beside the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// None is left.
    None,
    /// A cell may take more.
    Some,
    /// So much that what had none may take some again, and not lose it at once.
    Plenty,
}

impl Room {
    /// Of a part whose cells have taken so many bytes.
    fn beside(spilled: u32) -> Self {
        match spilled as usize {
            taken if taken >= SPILLED / SHARDS => Self::None,
            taken if taken >= SPILLED / SHARDS / 4 * 3 => Self::Some,
            _ => Self::Plenty,
        }
    }
}

/// The keys of one part. What every charge changes comes first, in the line of the lock.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Shard {
    /// Where the search for expired keys goes on.
    cursor: u32,
    /// How many bytes its cells have outside of themselves.
    pub(crate) spilled: u32,
    pub(crate) cells: IndexMap<Hashed, Cell, BuildHasherDefault<Taken>>,
    /// What a successor has to be told of, once it was told how things stand.
    pub(crate) journal: Option<Journal>,
}

/// Takes a hash for what it is.
#[derive(Debug, Default)]
pub(crate) struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

impl Part {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Where the cell of a key is, and the cell.
    pub(crate) fn find(&self, key: Hashed) -> Option<(u32, &Cell)> {
        let (index, _, cell) = self.cells.get_full(&key)?;
        Some((index as u32, cell))
    }

    /// Changes the cell of `key`, which is made where there is none; `at` says where it was found a moment ago. The change
    /// is told whether memory may grow.
    pub(crate) fn change<T>(
        &mut self,
        key: Hashed,
        at: Option<u32>,
        now: Now,
        change: impl FnOnce(&mut Cell, Room) -> T,
    ) -> T {
        self.sweep(now);
        let room = Room::beside(self.spilled);
        let found = at.map(|at| at as usize).filter(|at| self.cells.get_index(*at).is_some_and(|(own, _)| *own == key));
        let cell = match found.and_then(|at| self.cells.get_index_mut(at)) {
            Some((_, cell)) => cell,
            None => {
                if self.cells.len() >= KEYS / SHARDS && !self.cells.contains_key(&key) {
                    self.make_room(now);
                }
                self.cells.entry(key).or_default()
            }
        };
        let before = cell.spilled();
        let result = change(cell, room);
        let after = cell.spilled();
        if after != before {
            self.spilled = self.spilled + after - before;
        }
        result
    }

    /// Charges for a request; `at` as in [`change`](Shard::change).
    pub(crate) fn charge(&mut self, key: Hashed, at: Option<u32>, now: Now, rule: &Rule, cost: u32) -> Charge {
        let charge = self.change(key, at, now, |cell, room| {
            let by = rule.charge(cell, now, cost, room);
            Charge { by, used: cell.used }
        });
        self.write_down(key, rule, now, Act::Charge { cost });
        charge
    }

    /// For a successor, where there is one.
    pub(crate) fn write_down(&mut self, key: Hashed, rule: &Rule, now: Now, act: Act) {
        if let Some(journal) = &mut self.journal {
            journal.add(key, rule, now, act);
        }
    }

    /// Changes the cell of a key, where there is one.
    pub(crate) fn change_known(&mut self, key: Hashed, change: impl FnOnce(&mut Cell)) -> bool {
        let Some((index, _, cell)) = self.cells.get_full_mut(&key) else { return false };
        let before = cell.spilled();
        change(cell);
        let (after, over) = (cell.spilled(), cell.expires == 0);
        self.spilled = self.spilled + after - before;
        if over {
            self.remove_at(index);
        }
        true
    }

    pub(crate) fn remove(&mut self, key: Hashed) {
        if let Some(index) = self.cells.get_index_of(&key) {
            self.remove_at(index);
        }
    }

    fn remove_at(&mut self, index: usize) {
        if let Some((_, cell)) = self.cells.swap_remove_index(index) {
            self.spilled -= cell.spilled();
        }
    }

    /// Looks at two keys and forgets those that have expired, so that every charge pays for its own.
    fn sweep(&mut self, now: Now) {
        for _ in 0..2 {
            let cursor = self.cursor as usize;
            match self.cells.get_index(cursor) {
                None => {
                    self.cursor = 0;
                    let (kept, room) = (self.cells.len().max(SMALL), self.cells.capacity());
                    if room / 4 > kept {
                        self.cells.shrink_to(kept * 2);
                    }
                    return;
                }
                Some((_, cell)) if cell.expires <= now.seconds() => self.remove_at(cursor),
                Some(_) => self.cursor += 1,
            }
        }
    }

    /// Of a handful of keys, forgets an expired one or the one that has used up least. What is held stays.
    fn make_room(&mut self, now: Now) {
        // Far from each other: those that came together lie together.
        let (start, all) = (fastrand::usize(..self.cells.len().max(1)), self.cells.len().max(1));
        let worth = |index: usize| {
            let (_, cell) = self.cells.get_index(index)?;
            let worth = if cell.expires <= now.seconds() { 0 } else { cell.used.max(1) };
            (cell.expires != HELD).then_some((worth, cell.expires, index))
        };
        let candidates = (0..CANDIDATES).map(|step| (start + step * (all / CANDIDATES)) % all);
        if let Some((_, _, index)) = candidates.filter_map(worth).min() {
            self.remove_at(index);
        }
    }
}

/// The parts of the table that one request needs, so that it is judged and charged in one step.
pub(crate) struct Locked<'c>(SmallVec<[(u8, MutexGuard<'c, Shard>); 2]>);

impl<'c> Locked<'c> {
    /// Locks the parts that these keys are in, always in the same order.
    pub(crate) fn of(parts: &'c [Part], keys: impl Iterator<Item = Hashed>) -> Self {
        let mut indexes: SmallVec<[u8; 16]> = keys.map(Hashed::shard).collect();
        if indexes.len() > 1 {
            indexes.sort_unstable();
            indexes.dedup();
        }
        Self(indexes.into_iter().map(|index| (index, parts[usize::from(index)].lock())).collect())
    }

    /// Whether a successor was told of the key: what there is to be used up under it is the successor's.
    pub(crate) fn is_told(&self, key: Hashed) -> bool {
        self.0.iter().any(|(index, shard)| *index == key.shard() && shard.journal.is_some())
    }

    /// Where the cell of a key is, and the cell.
    pub(crate) fn find(&self, key: Hashed) -> Option<(u32, &Cell)> {
        let (_, shard) = self.0.iter().find(|(index, _)| *index == key.shard())?;
        shard.find(key)
    }

    /// Changes the cell of `key`, which is made where there is none; `at` says where it was found a moment ago. The change
    /// is told whether memory may grow.
    pub(crate) fn change<T>(
        &mut self,
        key: Hashed,
        at: Option<u32>,
        now: Now,
        change: impl FnOnce(&mut Cell, Room) -> T,
    ) -> Option<T> {
        let (_, shard) = self.0.iter_mut().find(|(index, _)| *index == key.shard())?;
        Some(shard.change(key, at, now, change))
    }

    /// Charges for a request; `at` as in [`change`](Locked::change).
    pub(crate) fn charge(&mut self, key: Hashed, at: Option<u32>, now: Now, rule: &Rule, cost: u32) -> Option<Charge> {
        let (_, shard) = self.0.iter_mut().find(|(index, _)| *index == key.shard())?;
        Some(shard.charge(key, at, now, rule, cost))
    }
}
