//! What is counted per listener.

use std::sync::{Arc, OnceLock};

use filter::Reason;
use prometheus::{IntCounter, IntGauge};

use crate::families::Families;

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMeters {
    name: Box<str>,
    index: usize,
    connections: [OnceLock<(IntGauge, IntCounter)>; Protocol::ALL.len()],
    bytes: OnceLock<[IntCounter; 2]>,
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
    /// Bytes, whatever they mean.
    Tcp,
    /// TLS that is passed on as it is.
    TlsPassthrough,
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
    const ALL: [Protocol; 5] = [Protocol::H1, Protocol::H2, Protocol::H2c, Protocol::Tcp, Protocol::TlsPassthrough];

    /// The protocol's name, as the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::H1 => "h1",
            Protocol::H2 => "h2",
            Protocol::H2c => "h2c",
            Protocol::Tcp => "tcp",
            Protocol::TlsPassthrough => "tls-passthrough",
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
        Self {
            name: name.into(),
            index,
            // Like those below found when they are first needed: most listeners have one or two protocols.
            connections: Default::default(),
            bytes: OnceLock::new(),
            families: Arc::clone(families),
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
        let (open, total) = self.connections[protocol as usize].get_or_init(|| {
            let labels = [self.name(), protocol.as_str()];
            let families = &self.families;
            (families.connections.with_label_values(&labels), families.connections_total.with_label_values(&labels))
        });
        open.inc();
        total.inc();
        OpenConnection(open.clone())
    }

    /// Counts what a stream has passed on: from its client, and to it.
    pub fn passed(&self, bytes_in: u64, bytes_out: u64) {
        let family = &self.families.stream_bytes_total;
        let counters =
            self.bytes.get_or_init(|| ["in", "out"].map(|way| family.with_label_values(&[self.name(), way])));
        counters[0].inc_by(bytes_in);
        counters[1].inc_by(bytes_out);
    }

    /// Counts a stream that ended for a reason of ours. Looks the counter up: to be called once for each, at most.
    pub fn stream_error(&self, reason: Reason) {
        self.families.stream_errors_total.with_label_values(&[self.name(), reason.word()]).inc();
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
