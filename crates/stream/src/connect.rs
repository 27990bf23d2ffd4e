//! The connection to a backend.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use filter::Reason;
use socket2::{SockRef, TcpKeepalive};
use telemetry::Record;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use upstream::{EndpointId, Fault, Missed, Pick, Reading, Upstream, Wish};

/// A peer that is gone without a word is noticed after these two minutes (tcp(7)).
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(6);

/// A backend's socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connects to a backend of `upstream`, to another one where that fails and tries are left. Leaves in `pick` the one tried
/// last, and in `record` what it took.
pub(crate) async fn connect(
    upstream: &Upstream,
    client: Option<IpAddr>,
    record: &mut Record,
    pick: &mut Option<Pick>,
) -> Result<Socket, Reason> {
    let (mut tried, mut retries): (Vec<EndpointId>, u32) = (Vec::new(), 0);
    // A stream has nothing else to go by, whatever the policy asks for.
    let key = client.map(upstream::hash_address);
    loop {
        let wish = Wish { tried: &tried, key };
        let picked = pick.insert(upstream.choose_or_wait(&wish, None).await.map_err(missed)?);
        record.attempt();
        let began = Instant::now();
        let reading = match timeout(upstream.connect_timeout(), dial(picked)).await {
            Ok(Ok(socket)) => {
                record.connect = Some(began.elapsed());
                upstream.meters().connect(began.elapsed());
                picked.connected();
                return Ok(socket);
            }
            Ok(Err(error)) => {
                log::debug!("cannot connect to {}: {error}", picked.label());
                Reading::of_connecting(&error)
            }
            Err(_) => Reading { reason: Reason::ConnectTimeout, fault: Fault::Backend, sent: false },
        };
        picked.failed(reading, began.elapsed(), true);
        if reading.fault == Fault::Ours {
            return Err(reading.reason);
        }
        tried.push(picked.endpoint());
        if !upstream.has_another_address(&tried) {
            if retries == upstream.retries().attempts || !upstream.retries().on.cover(reading) {
                return Err(reading.reason);
            }
            retries += 1;
        }
        upstream.meters().retry(reading.reason);
    }
}

fn missed(missed: Missed) -> Reason {
    match missed {
        Missed::NoBackend => Reason::NoBackend,
        Missed::Full => Reason::UpstreamBusy,
        Missed::Open => Reason::CircuitOpen,
    }
}

async fn dial(pick: &Pick) -> io::Result<Socket> {
    match (pick.address(), pick.socket()) {
        (Some(address), _) => tcp(address).await.map(Socket::Tcp),
        (None, path) => UnixStream::connect(path.unwrap_or(Path::new(""))).await.map(Socket::Unix),
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

impl Socket {
    /// Closes with a reset: what was carried has broken off, and must not look as if it had ended.
    pub(crate) fn reset(self) {
        if let Self::Tcp(socket) = &self {
            // Closed it is in any case.
            let _ = socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, out),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // a socket has nothing to flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
