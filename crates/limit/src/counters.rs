//! What limits have counted: kept beside the configuration, found again by name, in bounded memory.
//!
//! All limits share one table, so that its size is a property of the process and not of what is configured: at most
//! [`KEYS`] keys, and [`SPILLED`] bytes for the windows of busy ones. A key is a hash of the limit's name, its kind and
//! what the client is told apart by, made with a secret of this process, so that nobody can aim at the key of another.
//!
//! A full table forgets what has expired first, then of a handful of keys the one that has used up least: whoever comes
//! with ever new addresses pushes out its own, and an honest key only by using up more than it did, as often as there
//! are keys.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use crate::{
    ban::Ban,
    cell::{Cell, HELD},
    clock::{Now, unix},
    elsewhere::Elsewhere,
    gate::Gate,
    journal::{Act, Journal},
    ledger::{self, Ledger},
    limited::Limited,
    rule::{Rule, Said},
    shard::{Locked, Part, Shard},
    sketch::Sketch,
};

/// How many parts the table has, each with a lock of its own.
pub(crate) const SHARDS: usize = 64;

/// How many keys are remembered at most.
pub const KEYS: usize = 1 << 20;

/// How many bytes the charges of busy keys may take, beside the keys themselves.
pub const SPILLED: usize = 32 << 20;

/// Stands in an export where a cell says when it expires, for the estimates of a limit.
const SKETCH: u32 = 0;

/// What is counted, by key. Who counts references to it disturbs nobody who reads it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// The secret of the hashes: both halves are set before anything is counted.
    secret: [AtomicU64; 2],
    pub(crate) shards: Box<[Part]>,
    limited: Limited,
    ledger: Ledger,
    /// The places that requests wait for, by what tells limits apart, for as long as a configuration has the limit.
    gates: Mutex<HashMap<Hashed, Weak<Gate>>>,
    /// What requests of a process hold that this one has taken over from.
    pub(crate) elsewhere: Mutex<Elsewhere>,
    /// The estimates of limits, in the same way.
    sketches: Mutex<HashMap<Hashed, Weak<Sketch>>>,
    /// Those of a predecessor, until a configuration has their limits.
    inherited: Mutex<HashMap<Hashed, Arc<Sketch>>>,
}

/// A key under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hashed(pub(crate) u128);

impl Hashed {
    /// The part of the table that it is in.
    pub(crate) fn shard(self) -> u8 {
        ((self.0 >> 64) as usize % SHARDS) as u8
    }

    /// The same key under something else.
    pub(crate) fn with(self, salt: Hashed) -> Self {
        Self(self.0 ^ salt.0)
    }
}

impl Default for Counters {
    fn default() -> Self {
        let secret = fastrand::u128(..);
        Self {
            secret: [AtomicU64::new(secret as u64), AtomicU64::new((secret >> 64) as u64)],
            shards: (0..SHARDS).map(|_| Part::default()).collect(),
            limited: Limited::default(),
            ledger: Ledger::default(),
            gates: Mutex::default(),
            elsewhere: Mutex::default(),
            sketches: Mutex::default(),
            inherited: Mutex::default(),
        }
    }
}

impl Counters {
    /// Who was refused lately.
    pub fn limited(&self) -> &Limited {
        &self.limited
    }

