//! How long one request has waited for the store: all its steps and attempts share one time.

use std::time::Duration;

/// The time that a request has waited for the store so far, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waited(u32);

/// Less than this is no time to wait for: timers tell no shorter ones apart.
const SHORTEST: Duration = Duration::from_millis(1);

impl Waited {
    /// What is left of the `time` that a request may wait; `None` where it is over.
    pub(crate) fn left(self, time: Duration) -> Option<Duration> {
        let left = time.saturating_sub(Duration::from_micros(self.0.into()));
        (left >= SHORTEST).then_some(left)
    }

    /// So much longer.
    pub(crate) fn and(self, took: Duration) -> Self {
        Self(self.0.saturating_add(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_becomes_less_until_nothing_is() {
        let (time, mut waited) = (Duration::from_millis(20), Waited::default());
        assert_eq!(waited.left(time), Some(time));
        waited = waited.and(Duration::from_millis(15));
        assert_eq!(waited.left(time), Some(Duration::from_millis(5)));
        assert_eq!(waited.and(Duration::from_micros(4_001)).left(time), None);
        assert_eq!(waited.and(Duration::from_secs(86_400)).left(time), None);
    }
}
