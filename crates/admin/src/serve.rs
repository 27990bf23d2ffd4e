//! Connections to the admin listener, on Pingora's HTTP/1.1 session.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use pingora_core::{
    protocols::{Stream, http::ServerSession, l4},
    server::ShutdownWatch,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    Admin, Socket, Who,
    answer::Answer,
    bind::{Listener, Reach},
    exchange::{Origin, exchange},
    rates,
};

/// How many connections a socket has at a time; others wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a client may take for the head of a request, and how long its connection is kept for the next one.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client may take to read that its request was not understood.
const REFUSAL: Duration = Duration::from_secs(10);

/// How long to wait before another connection is accepted when there was no descriptor for the last one.
const BREATHE: Duration = Duration::from_millis(100);

/// How long the audit log may take to be written to its end.
const FLUSH: Duration = Duration::from_secs(2);

/// How long a connection without any request so far is kept when all is over: its first may be on its way.
const FIRST: Duration = Duration::from_millis(500);

/// How long answers under way may take when all is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers on `sockets` until `stop` turns true. Then nothing is accepted any more, idle connections and answers that
/// would go on are ended, and what is under way has a second.
///
/// # Errors
/// A socket cannot be handed to the runtime.
pub async fn serve(sockets: Vec<Socket>, admin: Arc<Admin>, mut stop: ShutdownWatch) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    for socket in sockets {
        let Socket { listener, reach, file, .. } = socket;
        let (listener, admin, stop) = (Accept::new(listener)?, Arc::clone(&admin), stop.clone());
        accepting.spawn(async move {
            // The file goes when its socket does.
            let _file = file;
            accept(listener, admin, reach, stop).await;
        });
    }
    let mut ticks = interval(rates::TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // An error means that whoever could say stop is gone.
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => admin.readings.add(Instant::now(), admin.metrics.totals()),
        }
    }
    while accepting.join_next().await.is_some() {}
    // The process ends after this, and what was done last is the end itself.
    let flushed = tokio::task::spawn_blocking(move || admin.flush(FLUSH)).await;
    if !flushed.unwrap_or(false) {
        log::error!("the audit log could not be written to its end");
    }
    Ok(())
}

/// The two kinds of socket, in the runtime.
enum Accept {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accept {
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Accept::Tcp),
            Listener::Unix(listener) => UnixListener::from_std(listener).map(Accept::Unix),
        }
    }

    async fn next(&self) -> io::Result<(Stream, Who)> {
        Ok(match self {
            Accept::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Box::new(l4::stream::Stream::from(stream)), Who::Address(address.to_string()))
            }
            Accept::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                (Box::new(l4::stream::Stream::from(stream)), Who::Process { uid: peer.uid(), pid: peer.pid() })
            }
        })
    }
}

async fn accept(listener: Accept, admin: Arc<Admin>, reach: Reach, mut stop: ShutdownWatch) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            listener.next().await.map(|(stream, who)| (stream, who, permit))
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accepted => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, who, permit)) => {
                let (admin, origin, stop) = (Arc::clone(&admin), Origin { who, reach: reach.clone() }, stop.clone());
                connections.spawn(async move {
                    connection(stream, &admin, &origin, stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("the admin listener cannot accept: {error}");
                sleep(BREATHE).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

/// Serves one connection, request after request.
async fn connection(mut stream: Stream, admin: &Arc<Admin>, origin: &Origin, mut stop: ShutdownWatch) {
    let mut patience = FIRST;
    loop {
        let mut session = ServerSession::new_http1(stream);
        let read = tokio::select! {
            // Whatever has come already is answered.
            biased;
            read = timeout(HEAD, session.read_request()) => read,
            () = stopped(&mut stop, patience) => return,
        };
        patience = Duration::ZERO;
        match read {
            Ok(Ok(true)) => {}
            Ok(Err(error)) => {
                log::debug!("the admin listener was sent a request that cannot be read: {error}");
                // A client that does not read its refusal has no use for it.
                let _ = timeout(REFUSAL, refuse(session)).await;
                return;
            }
            Ok(Ok(false)) | Err(_) => return,
        }
        match exchange(session, admin, origin, &mut stop).await {
            Ok(Some(next)) => stream = next,
            Ok(None) => return,
            Err(error) => {
                log::debug!("an answer of the admin listener was not read: {error}");
                return;
            }
        }
    }
}

/// All is over, and has been for as long as `patience`.
async fn stopped(stop: &mut ShutdownWatch, patience: Duration) {
    // An error means that whoever could say stop is gone.
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(patience).await;
}

async fn refuse(mut session: ServerSession) -> pingora_core::Result<()> {
    let answer = Answer::problem(StatusCode::BAD_REQUEST, "the request is not well-formed");
    session.set_keepalive(None);
    session.write_response_header(Box::new(answer.head()?)).await?;
    session.write_response_body(answer.body, true).await
}
