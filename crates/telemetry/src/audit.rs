//! The audit log: who did what, who tried to get in, and what came of it, one line after another in a chain.

mod chain;
mod entry;
mod writer;

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Sender, SyncSender, TrySendError, channel, sync_channel},
    },
    time::{Duration, SystemTime},
};

use prometheus::IntCounter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use chain::{Break, Chain, Link};
pub use entry::Attempt;

/// How many lines may wait to be written.
const WAITING: usize = 8192;

/// How many of them may be about who tried to get in: whoever tries without end leaves room for what operators do.
const ATTEMPTS: usize = WAITING - WAITING / 8;

/// Where the audit log is, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub file: Option<String>,
    /// Which attempts to get in are written down.
    pub attempts: Option<Attempts>,
}

/// The audit log, as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "audit log")]
pub struct WrittenTable {
    /// The file. Required.
    ///
    /// Example: `file = "/var/log/maitred/audit.jsonl"`
    pub file: Option<String>,
    /// Which attempts of callers to get in, on routes with `auth`, are lines of it: `"failures"`, `"all"` or `"none"`.
    /// Default `"failures"`.
    ///
    /// Example: `attempts = "all"`
    pub attempts: Option<Attempts>,
}

impl From<WrittenTable> for Written {
    fn from(table: WrittenTable) -> Self {
        Self { file: table.file, attempts: table.attempts }
    }
}

impl Written {
    fn of_text(path: &str) -> Result<Self, String> {
        Ok(Self { file: Some(path.to_owned()), attempts: None })
    }
}

document::shorthand!(Written, WrittenTable, "the path of a file, or a table", str = Written::of_text);

/// Which attempts to get in are written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Attempts {
    /// None.
    None,
    /// Those that failed, or would have where a policy is in shadow.
    #[default]
    Failures,
    /// Every one.
    All,
}

/// An open audit log. What was given to it is written before the last handle is gone, or the process ends.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    orders: SyncSender<Order>,
    /// How many lines wait.
    waiting: Arc<AtomicUsize>,
    /// How many there was no room for since the last one that was written.
    lost: Arc<AtomicU64>,
    dropped: IntCounter,
    attempts: Attempts,
}

/// What the writer is told.
enum Order {
    Write(String),
    Reopen,
    Tell(Sender<()>),
}

/// A line before it is part of the chain.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    kind: &'a str,
    #[serde(flatten)]
    what: &'a T,
}

impl Audit {
    /// Opens the file, to append to it, and starts its writer. What is lost is counted by `dropped`.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub fn open(path: &Path, attempts: Attempts, dropped: IntCounter) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(WAITING);
        let (count, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        writer::start(path, waiting, count.clone(), lost.clone())?;
        Ok(Self(Arc::new(Shared { orders, waiting: count, lost, dropped, attempts })))
    }

    /// The same log, in which other attempts are written down.
    #[must_use]
    pub fn with(&self, attempts: Attempts) -> Self {
        Self(Arc::new(Shared { attempts, ..(*self.0).clone() }))
    }

    /// Writes down that somebody tried to get in, where that is wanted of one that failed or not. Waits for nobody: a
    /// line for which there is no room is counted, and the next one that is written says how many are missing.
    pub fn attempt(&self, failed: bool, attempt: impl FnOnce() -> Attempt) {
        let wanted = match self.0.attempts {
            Attempts::None => false,
            Attempts::Failures => failed,
            Attempts::All => true,
        };
        if !wanted {
            return;
        }
        if self.0.waiting.load(Relaxed) >= ATTEMPTS { self.lose() } else { self.write("attempt", &attempt()) }
    }

    /// Writes down what somebody did to the server.
    pub fn act(&self, act: &impl Serialize) {
        self.write("act", act);
    }

    fn write(&self, kind: &str, what: &impl Serialize) {
        let Ok(line) = serde_json::to_string(&Line { time: now(), kind, what }) else { return self.lose() };
        self.0.waiting.fetch_add(1, Relaxed);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.0.orders.try_send(Order::Write(line)) {
            self.0.waiting.fetch_sub(1, Relaxed);
            self.lose();
        }
    }

    fn lose(&self) {
        self.0.lost.fetch_add(1, Relaxed);
        self.0.dropped.inc();
    }

    /// Asks for the file to be opened anew under its name.
    pub fn reopen(&self) {
        // With so many lines waiting it will be asked for again.
        let _ = self.0.orders.try_send(Order::Reopen);
    }

    /// Waits until everything told so far is written, at most for `deadline`. Says whether it is.
    pub fn flush(&self, deadline: Duration) -> bool {
        let (done, written) = channel();
        self.0.orders.try_send(Order::Tell(done)).is_ok() && written.recv_timeout(deadline).is_ok()
    }
}

fn now() -> String {
    let time = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audit({:?})", self.0.attempts)
    }
}

#[cfg(test)]
mod tests;
