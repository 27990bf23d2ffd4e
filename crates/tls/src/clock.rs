//! What time it is.

use std::time::SystemTime;

/// Seconds since the Unix epoch.
pub(crate) fn unix() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}
