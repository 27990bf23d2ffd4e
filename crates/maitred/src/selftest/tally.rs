//! What is counted of one kind of load.

use std::{
    fmt,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How many times of one phase are kept.
const TIMES: usize = 1 << 20;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A wrong answer, or none in time.
    Failed,
    /// The connection ended before the first byte of an answer.
    Reset,
    /// Nobody accepted the connection.
    Refused,
    /// The connection ended before the answer did.
    Truncated,
}

/// A request that failed.
#[derive(Debug)]
pub struct Trouble {
    fault: Fault,
    what: String,
}

/// The parts of the run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub enum Phase {
    /// The first requests, whose times are not counted.
    Warm,
    /// Load alone.
    Before,
    /// Load while the server is reloaded and upgraded.
    During,
}

/// Where the run is, for every client to see.
#[derive(Debug, Default)]
pub struct Course {
    phase: AtomicU8,
    ended: AtomicBool,
}

/// What is counted of one kind of load.
#[derive(Debug)]
pub struct Tally {
    /// What the load is.
    pub kind: &'static str,
    /// What is counted as done: requests, messages, bytes.
    pub unit: &'static str,
    /// What is left to do.
    pub course: Arc<Course>,
    done: AtomicU64,
    faults: [AtomicU64; 4],
    again: AtomicU64,
    first: Mutex<Option<String>>,
    times: Mutex<[Vec<Duration>; 2]>,
}

impl Course {
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }

    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    pub fn goes_on(&self) -> bool {
        !self.ended.load(Relaxed)
    }
}

impl Trouble {
    pub fn new(fault: Fault, what: impl Into<String>) -> Self {
        Self { fault, what: what.into() }
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Fault::Failed, what)
    }

    /// A connection that could not be made.
    pub fn connecting(error: &io::Error) -> Self {
        let fault = match error.kind() {
            ErrorKind::ConnectionRefused => Fault::Refused,
            _ if is_an_end(error) => Fault::Reset,
            _ => Fault::Failed,
        };
        Self::new(fault, format!("connecting: {error}"))
    }

    /// A connection that broke before the first byte of an answer.
    pub fn unanswered(error: &io::Error) -> Self {
        let fault = if is_an_end(error) { Fault::Reset } else { Fault::Failed };
        Self::new(fault, format!("before the answer: {error}"))
    }

    /// A connection that broke within an answer.
    pub fn within(error: &io::Error) -> Self {
        let fault = if is_an_end(error) { Fault::Truncated } else { Fault::Failed };
        Self::new(fault, format!("within the answer: {error}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

fn is_an_end(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

impl Tally {
    pub fn new(kind: &'static str, unit: &'static str, course: Arc<Course>) -> Arc<Self> {
        let (done, faults, again, first, times) = Default::default();
        Arc::new(Self { kind, unit, course, done, faults, again, first, times })
    }

    /// Counts what was done.
    pub fn add(&self, count: u64) {
        self.done.fetch_add(count, Relaxed);
    }

    /// Counts a request that began at `began`.
    pub fn note(&self, began: Instant, outcome: Result<(), Trouble>) {
        match outcome {
            Ok(()) => {
                self.add(1);
                self.took(began.elapsed());
            }
            Err(trouble) => self.fault(trouble),
        }
    }

    /// Counts a fault.
    pub fn fault(&self, trouble: Trouble) {
        self.faults[trouble.fault as usize].fetch_add(1, Relaxed);
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(trouble.what);
    }

    /// Counts a request that the server said it did not process, and that is asked again.
    pub fn ask_again(&self) {
        self.again.fetch_add(1, Relaxed);
    }

    /// How many requests were asked again.
    pub fn asked_again(&self) -> u64 {
        self.again.load(Relaxed)
    }

    fn took(&self, time: Duration) {
        let phase = if self.course.is_in(Phase::During) { 1 } else { 0 };
        if self.course.is_in(Phase::Warm) {
            return;
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times[phase].len() < TIMES {
            times[phase].push(time);
        }
    }

    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    pub fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize].load(Relaxed)
    }

    /// What the first fault was.
    pub fn first_fault(&self) -> Option<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The times of the phases before and during, sorted.
    pub fn times(&self) -> [Vec<Duration>; 2] {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.iter_mut().for_each(|times| times.sort_unstable());
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_counted_by_where_it_came() {
        let tally = Tally::new("x", "requests", Arc::default());
        let end = io::Error::from(ErrorKind::UnexpectedEof);
        tally.fault(Trouble::connecting(&ErrorKind::ConnectionRefused.into()));
        tally.fault(Trouble::unanswered(&end));
        tally.fault(Trouble::within(&end));
        tally.fault(Trouble::within(&ErrorKind::InvalidData.into()));
        let counts = [Fault::Failed, Fault::Reset, Fault::Refused, Fault::Truncated].map(|fault| tally.faults(fault));
        assert_eq!(counts, [1, 1, 1, 1]);
        assert!(tally.first_fault().unwrap().starts_with("connecting: "));
    }

    #[test]
    fn times_are_kept_by_phase_and_not_while_warming_up() {
        let tally = Tally::new("x", "requests", Arc::default());
        for phase in [Phase::Warm, Phase::Before, Phase::During, Phase::During] {
            tally.course.enter(phase);
            tally.note(Instant::now(), Ok(()));
        }
        assert_eq!(tally.done(), 4);
        assert_eq!(tally.times().map(|times| times.len()), [1, 2]);
    }
}
