//! What is charged after a successor was told how things stand: it is told of it as well, charge by charge.
//!
//! An export is of one moment, and the process that made it serves on: until the new one is ready, and its last
//! connections after that. From that moment on each part of the table writes down what it charges, under its own lock, so
//! that every charge is either in the export or in the journal. Nothing waits for a successor that does not read: what a
//! part has no room for is not told.

use crate::{
    clock::Now,
    counters::{Counters, Hashed},
    rule::Rule,
};

/// How many entries one part of the table keeps until they are told.
const ROOM: usize = 4096;

/// How many of the last entries a charge of the same moment may be added to.
const NEAR: usize = 4;

/// How many entries are told at once, and the bytes of one.
const AT_ONCE: usize = 900;
const ENTRY: usize = 66;

/// What was charged to keys of one part.
#[derive(Debug, Default)]
pub(crate) struct Journal(Vec<Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: Hashed,
    rule: Rule,
    at: Now,
    act: Act,
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A request was charged for.
    Charge { cost: u32 },
    /// A charge was taken back.
    GiveBack { by: u64, cost: u32 },
    /// A refusal was counted towards a ban.
    Strike,
}

impl Journal {
    /// Places are told by themselves, and bandwidth is each process's own.
    #[cold]
    pub(crate) fn add(&mut self, key: Hashed, rule: &Rule, at: Now, act: Act) {
        if matches!(rule, Rule::Concurrent(_) | Rule::Bandwidth(_)) {
            return;
        }
        let same = |entry: &&mut Entry| entry.key == key && entry.rule == *rule && entry.at.millis() == at.millis();
        if let Act::Charge { cost } = act
            && let Some(Entry { act: Act::Charge { cost: before }, .. }) = self.0.iter_mut().rev().take(NEAR).find(same)
        {
            *before = before.saturating_add(cost);
            return;
        }
        if self.0.len() < ROOM {
            self.0.push(Entry { key, rule: *rule, at, act });
        }
    }
}

impl Entry {
    fn write(&self, bytes: &mut Vec<u8>) {
        let (kind, words) = self.rule.words();
        let (act, by, cost) = match self.act {
            Act::Charge { cost } => (0, 0, cost),
            Act::GiveBack { by, cost } => (1, by, cost),
            Act::Strike => (2, 0, 0),
        };
        bytes.extend_from_slice(&self.key.0.to_le_bytes());
        [self.at.0, by, words[0], words[1], words[2]]
            .iter()
            .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(&cost.to_le_bytes());
        bytes.extend_from_slice(&[kind, act, 0, 0, 0, 0]);
    }

    /// `None` for what only a later release knows of.
    fn read(bytes: &[u8; ENTRY]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        let key = Hashed(u128::from(word(0)?) | u128::from(word(8)?) << 64);
        let (by, cost) = (word(24)?, u32::from_le_bytes(bytes.get(56..60)?.try_into().ok()?));
        let act = match bytes[61] {
            0 => Act::Charge { cost },
            1 => Act::GiveBack { by, cost },
            2 => Act::Strike,
            _ => return None,
        };
        let rule = Rule::of_words(bytes[60], [word(32)?, word(40)?, word(48)?])?;
        Some(Self { key, rule, at: Now(word(16)?), act })
    }
}

impl Counters {
    /// What was charged since the export and was not told yet; a part of it, where it is much. Empty at its end.
    pub fn charges(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut left = AT_ONCE;
        for part in &self.shards {
            if let Some(Journal(entries)) = &mut part.lock().journal {
                let some = left.min(entries.len());
                left -= some;
                entries.drain(..some).for_each(|entry| entry.write(&mut bytes));
            }
            if left == 0 {
                break;
            }
        }
        bytes
    }

    /// Charges for what a predecessor has charged for since its export.
    ///
    /// # Errors
    ///
    /// When the bytes are not of that kind; what came before the mistake is taken.
    pub fn charged_elsewhere(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let (entries, rest) = bytes.as_chunks::<ENTRY>();
        for entry in entries.iter().filter_map(Entry::read) {
            let Entry { key, rule, at, act } = entry;
            match (act, rule) {
                (Act::Charge { cost }, rule) => {
                    let charge = self.shard(key).charge(key, None, at, &rule, cost);
                    if let Rule::Quota(_) = rule {
                        self.book(key, charge.by, charge.used);
                    }
                }
                (Act::GiveBack { by, cost }, rule) => self.give_back(key, &rule, at, by, cost),
                (Act::Strike, Rule::Ban(ban)) => {
                    self.strike(key, &ban, at);
                }
                (Act::Strike, _) => {}
            }
        }
        if rest.is_empty() { Ok(()) } else { Err("what was charged is cut short") }
    }

    /// There is no successor to tell of charges.
    pub fn tell_no_charges(&self) {
        self.shards.iter().for_each(|part| part.lock().journal = None);
    }
}

const _: () = assert!(ENTRY == 16 + 5 * 8 + 4 + 6, "what is written is what is read");

#[cfg(test)]
mod tests;
