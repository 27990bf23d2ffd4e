//! Before step 1: a connection's requests are read one head at a time, judged, and handed to the engine.

pub(crate) mod answer;
pub(crate) mod chunked;
pub(crate) mod conn;
mod frames;
mod h2;
pub(crate) mod head;
mod notes;
mod pace;
pub(crate) mod pulse;
mod tunnel;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use filter::{Reason, Reply};
use http::header;
use listen::{Accepted, Connection, Listener, Serve};
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    connectors::TransportConnector,
    protocols::{
        Digest,
        http::{ServerSession, v2::server::H2Options},
    },
    server::{ShutdownWatch, configuration::ServerConf},
};
use pingora_http::RequestHeader;
use pingora_proxy::{HttpProxy, http_proxy};
use snapshot::{Live, Snapshot};
use telemetry::Protocol;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use self::{
    conn::Conn,
    head::{Judged, Limits, Passed},
    pulse::Pulse,
    tunnel::Tunnels,
};
use crate::{
    admit, arrive,
    context::Context,
    dispatch,
    engine::{After, Alarm, Engine, Pool},
    fetch::Fetches,
    finish,
    gateway::Gateway,
    refuse,
};

pub(crate) use self::head::{Refused, is_host};

/// What is read at all; routes may allow less.
const LIMITS: Limits = Limits { head: listen::MAX_HEADER, target: listen::MAX_URL };

/// So many bytes of a head that is not whole are judged even though no line has ended.
const REREAD: usize = 1024;

/// How long a connection that is to end waits for a request that may be on its way already. A client that is busy sends one
/// within this time and is told with the answer that its connection ends; closing under it would lose the request. See
/// [`linger`] for how much longer it may be.
const LINGER: Duration = Duration::from_secs(1);

/// How long a refused client may take to read its answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the rest of a refused body is read, so that the client gets to see the answer.
pub(crate) const LONGEST_DRAIN: Duration = Duration::from_secs(5);

/// What the engine needs to know at start; nothing of it changes in a reload.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads; Pingora sizes its pool of upstream connections by them.
    pub threads: usize,
    /// Idle upstream connections that each thread may keep.
    pub pool_size: usize,
    /// Whether Pingora's general engine serves every request, also those that the engine for HTTP/1 could serve.
    pub general: bool,
}

/// Where accepted connections become requests: the one [`Serve`] of all HTTP listeners.
pub struct Front {
    general: Arc<HttpProxy<Gateway>>,
    /// Absent where the general one is to serve everything.
    engine: Option<Arc<Engine>>,
    tunnels: Arc<Tunnels>,
    live: Arc<Live>,
    h2: H2Options,
    server: HttpServerOptions,
}

