//! Consistent hashing with bounded load.

use crate::{Field, hash, mix};

/// The size of the table for up to 655 endpoints, and for more: primes, at least a hundred times as many as endpoints.
const SIZES: [usize; 2] = [65_537, 655_373];
/// Up to so many slots are walked for an endpoint that takes the key.
const STEPS: usize = 1_024;
/// How much more than its share of all requests an endpoint takes.
const BOUND: f32 = 1.25;
/// So many requests at once an endpoint takes in any case: a handful is no load, and staying put is what keys are for.
const FLOOR: f32 = 8.0;

/// Maglev's table (Eisenbud et al., NSDI 2016): each endpoint has slots in proportion to its weight, in an order of its
/// own, so that one that comes or goes takes hardly any from others. A key is looked up in one step.
///
/// A key whose endpoint is not usable, or has more than 1.25 times its share of all requests under way (Mirrokni et al.,
/// consistent hashing with bounded loads), goes to the endpoint of the next slot that can take it: the same one again
/// for as long as things stay as they are.
#[derive(Debug)]
pub struct Maglev {
    table: Box<[u16]>,
    /// What part of all requests is an endpoint's.
    shares: Box<[f32]>,
}

/// An endpoint while the table is being filled.
struct Filler {
    index: u16,
    /// Where it begins, and how far it goes for its next wish.
    offset: usize,
    skip: usize,
    /// How many of its wishes were looked at.
    wishes: usize,
    weight: f64,
    /// How many turns it is owed.
    due: f64,
}

impl Maglev {
    /// Fills the table. Endpoints are placed by their names. `None` where no weight is above 0 or there are more than
    /// [`u16::MAX`] endpoints.
    pub fn new(weights: &[u32], names: &[&str]) -> Option<Self> {
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        if sum == 0 || weights.len() > usize::from(u16::MAX) || weights.len() != names.len() {
            return None;
        }
        let size = SIZES[usize::from(weights.len() > SIZES[0] / 100)];
        let shares = weights.iter().map(|&weight| (f64::from(weight) / sum as f64) as f32).collect();
        Some(Self { table: fill(size, weights, names), shares })
    }

    /// The endpoint for `key` among those that are usable.
    pub fn pick(&self, field: &impl Field, key: u64) -> Option<usize> {
        let length = self.table.len();
        let start = (key % length as u64) as usize;
        let whole = BOUND * (field.total() as f32 + 1.0);
        let mut last = usize::MAX;
        for step in 0..STEPS {
            let index = usize::from(self.table[(start + step) % length]);
            if index == last {
                continue;
            }
            last = index;
            let bound = (whole * self.shares[index]).ceil().max(FLOOR);
            if field.usable(index) && (field.load(index) as f32) < bound {
                return Some(index);
            }
        }
        // All are full, or hardly any is usable.
        let usable = (0..self.shares.len()).filter(|&index| self.shares[index] > 0.0 && field.usable(index));
        let relative = |index: usize| field.load(index) as f32 / self.shares[index];
        usable.min_by(|&a, &b| relative(a).total_cmp(&relative(b)))
    }
}

fn fill(size: usize, weights: &[u32], names: &[&str]) -> Box<[u16]> {
    let most = f64::from(weights.iter().copied().max().unwrap_or(1));
    let mut fillers: Vec<Filler> = (0..)
        .zip(weights.iter().zip(names))
        .filter(|(_, (weight, _))| **weight > 0)
        .map(|(index, (&weight, name))| {
            let seed = hash(name.as_bytes());
            let (offset, skip) = (seed % size as u64, mix(seed ^ 0x9E37_79B9_7F4A_7C15) % (size as u64 - 1) + 1);
            let weight = f64::from(weight) / most;
            Filler { index, offset: offset as usize, skip: skip as usize, wishes: 0, weight, due: 0.0 }
        })
        .collect();
    // Who comes first in the configuration must not matter.
    fillers.sort_by_key(|filler| (filler.offset, filler.skip));
    let mut table: Vec<Option<u16>> = vec![None; size];
    let mut left = size;
    while left > 0 {
        for filler in &mut fillers {
            filler.due += filler.weight;
            if filler.due < 1.0 || left == 0 {
                continue;
            }
            filler.due -= 1.0;
            filler.take(&mut table);
            left -= 1;
        }
    }
    table.into_iter().flatten().collect()
}

impl Filler {
    /// Takes the first free slot among its wishes: there is one.
    fn take(&mut self, table: &mut [Option<u16>]) {
        loop {
            let slot = (self.offset + self.wishes * self.skip) % table.len();
            self.wishes += 1;
            if table[slot].is_none() {
                table[slot] = Some(self.index);
                return;
            }
        }
    }
}
