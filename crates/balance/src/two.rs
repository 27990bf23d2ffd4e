//! The better one of two that are drawn by lot.

use crate::{Field, Lots};

/// How many lots are drawn for a second one that is usable and not the first.
const DRAWS: usize = 8;

/// Who takes so many times as long as the other is not the better one, however idle. Requests under way alone do not show it:
/// where few are, those of the others come and go, and one that is stuck looks like one that has little to do.
const FAR_SLOWER: f32 = 10.0;
/// Who has requests under way and has never answered is the last choice.
const SILENT: f32 = 1e30;

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

    /// The one with fewer requests under way in proportion to its weight, unless it is far slower; the first of two that are
    /// even.
    pub fn pick_less_loaded(&self, field: &impl Field) -> Option<usize> {
        let load = |index| field.load(index) as f32 / self.lots.weight(index) as f32;
        self.pick(field, |second, first| {
            let (of_second, of_first) = (field.latency(second), field.latency(first));
            let are_known = of_second > 0.0 && of_first > 0.0;
            if are_known && of_second > FAR_SLOWER * of_first {
                return false;
            }
            are_known && of_first > FAR_SLOWER * of_second || load(second) < load(first)
        })
    }

    /// The one that is likely to answer first: it takes so long to answer, once for each request that is before it. One that
    /// is idle and not known is tried.
    pub fn pick_faster(&self, field: &impl Field) -> Option<usize> {
        let load = |index| field.load(index) as f32 / self.lots.weight(index) as f32;
        let cost = |index| match (field.latency(index), load(index)) {
            (0.0, 0.0) => 0.0,
            (0.0, load) => SILENT * load,
            (latency, load) => latency * (1.0 + load),
        };
        self.pick(field, |second, first| cost(second) < cost(first))
    }

    /// `is_better` says whether the second of two is.
    fn pick(&self, field: &impl Field, is_better: impl Fn(usize, usize) -> bool) -> Option<usize> {
        let first = self.lots.pick(field)?;
        if self.lots.len() == 1 {
            return Some(first);
        }
        let second = (0..DRAWS).map(|_| self.lots.draw()).find(|&index| index != first && field.usable(index));
        Some(second.filter(|&second| is_better(second, first)).unwrap_or(first))
    }
}