/// What came next on a connection.
enum Next {
    Request(Passed, Option<Box<RequestHeader>>),
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
        // One for both: it reads all the authorities that the system trusts.
        let connector = Arc::new(TransportConnector::new(None));
        let pool = Pool::new(options.threads, options.pool_size);
        let fetches = Fetches::new(connector.clone(), pool.clone());
        let own = || Engine::new(connector.clone(), pool.clone(), fetches.clone());
        let own = (!options.general).then(|| Arc::new(own()));
        let mut engine = http_proxy(&Arc::new(conf), Gateway::new(live.clone(), fetches));
        // CONNECT is refused by `arrive`, which answers and logs it like any other; the engine would do neither.
        let mut server = HttpServerOptions::default();
        server.allow_connect_method_proxying = true;
        engine.server_options = Some(server);
        let tunnels = Arc::new(Tunnels::new(connector));
        let (general, server) = (Arc::new(engine), HttpServerOptions::default());
        Self { general, engine: own, tunnels, live, h2: h2::options(), server }
    }

    /// The same engine, for the connections of `listener`.
    pub fn serving(&self, listener: &Listener) -> Arc<Self> {
        let mut server = self.server.clone();
        server.h2_idle_timeout = Some(listener.timeouts.idle);
        let (general, engine, tunnels) = (self.general.clone(), self.engine.clone(), self.tunnels.clone());
        Arc::new(Self { general, engine, tunnels, live: self.live.clone(), h2: self.h2.clone(), server })
    }

    /// From here on every answer says that its connection ends with it.
    pub async fn stop(&self) {
        self.general.http_cleanup().await;
    }

    async fn h1(self: &Arc<Self>, mut conn: Conn, connection: &Arc<Connection>, shutdown: ShutdownWatch) {
        let mut wait = connection.listener.timeouts.header;
        let mut h2c = connection.listener.h2c;
        let open = connection.meters.open(Protocol::H1);
        let mut alarm = Alarm::default();
        let mut told = shutdown.clone();
        let mut lingered = pin!(lingered(&mut told));
        loop {
            if conn.ahead().is_empty() && !begins(&mut conn, &mut alarm, wait, lingered.as_mut()).await {
                return;
            }
            let (passed, head) = match self.next(&mut conn, connection, h2c).await {
                Next::Request(passed, head) => (passed, head),
                Next::H2 => {
                    conn.speak_h2();
                    drop(open);
                    let _open = connection.meters.open(Protocol::H2c);
                    return self.h2(conn, connection, shutdown).await;
                }
                Next::Refused(refused) => return self.refuse(conn, connection, refused).await,
                Next::Closed => return,
            };
            if passed.upgrade
                && let Some((head, ctx)) = self.switch(head.clone(), connection)
            {
                return Box::pin(self.tunnel(conn, passed.length, head, ctx)).await;
            }
            let mut streams = false;
            if let Some((engine, head)) = self.engine.as_ref().zip(head) {
                match self.carry(engine, &mut conn, &mut alarm, passed, head, connection).await {
                    Ok(After::Goes) => {
                        h2c = false;
                        wait = connection.listener.timeouts.idle;
                        continue;
                    }
                    Ok(After::Closes) => return close(conn, connection).await,
                    Ok(After::Breaks) => return conn.break_off(),
                    Err(stream) => streams = stream,
                }
            }
            conn.set_boundary(passed.length, passed.body);
            if streams {
                conn.may_drip();
            }
            let session = ServerSession::new_http1(Box::new(conn));
            let Some(reused) = self.general.process_new_http(session, &shutdown).await else { return };
            let Ok(back) = reused.consume().0.into_any().downcast::<Conn>() else { return };
            conn = *back;
            // Prior knowledge begins with the connection (RFC 9113 section 3.3), not in the middle of it.
            h2c = false;
            wait = connection.listener.timeouts.idle;
        }
    }

    /// Serves a connection that speaks HTTP/2.
    async fn h2(self: &Arc<Self>, conn: Conn, connection: &Arc<Connection>, shutdown: ShutdownWatch) {
        match &self.engine {
            // In a box, so that it is not room for every connection of HTTP/1.
            Some(engine) => {
                Box::pin(h2::serve(self.clone(), engine.clone(), conn, connection.clone(), shutdown)).await;
            }
            None => drop(self.process_new(Box::new(conn), &shutdown).await),
        }
    }

    /// Serves the request whose head is the first that `conn` has read ahead. The general engine has to where this fails,
    /// which says whether it is a stream.
    async fn carry(
        &self,
        engine: &Engine,
        conn: &mut Conn,
        alarm: &mut Alarm,
        passed: Passed,
        mut head: Box<RequestHeader>,
        connection: &Arc<Connection>,
    ) -> Result<After, bool> {
        // Upgrades are carried by the tunnel; what comes by here is served as if it had not asked.
        if passed.upgrade {
            head.remove_header(&header::UPGRADE);
        }
        let mut ctx = Context::new();
        let arrived = arrive::arrive(self.live.load(), connection.clone(), &mut head, &mut ctx);
        if !Engine::takes(&ctx) {
            return Err(dispatch::is_stream(&head));
        }
        conn.skip(passed.length);
        Ok(engine.serve_h1(conn, alarm, passed.body, &head, &mut ctx, arrived).await)
    }

    /// The request, when it asks to change the protocol and goes to an upstream that can. The engine serves all others,
    /// as if they had not asked (RFC 9110 section 7.8).
    fn switch(
        &self,
        head: Option<Box<RequestHeader>>,
        connection: &Arc<Connection>,
    ) -> Option<(RequestHeader, Context)> {
        let mut head = *head?;
        let ctx = switch(self.live.load(), connection.clone(), &mut head)?;
        Some((head, ctx))
    }

    /// A policy is never skipped because a request asks for an upgrade.
    async fn tunnel(&self, mut conn: Conn, length: usize, head: RequestHeader, mut ctx: Context) {
        finish::begin(&mut ctx);
        // Who leaves while it waits is waited for by nobody; what it sends ahead is held.
        let admitted = tokio::select! {
            biased;
            admitted = admit::admit(&mut ctx, &head) => Some(admitted),
            () = poll_fn(|cx| conn.poll_gone(cx)) => None,
        };
        match admitted {
            Some(Ok(())) => return self.tunnels.carry(conn, length, head, ctx).await,
            Some(Err(reply)) => tunnel::refuse(&mut conn, &head, &mut ctx, &reply).await,
            None => {
                ctx.record.reason = Reason::ClientClosed;
                ctx.record.status = Reason::ClientClosed.status_code();
            }
        }
        finish::tell(&mut ctx, &head);
    }

    /// From the first byte on the header timeout holds for the whole head.
    async fn next(&self, conn: &mut Conn, connection: &Connection, h2c: bool) -> Next {
        // Most heads are there whole, and need no clock.
        let mut deadline = None;
        let mut judged = 0;
        loop {
            let ahead = conn.ahead();
            // A head that comes byte by byte is not read anew with each of them.
            let fresh = &ahead[judged..];
            let worth = judged == 0 || fresh.len() >= REREAD || memchr::memchr(b'\n', fresh).is_some();
            if h2c && h2::PREFACE.starts_with(&ahead[..ahead.len().min(h2::PREFACE.len())]) {
                if ahead.len() >= h2::PREFACE.len() {
                    return Next::H2;
                }
            } else if worth {
                if !connection.listener.h1 {
                    return Next::Refused(Refused::new(ahead, Reason::BadVersion));
                }
                match head::judge(ahead, LIMITS, |request, bytes| answer::hold(request, bytes).map(Box::new)) {
                    Judged::Passed(passed, head) => return Next::Request(passed, head),
                    Judged::Refused(refused) => return Next::Refused(refused),
                    Judged::Partial => judged = ahead.len(),
                }
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + connection.listener.timeouts.header);
            match timeout_at(deadline, conn.read_ahead()).await {
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Next::Closed,
                Err(_) => return Next::Refused(Refused::late(conn.ahead())),
            }
        }
    }

    /// Answers a request that no engine will see, and closes. It is counted and logged like any other.
    async fn refuse(&self, mut conn: Conn, connection: &Connection, refused: Refused) {
        let id = arrive::new_request_id();
        let is_head = refused.method.as_deref() == Some("HEAD");
        let reply = Reply::refuse(refused.reason);
        let tells = self.live.load().proxy_status;
        if let Ok(answer) = refuse::answer(&reply, refuse::Form::Problem, Some(&id), is_head, tells) {
            say(&mut conn, &refuse::raw(&answer)).await;
            finish::refused(&self.live.load(), connection, &refused, &id, answer.content.len());
        }
    }
}

