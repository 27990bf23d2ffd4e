//! What is counted per listener.

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntGauge};

use crate::families::Families;

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMeters {
    name: Box<str>,
    index: usize,
    connections: [(IntGauge, IntCounter); Protocol::ALL.len()],
    families: Arc<Families>,
    handshakes: [[OnceLock<IntCounter>; Handshake::ALL.len()]; VERSIONS.len()],
}

/// The protocol of a client connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    H1,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 in plaintext, by prior knowledge.
    H2c,
}

/// How a TLS handshake with a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It was completed.
    Ok,
    /// It was not completed in time.
    Timeout,
    /// The client went away.
    Closed,
    /// One side refused what the other offered.
    Failed,
}

/// The values of the label `version`; the first stands for a handshake that agreed on none.
const VERSIONS: [&str; 3] = ["-", "TLSv1.2", "TLSv1.3"];

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::H1, Protocol::H2, Protocol::H2c];

    /// The protocol's name, as the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::H1 => "h1",
            Protocol::H2 => "h2",
            Protocol::H2c => "h2c",
        }
    }
}

impl Handshake {
    const ALL: [Handshake; 4] = [Handshake::Ok, Handshake::Timeout, Handshake::Closed, Handshake::Failed];

    /// The value of the label `result`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Handshake::Ok => "ok",
            Handshake::Timeout => "timeout",
            Handshake::Closed => "closed",
            Handshake::Failed => "failed",
        }
    }
}

/// A connection counted as open until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as closed"]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ListenerMeters {
    pub(crate) fn new(name: &str, index: usize, families: &Arc<Families>) -> Self {
        let connection = |protocol: Protocol| {
            let labels = [name, protocol.as_str()];
            (families.connections.with_label_values(&labels), families.connections_total.with_label_values(&labels))
        };
        Self {
            name: name.into(),
            index,
            connections: Protocol::ALL.map(connection),
            families: Arc::clone(families),
            // Found when they are first needed: a plaintext listener has none.
            handshakes: Default::default(),
        }
    }

    /// The listener's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The listener's place among all that this process ever had.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Counts a connection, open until the guard is dropped.
    pub fn open(&self, protocol: Protocol) -> OpenConnection {
        let (open, total) = &self.connections[protocol as usize];
        open.inc();
        total.inc();
        OpenConnection(open.clone())
    }

    /// Counts a TLS handshake; `version` is `TLSv1.2` or `TLSv1.3`, or `None` when none was agreed on.
    pub fn handshake(&self, version: Option<&str>, result: Handshake) {
        let version = version.and_then(|version| VERSIONS.iter().position(|known| *known == version)).unwrap_or(0);
        let counter = self.handshakes[version][result as usize].get_or_init(|| {
            let labels = [self.name(), VERSIONS[version], result.as_str()];
            self.families.tls_handshakes_total.with_label_values(&labels)
        });
        counter.inc();
    }
}
