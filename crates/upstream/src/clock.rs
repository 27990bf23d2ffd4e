//! Milliseconds that only ever grow; small enough to be kept in an atomic.

use std::{sync::LazyLock, time::Instant};

/// Where the clock begins: a day's worth of what happened in a process before this one can be told by it.
const BEGINNING: u64 = 86_400_000;

/// Milliseconds since a moment before the process did anything, never 0: that stands for "never".
pub(crate) fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_millis() as u64 + BEGINNING
}

/// A time as another process can read it: how far from now it is. 0 stands for "never".
pub(crate) fn from_now(time: u64, now: u64) -> i64 {
    match time {
        0 => i64::MIN,
        time => time as i64 - now as i64,
    }
}

/// The time that another process told so.
pub(crate) fn at(from_now: i64, now: u64) -> u64 {
    match from_now {
        i64::MIN => 0,
        from_now => now.saturating_add_signed(from_now).max(1),
    }
}
