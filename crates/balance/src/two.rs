//! The better one of two that are drawn by lot.

use crate::{Field, Lots};

/// How many lots are drawn for a second one that is usable and not the first.
const DRAWS: usize = 8;

/// Power of two choices: nearly as even as looking at every endpoint, for the price of looking at two, and without the
/// herd that runs to the one that everybody sees idle.
#[derive(Debug)]
pub struct TwoChoices {
    lots: Lots,
}

impl TwoChoices {
    /// `None` where no weight is above 0 or there are more than [`u16::MAX`] endpoints.
    pub fn new(weights: &[u32]) -> Option<Self> {
        Lots::new(weights).map(|lots| Self { lots })
    }

    /// The one with fewer requests under way in proportion to its weight; the first of two that are even.
    pub fn pick_less_loaded(&self, field: &impl Field) -> Option<usize> {
        self.pick(field, |index| field.load(index) as f32 / self.lots.weight(index) as f32)
    }

    /// The one that is likely to answer first: it takes so long to answer, once for each request that is before it.
    pub fn pick_faster(&self, field: &impl Field) -> Option<usize> {
        let queue = |index| 1.0 + field.load(index) as f32 / self.lots.weight(index) as f32;
        self.pick(field, |index| field.latency(index) * queue(index))
    }

    fn pick(&self, field: &impl Field, cost: impl Fn(usize) -> f32) -> Option<usize> {
        let first = self.lots.pick(field)?;
        if self.lots.len() == 1 {
            return Some(first);
        }
        let second = (0..DRAWS).map(|_| self.lots.draw()).find(|&index| index != first && field.usable(index));
        Some(second.filter(|&second| cost(second) < cost(first)).unwrap_or(first))
    }
}
