//! The fewest requests under way.

use crate::{Field, SmoothWeighted};

/// Up to so many endpoints all of them are looked at; among more, two.
const SCAN: usize = 8;

/// The endpoint with the fewest requests under way in proportion to its weight. Among equals it is whose turn it is, so
/// that weights hold as well where there is little to do.
#[derive(Debug)]
pub struct LeastRequests {
    turns: SmoothWeighted,
    weights: Box<[u32]>,
}

impl LeastRequests {
    /// `None` where no weight is above 0 or there are more than [`u16::MAX`] endpoints.
    pub fn new(weights: &[u32]) -> Option<Self> {
        SmoothWeighted::new(weights).map(|turns| Self { turns, weights: weights.into() })
    }

    /// The least loaded of the usable ones.
    pub fn pick(&self, field: &impl Field) -> Option<usize> {
        let next = self.turns.pick(|index| field.usable(index))?;
        let better = |best: usize, other: usize| {
            if other != best && self.is_less_loaded(field, other, best) { other } else { best }
        };
        if self.weights.len() > SCAN {
            let other = self.turns.pick(|index| index != next && field.usable(index));
            return Some(other.map_or(next, |other| better(next, other)));
        }
        let others = (0..self.weights.len()).filter(|&index| self.weights[index] > 0 && field.usable(index));
        Some(others.fold(next, better))
    }

    fn is_less_loaded(&self, field: &impl Field, one: usize, other: usize) -> bool {
        let scaled = |of: usize, by: usize| u64::from(field.load(of)) * u64::from(self.weights[by]);
        scaled(one, other) < scaled(other, one)
    }
}
