//! One backend of an upstream, and the address that a request of it goes to.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use telemetry::BackendMeters;

use crate::{
    name::{Address, Name},
    target::Protocol,
};

/// One backend, with everything about connecting to it that is known in advance.
#[derive(Debug)]
pub struct Backend {
    pub(crate) label: Arc<str>,
    pub(crate) host: HeaderValue,
    pub(crate) protocol: Protocol,
    pub(crate) weight: u32,
    pub(crate) meters: Arc<BackendMeters>,
    pub(crate) addresses: Addresses,
    /// A peer with all its options but the address and the timeouts of the one request.
    pub(crate) template: Box<HttpPeer>,
}

/// Where a backend's addresses are from.
#[derive(Debug)]
pub(crate) enum Addresses {
    /// The URL says it: an IP address or a unix socket. The template has it.
    Fixed,
    /// The URL has a host name.
    Named(Arc<Name>),
}

/// One address of one backend of an upstream. Two are equal only if a request to the one is a request to the other;
/// comparing those of different upstreams says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId {
    backend: u16,
    address: u32,
}

/// The endpoint chosen for one attempt of a request.
#[derive(Debug, Clone)]
pub struct Pick {
    backend: Arc<Backend>,
    endpoint: EndpointId,
    /// What replaces the template's address.
    address: Option<SocketAddr>,
}

/// How long one attempt may take over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// What is left for connecting, TLS included, when that is less than the upstream's own limit.
    pub connect: Option<Duration>,
    /// The longest silence of the backend: before its answer, and within it. Over HTTP/1.1 it counts anew from each
    /// piece of the request's body that is sent.
    pub read: Duration,
    /// How long sending the body may take, for a request that has one. Over HTTP/2 Pingora counts the silence from the
    /// request's head on, however long the upload goes on; so the longer of this and `read` applies there.
    pub upload: Option<Duration>,
}

/// How freely an endpoint is chosen: each step leaves one wish out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Not tried for this request, and without a failure of late.
    Best,
    /// Not tried for this request.
    Untried,
    /// Any that there is.
    Any,
}

impl EndpointId {
    pub(crate) fn backend(self) -> u16 {
        self.backend
    }
}

impl Backend {
    /// The address as written: `10.0.2.11:8080`, `users.internal:8080`, `/run/app.sock`. Its name in logs and metrics.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The Host field that names it.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// How it is spoken to.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it is reached by a unix socket.
    pub fn is_unix(&self) -> bool {
        self.template._address.as_unix().is_some()
    }

    /// Its share of the requests in proportion to the other backends'.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// What is counted of it.
    pub fn meters(&self) -> &BackendMeters {
        &self.meters
    }

    /// The IP addresses that it has at the moment: none for a unix socket, or while its name is not resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match &self.addresses {
            Addresses::Named(name) => name.sockets(),
            Addresses::Fixed => self.template._address.as_inet().copied().into_iter().collect(),
        }
    }

    /// Whether there is an address to send a request to: false while the backend's name is not resolved.
    pub fn is_resolved(&self) -> bool {
        match &self.addresses {
            Addresses::Named(name) => name.any(|_| true),
            Addresses::Fixed => true,
        }
    }

    pub(crate) fn has(&self, index: u16, choice: Choice, tried: &[EndpointId]) -> bool {
        match &self.addresses {
            Addresses::Fixed => choice.allows_fixed(index, tried),
            Addresses::Named(name) => name.any(|address| choice.allows(index, address, tried)),
        }
    }

    pub(crate) fn take(self: &Arc<Self>, index: u16, choice: Choice, tried: &[EndpointId]) -> Option<Pick> {
        let (id, address) = match &self.addresses {
            Addresses::Fixed => (0, None),
            Addresses::Named(name) => {
                let (id, socket) = name.next(|address| choice.allows(index, address, tried))?;
                (id, Some(socket))
            }
        };
        Some(Pick { backend: Arc::clone(self), endpoint: EndpointId { backend: index, address: id }, address })
    }
}

impl Choice {
    fn allows_fixed(self, backend: u16, tried: &[EndpointId]) -> bool {
        self == Self::Any || !tried.contains(&EndpointId { backend, address: 0 })
    }

    fn allows(self, backend: u16, address: &Address, tried: &[EndpointId]) -> bool {
        let untried = || !tried.contains(&EndpointId { backend, address: address.id });
        match self {
            Self::Best => untried() && !address.shun.is_shunned(),
            Self::Untried => untried(),
            Self::Any => true,
        }
    }
}

impl Pick {
    /// Which endpoint it is, to be remembered as tried.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// The backend that it belongs to.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The backend's name in logs and metrics.
    pub fn label(&self) -> &Arc<str> {
        &self.backend.label
    }

    /// What is counted of the backend.
    pub fn meters(&self) -> &BackendMeters {
        &self.backend.meters
    }

    /// The Host field that names the backend itself.
    pub fn host(&self) -> &HeaderValue {
        &self.backend.host
    }

    /// The address to connect to; `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.or_else(|| self.backend.template._address.as_inet().copied())
    }

    /// The unix socket to connect to; `None` for an address.
    pub fn socket(&self) -> Option<&Path> {
        self.backend.template._address.as_unix().and_then(|address| address.as_pathname())
    }

    /// What Pingora connects to.
    pub fn peer(&self, timeouts: &Timeouts) -> Box<HttpPeer> {
        let mut peer = self.backend.template.clone();
        if let Some(address) = self.address {
            peer._address = address.into();
        }
        let options = &mut peer.options;
        if let Some(left) = timeouts.connect {
            options.total_connection_timeout = options.total_connection_timeout.map(|limit| limit.min(left));
        }
        let upload = timeouts.upload.filter(|_| self.backend.protocol.is_h2());
        options.read_timeout = Some(upload.map_or(timeouts.read, |upload| upload.max(timeouts.read)));
        peer
    }

    /// To be told when a connection could not be made: other addresses of the same name are preferred for a while.
    pub fn unreachable(&self) {
        if let Addresses::Named(name) = &self.backend.addresses {
            name.unreachable(self.endpoint.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_keeps_of_an_attempt_is_small() {
        assert_eq!(size_of::<EndpointId>(), 8);
        assert!(size_of::<Pick>() <= 48, "{}", size_of::<Pick>());
    }
}
