//! Milliseconds that only ever grow; small enough to be kept in an atomic.

use std::{sync::LazyLock, time::Instant};

/// Milliseconds since a moment before the process did anything, never 0: that stands for "never".
pub(crate) fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_millis() as u64 + 1
}
