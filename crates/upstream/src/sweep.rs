//! Looks after what happens by itself: times that are over, and backends that can be connected to again.

use std::{
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use pingora_core::upstreams::peer::Peer;
use tokio::time;

use crate::{
    breaker::Circuit,
    clock, dial,
    endpoint::Endpoint,
    pool::Pool,
    standing::{BROKEN, EJECTED, SHUNNED, STARTING},
    state::Kept,
};

/// How often everything is looked at.
const PERIOD: Duration = Duration::from_millis(250);
/// An ejected endpoint whose checks go well is back after this many milliseconds at the earliest.
const SHORTEST: u64 = 1_000;

/// Looks after the pools that are in force, until the state is gone.
pub(crate) async fn keep_sweeping(state: Weak<Kept>) {
    let mut ticks = time::interval(PERIOD);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(state) = state.upgrade() else { return };
        for pool in state.live() {
            state.start_probes(&pool);
            sweep(&pool);
        }
    }
}

/// Looks after one pool.
pub(crate) fn sweep(pool: &Pool) {
    let now = clock::now();
    let expired = pool.backends().iter().filter(|backend| backend.orders.expire(now)).count();
    if expired > 0 {
        log::info!("the time of an order for upstream `{}` is over", pool.name);
        pool.rebuild();
    }
    let set = pool.set();
    for endpoint in set.endpoints() {
        let marks = endpoint.standing.marks();
        if marks != 0 {
            settle(endpoint, marks, now);
        }
        let up = is_up(endpoint, now);
        if endpoint.standing.up.swap(up, Relaxed) != up && up && pool.rules.slow_start.is_some() {
            endpoint.standing.start_slowly(now);
        }
    }
    pool.compare(&set, now);
    pool.look(now);
    pool.review(&set, now);
    for backend in pool.backends().iter() {
        let of = |endpoint: &&Arc<Endpoint>| Arc::ptr_eq(&endpoint.backend, backend);
        let (mut up, mut circuit) = (false, Circuit::Open);
        for endpoint in set.endpoints().filter(of) {
            up |= is_up(endpoint, now);
            circuit = circuit.min(endpoint.standing.breaker.circuit(now));
        }
        backend.meters.up(up);
        backend.meters.weight(backend.weight_now());
        if pool.rules.breaker.is_some() {
            let none = set.endpoints().filter(of).count() == 0;
            backend.meters.circuit(if none { Circuit::Closed } else { circuit } as i64);
        } else {
            backend.meters.has_no_circuit();
        }
    }
}

/// Whether an endpoint gets requests, as far as it is known to be well.
pub(crate) fn is_up(endpoint: &Endpoint, now: u64) -> bool {
    let standing = &endpoint.standing;
    endpoint.is_healthy(now) && !standing.shun.is_shunned(now) && standing.breaker.circuit(now) != Circuit::Open
}

/// Ends what is over, and what only a configuration before this one has asked for: what is known of an endpoint
/// outlives a reload and an upgrade, and nobody else would take it back.
fn settle(endpoint: &Arc<Endpoint>, marks: u8, now: u64) {
    let standing = &endpoint.standing;
    if marks & EJECTED != 0 {
        let since = standing.outlier.since();
        let well = endpoint.probe.as_ref().is_some_and(|probe| probe.is_up() && probe.last_well() > since + SHORTEST);
        if well || endpoint.rules.outlier.is_none() {
            standing.outlier.readmit();
        }
        if !standing.outlier.is_ejected(now) {
            standing.unmark(EJECTED, || standing.outlier.is_ejected(now));
            log::info!("`{}` of upstream `{}` is back", endpoint.name(), endpoint.backend.meters.upstream());
        }
    }
    if marks & SHUNNED != 0 {
        standing.unmark(SHUNNED, || standing.shun.is_shunned(clock::now()));
        if standing.shun.is_shunned(now) {
            look_again(endpoint);
        }
    }
    if marks & BROKEN != 0 {
        if endpoint.rules.breaker.is_none() {
            standing.breaker.reset();
            let (upstream, name) = (endpoint.backend.meters.upstream(), endpoint.name());
            log::info!("the circuit breaker of `{name}` of upstream `{upstream}` is not configured any more");
        }
        standing.unmark(BROKEN, || !standing.breaker.is_closed());
    }
    if marks & STARTING != 0 && endpoint.rules.slow_start.is_none_or(|window| standing.share(window, now) >= 1.0) {
        standing.unmark(STARTING, || false);
    }
}

/// Finds out whether a connection can be made again, without anybody waiting for it.
fn look_again(endpoint: &Arc<Endpoint>) {
    if endpoint.standing.looked_at.swap(true, Relaxed) {
        return;
    }
    let endpoint = Arc::clone(endpoint);
    tokio::spawn(async move {
        let peer = endpoint.backend.peer(endpoint.address, &crate::backend::Timeouts::NONE);
        let limit = peer.options.connection_timeout.unwrap_or(PERIOD);
        let standing = &endpoint.standing;
        if matches!(time::timeout(limit, dial::dial(peer.address())).await, Ok(Ok(()))) {
            standing.shun.forget();
            log::info!(
                "`{}` of upstream `{}` can be connected to again",
                endpoint.name(),
                endpoint.backend.meters.upstream()
            );
        }
        standing.looked_at.store(false, Relaxed);
    });
}
