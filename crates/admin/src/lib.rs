//! The admin listener: health, readiness, metrics, status.
//!
//! It answers on addresses of its own, never on those of the data plane: loopback and unix sockets freely, addresses
//! that other machines can reach only with a token. A browser is kept from reaching it through a name that somebody
//! else controls (DNS rebinding), and from writing for another site.
//!
//! Life of it: [`compile`] checks `[admin]`, [`bind`] opens the sockets before the process says that it started,
//! [`serve`] answers until it is told to stop, which is after the last request has drained: `/ready` must be able to say
//! that the server drains.

mod answer;
mod bind;
mod compile;
mod guard;
mod serve;
mod status;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Instant, SystemTime},
};

use telemetry::{Build, Metrics};

pub use bind::{BindError, Socket, bind, run_folder};
pub use compile::{Address, Settings, compile};
pub use serve::serve;
pub use status::{Backend, Listener, Reload, Status, Upstream};

/// What the admin listener tells, and where it asks for it.
pub struct Admin {
    metrics: Arc<Metrics>,
    build: Build,
    started: (Instant, SystemTime),
    phase: AtomicU8,
    status: Box<dyn Fn() -> Status + Send + Sync>,
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
        Self { metrics, build, started, phase: AtomicU8::new(Phase::Starting as u8), status: Box::new(status) }
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
