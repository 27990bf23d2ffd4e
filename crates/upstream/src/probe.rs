//! Asks an endpoint again and again whether it is well.

mod ask;

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderValue;
use pingora_core::{connectors::http::Connector, upstreams::peer::HttpPeer};
use proxy_protocol::{Ends, Version};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, sync::watch, task::AbortHandle, time};

use crate::{announce, backend::Backend, backend::Timeouts, clock, reading::Fault, target::Protocol};

/// How soon an endpoint is asked again that is down or about to change.
const FAST: Duration = Duration::from_secs(1);

/// What to ask, how often, and what to make of the answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Check {
    pub(crate) question: Question,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// How many good answers in a row bring it back.
    pub(crate) healthy: u32,
    /// How many bad ones take it out.
    pub(crate) unhealthy: u32,
    /// How connections begin.
    pub(crate) announce: Option<Version>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// Whether a connection can be made.
    Tcp,
    /// Whether a GET is answered as it should be.
    Http {
        path: Box<str>,
        /// The `Host`, where it is not the backend's own.
        host: Option<HeaderValue>,
        statuses: Vec<RangeInclusive<u16>>,
        /// What the body must contain.
        body: Option<Box<str>>,
    },
    /// Whether `grpc.health.v1.Health/Check` says SERVING.
    Grpc { service: Box<str> },
}

/// What tells probes apart: endpoints of several upstreams that are asked the same share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    check: Arc<Check>,
    label: Arc<str>,
    address: Option<SocketAddr>,
    protocol: Protocol,
    host: HeaderValue,
    connection: (u64, String),
}

/// One endpoint that is asked, by a task of its own for as long as somebody wants to know.
#[derive(Debug)]
pub(crate) struct Probe {
    check: Arc<Check>,
    name: String,
    host: HeaderValue,
    protocol: Protocol,
    peer: HttpPeer,
    health: AtomicU8,
    /// When it last answered well, in milliseconds.
    well: AtomicU64,
    /// What was wrong with the last answer.
    trouble: Mutex<Option<Box<str>>>,
    /// For whom it is counted.
    backends: Mutex<Vec<Weak<Backend>>>,
    settled: watch::Sender<bool>,
    task: OnceLock<AbortHandle>,
}

/// What a successor is told of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    up: bool,
    well: i64,
    trouble: Option<Box<str>>,
}

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// How an endpoint has answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Well,
    Badly(String),
    /// It could not be asked, for lack of something of our own.
    Unasked,
}

impl Key {
    pub(crate) fn new(check: &Arc<Check>, backend: &Backend, address: Option<SocketAddr>) -> Self {
        Self {
            check: Arc::clone(check),
            label: Arc::clone(&backend.label),
            address,
            protocol: backend.protocol,
            host: backend.host.clone(),
            connection: (backend.access, backend.template.sni.clone()),
        }
    }
}

impl Probe {
    pub(crate) fn new(check: &Arc<Check>, backend: &Backend, address: Option<SocketAddr>) -> Self {
        let silence = Timeouts { connect: Some(check.timeout), read: check.timeout, upload: None };
        let mut peer = *backend.peer(address, &silence);
        // Its connections are nobody's else, and carry nothing for anybody.
        (peer.group_key, peer.options.custom_l4) = (backend.access, None);
        // Pingora keeps none for others that has room for one stream: each question has a connection of its own, which may be
        // well where another is silent, and which ends with it.
        peer.options.max_h2_streams = 1;
        if let Some(version) = check.announce {
            announce::announce(&mut peer, version, &Ends { source: None, destination: None });
        }
        let name = match address {
            Some(address) => format!("{} ({address})", backend.label),
            None => backend.label.to_string(),
        };
        Self {
            check: Arc::clone(check),
            name,
            host: backend.host.clone(),
            protocol: backend.protocol,
            peer,
            health: AtomicU8::new(UNKNOWN),
            well: AtomicU64::new(0),
            trouble: Mutex::default(),
            backends: Mutex::default(),
            settled: watch::Sender::new(false),
            task: OnceLock::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.health.load(Relaxed) == UP
    }

    pub(crate) fn is_down(&self) -> bool {
        self.health.load(Relaxed) == DOWN
    }

    /// When it last answered well, in milliseconds; 0: never.
    pub(crate) fn last_well(&self) -> u64 {
        self.well.load(Relaxed)
    }

    /// What was wrong with the last answer.
    pub(crate) fn trouble(&self) -> Option<Box<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there is to tell of it.
    pub(crate) fn learnt(&self, now: u64) -> Option<Learnt> {
        let learnt = |up| Learnt { up, well: clock::from_now(self.last_well(), now), trouble: self.trouble() };
        match self.health.load(Relaxed) {
            UNKNOWN => None,
            health => Some(learnt(health == UP)),
        }
    }

    /// Goes on as in the process before, where it has not asked yet.
    pub(crate) fn inherit(&self, learnt: &Learnt, now: u64) {
        let health = if learnt.up { UP } else { DOWN };
        if self.health.compare_exchange(UNKNOWN, health, Relaxed, Relaxed).is_ok() {
            self.well.store(clock::at(learnt.well, now), Relaxed);
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&learnt.trouble);
        }
    }

