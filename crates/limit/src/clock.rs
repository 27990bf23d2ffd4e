//! What time it is, as limits count it.

use rustix::time::{ClockId, clock_gettime};

/// A moment, in nanoseconds on a clock that never goes back and that every process of the machine shares: what is handed
/// over in an upgrade means the same there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Now(pub(crate) u64);

impl Now {
    /// This moment.
    pub(crate) fn read() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        Self((time.tv_sec as u64).saturating_mul(SECOND).saturating_add(time.tv_nsec as u64))
    }

    pub(crate) const fn millis(self) -> u64 {
        self.0 / MILLISECOND
    }

    pub(crate) const fn seconds(self) -> u32 {
        (self.0 / SECOND) as u32
    }
}

/// In nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// In nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Seconds of the Unix epoch, by the clock on the wall.
pub(crate) fn unix() -> u64 {
    clock_gettime(ClockId::Realtime).tv_sec as u64
}
