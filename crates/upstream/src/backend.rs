//! One backend of an upstream, and the address that a request of it goes to.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use telemetry::BackendMeters;

use crate::{
    counted::{Counter, Dial},
    name::Name,
    order::{Duty, Orders},
    probe::Check,
    subset::Labels,
    target::Protocol,
};

/// One backend, with everything about connecting to it that is known in advance.
#[derive(Debug)]
pub struct Backend {
    pub(crate) label: Arc<str>,
    pub(crate) host: HeaderValue,
    pub(crate) protocol: Protocol,
    pub(crate) weight: u32,
    pub(crate) labels: Labels,
    /// Used only when none of a lower rank can be.
    pub(crate) rank: u8,
    pub(crate) meters: Arc<BackendMeters>,
    pub(crate) addresses: Addresses,
    /// A peer with all its options but the address and the timeouts of the one request.
    pub(crate) template: Box<HttpPeer>,
    /// Counts the connections to it.
    pub(crate) counter: Counter,
    /// Makes connections that are counted, for Pingora's pools.
    pub(crate) dial: Dial,
    /// What there is to connecting but the address: protocol and certificates.
    pub(crate) access: u64,
    /// What keeps its connections apart where they go into one of Pingora's pools: they are counted for whom they were made.
    pub(crate) own: u64,
    /// How long its connections get new streams, where it speaks HTTP/2.
    pub(crate) generations: Option<Duration>,
    pub(crate) orders: Arc<Orders>,
    /// How its endpoints are asked whether they are well.
    pub(crate) check: Option<Arc<Check>>,
}

/// Where a backend's addresses are from.
#[derive(Debug)]
pub(crate) enum Addresses {
    /// The URL says it: an IP address or a unix socket. The template has it.
    Fixed,
    /// The URL has a host name.
    Named(Arc<Name>),
}

/// How long one attempt may take over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// What is left for connecting, TLS included, when that is less than the upstream's own limit.
    pub connect: Option<Duration>,
    /// The longest silence of the backend: before its answer, and within it. Over HTTP/1.1 it counts from when nothing
    /// of the request's body is waited for.
    pub read: Duration,
    /// How long sending the body may take, for a request that has one. Over HTTP/2 Pingora counts the silence from the
    /// request's head on, however long the upload goes on; so the longer of this and `read` applies there.
    pub upload: Option<Duration>,
}

impl Timeouts {
    /// For a connection that carries nothing.
    pub(crate) const NONE: Self = Self { connect: None, read: Duration::ZERO, upload: None };
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

    /// Its share of the requests in proportion to the other backends', as configured.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The same, as it is now: an operator may have given it another one.
    pub fn weight_now(&self) -> u32 {
        self.orders.weight().unwrap_or(self.weight)
    }

    /// What an operator wants of it.
    pub fn duty(&self) -> Duty {
        self.orders.duty()
    }

    /// What is counted of it.
    pub fn meters(&self) -> &BackendMeters {
        &self.meters
    }

    /// Makes the connections of a `peer` of it counted where they go into one of Pingora's pools. Those of HTTP/2 always do.
    pub(crate) fn count(&self, peer: &mut HttpPeer) {
        if !self.protocol.is_h2() {
            peer.group_key ^= self.own;
            self.counter.count(peer, &self.dial);
        }
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
            Addresses::Named(name) => name.is_resolved(),
            Addresses::Fixed => true,
        }
    }

    /// The address to connect to, where `address` is the endpoint's own; `None` for a unix socket.
    pub(crate) fn address(&self, address: Option<SocketAddr>) -> Option<SocketAddr> {
        address.or_else(|| self.template._address.as_inet().copied())
    }

    /// The unix socket to connect to; `None` for an address.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.template._address.as_unix().and_then(|address| address.as_pathname())
    }

    /// What Pingora connects to.
    pub(crate) fn peer(&self, address: Option<SocketAddr>, timeouts: &Timeouts) -> Box<HttpPeer> {
        let mut peer = self.template.clone();
        if let Some(address) = address {
            peer._address = address.into();
        }
        let options = &mut peer.options;
        if let Some(left) = timeouts.connect {
            options.total_connection_timeout = options.total_connection_timeout.map(|limit| limit.min(left));
        }
        let upload = timeouts.upload.filter(|_| self.protocol.is_h2());
        options.read_timeout = Some(upload.map_or(timeouts.read, |upload| upload.max(timeouts.read)));
        peer
    }
}
