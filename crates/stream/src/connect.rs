//! The connection to a backend.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use filter::Reason;
use listen::Socket;
use socket2::{SockRef, TcpKeepalive};
use telemetry::Record;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use upstream::{EndpointId, Fault, Missed, Pick, Reading, Upstream, Wish};

/// A peer that is gone without a word is noticed after these two minutes (tcp(7)).
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(6);

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
        let wish = Wish { tried: &tried, key, ..Wish::default() };
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
        Missed::Overloaded => Reason::UpstreamOverloaded,
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
