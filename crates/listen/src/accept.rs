//! The accept loop: one task for each socket, one for each connection.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use filter::{Reason, TlsFacts};
use pingora_core::protocols::{SocketDigest, Stream};
use rustix::net::{Shutdown, shutdown};
use telemetry::Handshake;
use tls::Store;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    Accepted, Connection, ProxyProtocol, Socket,
    bind::{BoundSocket, Kind, SocketFile},
    live::Entered,
    preamble,
    secure::Secure,
    site::{Post, Site},
    wire::Wire,
};

/// The shortest and the longest pause after an error of the system.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// How often one kind of trouble is logged at most.
const SELDOM: Duration = Duration::from_secs(1);

/// How long a client whose handshake failed may take to read why.
const FAREWELL: Duration = Duration::from_millis(500);

/// A bound socket within the runtime.
#[derive(Debug)]
pub(crate) enum Incoming {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// A connection as the system hands it over.
struct Arrival {
    socket: Socket,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

/// What a socket is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Accept.
    Accept,
    /// Take in what still waits and close.
    Close,
    /// Close without a look: another process has the socket as well, and accepts what waits.
    Leave,
}

/// Accepts on one socket. What it does with a connection is said by its post, which a reload changes.
pub(crate) struct Doorkeeper {
    pub post: Arc<Post>,
    pub order: watch::Receiver<Order>,
}

impl Incoming {
    /// Registers a bound socket with the current runtime.
    pub(crate) fn new(bound: BoundSocket) -> io::Result<Self> {
        Ok(match bound.kind {
            Kind::Tcp(socket) => {
                let local = socket.local_addr()?;
                Self::Tcp(TcpListener::from_std(socket)?, local)
            }
            Kind::Unix(socket, file) => Self::Unix(UnixListener::from_std(socket)?, file),
        })
    }

    async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Tcp(listener, at) => listener.accept().await.map(|(socket, peer)| Arrival::tcp(socket, peer, *at)),
            Self::Unix(listener, _) => listener.accept().await.map(|(socket, _)| Arrival::unix(socket)),
        }
    }

    /// Stops listening; returns the connections that were waiting to be accepted, which closing the socket would reset.
    fn close(self) -> Vec<Arrival> {
        // A process of before may have the socket as well, until it has drained: it is closed for everybody.
        fn until_empty<T>(socket: impl AsFd, mut accept: impl FnMut() -> io::Result<T>) -> Vec<T> {
            let waiting = std::iter::from_fn(|| accept().ok()).collect();
            let _ = shutdown(socket, Shutdown::Both);
            waiting
        }
        match self {
            Self::Tcp(listener, at) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                until_empty(&listener, || {
                    let (socket, peer) = listener.accept()?;
                    socket.set_nonblocking(true)?;
                    Ok(Arrival::tcp(TcpStream::from_std(socket)?, peer, at))
                })
            }
            Self::Unix(listener, _file) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                until_empty(&listener, || {
                    let (socket, _) = listener.accept()?;
                    socket.set_nonblocking(true)?;
                    Ok(Arrival::unix(UnixStream::from_std(socket)?))
                })
            }
        }
    }
}

impl Arrival {
    fn tcp(socket: TcpStream, peer: SocketAddr, at: SocketAddr) -> Self {
        let local = if at.ip().is_unspecified() { socket.local_addr().unwrap_or(at) } else { at };
        Self { socket: Socket::Tcp(socket), peer: Some(canonical(peer)), local: Some(canonical(local)) }
    }

    fn unix(socket: UnixStream) -> Self {
        Self { socket: Socket::Unix(socket), peer: None, local: None }
    }
}

/// What Pingora is to know of the addresses, so that it need not ask the system for them.
fn digest(socket: &Socket, connection: &Connection) -> SocketDigest {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let _ = digest.peer_addr.set(connection.peer.map(Into::into));
    let _ = digest.local_addr.set(connection.local.map(Into::into));
    digest
}

/// An IPv4 address that came through an IPv6 socket, as IPv4; any other as it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

impl Doorkeeper {
    /// Accepts until it is ordered otherwise.
    pub(crate) async fn run(self, incoming: Incoming) {
        let mut order = self.order.clone();
        let ended = async {
            // Whoever could order is gone: nobody wants the socket any more.
            order.wait_for(|order| *order != Order::Accept).await.map_or(Order::Close, |order| *order)
        };
        tokio::pin!(ended);
        let (mut pause, mut errors, mut refusals) = (PAUSES.0, Seldom::default(), Seldom::default());
        let order = loop {
            let accepted = tokio::select! {
                biased;
                order = &mut ended => break order,
                accepted = incoming.accept() => accepted,
            };
            match accepted {
                Ok(arrival) => {
                    pause = PAUSES.0;
                    meet(self.post.load_full(), arrival, &mut refusals);
                }
                // The client was gone before it was accepted: nothing is wrong here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of descriptors or memory, most likely. Trying again at once would fail again, at full speed.
                Err(error) => {
                    let name = self.post.load().listener.name.clone();
                    errors.say(|times| log::error!("listener `{name}` cannot accept: {error}{times}"));
                    tokio::select! {
                        biased;
                        order = &mut ended => break order,
                        () = sleep(pause) => pause = (2 * pause).min(PAUSES.1),
                    }
                }
            }
        };
        if order == Order::Close {
            for arrival in incoming.close() {
                meet(self.post.load_full(), arrival, &mut refusals);
            }
        }
    }
}

