//! Random choice by weight, in constant time.

use crate::Field;

/// How many lots are drawn before the usable endpoints are counted out one by one.
const DRAWS: usize = 8;

/// A table from which an endpoint is drawn with a chance in proportion to its weight (Vose's alias method): one random
/// number, one look.
#[derive(Debug)]
pub struct Lots {
    slots: Box<[Slot]>,
    weights: Box<[u32]>,
}

/// One of equally likely slots: below `bound` it stands for `own`, else for `other`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    bound: u32,
    own: u16,
    other: u16,
}

impl Lots {
    /// Fills the table; `None` where no weight is above 0 or there are more than [`u16::MAX`] endpoints.
    pub fn new(weights: &[u32]) -> Option<Self> {
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        if sum == 0 || weights.len() > usize::from(u16::MAX) {
            return None;
        }
        // Each share in units of a slot, exactly: `weight × count / sum` as a fraction over `sum`.
        let present = (0_u16..).zip(weights).filter(|&(_, &weight)| weight > 0);
        let mut shares: Vec<(u16, u64)> = present.map(|(index, &weight)| (index, u64::from(weight))).collect();
        let count = shares.len() as u64;
        shares.iter_mut().for_each(|(_, share)| *share *= count);
        let (mut small, mut large): (Vec<_>, Vec<_>) = shares.into_iter().partition(|&(_, share)| share < sum);
        let mut slots = Vec::with_capacity(count as usize);
        while let Some((own, share)) = small.pop() {
            let Some((other, rest)) = large.pop() else {
                slots.push(Slot { bound: u32::MAX, own, other: own });
                continue;
            };
            let bound = ((u128::from(share) << 32) / u128::from(sum)) as u32;
            slots.push(Slot { bound, own, other });
            let left = rest + share - sum;
            if left < sum { &mut small } else { &mut large }.push((other, left));
        }
        slots.extend(large.into_iter().map(|(own, _)| Slot { bound: u32::MAX, own, other: own }));
        Some(Self { slots: slots.into(), weights: weights.into() })
    }

    /// The weight of an endpoint.
    pub(crate) fn weight(&self, index: usize) -> u32 {
        self.weights[index]
    }

    /// How many endpoints there are.
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    /// One that may or may not be usable.
    pub(crate) fn draw(&self) -> usize {
        let number = fastrand::u64(..);
        let slot = self.slots[(((number >> 32) * self.slots.len() as u64) >> 32) as usize];
        usize::from(if (number as u32) < slot.bound { slot.own } else { slot.other })
    }

    /// One of those that are usable.
    pub fn pick(&self, field: &impl Field) -> Option<usize> {
        for _ in 0..DRAWS {
            let index = self.draw();
            if field.usable(index) {
                return Some(index);
            }
        }
        self.count_out(field)
    }

    /// Draws among the usable ones alone, by looking at every endpoint. Reached only where few are usable.
    fn count_out(&self, field: &impl Field) -> Option<usize> {
        let mut chosen = None;
        let mut sum = 0_u64;
        for (index, &weight) in self.weights.iter().enumerate() {
            if weight == 0 || !field.usable(index) {
                continue;
            }
            sum += u64::from(weight);
            // Each replaces the one before with the chance of its share so far: a reservoir of one.
            if fastrand::u64(..sum) < u64::from(weight) {
                chosen = Some(index);
            }
        }
        chosen
    }
}
