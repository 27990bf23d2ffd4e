//! What becomes of a request that several limits were asked about.

use smallvec::SmallVec;

/// What becomes of a request.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The limits that refuse it.
    pub(crate) refused: SmallVec<[usize; 2]>,
    /// Those that would, were they obeyed.
    pub(crate) shadowed: SmallVec<[usize; 2]>,
    /// For how many nanoseconds it has to wait: to be let in, or to come again.
    pub(crate) wait: u64,
}

impl Verdict {
    /// It has to wait; unless it is refused, which counts alone.
    pub(crate) fn hold(&mut self, wait: u64) {
        if self.refused.is_empty() {
            self.wait = self.wait.max(wait);
        }
    }

    pub(crate) fn refuse(&mut self, limit: usize, wait: u64) {
        if self.refused.is_empty() {
            self.wait = 0;
        }
        self.wait = self.wait.max(wait);
        if self.refused.last() != Some(&limit) {
            self.refused.push(limit);
        }
    }
}
