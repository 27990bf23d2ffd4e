//! A limit on a body that goes by.

use bytes::Bytes;
use filter::{Inspect, Mode, Reason, Reply};

/// Counts a request body and ends it where it grows too large, unless its [mode](BodyLimit::mode) is to tell of it only. Made
/// anew for every attempt, whose body begins again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    left: u64,
    mode: Mode,
}

impl BodyLimit {
    /// A limit of `max` bytes.
    pub fn new(max: u64, mode: Mode) -> Self {
        Self { left: max, mode }
    }

    /// Whether a refusal is only told of.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// So many bytes more.
    pub fn count(&mut self, bytes: u64) -> Result<(), Reply> {
        // Whatever comes after the byte too many is refused as well.
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.map(drop).ok_or_else(|| Reason::BodyTooLarge.into())
    }
}

impl Inspect for BodyLimit {
    fn chunk(&mut self, chunk: &mut Option<Bytes>, _last: bool) -> Result<(), Reply> {
        self.count(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
