//! What has happened lately: the last events, and whoever wants to be told of the next ones.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{Act, status::timestamp};

/// How many events are kept.
const KEPT: usize = 1024;

/// How many events somebody who is told of them may be behind.
const BEHIND: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts from 1 since the process started.
    pub id: u64,
    /// When, RFC 3339.
    pub time: String,
    /// What kind of thing: `act` for what somebody did, `phase` for where the server is in its life, and `error`, `warn` or
    /// `info` for what else it says of itself: certificates, addresses of backends, upgrades.
    pub kind: String,
    /// In a sentence.
    pub message: String,
    /// Who did what, for an `act`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
}

/// The last events.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    kept: VecDeque<Arc<Event>>,
}

/// Events from some point on, one after another.
#[derive(Debug)]
pub(crate) struct Subscription {
    kept: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { ring: Mutex::default(), live: broadcast::channel(BEHIND).0 }
    }

    /// Tells that something has changed: `kind` is a word such as `backend`, `message` a sentence for people.
    pub fn tell(&self, kind: &str, message: impl Into<String>) {
        self.push(kind, message.into(), None);
    }

    pub(crate) fn act(&self, act: Act) {
        self.push("act", act.to_string(), Some(act));
    }

    fn push(&self, kind: &str, message: String, act: Option<Act>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let time = timestamp(SystemTime::now());
        let event = Arc::new(Event { id: ring.last, time, kind: kind.to_owned(), message, act });
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::clone(&event));
        // While the lock is held, so that nobody is told of events in another order. Nobody may be listening.
        let _ = self.live.send(event);
    }

    /// The events kept after the one with this id; all of them for an id of a former process.
    pub(crate) fn since(&self, id: u64) -> Vec<Arc<Event>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.since(id).cloned().collect()
    }

    /// The same, and whatever comes.
    pub(crate) fn subscribe(&self, id: u64) -> Subscription {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        Subscription { kept: ring.since(id).cloned().collect(), live: self.live.subscribe() }
    }
}

impl Ring {
    fn since(&self, id: u64) -> impl Iterator<Item = &Arc<Event>> {
        let after = if id > self.last { 0 } else { id };
        self.kept.iter().filter(move |event| event.id > after)
    }
}

impl Subscription {
    /// Waits for the next event; whoever is too slow misses some. `None` when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.kept.pop_front() {
            return Some(event);
        }
        loop {
            match self.live.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
