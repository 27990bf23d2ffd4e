//! What a process has learnt of backends, and what operators have ordered, written down for its successor.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    breaker, clock, endpoint::Endpoint, name::Name, order, outlier, pool::Pool, probe, probe::Probe, resolve::Service,
    shun, split, standing::Standing, state::State,
};

/// How long what was handed over waits for the endpoint that it is about, which DNS may have yet to find.
const PATIENCE: Duration = Duration::from_secs(600);

/// Everything that is handed over. Fields only ever come to it: the two processes may be of different versions.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Learnt {
    endpoints: Vec<OfEndpoint>,
    orders: Vec<OfBackend>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    splits: Vec<split::Learnt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<OfName>,
    /// What SRV records have said, by the name that they are of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    services: BTreeMap<Box<str>, Vec<Service>>,
}

/// The addresses of a host.
#[derive(Debug, Serialize, Deserialize)]
struct OfName {
    host: Box<str>,
    port: u16,
    addresses: Vec<SocketAddr>,
}

/// What is known of an endpoint.
#[derive(Debug, Serialize, Deserialize)]
struct OfEndpoint {
    upstream: Box<str>,
    backend: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(flatten)]
    known: Known,
}

/// What is ordered of a backend.
#[derive(Debug, Serialize, Deserialize)]
struct OfBackend {
    upstream: Box<str>,
    backend: Box<str>,
    #[serde(flatten)]
    ordered: order::Learnt,
}

/// What is known of one endpoint. Times are told by how far from now they are, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Known {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outlier: Option<outlier::Learnt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shun: Option<shun::Learnt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) breaker: Option<breaker::Learnt>,
    /// The average in milliseconds, and when it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<(f32, i64)>,
    /// Since when it starts slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) check: Option<probe::Learnt>,
}

/// An upstream, one of its backends, and the address where that has several.
type Place = (Box<str>, Box<str>, Option<SocketAddr>);

/// What was handed over and has not been asked for.
#[derive(Debug)]
pub(crate) struct Inherited {
    until: Instant,
    endpoints: HashMap<Place, Known>,
    orders: HashMap<(Box<str>, Box<str>), order::Learnt>,
    splits: HashMap<Box<str>, split::Learnt>,
    names: HashMap<(Box<str>, u16), Vec<SocketAddr>>,
    services: BTreeMap<Box<str>, Vec<Service>>,
}

impl State {
    /// What is known of the endpoints in use, and what is ordered of their backends, for a successor.
    pub fn export(&self) -> Vec<u8> {
        let (now, mut learnt) = (clock::now(), Learnt::default());
        for pool in self.live() {
            learnt.add(&pool, now);
        }
        learnt.splits = self.live_splits();
        let of_name = |name: &Arc<Name>| OfName { host: name.host.clone(), port: name.port, addresses: name.sockets() };
        learnt.names = self.resolved().iter().map(of_name).collect();
        learnt.services = self.services();
        // Maps with keys of text, and nothing that could fail.
        serde_json::to_vec(&learnt).unwrap_or_default()
    }

    /// Goes on with what a predecessor exported. To be called before anything is compiled.
    ///
    /// # Errors
    ///
    /// When it is no such export. Nothing is known then.
    pub fn import(&self, bytes: &[u8]) -> Result<(), String> {
        let learnt: Learnt = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let endpoints = learnt.endpoints.into_iter();
        let (orders, splits) = (learnt.orders.into_iter(), learnt.splits.into_iter());
        self.keep_inherited(Inherited {
            until: Instant::now() + PATIENCE,
            endpoints: endpoints.map(|it| ((it.upstream, it.backend, it.address), it.known)).collect(),
            orders: orders.map(|it| ((it.upstream, it.backend), it.ordered)).collect(),
            splits: splits.map(|it| (it.route.clone(), it)).collect(),
            names: learnt.names.into_iter().map(|it| ((it.host, it.port), it.addresses)).collect(),
            services: learnt.services,
        });
        Ok(())
    }
}

impl Learnt {
    fn add(&mut self, pool: &Pool, now: u64) {
        for endpoint in pool.set().endpoints() {
            let known = Known::of(endpoint, now);
            if known != Known::default() {
                self.endpoints.push(OfEndpoint {
                    upstream: (&*pool.name).into(),
                    backend: (&*endpoint.backend.label).into(),
                    address: endpoint.address,
                    known,
                });
            }
        }
        for backend in pool.backends().iter() {
            self.orders.extend(backend.orders.learnt(now).map(|ordered| OfBackend {
                upstream: (&*pool.name).into(),
                backend: (&*backend.label).into(),
                ordered,
            }));
        }
    }
}

impl Known {
    fn of(endpoint: &Endpoint, now: u64) -> Self {
        let check = endpoint.probe.as_ref().and_then(|probe| probe.learnt(now));
        Self { check, ..endpoint.standing.learnt(now) }
    }

    /// Puts it in the place of nothing.
    pub(crate) fn tell(&self, standing: &Standing, probe: Option<&Probe>) {
        let now = clock::now();
        standing.inherit(self, now);
        if let (Some(probe), Some(check)) = (probe, &self.check) {
            probe.inherit(check, now);
        }
    }
}

impl Inherited {
    /// What is known of an endpoint, once.
    pub(crate) fn endpoint(&mut self, upstream: &str, backend: &str, address: Option<SocketAddr>) -> Option<Known> {
        let known = self.endpoints.remove(&(upstream.into(), backend.into(), address))?;
        (Instant::now() < self.until).then_some(known)
    }

    /// What is ordered of a backend, once.
    pub(crate) fn order(&mut self, upstream: &str, backend: &str) -> Option<order::Learnt> {
        self.orders.remove(&(upstream.into(), backend.into()))
    }

    /// The addresses of a host, for whoever asks while they may still be good.
    pub(crate) fn addresses(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let known = self.names.get(&(host.into(), port)).filter(|known| !known.is_empty());
        known.filter(|_| Instant::now() < self.until).cloned()
    }

    /// What SRV records have said, for whoever asks while that may still be good.
    pub(crate) fn services(&self, name: &str) -> Option<Vec<Service>> {
        self.services.get(name).filter(|_| Instant::now() < self.until).cloned()
    }

    /// The weights of a route's split, once.
    pub(crate) fn weights(&mut self, route: &str) -> Option<split::Learnt> {
        self.splits.remove(route)
    }
}

#[cfg(test)]
mod tests;
