//! What the admin listener tells, and where in its life the server is.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::{Instant, SystemTime},
};

use telemetry::{Build, Metrics};

use crate::{Control, Status};

/// What the admin listener tells, and where it asks for it.
pub struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) build: Build,
    pub(crate) started: (Instant, SystemTime),
    phase: AtomicU8,
    pub(crate) status: Box<dyn Fn() -> Status + Send + Sync>,
    control: OnceLock<Arc<dyn Control>>,
}

/// Where in its life the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its listeners do not all accept yet.
    Starting,
    /// It serves.
    Ready,
    /// It accepts no more and finishes what it has.
    Draining,
}

impl Admin {
    /// An admin listener of a server that is starting; `status` is asked for whatever it says of the server.
    pub fn new(metrics: Arc<Metrics>, build: Build, status: impl Fn() -> Status + Send + Sync + 'static) -> Self {
        let started = (Instant::now(), SystemTime::now());
        let phase = AtomicU8::new(Phase::Starting as u8);
        Self { metrics, build, started, phase, status: Box::new(status), control: OnceLock::new() }
    }

    /// Says who carries out what the admin listener is told to do. Once; until then it can only look.
    pub fn attach(&self, control: Arc<dyn Control>) {
        // A second one would be a fault of the binary's; the first keeps its place.
        let _ = self.control.set(control);
    }

    pub(crate) fn control(&self) -> Option<&Arc<dyn Control>> {
        self.control.get()
    }

    /// Says where in its life the server is now.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Where in its life the server is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("build", &self.build).field("phase", &self.phase()).finish_non_exhaustive()
    }
}

impl Phase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        }
    }
}
