//! An upstream as run: which backends there are, and which one is next.

use std::{sync::Arc, time::Duration};

use balance::Policy;
use pingora_core::upstreams::peer::HttpPeer;
use proxy_protocol::{Ends, Version};
use telemetry::UpstreamMeters;

use crate::{
    announce,
    backend::{Backend, Choice, EndpointId, Pick},
};

/// A named set of backends that serve the same thing.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) backends: Box<[Arc<Backend>]>,
    pub(crate) policy: Policy,
    pub(crate) timeout: Duration,
    pub(crate) connect: Duration,
    pub(crate) retries: u32,
    pub(crate) proxy_protocol: Option<Version>,
    pub(crate) meters: Arc<UpstreamMeters>,
}

impl Upstream {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its backends, in the order of the configuration.
    pub fn backends(&self) -> impl ExactSizeIterator<Item = &Backend> {
        self.backends.iter().map(AsRef::as_ref)
    }

    /// How long a backend may take to the first byte of its answer, each try.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect
    }

    /// How many more tries a request has after the first.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// What is counted of it.
    pub fn meters(&self) -> &UpstreamMeters {
        &self.meters
    }

    /// Makes the connections of `peer` begin with a header that tells the client's, where the configuration asks for one.
    pub fn announce(&self, peer: &mut HttpPeer, client: impl FnOnce() -> Ends) {
        if let Some(version) = self.proxy_protocol {
            announce::announce(peer, version, &client());
        }
    }

    /// The header that a connection begins with to tell `client`, where the configuration asks for one.
    pub fn header(&self, client: &Ends) -> Option<Vec<u8>> {
        self.proxy_protocol.map(|version| proxy_protocol::encode(version, client))
    }

    /// The endpoint for the next attempt: one that is not among those `tried`, as long as there is one. `None` where no
    /// backend has an address.
    pub fn pick(&self, tried: &[EndpointId]) -> Option<Pick> {
        // Addresses may change between a look and a grip, so each step may come to nothing and hand on to the next.
        [Choice::Best, Choice::Untried, Choice::Any].into_iter().find_map(|choice| self.choose(choice, tried))
    }

    fn choose(&self, choice: Choice, tried: &[EndpointId]) -> Option<Pick> {
        let index = self.policy.pick(|index| self.backends[index].has(index as u16, choice, tried))?;
        self.backends[index].take(index as u16, choice, tried)
    }

    /// Whether a request whose connection to the endpoint last `tried` could not be made has another address of the same
    /// host to go to. Trying that is a part of connecting, not a retry of the request (RFC 8305 section 5): it needs no
    /// retry to be left, since nothing has been sent.
    pub fn has_another_address(&self, tried: &[EndpointId]) -> bool {
        let Some(last) = tried.last() else { return false };
        let index = last.backend();
        self.backends
            .get(usize::from(index))
            .is_some_and(|backend| tried.len() < MOST_ADDRESSES && backend.has(index, Choice::Untried, tried))
    }

    /// To be called when the configuration that this upstream is part of goes live: says the weights of its backends and
    /// forgets those of backends that are gone.
    pub fn goes_live(&self) {
        let labels: Vec<&str> = self.backends.iter().map(|backend| &*backend.label).collect();
        self.meters.retain_backends(&labels);
        for backend in &self.backends {
            backend.meters.weight(backend.weight);
        }
    }
}

/// How many addresses of hosts are tried for one request.
const MOST_ADDRESSES: usize = 4;