    /// The places of one limit: those that the configuration before has given out as well.
    pub(crate) fn gate(&self, limit: Hashed) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&limit).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::default();
        gates.insert(limit, Arc::downgrade(&gate));
        gate
    }

    /// What one limit estimates: what the configuration before has counted, or the process before.
    pub(crate) fn sketch(&self, limit: Hashed) -> Arc<Sketch> {
        let mut sketches = self.sketches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sketch) = sketches.get(&limit).and_then(Weak::upgrade) {
            return sketch;
        }
        sketches.retain(|_, sketch| sketch.strong_count() > 0);
        let inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).remove(&limit);
        let sketch = inherited.unwrap_or_default();
        sketches.insert(limit, Arc::downgrade(&sketch));
        sketch
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().cells.len()).sum()
    }

    /// A hash of some bytes; `tag` tells kinds of bytes apart.
    pub(crate) fn hash(&self, tag: u8, bytes: &[u8]) -> Hashed {
        let [one, two] = &self.secret;
        let mut hasher = SipHasher13::new_with_keys(one.load(Relaxed), two.load(Relaxed));
        hasher.write_u8(tag);
        bytes.hash(&mut hasher);
        Hashed(hasher.finish128().as_u128())
    }

    /// Locks the parts that these keys are in.
    pub(crate) fn lock(&self, keys: impl Iterator<Item = Hashed>) -> Locked<'_> {
        Locked::of(&self.shards, keys)
    }

    /// Changes the cell of one key, where there is one.
    pub(crate) fn change(&self, key: Hashed, change: impl FnOnce(&mut Cell)) -> bool {
        self.shard(key).change_known(key, change)
    }

    pub(crate) fn shard(&self, key: Hashed) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(key.shard())].lock()
    }

    /// Changes the cell of one key, which is made where there is none.
    pub(crate) fn make(&self, key: Hashed, now: Now, change: impl FnOnce(&mut Cell)) {
        self.shard(key).change(key, None, now, |cell, _| change(cell));
    }

    /// Takes a charge back.
    pub(crate) fn give_back(&self, key: Hashed, rule: &Rule, now: Now, by: u64, cost: u32) {
        let mut shard = self.shard(key);
        shard.change_known(key, |cell| {
            rule.give_back(cell, now, by, cost);
            // A period that is over, or was made another one, is not what the cell counts.
            if matches!(rule, Rule::Quota(_)) && cell.words.first() == Some(&by) {
                self.book(key, by, cell.used);
            }
        });
        shard.write_down(key, rule, now, Act::GiveBack { by, cost });
    }

    /// Counts a refusal towards a ban. Says for how many nanoseconds the key is banned now.
    pub(crate) fn strike(&self, key: Hashed, ban: &Ban, now: Now) -> u64 {
        let mut shard = self.shard(key);
        let said = shard.change(key, None, now, |cell, _| {
            ban.strike(cell, now);
            ban.ask(cell, now)
        });
        shard.write_down(key, &Rule::Ban(*ban), now, Act::Strike);
        match said {
            Said::Full { wait } => wait,
            Said::Free(_) => 0,
        }
    }

    /// Every key of which something is held for as long as requests are under way, with how much.
    pub(crate) fn each_slot(&self, mut tell: impl FnMut(Hashed, u32)) {
        for shard in &self.shards {
            let shard = shard.lock();
            let held = shard.cells.iter().filter(|(_, cell)| cell.expires == HELD && cell.used > 0);
            held.for_each(|(key, cell)| tell(*key, cell.used));
        }
    }

    /// The places of every limit that has any, by what tells limits apart.
    pub(crate) fn each_gate(&self, mut tell: impl FnMut(Hashed, &Gate)) {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates
            .iter()
            .filter_map(|(limit, gate)| Some((*limit, gate.upgrade()?)))
            .for_each(|(limit, gate)| tell(limit, &gate));
    }

    /// Forgets one key, unless somebody will come back for it.
    pub(crate) fn forgive(&self, key: Hashed) -> bool {
        let mut shard = self.shard(key);
        let known = shard.cells.get(&key).is_some_and(|cell| cell.expires != HELD);
        if known {
            shard.remove(key);
        }
        known
    }

    /// The same for a quota, also in what outlives the process.
    pub(crate) fn forgive_quota(&self, key: Hashed) -> bool {
        if let Some(end) = self.look(key, |cell| cell.words.first().copied()).flatten() {
            self.book(key, end, ledger::FORGIVEN);
        }
        self.forgive(key)
    }

    /// What is counted under one key.
    pub(crate) fn look<T>(&self, key: Hashed, look: impl FnOnce(&Cell) -> T) -> Option<T> {
        self.shard(key).cells.get(&key).map(look)
    }

    /// Writes quotas to this file from now on, and goes on with what is in it. A process that takes over from another one
    /// has what it knows already. To be called before anything is compiled or counted.
    pub fn keep_quotas(&self, path: &Path, takes_over: bool) {
        let said = match self.ledger.open(path, takes_over) {
            Ok(said) => said.filter(|_| !takes_over),
            Err(error) => return self.forget_quotas(format!("{}: {error}", path.display())),
        };
        let Some((secret, records)) = said else { return };
        for (half, bytes) in self.secret.iter().zip(secret.chunks_exact(8)) {
            half.store(u64::from_le_bytes(bytes.try_into().unwrap_or_default()), Relaxed);
        }
        let now = Now::read();
        for (key, (end, used)) in records {
            let left = u32::try_from(end.saturating_sub(unix())).unwrap_or(u32::MAX / 2);
            let expires = now.seconds().saturating_add(left).saturating_add(1);
            self.shard(key)
                .change(key, None, now, |cell, _| *cell = Cell { words: SmallVec::from_slice(&[end]), used, expires });
        }
    }

    /// Keeps no quotas, for this reason, which is said once there is one to keep.
    pub fn forget_quotas(&self, why: String) {
        self.ledger.close(why);
    }

    /// Writes down what a key has used of a period.
    pub(crate) fn book(&self, key: Hashed, end: u64, used: u32) {
        let secret = || {
            let mut bytes = [0; 16];
            for (part, half) in bytes.chunks_exact_mut(8).zip(&self.secret) {
                part.copy_from_slice(&half.load(Relaxed).to_le_bytes());
            }
            bytes
        };
        self.ledger.book(secret, key, end, used);
    }

    /// Everything that has not expired, for a successor: the secret, then the cells. What is charged from then on is
    /// written down for it: see [`charges`](Counters::charges).
    pub fn export(&self) -> Vec<u8> {
        self.ledger.share();
        let now = Now::read().seconds();
        let mut bytes = Vec::new();
        for half in &self.secret {
            bytes.extend_from_slice(&half.load(Relaxed).to_le_bytes());
        }
        for part in &self.shards {
            let mut shard = part.lock();
            shard.journal = Some(Journal::default());
            for (key, cell) in shard.cells.iter().filter(|(_, cell)| cell.expires > now && cell.expires != HELD) {
                bytes.extend_from_slice(&key.0.to_le_bytes());
                bytes.extend_from_slice(&cell.used.to_le_bytes());
                bytes.extend_from_slice(&cell.expires.to_le_bytes());
                bytes.extend_from_slice(&(cell.words.len() as u32).to_le_bytes());
                cell.words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            }
        }
        self.export_sketches(&mut bytes);
        bytes
    }

    /// As cells that have expired before anything began, which no other is.
    fn export_sketches(&self, bytes: &mut Vec<u8>) {
        for (limit, sketch) in &*self.sketches.lock().unwrap_or_else(PoisonError::into_inner) {
            let Some(sketch) = sketch.upgrade() else { continue };
            let places: Vec<(u32, u64)> = sketch.export().collect();
            bytes.extend_from_slice(&limit.0.to_le_bytes());
            bytes.extend_from_slice(&0_u32.to_le_bytes());
            bytes.extend_from_slice(&SKETCH.to_le_bytes());
            bytes.extend_from_slice(&(places.len() as u32).to_le_bytes());
            for (index, word) in places {
                bytes.extend_from_slice(&index.to_le_bytes());
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    fn import_sketch(&self, limit: Hashed, count: u32, bytes: &mut &[u8]) -> Option<()> {
        let sketch = Sketch::default();
        for _ in 0..count {
            let index = u32::from_le_bytes(take(bytes)?);
            sketch.import(index, u64::from_le_bytes(take(bytes)?));
        }
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).insert(limit, Arc::new(sketch));
        Some(())
    }

    /// Goes on with what a predecessor exported. To be called before anything is compiled or counted.
    ///
    /// # Errors
    ///
    /// When the bytes are not such an export; what came before the mistake is taken.
    pub fn import(&self, mut bytes: &[u8]) -> Result<(), &'static str> {
        const CUT: &str = "the counters of limits are cut short";
        for half in &self.secret {
            half.store(u64::from_le_bytes(take(&mut bytes).ok_or(CUT)?), Relaxed);
        }
        while !bytes.is_empty() {
            let key = Hashed(u128::from_le_bytes(take(&mut bytes).ok_or(CUT)?));
            let used = u32::from_le_bytes(take(&mut bytes).ok_or(CUT)?);
            let expires = u32::from_le_bytes(take(&mut bytes).ok_or(CUT)?);
            let count = u32::from_le_bytes(take(&mut bytes).ok_or(CUT)?);
            if expires == SKETCH {
                self.import_sketch(key, count, &mut bytes).ok_or(CUT)?;
                continue;
            }
            let mut words = SmallVec::new();
            for _ in 0..count {
                words.push(u64::from_le_bytes(take(&mut bytes).ok_or(CUT)?));
            }
            self.shard(key).change(key, None, Now::read(), |cell, _| *cell = Cell { words, used, expires });
        }
        Ok(())
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The counters that outlive configurations.
pub type State = Arc<Counters>;

#[cfg(test)]
mod tests;
