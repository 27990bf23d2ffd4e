//! Places that another process holds: in an upgrade the requests of the old one count in the new one until they have ended.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use smallvec::SmallVec;

use crate::{
    cell::{Cell, HELD},
    clock::Now,
    counters::{Counters, Hashed},
    gate::{Gate, Wish},
};

/// What a predecessor's requests hold, as it was last told.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    slots: HashMap<Hashed, u32>,
    places: HashMap<Spot, (Arc<Gate>, u32)>,
}

/// The places of a limit, by its key and the consumer that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) limit: Hashed,
    pub(crate) key: Hashed,
    pub(crate) consumer: Hashed,
}

/// What a record is about.
const SLOT: u8 = 0;
const PLACE: u8 = 1;

impl Counters {
    /// What requests hold for as long as they are under way, for a successor; what is held elsewhere is among it.
    pub fn held(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.each_slot(|key, used| {
            bytes.push(SLOT);
            bytes.extend_from_slice(&key.0.to_le_bytes());
            bytes.extend_from_slice(&used.to_le_bytes());
        });
        self.each_gate(|limit, gate| {
            gate.each(|key, consumer, taken| {
                bytes.push(PLACE);
                [limit, key, consumer].iter().for_each(|hash| bytes.extend_from_slice(&hash.0.to_le_bytes()));
                bytes.extend_from_slice(&taken.to_le_bytes());
            });
        });
        bytes
    }

    /// Counts what a predecessor says that its requests hold, in the place of what it said before. Nothing at all stands
    /// for a predecessor that is gone.
    ///
    /// # Errors
    ///
    /// When the bytes are not of that kind. What was said before stays then.
    pub fn held_elsewhere(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let (slots, places) = read(bytes).ok_or("the places of limits are cut short")?;
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *elsewhere);
        for (key, more) in &slots {
            self.take_slots(*key, more.saturating_sub(before.slots.get(key).copied().unwrap_or(0)));
        }
        for (key, fewer) in &before.slots {
            self.free_slots(*key, fewer.saturating_sub(slots.get(key).copied().unwrap_or(0)));
        }
        let count = |spot: &Spot| before.places.get(spot).map_or(0, |(_, count)| *count);
        elsewhere.places = places.iter().map(|(spot, now)| (*spot, (self.gate(spot.limit), *now))).collect();
        for (spot, (gate, now)) in &elsewhere.places {
            gate.lend(spot.wish(now.saturating_sub(count(spot))));
        }
        for (spot, (gate, fewer)) in &before.places {
            gate.give_back(spot.wish(fewer.saturating_sub(places.get(spot).copied().unwrap_or(0))));
        }
        elsewhere.slots = slots;
        Ok(())
    }

    /// Whether a predecessor holds anything.
    pub fn holds_elsewhere(&self) -> bool {
        let elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        !elsewhere.slots.is_empty() || !elsewhere.places.is_empty()
    }

    fn take_slots(&self, key: Hashed, count: u32) {
        if count > 0 {
            self.make(key, Now::read(), |cell: &mut Cell| {
                cell.used = cell.used.saturating_add(count);
                cell.expires = HELD;
            });
        }
    }

    fn free_slots(&self, key: Hashed, count: u32) {
        if count > 0 {
            self.change(key, |cell| {
                cell.used = cell.used.saturating_sub(count);
                if cell.used == 0 {
                    cell.expires = 0;
                }
            });
        }
    }
}

impl Spot {
    fn wish(&self, cost: u32) -> Wish {
        Wish { key: self.key, consumer: self.consumer, cost }
    }
}

type Read = (HashMap<Hashed, u32>, HashMap<Spot, u32>);

fn read(mut bytes: &[u8]) -> Option<Read> {
    let (mut slots, mut places) = (HashMap::new(), HashMap::new());
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        let hashes = match *kind {
            SLOT => 1,
            PLACE => 3,
            _ => return None,
        };
        let hashes: SmallVec<[Hashed; 3]> = (0..hashes).map_while(|_| hash(&mut bytes)).collect();
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        let count = u32::from_le_bytes(*count);
        match hashes[..] {
            [key] => drop(slots.insert(key, count)),
            [limit, key, consumer] => drop(places.insert(Spot { limit, key, consumer }, count)),
            _ => return None,
        }
    }
    Some((slots, places))
}

fn hash(bytes: &mut &[u8]) -> Option<Hashed> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    *bytes = rest;
    Some(Hashed(u128::from_le_bytes(*head)))
}

#[cfg(test)]
mod tests;
