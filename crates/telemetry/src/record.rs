//! What will be told of one request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use filter::Reason;

/// The facts of one request, gathered while it is served and told at its end. Small, and without an allocation where the
/// first attempt is answered: names are borrowed from the snapshot when the record is told.
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
    /// How the circuit breaker of the last backend was at the end; `None` where it has none.
    pub circuit: Option<Circuit>,
    /// Every attempt in its order, where there were several or the only one came to nothing.
    pub tries: Vec<Try>,
    /// What the cache had to do with it; `None` where there is none.
    pub cache: Option<Cached>,
}

/// One attempt, as it is told where there is more to tell than the fields of the [`Record`] have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// The backend's address.
    pub backend: Arc<str>,
    /// What it died of; [`Reason::None`] where its answer went to the client.
    pub reason: Reason,
    /// The status that the backend answered with; 0 when it did not.
    pub status: u16,
    /// How long its connection took to make; zero when it was reused, `None` where there was none.
    pub connect: Option<Duration>,
    /// From its start until the head of its answer was there.
    pub first_byte: Option<Duration>,
    /// How the backend's circuit breaker was at its end; `None` where it has none.
    pub circuit: Option<Circuit>,
}

/// How a circuit breaker is, numbered as the metric has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circuit {
    /// Everything is sent.
    Closed = 0,
    /// One request is sent to see.
    HalfOpen = 1,
    /// Nothing is sent.
    Open = 2,
}

impl Circuit {
    /// The word for the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
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
            circuit: None,
            tries: Vec::new(),
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
        self.circuit = None;
    }

    /// Keeps what there is to tell of the attempt under way at `backend`, which ends for `reason`.
    pub fn note(&mut self, backend: Arc<str>, reason: Reason) {
        let Self { upstream_status: status, connect, first_byte, circuit, .. } = *self;
        self.tries.push(Try { backend, reason, status, connect, first_byte, circuit });
    }

    /// Takes over what a request that was made in the place of this one tells of the upstream, and of its limits in shadow.
    pub fn told_by(&mut self, other: &Self) {
        self.shadow = self.shadow.or(other.shadow);
        self.attempts = other.attempts;
        self.upstream_status = other.upstream_status;
        self.reused = other.reused;
        self.connect = other.connect;
        self.first_byte = other.first_byte;
        self.circuit = other.circuit;
        self.tries.clone_from(&other.tries);
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