    /// From now on its answers are counted for `backend` as well.
    pub(crate) fn count_for(&self, backend: &Arc<Backend>) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|backend| backend.strong_count() > 0);
        backends.push(Arc::downgrade(backend));
    }

    /// Waits until it has been asked once.
    pub(crate) async fn settled(&self) {
        // An error would mean that the sender is gone, and it is ours.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Begins to ask, once.
    pub(crate) fn start(self: &Arc<Self>, runtime: &Handle, connector: &Arc<Connector>) {
        let begin = || runtime.spawn(keep_asking(Arc::downgrade(self), Arc::clone(connector))).abort_handle();
        self.task.get_or_init(begin);
    }

    async fn ask(&self, connector: &Connector) -> Answer {
        match time::timeout(self.check.timeout, ask::ask(self, connector)).await {
            Err(_) => Answer::Badly("no answer in time".into()),
            Ok(Ok(())) => Answer::Well,
            Ok(Err(ask::Failed::Answer(why))) => Answer::Badly(why),
            Ok(Err(ask::Failed::Attempt(reading))) if reading.fault == Fault::Ours => Answer::Unasked,
            Ok(Err(ask::Failed::Attempt(reading))) => Answer::Badly(reading.reason.word().into()),
        }
    }

    /// Takes an answer into account. `row` is how many in a row there were that speak for a change; gives when to ask
    /// again.
    fn take(&self, answer: Answer, row: &mut u32) -> Duration {
        let (well, trouble) = match answer {
            Answer::Well => (true, None),
            Answer::Badly(why) => (false, Some(why)),
            Answer::Unasked => return self.check.interval.min(FAST),
        };
        for backend in self.backends.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            backend.meters.checked(well);
        }
        if well {
            self.well.store(clock::now(), Relaxed);
        }
        let was = self.health.load(Relaxed);
        let is = if well { UP } else { DOWN };
        *row = if was == is { 0 } else { *row + 1 };
        let enough = match is {
            _ if was == UNKNOWN => 1,
            UP => self.check.healthy,
            _ => self.check.unhealthy,
        };
        if *row >= enough {
            *row = 0;
            self.health.store(is, Relaxed);
            let why = trouble.as_deref().unwrap_or_default();
            match (is, was) {
                (DOWN, _) => log::warn!("`{}` is down: {why}", self.name),
                (_, DOWN) => log::info!("`{}` is up again", self.name),
                _ => log::debug!("`{}` is up", self.name),
            }
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble.map(Into::into);
        let calm = *row == 0 && self.is_up();
        if calm { self.check.interval } else { self.check.interval.min(FAST) }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Asks for as long as somebody wants to know. Between two questions nothing is held, so that it can end.
async fn keep_asking(probe: Weak<Probe>, connector: Arc<Connector>) {
    let mut row = 0;
    loop {
        let Some(asked) = probe.upgrade() else { return };
        let answer = asked.ask(&connector).await;
        let pause = asked.take(answer, &mut row);
        asked.settled.send_replace(true);
        drop(asked);
        // A tenth sooner or later, so that many proxies do not ask all at once.
        time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

#[cfg(test)]
mod tests;
