//! One address of one backend, and the hold that a request has on it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use filter::Reason;
use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use telemetry::BackendMeters;

use crate::{
    backend::{Backend, Timeouts},
    breaker::{Circuit, Leave},
    clock,
    counted::Counter,
    order::Duty,
    pool::Pool,
    probe::Probe,
    reading::{Fault, Reading},
    rules::{Measure, Rules},
    standing::{BROKEN, EJECTED, SHUNNED, STARTING, Standing},
    sticky::{Home, Mark},
    tally::Tally,
};

/// One address of one backend of an upstream, while it has it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) backend: Arc<Backend>,
    /// What replaces the address of the backend's template.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) probe: Option<Arc<Probe>>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) pool: Weak<Pool>,
    /// By what clients are kept here.
    pub(crate) mark: Option<Mark>,
}

/// Which endpoint it is, to be remembered as tried. It is never another's, whatever becomes of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId(u32);

/// What is asked of an endpoint. Each step of a search leaves one wish out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Not failing its checks, and not ejected.
    pub(crate) healthy: bool,
    /// Not tried for this request.
    pub(crate) untried: bool,
    /// Without a connection that failed of late, and known to be well; what starts slowly has its turn only now and then.
    pub(crate) at_best: bool,
}

/// The hold of one attempt on its endpoint, which counts as under way there while it lives.
#[derive(Debug)]
pub struct Pick {
    endpoint: Arc<Endpoint>,
    /// Whether it is the one request that a half-open breaker lets through, and has not told yet.
    trial: AtomicBool,
    /// Whether it was answered well, and nothing has gone wrong since.
    good: AtomicBool,
}

impl Endpoint {
    pub(crate) fn id(&self) -> EndpointId {
        EndpointId(self.standing.id)
    }

    pub(crate) fn meets(&self, need: Need, tried: &[EndpointId], now: impl Fn() -> u64) -> bool {
        if need.untried && tried.contains(&self.id()) || self.backend.orders.duty() != Duty::Ready || self.is_full() {
            return false;
        }
        if let Some(probe) = &self.probe
            && (need.healthy && probe.is_down() || need.at_best && !probe.is_up())
        {
            return false;
        }
        let marks = self.standing.marks();
        marks == 0 || self.meets_closer(marks, need, now())
    }

    fn meets_closer(&self, marks: u8, need: Need, now: u64) -> bool {
        let standing = &self.standing;
        if marks & BROKEN != 0 && !standing.breaker.would_let(now)
            || need.healthy && marks & EJECTED != 0 && standing.outlier.is_ejected(now)
            || need.at_best && marks & SHUNNED != 0 && standing.shun.is_shunned(now)
        {
            return false;
        }
        match self.rules.slow_start {
            Some(window) if need.at_best && marks & STARTING != 0 => fastrand::f32() < standing.share(window, now),
            _ => true,
        }
    }

    /// Whether those who have been here come back: it is well as far as that is known, and no operator has taken it away.
    pub(crate) fn keeps(&self, tried: &[EndpointId], now: u64) -> bool {
        let standing = &self.standing;
        let shuns = standing.marks() & SHUNNED != 0 && standing.shun.is_shunned(now);
        let breaks = standing.marks() & BROKEN != 0 && !standing.breaker.would_let(now);
        self.is_healthy(now) && !shuns && !breaks && !tried.contains(&self.id())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rules.max_connections.is_some_and(|most| self.standing.load.load(Relaxed) >= most)
    }

    /// Whether it may have requests as far as its checks and its answers tell.
    pub(crate) fn is_healthy(&self, now: u64) -> bool {
        let standing = &self.standing;
        self.backend.orders.duty() != Duty::Down
            && !self.probe.as_ref().is_some_and(|probe| probe.is_down())
            && !(standing.marks() & EJECTED != 0 && standing.outlier.is_ejected(now))
    }

