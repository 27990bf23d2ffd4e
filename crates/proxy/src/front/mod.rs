//! Before step 1: a connection's requests are read one head at a time, judged, and handed to the engine.

mod chunked;
mod conn;
mod head;

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use filter::{Reason, Reply};
use listen::{Accepted, Connection, Listener, Serve};
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{
        Digest,
        http::{
            ServerSession,
            v2::server::{H2Options, default_h2_options},
        },
    },
    server::{ShutdownWatch, configuration::ServerConf},
};
use pingora_proxy::{HttpProxy, http_proxy};
use snapshot::Live;
use telemetry::Protocol;
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    conn::Conn,
    head::{Judged, Limits, Passed},
};
use crate::{arrive, finish, gateway::Gateway, refuse};

pub(crate) use self::head::{Refused, is_host};

/// What every HTTP/2 connection by prior knowledge begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at all; routes may allow less.
const LIMITS: Limits = Limits { head: listen::MAX_HEADER, target: listen::MAX_URL };

/// How long a refused client may take to read its answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the engine needs to know at start; nothing of it changes in a reload.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads; Pingora sizes its pool of upstream connections by them.
    pub threads: usize,
    /// Idle upstream connections that each thread may keep.
    pub pool_size: usize,
}

/// Where accepted connections become requests: the one [`Serve`] of all HTTP listeners.
pub struct Front {
    engine: Arc<HttpProxy<Gateway>>,
    live: Arc<Live>,
    h2: H2Options,
    server: HttpServerOptions,
}

/// What came next on a connection.
enum Next {
    Request(Passed),
    H2,
    Refused(Refused),
    Closed,
}

impl Front {
    /// The engine with its pools, and the gateway behind it.
    pub fn new(live: Arc<Live>, options: &Options) -> Self {
        let conf = ServerConf {
            threads: options.threads,
            upstream_keepalive_pool_size: options.pool_size,
            // Ours is the count of attempts (`dispatch`); this one must only never be the smaller.
            max_retries: 64,
            ..ServerConf::default()
        };
        let server = HttpServerOptions::default();
        Self {
            engine: Arc::new(http_proxy(&Arc::new(conf), Gateway::new(live.clone()))),
            live,
            h2: h2_options(),
            server,
        }
    }

    /// The same engine, for the connections of `listener`.
    pub fn serving(&self, listener: &Listener) -> Arc<Self> {
        let mut server = self.server.clone();
        server.h2_idle_timeout = Some(listener.timeouts.idle);
        Arc::new(Self { engine: self.engine.clone(), live: self.live.clone(), h2: self.h2.clone(), server })
    }

    /// Closes connections that wait for their next request.
    pub async fn stop(&self) {
        self.engine.http_cleanup().await;
    }

    async fn h1(self: &Arc<Self>, mut conn: Conn, connection: &Arc<Connection>, mut shutdown: ShutdownWatch) {
        let mut wait = connection.listener.timeouts.header;
        let open = connection.meters.open(Protocol::H1);
        loop {
            let passed = match self.next(&mut conn, connection, wait, &mut shutdown).await {
                Next::Request(passed) => passed,
                Next::H2 => {
                    conn.speak_h2();
                    drop(open);
                    let _open = connection.meters.open(Protocol::H2c);
                    self.process_new(Box::new(conn), &shutdown).await;
                    return;
                }
                Next::Refused(refused) => return self.refuse(conn, connection, refused).await,
                Next::Closed => return,
            };
            conn.set_boundary(passed.length, passed.body);
            let session = ServerSession::new_http1(Box::new(conn));
            let Some(reused) = self.engine.process_new_http(session, &shutdown).await else { return };
            let Ok(back) = reused.consume().0.into_any().downcast::<Conn>() else { return };
            conn = *back;
            wait = connection.listener.timeouts.idle;
        }
    }