/// Lets a connection in, in a task of its own.
fn meet(site: Arc<Site>, arrival: Arrival, refusals: &mut Seldom) {
    let mut connection = Connection {
        listener: Arc::clone(&site.listener),
        meters: Arc::clone(&site.meters),
        peer: arrival.peer,
        local: arrival.local,
        tls: None,
        accepted: Instant::now(),
        closing: site.closing(),
    };
    let Some(mut entered) = site.gate.enter() else {
        let (name, most) = (&site.listener.name, site.listener.max_connections);
        refusals.say(|times| log::warn!("listener `{name}` is full: {most} connections are open{times}"));
        site.serve.turned_away(&connection, Reason::TooManyConnections);
        return;
    };
    // Where a header is to tell whose connection it is, this is asked after it.
    let is_told = site.listener.proxy_protocol != ProxyProtocol::Off;
    if !is_told && !has_room(&mut entered, &connection) {
        let (name, peer) = (&site.listener.name, connection.peer.map(|peer| peer.ip()));
        refusals.say(|times| log::warn!("listener `{name}`: {peer:?} has all the connections of one address{times}"));
        site.serve.turned_away(&connection, Reason::TooManyConnectionsPerIp);
        return;
    }
    let counted = site.count();
    tokio::spawn(async move {
        let Arrival { mut socket, .. } = arrival;
        let ahead = match preamble::read(&mut socket, &mut connection).await {
            Ok(_) if is_told && !has_room(&mut entered, &connection) => Err(Some(Reason::TooManyConnectionsPerIp)),
            read => read,
        };
        let (entered, _counted) = (Arc::new(entered), counted);
        let ahead = match ahead {
            Ok(ahead) => ahead,
            Err(reason) => {
                reason.into_iter().for_each(|reason| site.serve.turned_away(&connection, reason));
                return;
            }
        };
        let digest = digest(&socket, &connection);
        let wire = Wire::new(socket, digest, ahead).counted_by(Arc::clone(&entered));
        let stream: Stream = match &site.listener.tls {
            None => Box::new(wire),
            // In a box of its own, so that the handshake's memory is not kept for the life of the connection.
            Some(tls) => match Box::pin(handshake(tls, wire, &connection)).await {
                Some((secure, facts)) => {
                    connection.tls = Some(Arc::new(facts));
                    Box::new(secure)
                }
                None => return,
            },
        };
        let (serve, shutdown) = (Arc::clone(&site.serve), connection.closing.clone());
        drop(site);
        serve.serve(Accepted { stream, connection: Arc::new(connection) }, shutdown).await;
    });
}

/// Whether the client's address has as many connections as it may have. A trusted proxy stands for many clients.
fn has_room(entered: &mut Entered, connection: &Connection) -> bool {
    match (connection.listener.max_connections_per_ip, connection.peer) {
        (Some(most), Some(peer)) => connection.is_trusted() || entered.count_for(peer.ip(), most),
        _ => true,
    }
}

/// The TLS handshake within its time, counted; the client's mistakes are not worth more than a debug line.
async fn handshake(tls: &Store, wire: Wire, connection: &Connection) -> Option<(Secure, TlsFacts)> {
    let result = timeout(connection.listener.timeouts.header, Secure::accept(tls.config(), wire)).await;
    let mut refused = None;
    let (version, outcome, done) = match result {
        // ALPN refuses a client that offers only what we do not speak; this one offered nothing, which means HTTP/1.
        Ok(Ok((secure, facts))) if !connection.listener.h1 && !secure.is_h2() => {
            (Some(facts.version), Handshake::Failed, None)
        }
        Ok(Ok((secure, facts))) => (Some(facts.version), Handshake::Ok, Some((secure, facts))),
        Ok(Err((error, wire))) => {
            log::debug!("TLS handshake with {:?} failed: {error}", connection.peer);
            // What rustls refuses, or is refused by the client, comes as this kind; everything else is the socket.
            let failed = error.kind() == io::ErrorKind::InvalidData;
            refused = failed.then_some(wire);
            (None, if failed { Handshake::Failed } else { Handshake::Closed }, None)
        }
        Err(_) => (None, Handshake::Timeout, None),
    };
    connection.meters.handshake(version, outcome);
    if let Some(wire) = refused {
        let _ = timeout(FAREWELL, wire.close_gently()).await;
    }
    done
}

/// Says something at most once in a while, and how often it was left unsaid.
#[derive(Default)]
struct Seldom {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    fn say(&mut self, say: impl FnOnce(Times)) {
        if self.last.is_some_and(|last| last.elapsed() < SELDOM) {
            self.unsaid += 1;
            return;
        }
        self.last = Some(Instant::now());
        say(Times(std::mem::take(&mut self.unsaid)));
    }
}

/// ` (12 times more since the last line)`, or nothing.
struct Times(u64);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            times => write!(f, " ({times} times more since the last line)"),
        }
    }
}