    /// Takes a place; `None` where somebody else has had the last one.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Pick> {
        let leave = match self.standing.marks() & BROKEN {
            0 => Leave::Granted,
            _ => self.standing.breaker.ask(clock::now()),
        };
        if leave == Leave::Refused {
            return None;
        }
        if !self.standing.take_place(self.rules.max_connections) {
            if leave == Leave::Trial {
                self.standing.breaker.give_back();
            }
            return None;
        }
        self.tally.total.fetch_add(1, Relaxed);
        Some(Pick {
            endpoint: Arc::clone(self),
            trial: AtomicBool::new(leave == Leave::Trial),
            good: AtomicBool::new(false),
        })
    }

    /// As logs call it: the backend, and which of its addresses.
    pub(crate) fn name(&self) -> String {
        name(&self.backend, self.address)
    }
}

/// As logs call an endpoint.
pub(crate) fn name(backend: &Backend, address: Option<SocketAddr>) -> String {
    match address {
        Some(address) => format!("{} ({address})", backend.label),
        None => backend.label.to_string(),
    }
}

impl Pick {
    /// Which endpoint it is, to be remembered as tried.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint.id()
    }

    /// The backend that it belongs to.
    pub fn backend(&self) -> &Backend {
        &self.endpoint.backend
    }

    /// The backend's name in logs and metrics.
    pub fn label(&self) -> &Arc<str> {
        &self.backend().label
    }

    /// How far it is from those that are to be used first, zones apart: backups and lower priorities stand behind.
    pub fn standby(&self) -> u8 {
        self.backend().rank / 2
    }

    /// What is counted of the backend.
    pub fn meters(&self) -> &BackendMeters {
        &self.backend().meters
    }

    /// Counts the connections to the backend.
    pub fn counter(&self) -> &Counter {
        &self.backend().counter
    }

    /// Makes the connections of its `peer` counted, which go into one of Pingora's pools: those that do not count their own.
    /// To be called when everything else about the peer is settled.
    pub fn count(&self, peer: &mut HttpPeer) {
        self.backend().count(peer);
    }

    /// The Host field that names the backend itself.
    pub fn host(&self) -> &HeaderValue {
        &self.backend().host
    }

    /// The address to connect to; `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.backend().address(self.endpoint.address)
    }

    /// The unix socket to connect to; `None` for an address.
    pub fn socket(&self) -> Option<&Path> {
        self.backend().socket()
    }

    /// What Pingora connects to.
    pub fn peer(&self, timeouts: &Timeouts) -> Box<HttpPeer> {
        let mut peer = self.backend().peer(self.endpoint.address, timeouts);
        if let Some(lifetime) = self.backend().generations {
            self.endpoint.standing.generation.mark(&mut peer, lifetime, clock::now());
        }
        peer
    }

    /// How a cookie names it, where clients are kept here.
    pub fn home(&self) -> Option<Home> {
        self.endpoint.mark.as_ref().map(|mark| mark.home)
    }

    /// The cookie that keeps a client here, over TLS or not.
    pub fn cookie(&self, secure: bool) -> Option<&HeaderValue> {
        self.endpoint.mark.as_ref().map(|mark| mark.cookie(secure))
    }

    /// How the circuit breaker is, where there is one.
    pub fn circuit(&self) -> Option<Circuit> {
        let Endpoint { standing, rules, .. } = &*self.endpoint;
        rules.breaker.is_some().then(|| standing.breaker.circuit(clock::now()))
    }

    /// To be told when an answer came, with how long its head took.
    pub fn answered(&self, status: u16, took: Duration) {
        self.meters().answered(status);
        self.observe(took, false);
        // What fails at once says nothing of how long the work takes.
        if status < 500 {
            self.time(took);
        }
        self.tell_share(!matches!(status, 502..=504));
        let Endpoint { standing, rules, .. } = &*self.endpoint;
        // What the backend says of itself when it cannot do its work. Any other error may well be the client's doing.
        match (&rules.outlier, matches!(status, 502..=504)) {
            // What is good at its beginning may break off yet.
            (Some(_), false) => self.good.store(true, Relaxed),
            (Some(rules), true) if standing.outlier.failure(rules) => self.eject(),
            _ => {}
        }
        if status >= 500 { self.break_or_not() } else { self.mend() }
    }

    /// To be told when a stream was connected.
    pub fn connected(&self) {
        self.meters().connected();
        self.good.store(self.endpoint.rules.outlier.is_some(), Relaxed);
        self.mend();
    }

    /// To be told when no answer came. Counts against the endpoint what is its own fault, and whatever a client may have
    /// brought about does not: `fair` says whether it had all the time that the configuration gives.
    pub fn failed(&self, reading: Reading, took: Duration, fair: bool) {
        self.meters().failed(reading.reason);
        let counts = reading.fault == Fault::Backend && (fair || reading.reason != Reason::UpstreamTimeout);
        if !counts {
            return;
        }
        self.observe(took, true);
        if reading.reason == Reason::UpstreamTimeout {
            self.time(took);
        }
        self.tell_share(false);
        self.good.store(false, Relaxed);
        let Endpoint { standing, rules, .. } = &*self.endpoint;
        if !reading.sent {
            self.shun(reading.reason);
        } else if let Some(rules) = &rules.outlier
            && standing.outlier.failure(rules)
        {
            self.eject();
        }
        self.break_or_not();
    }

    /// To be told when another endpoint has answered first: this one is as slow as that at least.
    pub fn outrun(&self, took: Duration) {
        self.observe(took, false);
        self.time(took);
    }

    /// Counts how long the upstream takes, where that is looked at.
    fn time(&self, took: Duration) {
        let Endpoint { tally, rules, .. } = &*self.endpoint;
        if rules.adaptive.is_some() {
            tally.durations.count(took);
        }
        tally.hedging.count(took);
    }

    /// Counts the attempt for the share of good answers, where that is looked at.
    fn tell_share(&self, well: bool) {
        if self.endpoint.rules.outlier.is_some_and(|rules| rules.success_rate.is_some()) {
            self.endpoint.standing.outlier.count(well);
        }
    }

    fn observe(&self, took: Duration, failure: bool) {
        let Some(measure) = self.endpoint.rules.latency else { return };
        let (latency, took, now) = (&self.endpoint.standing.latency, took.as_secs_f32() * 1000.0, clock::now());
        match (measure, failure) {
            (Measure::Peak, true) => latency.observe_failure(took, now),
            (Measure::Peak, false) => latency.observe(took, now),
            (Measure::Typical, false) => latency.observe_typical(took, now),
            (Measure::Typical, true) => {}
        }
    }

    fn shun(&self, reason: Reason) {
        let standing = &self.endpoint.standing;
        let first = standing.shun.strike(clock::now());
        standing.mark(SHUNNED);
        if first {
            let (upstream, name) = (self.meters().upstream(), self.endpoint.name());
            log::warn!("`{name}` of upstream `{upstream}` cannot be connected to ({})", reason.word());
        }
    }

    fn eject(&self) {
        if let Some(pool) = self.endpoint.pool.upgrade() {
            pool.eject(&self.endpoint, "errors in a row");
        }
    }

    fn break_or_not(&self) {
        let Endpoint { standing, rules, .. } = &*self.endpoint;
        let Some(rules) = &rules.breaker else { return };
        if standing.breaker.failure(self.trial.swap(false, Relaxed), rules, clock::now()) {
            standing.mark(BROKEN);
            let (upstream, name) = (self.meters().upstream(), self.endpoint.name());
            log::warn!("the circuit breaker of `{name}` of upstream `{upstream}` is open");
        }
    }

    fn mend(&self) {
        if self.endpoint.rules.breaker.is_none() {
            return;
        }
        let breaker = &self.endpoint.standing.breaker;
        if breaker.success(self.trial.swap(false, Relaxed)) {
            self.endpoint.standing.unmark(BROKEN, || !breaker.is_closed());
            let (upstream, name) = (self.meters().upstream(), self.endpoint.name());
            log::info!("the circuit breaker of `{name}` of upstream `{upstream}` is closed again");
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        let Endpoint { standing, tally, .. } = &*self.endpoint;
        if self.trial.load(Relaxed) {
            standing.breaker.give_back();
        }
        if self.good.load(Relaxed) {
            standing.outlier.success();
        }
        standing.load.fetch_sub(1, SeqCst);
        tally.total.fetch_sub(1, Relaxed);
        if self.endpoint.rules.max_connections.is_some() {
            tally.free(self.endpoint.mark.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_keeps_of_an_attempt_is_small() {
        assert_eq!(size_of::<EndpointId>(), 4);
        assert_eq!(size_of::<Pick>(), 16);
    }
}