    /// Waits up to `wait` for the first byte, and from it on the header timeout for the whole head.
    async fn next(
        &self,
        conn: &mut Conn,
        connection: &Connection,
        wait: Duration,
        shutdown: &mut ShutdownWatch,
    ) -> Next {
        if conn.ahead().is_empty() {
            if *shutdown.borrow() {
                return Next::Closed;
            }
            tokio::select! {
                biased;
                read = timeout(wait, conn.read_ahead()) => match read {
                    Ok(Ok(count)) if count > 0 => {}
                    _ => return Next::Closed,
                },
                _ = shutdown.changed() => return Next::Closed,
            }
        }
        let deadline = Instant::now() + connection.listener.timeouts.header;
        loop {
            if connection.listener.h2c && PREFACE.starts_with(&conn.ahead()[..conn.ahead().len().min(PREFACE.len())]) {
                if conn.ahead().len() >= PREFACE.len() {
                    return Next::H2;
                }
            } else {
                if !connection.listener.h1 {
                    return Next::Refused(Refused::new(conn.ahead(), Reason::BadVersion));
                }
                match head::judge(conn.ahead(), LIMITS) {
                    Judged::Passed(passed) => return Next::Request(passed),
                    Judged::Refused(refused) => return Next::Refused(refused),
                    Judged::Partial => {}
                }
            }
            match timeout_at(deadline, conn.read_ahead()).await {
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Next::Closed,
                Err(_) => return Next::Refused(Refused::late(conn.ahead())),
            }
        }
    }

    /// Answers a request that no engine will see, and closes. It is counted and logged like any other.
    async fn refuse(&self, mut conn: Conn, connection: &Connection, refused: Refused) {
        use tokio::io::AsyncWriteExt;

        let id = arrive::new_request_id();
        let is_head = refused.method.as_deref() == Some("HEAD");
        let reply = Reply::refuse(refused.reason);
        if let Ok(answer) = refuse::answer(&reply, refuse::Form::Problem, Some(&id), is_head) {
            let bytes = refuse::raw(&answer);
            let farewell = async {
                conn.write_all(&bytes).await?;
                conn.flush().await?;
                conn.shutdown().await?;
                // Closing with unread bytes would reset the connection and take the answer with it.
                conn.drain().await
            };
            let _: Result<io::Result<()>, _> = timeout(FAREWELL, farewell).await;
            finish::refused(&self.live.load(), connection, &refused, &id, answer.content.len());
        }
    }
}

#[async_trait]
impl Serve for Front {
    async fn serve(self: Arc<Self>, accepted: Accepted, shutdown: ShutdownWatch) {
        let connection = accepted.connection;
        let Some(conn) = Conn::new(accepted.stream, Box::new(connection.clone())) else { return };
        if conn.is_h2() {
            let _open = connection.meters.open(Protocol::H2);
            self.process_new(Box::new(conn), &shutdown).await;
        } else {
            self.h1(conn, &connection, shutdown).await;
        }
    }

    fn turned_away(&self, connection: &Connection, reason: Reason) {
        finish::turned_away(&self.live.load(), connection, reason);
    }
}

/// Pingora's HTTP/2 accept loop asks for this; HTTP/1 does not come by here.
#[async_trait]
impl HttpServerApp for Front {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.engine.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.h2.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.server)
    }
}

/// Bounds for a client's HTTP/2 connection: what one client may keep in flight, and so in memory.
fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(128)
        .max_header_list_size(64 * 1024)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buffer_size(256 * 1024)
        .max_pending_accept_reset_streams(32)
        .max_concurrent_reset_streams(32);
    options
}

/// The connection that a request came by; put into the digest by [`Conn`].
pub(crate) fn connection_of(digest: Option<&Digest>) -> Option<Arc<Connection>> {
    let carried = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
    carried.downcast_ref::<Arc<Connection>>().cloned()
}

impl Refused {
    /// A head that was not whole in time.
    fn late(bytes: &[u8]) -> Self {
        Self::new(bytes, Reason::HeaderTimeout)
    }
}
