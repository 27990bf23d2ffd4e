//! The peer that Pingora connects to: every option that is the same for all requests, set once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use pingora_core::{
    protocols::TcpKeepalive,
    upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy, PeerOptions},
};

use crate::{
    target::{Place, Protocol, Target},
    trust::Trust,
};

/// How long the backend may take nothing of what is sent to it: a request, or a piece of its body.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// How many streams one HTTP/2 connection carries: what RFC 9113 section 6.5.2 recommends as the least to allow.
/// Pingora's default is 1, which is one connection per request.
const STREAMS: usize = 100;
/// Pings tell a dead HTTP/2 connection from a silent one. gRPC servers take more than one in five minutes for abuse and
/// end the connection (gRFC A8), so it is a little longer than that.
const PING_INTERVAL: Duration = Duration::from_secs(310);
/// A dead TCP connection is known after this much silence plus [`PROBES`] × [`PROBE_INTERVAL`].
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: usize = 6;

/// The times that an upstream gives its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    pub(crate) idle: Duration,
    pub(crate) first_byte: Duration,
    /// How long a connection is used for new requests.
    pub(crate) lifetime: Option<Duration>,
}

/// Makes the template of a backend's peers. The address of a named host is put in later, for each request; nothing here
/// asks DNS. `None` where the path of a unix socket is refused.
pub(crate) fn template(target: &Target, trust: &Trust, times: Times) -> Option<Box<HttpPeer>> {
    let protocol = target.protocol;
    let sni = match &trust.server_name {
        _ if !protocol.is_tls() => String::new(),
        Some(name) => name.clone(),
        None => target.server_name()?,
    };
    let mut peer = match &target.place {
        Place::Address(ip, port) => HttpPeer::new(SocketAddr::new(*ip, *port), protocol.is_tls(), sni),
        Place::Name(_, port) => HttpPeer::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)), protocol.is_tls(), sni),
        Place::Unix(path) => HttpPeer::new_uds(path, false, sni).ok()?,
    };
    set_options(&mut peer.options, protocol, times);
    if protocol.is_tls() {
        peer.options.ca = trust.ca.clone();
        peer.options.verify_cert = trust.verify;
        peer.options.verify_hostname = trust.verify;
        peer.client_cert_key = trust.client.clone();
    }
    peer.group_key = group_key(protocol, trust);
    Some(Box::new(peer))
}

fn set_options(options: &mut PeerOptions, protocol: Protocol, times: Times) {
    // The first bounds TCP and the TLS handshake each for itself, the second both together. Neither has a default.
    options.connection_timeout = Some(times.connect);
    options.total_connection_timeout = Some(times.connect);
    options.read_timeout = Some(times.first_byte);
    options.write_timeout = Some(WRITE_LIMIT);
    options.idle_timeout = Some(times.idle);
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: KEEPALIVE_IDLE,
        interval: PROBE_INTERVAL,
        count: PROBES,
        // The system's own. A bound here would end connections to a backend that is merely slow to read.
        user_timeout: Duration::ZERO,
    });
    options.alpn = if protocol.is_h2() { ALPN::H2 } else { ALPN::H1 };
    if protocol.is_h2() {
        options.max_h2_streams = STREAMS;
        options.h2_ping_interval = Some(PING_INTERVAL);
    }
    // Pingora would let only WebSockets through; `transform::hop` strips what concerns one connection only, both ways.
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
}

/// Keeps apart the connections that differ in what Pingora's own key does not look at: protocol and certificates. The
/// same for the same upstream after a reload, so that its connections are found again.
fn group_key(protocol: Protocol, trust: &Trust) -> u64 {
    let mut hasher = DefaultHasher::new();
    protocol.hash(&mut hasher);
    if protocol.is_tls() {
        trust.identity.hash(&mut hasher);
    }
    hasher.finish()
}
