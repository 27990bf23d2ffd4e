//! What the admin listener knows: where in its life the server is, and whom to ask for the rest.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::StatusCode;
use serde_json::Value;
use telemetry::{Build, Metrics};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, Semaphore};

use crate::{
    Act, Control, Events, Levels, OrderedLevel, Status, Who,
    answer::Answer,
    audit::Audit,
    follow::FOLLOWERS,
    level::{self, LogLevel},
    rates::Readings,
};

/// What the admin listener tells, and where it asks for it.
pub struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) build: Build,
    pub(crate) started: (Instant, SystemTime),
    phase: AtomicU8,
    /// Whether `/ready` is to say no although the server serves.
    elsewhere: AtomicBool,
    pub(crate) status: Box<dyn Fn() -> Status + Send + Sync>,
    control: OnceLock<Arc<dyn Control>>,
    pub(crate) level: LogLevel,
    pub(crate) events: Events,
    audit: Audit,
    pub(crate) readings: Readings,
    /// Read while an operator's order is carried out that a successor has to be told of, written while one is told.
    ordering: Arc<RwLock<()>>,
    /// Room for those who are told of things as they happen.
    pub(crate) followers: Arc<Semaphore>,
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

/// Operators' orders are refused for as long as this lives.
#[must_use = "orders are carried out again once this is gone"]
pub struct OrdersHeld(#[expect(dead_code, reason = "it is held")] OwnedRwLockWriteGuard<()>);

const HELD: &str =
    "an upgrade is under way, and the new process would not hear of it: order it again when that one serves";

impl Admin {
    /// An admin listener of a server that is starting; `status` is asked for whatever it says of the server.
    pub fn new(metrics: Arc<Metrics>, build: Build, status: impl Fn() -> Status + Send + Sync + 'static) -> Self {
        Self {
            metrics,
            build,
            started: (Instant::now(), SystemTime::now()),
            phase: AtomicU8::new(Phase::Starting as u8),
            elsewhere: AtomicBool::new(false),
            status: Box::new(status),
            control: OnceLock::new(),
            level: LogLevel::default(),
            events: Events::new(),
            audit: Audit::default(),
            readings: Readings::default(),
            ordering: Arc::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }

    /// Says who carries out what the admin listener is told to do. Once; until then it can only look.
    pub fn attach(&self, control: Arc<dyn Control>) {
        // A second one would be a fault of the binary's; the first keeps its place.
        let _ = self.control.set(control);
    }

    /// Says who changes the level of the process log; without anybody it cannot be changed.
    #[must_use]
    pub fn with_levels(mut self, levels: impl Levels) -> Self {
        self.level = LogLevel::of(levels);
        self
    }

    /// The level of the process log that an operator has ordered, for a successor to go on with.
    pub fn ordered_level(&self) -> Option<OrderedLevel> {
        self.level.ordered()
    }

    /// Goes on with the level that the process before was told, for what is left of its time. Whether it is one. To be
    /// called within the Tokio runtime.
    pub fn go_on_at(self: &Arc<Self>, ordered: &OrderedLevel) -> bool {
        level::go_on(self, ordered)
    }

    /// Says where the audit log is written besides the process log, from now on.
    pub fn write_audit_to(&self, file: Option<telemetry::Audit>) {
        self.audit.write_to(file);
    }

    /// The audit log that is written besides the process log.
    pub fn audit_log(&self) -> Option<telemetry::Audit> {
        self.audit.file()
    }

    /// Opens the file of the audit log anew under its name, for log rotation.
    pub fn reopen(&self) {
        self.audit.reopen();
    }

    /// Waits until the audit log is written, at most for `deadline`; says whether it is.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.audit.flush(deadline)
    }

    pub(crate) fn control(&self) -> Result<&Arc<dyn Control>, Answer> {
        let starting = || Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "the server is still starting");
        self.control.get().ok_or_else(starting)
    }

    /// Returns when what operators are ordering is done. What they order from then on is refused, since a successor may have
    /// been told already how things stand.
    pub async fn hold_orders(&self) -> OrdersHeld {
        OrdersHeld(Arc::clone(&self.ordering).write_owned().await)
    }

    /// Carries out an order that a successor has to be told of.
    pub(crate) async fn order(&self, order: impl Future<Output = Answer>) -> Answer {
        match self.ordering.try_read() {
            Ok(_ordering) => order.await,
            Err(_) => Answer::problem(StatusCode::CONFLICT, HELD),
        }
    }

    /// Says where in its life the server is now.
    pub fn set_phase(&self, phase: Phase) {
        let before = self.phase.swap(phase as u8, Ordering::AcqRel);
        if before != phase as u8 {
            self.events.tell("phase", format!("the server is {}", phase.as_str()));
        }
    }

    /// Where in its life the server is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// What `/ready` says: a server that serves may be told to say that it drains.
    pub(crate) fn readiness(&self) -> Phase {
        match self.phase() {
            Phase::Ready if self.elsewhere.load(Ordering::Acquire) => Phase::Draining,
            phase => phase,
        }
    }

    pub(crate) fn look_elsewhere(&self, elsewhere: bool) {
        self.elsewhere.store(elsewhere, Ordering::Release);
    }

    /// What has happened lately; to be told of whatever changes.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The generation in force, once there is somebody who counts them.
    pub fn generation(&self) -> Option<u64> {
        self.control.get().and_then(|control| control.history().first().map(|generation| generation.id))
    }

    /// Writes down what somebody did to the server otherwise than through the admin listener, such as by a signal:
    /// `what` is a word, `before` the generation that was in force.
    pub fn record(&self, who: Who, what: &str, order: Value, outcome: &str, before: Option<u64>) {
        let after = self.generation();
        let act = Act { who, what: what.to_owned(), order, outcome: outcome.to_owned(), before, after };
        self.audit.write(&act);
        self.events.act(act);
    }

    /// Writes down what somebody was not allowed to do.
    pub(crate) fn denied(&self, who: &Who, what: &str) {
        if self.audit.has_room_for_a_denial(Instant::now()) {
            let generation = self.generation();
            self.record(who.clone(), what, Value::Null, "denied", generation);
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
