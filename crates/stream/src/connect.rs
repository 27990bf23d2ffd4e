//! The connection to a backend.

use std::{
    io,
    net::SocketAddr,
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
use upstream::{EndpointId, Pick, Upstream};

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
    record: &mut Record,
    pick: &mut Option<Pick>,
) -> Result<Socket, Reason> {
    let (mut tried, mut retries): (Vec<EndpointId>, u32) = (Vec::new(), 0);
    loop {
        let picked = pick.insert(upstream.pick(&tried).ok_or(Reason::NoBackend)?);
        record.attempt();
        let began = Instant::now();
        let reason = match timeout(upstream.connect_timeout(), dial(picked)).await {
            Ok(Ok(socket)) => {
                record.connect = Some(began.elapsed());
                upstream.meters().connect(began.elapsed());
                picked.meters().connected();
                return Ok(socket);
            }
            Ok(Err(error)) => {
                log::debug!("cannot connect to {}: {error}", picked.label());
                reason_of(&error)
            }
            Err(_) => Reason::ConnectTimeout,
        };
        picked.meters().failed(reason);
        if reason == Reason::LocalResource {
            return Err(reason);
        }
        picked.unreachable();
        tried.push(picked.endpoint());
        if !upstream.has_another_address(&tried) {
            if retries == upstream.retries() {
                return Err(reason);
            }
            retries += 1;
        }
        upstream.meters().retry(reason);
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

fn reason_of(error: &io::Error) -> Reason {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, ConnectionRefused, OutOfMemory, TimedOut};
    match error.kind() {
        ConnectionRefused => Reason::UpstreamRefused,
        TimedOut => Reason::ConnectTimeout,
        AddrInUse | AddrNotAvailable | OutOfMemory => Reason::LocalResource,
        _ if matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS)) => Reason::LocalResource,
        _ => Reason::UpstreamUnreachable,
    }
}

/// "Too many open files in system", "Too many open files" and "No buffer space available" (errno(3) on Linux).
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

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
