//! What an origin saw of a request, and the list of all of them that a test can wait on.

use std::{collections::BTreeMap, sync::Mutex};

use tokio::sync::watch;

use crate::{Body, Fields, within};

/// One request as the origin saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which connection it came in by, counted from 0.
    pub connection: usize,
    /// Which request of that connection it is, counted from 0.
    pub turn: usize,
    /// The head's bytes as they stood on the wire; empty over HTTP/2.
    pub head: Vec<u8>,
    /// The method.
    pub method: String,
    /// The target as it stood on the request line, or `:path`.
    pub target: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2`.
    pub version: String,
    /// The header fields; over HTTP/2 `:authority` and `:scheme` stand among them.
    pub headers: Fields,
    /// What came of the body so far.
    pub body: Body,
    /// The name asked for in the TLS handshake (SNI).
    pub server_name: Option<String>,
    /// The subject of the client certificate shown in the TLS handshake: whether there was one.
    pub client_certificate: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a request ended at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended.
    Open,
    /// The script ran to its end.
    Answered,
    /// The other side closed, reset or cancelled before the script's end.
    Cancelled,
}

impl Seen {
    /// What [`Answer::echo`](crate::Answer::echo) answers.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "method": self.method,
            "target": self.target,
            "version": self.version,
            "headers": self.headers.0,
            "body_length": self.body.length,
            "body": self.body.text(),
            "connection": self.connection,
        })
    }

    /// The first value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The host asked for: `Host`, or `:authority` over HTTP/2.
    pub fn host(&self) -> Option<&str> {
        self.headers.get(":authority").or_else(|| self.headers.get("host"))
    }
}

/// Everything that an origin saw.
#[derive(Debug)]
pub(crate) struct Log {
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
    preambles: Mutex<BTreeMap<usize, Vec<u8>>>,
    open: watch::Sender<usize>,
    changed: watch::Sender<u64>,
}

/// A connection that is open; counted until dropped.
pub(crate) struct Open(watch::Sender<usize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            seen: Mutex::default(),
            connections: Mutex::default(),
            preambles: Mutex::default(),
            open: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }
    }

    pub(crate) fn connect(&self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        *connections += 1;
        self.changed.send_modify(|n| *n += 1);
        *connections - 1
    }

    pub(crate) fn announce(&self, connection: usize, header: Vec<u8>) {
        self.preambles.lock().unwrap().insert(connection, header);
    }

    pub(crate) fn preamble(&self, connection: usize) -> Vec<u8> {
        self.preambles.lock().unwrap().get(&connection).cloned().unwrap_or_default()
    }

    pub(crate) fn open(&self) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.open.clone())
    }

    pub(crate) async fn until_open(&self, count: usize) {
        let mut open = self.open.subscribe();
        let what = format!("no more than {count} connections to the origin to be open");
        within(what, open.wait_for(|open| *open <= count)).await.unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub(crate) fn begin(&self, request: Seen) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(request);
        self.changed.send_modify(|n| *n += 1);
        seen.len() - 1
    }

    pub(crate) fn update(&self, id: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap()[id]);
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn get(&self, id: usize) -> Seen {
        self.seen.lock().unwrap()[id].clone()
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) async fn until<T>(&self, what: &str, mut condition: impl FnMut(&[Seen], usize) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                changed.borrow_and_update();
                let connections = self.connections();
                if let Some(found) = condition(&self.seen.lock().unwrap(), connections) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        within(format!("the origin to see {what}"), found).await
    }
}
