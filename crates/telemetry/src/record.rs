//! What will be told of one request.

use std::time::{Duration, Instant};

use filter::Reason;

/// The facts of one request, gathered while it is served and told at its end. Small, and without an allocation: names
/// are borrowed from the snapshot when the record is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the first byte of the request's head was there, or as near to it as is known.
    pub start: Instant,
    /// From `start` until the request was over; set by [`close`](Record::close).
    pub duration: Duration,
    /// The status that the client was sent; 0 when it was sent none.
    pub status: u16,
    /// Why maitred answered itself or the request ended early; [`Reason::None`] when all went well.
    pub reason: Reason,
    /// Why a policy in shadow would have refused the request; [`Reason::None`] where none would.
    pub shadow: Reason,
    /// Bytes of the request's body that were received.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub bytes_out: u64,
    /// How often a backend was tried; 0 for a local answer.
    pub attempts: u32,
    /// The status that the last backend answered with; 0 when none did.
    pub upstream_status: u16,
    /// Whether the last attempt went over a connection from the pool; `None` while there was no connection.
    pub reused: Option<bool>,
    /// How long the last attempt's connection took to make, TLS included; zero when it was reused.
    pub connect: Option<Duration>,
    /// From the start of the last attempt until the head of its answer was there.
    pub first_byte: Option<Duration>,
    /// What the cache had to do with it; `None` where there is none.
    pub cache: Option<Cached>,
}

/// What the cache had to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// The answer was kept, or was being fetched for somebody else.
    Hit,
    /// Nothing was kept that would do.
    Miss,
    /// What was kept was stale, and given all the same.
    Stale,
    /// The origin said that what was kept is still good.
    Revalidated,
    /// The cache was not asked.
    Bypass,
}

impl Cached {
    /// Every result, in the order of the manual.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Stale, Self::Revalidated, Self::Bypass];

    /// The word for log and metric.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Bypass => "bypass",
        }
    }
}

impl Record {
    /// Begins a record at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            duration: Duration::ZERO,
            status: 0,
            reason: Reason::None,
            shadow: Reason::None,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            upstream_status: 0,
            reused: None,
            connect: None,
            first_byte: None,
            cache: None,
        }
    }

    /// Forgets what the last attempt left behind, and counts a new one.
    pub fn attempt(&mut self) {
        self.attempts += 1;
        self.upstream_status = 0;
        self.reused = None;
        self.connect = None;
        self.first_byte = None;
    }

    /// Takes over what a request that was made in the place of this one tells of the upstream.
    pub fn told_by(&mut self, other: &Self) {
        self.attempts = other.attempts;
        self.upstream_status = other.upstream_status;
        self.reused = other.reused;
        self.connect = other.connect;
        self.first_byte = other.first_byte;
    }

    /// Ends the record at `now`; what is told afterwards has this duration.
    pub fn close(&mut self, now: Instant) {
        self.duration = now.saturating_duration_since(self.start);
    }

    /// When the record was closed.
    pub(crate) fn end(&self) -> Instant {
        self.start + self.duration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_attempt_forgets_the_last_ones_times() {
        let now = Instant::now();
        let mut record = Record::new(now);
        record.attempt();
        record.upstream_status = 503;
        record.reused = Some(true);
        record.attempt();
        assert_eq!((record.attempts, record.upstream_status, record.reused), (2, 0, None));
    }

    #[test]
    fn a_record_is_small_enough_for_the_context() {
        assert!(size_of::<Record>() <= 128, "{}", size_of::<Record>());
    }
}