/// The context of a request that asks to change the protocol and goes to an upstream that can.
pub(crate) fn switch(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    head: &mut RequestHeader,
) -> Option<Context> {
    answer::asks_to_switch(head).then_some(())?;
    let mut ctx = Context::new();
    arrive::arrive(snapshot, connection, head, &mut ctx).ok()?;
    let route = ctx.route()?;
    route.upstreams().next()?;
    let can = route.upstreams().all(|upstream| !upstream.speaks_h2());
    can.then_some(ctx)
}

/// A head as a connection would have brought it: written out, judged, and read again.
pub(crate) fn read(head: &RequestHeader) -> Result<RequestHeader, Reason> {
    let bytes = answer::request_wire(head);
    match head::judge(&bytes, LIMITS, answer::hold) {
        Judged::Passed(_, head) => head.ok_or(Reason::BadRequest),
        Judged::Refused(refused) => Err(refused.reason),
        Judged::Partial => Err(Reason::BadRequest),
    }
}

/// Says the last words on a connection and closes it, so that they arrive: closing with unread bytes would reset the
/// connection and take them with it.
async fn say(conn: &mut Conn, bytes: &[u8]) {
    let farewell = async {
        conn.write_all(bytes).await?;
        conn.flush().await?;
        AsyncWriteExt::shutdown(conn).await?;
        conn.drain().await
    };
    let _: Result<io::Result<()>, _> = timeout(FAREWELL, farewell).await;
}

