//! A small HTTP/1.1 server on Pingora's session.

use std::{io, sync::Arc, time::Duration};

use http::{Method, StatusCode, Version, header};
use pingora_core::{
    protocols::{Stream, http::ServerSession, l4},
    server::ShutdownWatch,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Admin, Socket,
    answer::{self, Answer},
    bind::{Listener, Reach},
    guard::Question,
};

/// How many connections a socket has at a time; others wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a client may take for the head of a request, and how long its connection is kept for the next one.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client may take to read an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a body that nobody asked for is read, so that the client gets to see the answer.
const DRAIN: Duration = Duration::from_secs(1);

/// How long to wait before another connection is accepted when there was no descriptor for the last one.
const BREATHE: Duration = Duration::from_millis(100);

/// Answers on `sockets` until `stop` turns true; connections that are open then are closed.
///
/// # Errors
/// A socket cannot be handed to the runtime.
pub async fn serve(sockets: Vec<Socket>, admin: Arc<Admin>, mut stop: ShutdownWatch) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    for socket in sockets {
        let Socket { listener, reach, file, .. } = socket;
        let (listener, admin) = (Accept::new(listener)?, Arc::clone(&admin));
        accepting.spawn(async move {
            // The file goes when its socket does.
            let _file = file;
            accept(listener, admin, reach).await;
        });
    }
    // An error means that whoever could say stop is gone.
    let _ = stop.wait_for(|stop| *stop).await;
    accepting.shutdown().await;
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

    async fn next(&self) -> io::Result<Stream> {
        Ok(match self {
            Accept::Tcp(listener) => Box::new(l4::stream::Stream::from(listener.accept().await?.0)),
            Accept::Unix(listener) => Box::new(l4::stream::Stream::from(listener.accept().await?.0)),
        })
    }
}

async fn accept(listener: Accept, admin: Arc<Admin>, reach: Reach) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.next().await {
            Ok(stream) => {
                let (admin, reach) = (Arc::clone(&admin), reach.clone());
                connections.spawn(async move {
                    connection(stream, &admin, &reach).await;
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("the admin listener cannot accept: {error}");
                sleep(BREATHE).await;
            }
        }
    }
}

/// Serves one connection, request after request.
async fn connection(mut stream: Stream, admin: &Arc<Admin>, reach: &Reach) {
    loop {
        let mut session = ServerSession::new_http1(stream);
        match timeout(HEAD, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Err(error)) => {
                log::debug!("the admin listener was sent a request that cannot be read: {error}");
                let refusal = Answer::problem(StatusCode::BAD_REQUEST, "the request is not well-formed");
                session.set_keepalive(None);
                // A client that does not read its refusal has no use for it.
                let _ = timeout(ANSWER, write(&mut session, &refusal, true)).await;
                return;
            }
            Ok(Ok(false)) | Err(_) => return,
        }
        match timeout(ANSWER, respond(session, admin, reach)).await {
            Ok(Ok(Some(next))) => stream = next,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                log::debug!("an answer of the admin listener was not read: {error}");
                return;
            }
        }
    }
}

/// Answers one request; gives the connection back when it can be used for another.
async fn respond(
    mut session: ServerSession,
    admin: &Arc<Admin>,
    reach: &Reach,
) -> pingora_core::Result<Option<Stream>> {
    session.set_keepalive(Some(HEAD.as_secs()));
    if !session.is_body_empty() {
        session.set_keepalive(None);
    }
    let head = session.req_header();
    let missing_host = head.version >= Version::HTTP_11 && !head.headers.contains_key(header::HOST);
    let has_body = head.method != Method::HEAD;
    let answer = if missing_host {
        // RFC 9112 section 3.2.
        Answer::problem(StatusCode::BAD_REQUEST, "the Host field is missing")
    } else {
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let (headers, admin, reach) = (head.headers.clone(), Arc::clone(admin), reach.clone());
        // Thousands of routes make a page that takes a while to write.
        let made = tokio::task::spawn_blocking(move || {
            let question = Question { method: &method, path: &path, headers: &headers };
            answer::answer(&admin, &question, &reach)
        });
        made.await.unwrap_or_else(|error| {
            log::error!("the admin listener failed: {error}");
            Answer::problem(StatusCode::INTERNAL_SERVER_ERROR, "a fault in maitred itself")
        })
    };
    write(&mut session, &answer, has_body).await?;
    if !session.is_body_empty() {
        // Whether or not it could be read to its end, the connection is closed.
        let _ = timeout(DRAIN, session.drain_request_body()).await;
    }
    Ok(session.finish().await?.map(|reusable| reusable.into_parts().0))
}

async fn write(session: &mut ServerSession, answer: &Answer, has_body: bool) -> pingora_core::Result<()> {
    session.write_response_header(Box::new(answer.head()?)).await?;
    if has_body {
        session.write_response_body(answer.body.clone(), true).await?;
    }
    Ok(())
}
