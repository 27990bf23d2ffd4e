//! Who did something to the server, and what it was.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A process, over a unix socket.
    Process {
        /// Its user.
        uid: u32,
        /// Its id, where the kernel says it.
        pid: Option<i32>,
    },
    /// A client, over TCP.
    Address(String),
    /// Whoever sent a signal: `HUP`.
    Signal(String),
    /// maitred itself: because nobody confirmed in time, or because a file has changed.
    Itself,
}

/// Something that was done to the server, or was meant to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Act {
    /// Who did it.
    pub who: Who,
    /// What it was: `reload`, `rollback`, `stop`.
    pub what: String,
    /// How it was ordered; null where nothing was said.
    pub order: Value,
    /// What came of it, in a word: `applied`, `refused`, `done`, `failed`, `denied`.
    pub outcome: String,
    /// The generation before.
    pub before: Option<u64>,
    /// The generation after.
    pub after: Option<u64>,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Process { uid, pid: Some(pid) } => write!(f, "uid {uid} (pid {pid})"),
            Who::Process { uid, pid: None } => write!(f, "uid {uid}"),
            Who::Address(address) => f.write_str(address),
            Who::Signal(name) => write!(f, "signal {name}"),
            Who::Itself => f.write_str("maitred itself"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}: {}", self.what, self.who, self.outcome)?;
        match (self.before, self.after) {
            (Some(before), Some(after)) if before != after => write!(f, ", generation {before} → {after}"),
            _ => Ok(()),
        }
    }
}
