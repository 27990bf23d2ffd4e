//! What is remembered of one key under one rule.

use smallvec::SmallVec;

/// Small on purpose: there may be a million of them. What the words mean is the rule's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) words: Words,
    /// How much of the limit was used up at the last charge: what would be lost if the cell were forgotten.
    pub(crate) used: u32,
    /// The second of the clock from which on it says nothing any more.
    pub(crate) expires: u32,
}

/// What a rule remembers. As many as these fit into the cell, and nobody can take their place.
pub(crate) type Words = SmallVec<[u64; 3]>;

/// What an allocator needs beside what it is asked for.
const OVERHEAD: usize = 16;

/// Says that a cell has to stay, because somebody will come back for it.
pub(crate) const HELD: u32 = u32::MAX;

impl Cell {
    /// Bytes that it has outside of itself.
    pub(crate) fn spilled(&self) -> u32 {
        if self.words.spilled() { (self.words.capacity() * size_of::<u64>() + OVERHEAD) as u32 } else { 0 }
    }
}

const _: () = assert!(size_of::<Cell>() <= 40, "a million of them have to fit");
