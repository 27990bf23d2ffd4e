//! The memory of connections that are open and idle.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Ground,
    load::{h2load, wrk},
    meter,
    origin::Origin,
    peer::{Peer, Proxy},
    scenario::Scenario,
};
use crate::shell::Failure;

/// What is measured.
pub(crate) const UNIT: &str = "KiB/idle connection";

/// Requests before anything is measured, which fill pools and caches.
const WARM_UP: u32 = 2000;
/// When every connection has asked, one each two milliseconds, and what was needed for that has been given back.
const ASKED: Duration = Duration::from_secs(25);
/// How long it may take until all are open.
const ALL_IN: Duration = Duration::from_secs(40);

/// KiB by which a proxy's memory has grown for each connection that has asked once and is idle since.
pub(crate) fn memory(peer: Peer, scenario: &Scenario, ground: &Ground, origin: &Origin) -> Result<f64, Failure> {
    let proxy = Proxy::start(peer, scenario, ground, origin, &[])?;
    h2load::send(scenario, &proxy, WARM_UP, ground)?;
    let before = meter::proportional(proxy.server.pid())?;
    let _idle = wrk::Idle::start(scenario, &proxy, ground)?;
    let began = Instant::now();
    let port = if scenario.transport.is_tls() { proxy.tls } else { proxy.plain };
    let count = scenario.connections;
    while meter::connections(port)? < count as usize || began.elapsed() < ASKED {
        if began.elapsed() > ALL_IN {
            return Err(Failure::new(format!("{} does not take {count} connections", proxy.peer.name())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let after = meter::proportional(proxy.server.pid())?;
    Ok((after - before) / f64::from(count))
}