/// Closes a connection after its last answer. TLS says goodbye, so that the client knows that it has everything.
async fn close(mut conn: Conn, connection: &Connection) {
    if connection.tls.is_some() {
        let _ = timeout(FAREWELL, AsyncWriteExt::shutdown(&mut conn)).await;
    }
}

#[async_trait]
impl Serve for Front {
    async fn serve(self: Arc<Self>, accepted: Accepted, mut shutdown: ShutdownWatch) {
        let connection = accepted.connection;
        let min_rate = connection.listener.timeouts.min_rate;
        let Some(mut conn) = Conn::new(accepted.stream, Box::new(connection.clone()), min_rate) else { return };
        if conn.is_h2() {
            let _open = connection.meters.open(Protocol::H2);
            if h2::greets(&mut conn, connection.listener.timeouts.header, &mut shutdown).await {
                self.h2(conn, &connection, shutdown).await;
            }
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
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_body_done() {
            return self.general.process_new_http(session, shutdown).await;
        }
        let connection = connection_of(session.digest())?;
        let stalled = Refused::stalled(session.req_header());
        let timeouts = &connection.listener.timeouts;
        let pulse = Pulse::new(timeouts.body, timeouts.min_rate);
        pulse.watch(self.general.process_new_http(session, shutdown)).await.unwrap_or_else(|| {
            finish::refused(&self.live.load(), &connection, &stalled, &arrive::new_request_id(), 0);
            None
        })
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.h2.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.server)
    }
}

/// Whether the first byte of a request comes within `limit`, and before the connection has `lingered` on its way out.
async fn begins(
    conn: &mut Conn,
    alarm: &mut Alarm,
    limit: Duration,
    mut lingered: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let until = Instant::now() + limit;
    poll_fn(|cx| match conn.poll_ahead(cx) {
        Poll::Ready(read) => Poll::Ready(matches!(read, Ok(1..))),
        Poll::Pending if lingered.as_mut().poll(cx).is_ready() => Poll::Ready(false),
        Poll::Pending => alarm.poll(cx, until).map(|()| false),
    })
    .await
}

/// How long a connection that is told to end lingers: up to twice as long as it has to. Thousands are told at once, and
/// their clients should not all come back, each with a handshake, at the same moment.
fn linger() -> Duration {
    LINGER + LINGER.mul_f64(fastrand::f64())
}

/// Ready when the connection has lingered, from when it was told to end.
async fn lingered(shutdown: &mut ShutdownWatch) {
    // Whoever could tell is gone, which tells as much.
    let _ = shutdown.wait_for(|shutdown| *shutdown).await;
    tokio::time::sleep(linger()).await;
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

    /// A request whose body stopped coming.
    fn stalled(head: &RequestHeader) -> Self {
        let target = String::from_utf8_lossy(head.raw_path()).into_owned();
        let method = Some(head.method.to_string());
        Self { reason: Reason::BodyTimeout, method, target: Some(target), version: Some(head.version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// What may be waited for in any request is room that an idle connection has as well: what is seldom waited for
    /// belongs in a box.
    #[test]
    fn an_idle_connection_has_little_room_for_its_next_request() {
        type Parts = (&'static Arc<Front>, Conn, &'static Arc<Connection>, ShutdownWatch);
        let serving = |(front, conn, connection, shutdown): Parts| front.h1(conn, connection, shutdown);
        assert!(size_of_future(serving) <= 6 * 1024, "{} bytes", size_of_future(serving));
    }
}
