//! A connection to an origin.

use std::{
    io::{self, IoSlice},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use listen::Socket;
use pingora_core::{
    Error, ErrorType, OrErr, Result,
    connectors::TransportConnector,
    protocols::{
        Stream,
        l4::{self, ext, socket::SocketAddr},
    },
    upstreams::peer::{HttpPeer, Peer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use upstream::{Connection, Counter};

/// A connection to an origin, and what counts it.
#[derive(Debug)]
pub(crate) struct Origin {
    wire: Wire,
    counted: Connection,
}

/// A socket as it is where nothing is needed but that. Pingora's own has a buffer of 64 KiB, which everything that is read
/// is copied through, and asks the clock with every read that waits.
#[derive(Debug)]
enum Wire {
    Bare(Socket),
    /// TLS, or a connection that begins with a header of the PROXY protocol.
    Other(Stream),
}

impl Origin {
    /// One that is Pingora's to read and write.
    pub(crate) fn new(stream: Stream, counted: Connection) -> Self {
        Self { wire: Wire::Other(stream), counted }
    }

    /// A connection to the peer that nobody has used.
    pub(super) async fn connect(connector: &TransportConnector, peer: &HttpPeer, counter: &Counter) -> Result<Self> {
        if peer.tls() || peer.options.custom_l4.is_some() || peer.get_proxy().is_some() {
            let stream = connector.new_stream(peer).await?;
            return Ok(Self::new(stream, counter.connection()));
        }
        let limits = [peer.options.connection_timeout, peer.options.total_connection_timeout];
        let connected = bare(peer);
        let socket = match limits.into_iter().flatten().min() {
            Some(limit) => timeout(limit, connected).await.unwrap_or_else(|_| late(limit, peer)),
            None => connected.await,
        };
        Ok(Self { wire: Wire::Bare(socket?), counted: counter.connection() })
    }

    /// The same as Pingora's sessions take it.
    pub(crate) fn into_parts(self) -> (Stream, Connection) {
        let stream: Stream = match self.wire {
            Wire::Bare(Socket::Tcp(socket)) => Box::new(l4::stream::Stream::from(socket)),
            Wire::Bare(Socket::Unix(socket)) => Box::new(l4::stream::Stream::from(socket)),
            Wire::Other(stream) => stream,
        };
        (stream, self.counted)
    }

    /// Its socket, where everything that is written goes there as it is.
    pub(super) fn socket(&self) -> Option<&Socket> {
        match &self.wire {
            Wire::Bare(socket) => Some(socket),
            Wire::Other(_) => None,
        }
    }

    /// What counts it.
    pub(super) fn counted(&mut self) -> &mut Connection {
        &mut self.counted
    }
}

/// Connects as Pingora does.
async fn bare(peer: &HttpPeer) -> Result<Socket> {
    match peer.address() {
        SocketAddr::Inet(address) => {
            let socket = ext::connect(address, None).await.map_err(ours)?;
            if let Some(keepalive) = peer.tcp_keepalive() {
                ext::set_tcp_keepalive(&socket, keepalive)?;
            }
            socket.set_nodelay(true).or_err(ErrorType::ConnectError, "cannot set the socket's options")?;
            Ok(Socket::Tcp(socket))
        }
        SocketAddr::Unix(address) => {
            let path = address.as_pathname().unwrap_or(Path::new(""));
            ext::connect_uds(path).await.map(Socket::Unix).map_err(ours)
        }
    }
}

fn late(limit: Duration, peer: &HttpPeer) -> Result<Socket> {
    Error::e_explain(ErrorType::ConnectTimedout, format!("{limit:?} connecting to {peer}"))
}

/// An error of our own socket is told as Pingora tells it where it connects itself: an internal one.
fn ours(error: Box<Error>) -> Box<Error> {
    match error.etype() {
        ErrorType::SocketError | ErrorType::BindError => {
            Error::because(ErrorType::InternalError, "cannot connect", error)
        }
        _ => error,
    }
}

impl AsyncRead for Origin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Bare(socket) => Pin::new(socket).poll_read(cx, out),
            Wire::Other(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Origin {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Bare(socket) => Pin::new(socket).poll_write(cx, bytes),
            Wire::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Bare(socket) => Pin::new(socket).poll_write_vectored(cx, pieces),
            Wire::Other(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Bare(socket) => Pin::new(socket).poll_flush(cx),
            Wire::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Bare(socket) => Pin::new(socket).poll_shutdown(cx),
            Wire::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
