//! What a route's path pattern took out of the path: `{id}`, `{rest}`, `{1}`.

use smallvec::SmallVec;

/// The values that a path pattern captured, as byte ranges into the normalised path. Names were resolved to indexes
/// when the route was compiled, so a lookup is an array access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures {
    ranges: SmallVec<[(u16, u16); 4]>,
}

impl Captures {
    /// Nothing captured.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the capture `path[start..end]`. Positions beyond 65,535 cannot occur: URLs are limited to less.
    pub fn push(&mut self, start: usize, end: usize) {
        let clamp = |position: usize| u16::try_from(position).unwrap_or(u16::MAX);
        self.ranges.push((clamp(start), clamp(end)));
    }

    /// How many values were captured.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Forgets all captures and keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The capture at `index` in `path`, or the empty string when there is none.
    pub fn get<'p>(&self, index: usize, path: &'p str) -> &'p str {
        self.ranges.get(index).and_then(|&(start, end)| path.get(usize::from(start)..usize::from(end))).unwrap_or("")
    }
}
