//! One client connection, and who takes it over.

use std::{fmt, net::SocketAddr, sync::Arc, time::Instant};

use async_trait::async_trait;
use filter::{Reason, TlsFacts};
use pingora_core::{protocols::Stream, server::ShutdownWatch};
use telemetry::ListenerMeters;

use crate::{Listener, Socket, secure::Secure, wire::Wire};

/// What is known of a connection once it is made; shared by all its requests.
#[derive(Debug)]
pub struct Connection {
    /// The listener that it came in by.
    pub listener: Arc<Listener>,
    /// What is counted for the listener. Whoever serves the connection counts it as open
    /// ([`ListenerMeters::open`]) as soon as its protocol is known.
    pub meters: Arc<ListenerMeters>,
    /// The other end, with IPv4 addresses written as such; `None` for a unix socket.
    pub peer: Option<SocketAddr>,
    /// This end; `None` for a unix socket.
    pub local: Option<SocketAddr>,
    /// What the TLS handshake agreed on; `None` in plaintext.
    pub tls: Option<Arc<TlsFacts>>,
    /// When it was accepted.
    pub accepted: Instant,
    /// Becomes true when the connection is to end: the process does, or its listener is gone or has changed.
    pub closing: ShutdownWatch,
}

/// A connection ready to be served: past its TLS handshake if it has one.
pub struct Accepted {
    /// The byte stream, as Pingora's engine takes it. For TLS it tells the protocol agreed on (ALPN).
    pub stream: Stream,
    /// What is known of it.
    pub connection: Arc<Connection>,
}

/// Who serves a listener's connections.
#[async_trait]
pub trait Serve: Send + Sync + 'static {
    /// Serves one connection until it ends. `shutdown` becomes true when the process wants to end: no further request is
    /// to be waited for then. A panic ends this connection only.
    async fn serve(self: Arc<Self>, accepted: Accepted, shutdown: ShutdownWatch);

    /// A connection that is closed without being served, to be counted and logged: the listener is full. Called
    /// between two accepts, so it must not wait for anything.
    fn turned_away(&self, connection: &Connection, reason: Reason) {
        let _ = (connection, reason);
    }
}

impl Connection {
    /// Whether the connection is to end with the request under way.
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Whether the peer's forwarding headers are believed.
    pub fn is_trusted(&self) -> bool {
        match self.peer {
            Some(peer) => self.listener.trusts(peer.ip()),
            None => self.listener.trusts_unix(),
        }
    }
}

/// The socket of an accepted stream, where everything that is still to be read comes from there as it is.
pub fn socket(stream: &Stream) -> Option<&Socket> {
    (**stream).as_any().downcast_ref::<Wire>().and_then(Wire::socket)
}

/// How many bytes the socket of an accepted stream has taken in all, which tells whether a flush gets on.
pub fn taken(stream: &Stream) -> u64 {
    let stream = (**stream).as_any();
    let plain = stream.downcast_ref::<Wire>().map(Wire::taken);
    plain.or_else(|| stream.downcast_ref::<Secure>().map(Secure::taken)).unwrap_or_default()
}

/// Closes an accepted stream with a reset, so that what was cut off does not look as if it had ended.
pub fn reset(stream: Stream) {
    match stream.into_any().downcast::<Wire>() {
        Ok(mut wire) => wire.break_off(),
        Err(other) => {
            if let Ok(mut secure) = other.downcast::<Secure>() {
                secure.break_off();
            }
        }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("connection", &self.connection).finish_non_exhaustive()
    }
}
