//! The engine for origins of HTTP/1: the same steps as the general one, and nothing that such a request does not need.
//!
//! A request comes here once its route is known not to lead to HTTP/2 (ADR 21, ADR 34). Everything between the two sides
//! of an attempt happens in one place, [`exchange`]; the connections that wait for their next request are in [`pool`].

mod alarm;
mod client;
mod download;
mod exchange;
mod give;
mod h1;
mod head;
mod held;
mod late;
mod lines;
mod origin;
mod outbox;
mod pipe;
mod pool;
mod rival;
mod upload;

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::BytesMut;
use filter::{Reason, Reply};
use http::{Method, Version, header};
use pingora_core::{
    Error, ErrorSource, ErrorType,
    connectors::TransportConnector,
    upstreams::peer::{HttpPeer, Peer},
};
use pingora_http::{RequestHeader, ResponseHeader};
use snapshot::Route;
use tokio::time::Instant;
use upstream::{Pick, Reading};

pub(crate) use self::{alarm::Alarm, client::Client, lines::Lines, origin::Origin, pipe::Pipe, pool::Pool};
use self::{
    exchange::Exchange,
    h1::{H1, gone},
    late::Limits,
    outbox::Coding,
    upload::Upload,
};
use crate::{
    admit,
    consult::{self, Consulted},
    context::Context,
    dispatch,
    fetch::Fetches,
    finish,
    front::{LONGEST_DRAIN, conn::Boundary, conn::Conn},
    gateway, refuse, relay,
};

/// What either side may be silent, or take nothing, where nobody says: never for ever.
pub(crate) const NO_LIMIT: Duration = Duration::from_secs(60);

/// The first allocation for a head that is written; most heads fit.
const HEAD: usize = 1024;

/// Connects to origins and keeps their connections.
pub(crate) struct Engine {
    connector: Arc<TransportConnector>,
    pool: Arc<Pool>,
    /// What the cache asks for.
    fetches: Arc<Fetches>,
}

/// What becomes of a client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It waits for the next one.
    Goes,
    /// It is closed.
    Closes,
    /// It is reset: an answer that ends with the connection was broken off, and must not look whole.
    Breaks,
}

/// One request on its way through the engine.
struct Passage<'a, C> {
    engine: &'a Engine,
    client: &'a mut C,
    alarm: &'a mut Alarm,
    head: &'a RequestHeader,
    ctx: &'a mut Context,
    upload: Upload,
    /// Whether the request asks for an answer that has no natural end.
    streams: bool,
    /// Whom the answer is from, where another origin than the first was faster.
    adopted: Option<Box<HttpPeer>>,
    /// Whether its record is told.
    told: bool,
    after: After,
}

/// Why an attempt came to nothing.
enum Failed {
    /// The other end had closed a connection from the pool, most likely before the request came. A fresh one gets the
    /// request, and nobody hears of it.
    Stale,
    Broken(Box<Error>),
}

impl Engine {
    /// With the connections of `pool`, and those that `connector` makes.
    pub(crate) fn new(connector: Arc<TransportConnector>, pool: Arc<Pool>, fetches: Arc<Fetches>) -> Self {
        Self { connector, pool, fetches }
    }

    /// Whether a request goes to nobody who speaks HTTP/2.
    pub(crate) fn takes(ctx: &Context) -> bool {
        let mut upstreams = ctx.route().into_iter().flat_map(Route::upstreams);
        upstreams.all(|upstream| !upstream.speaks_h2())
    }

    /// Serves a request that has arrived, or was refused then, and whose content is next on `conn`.
    pub(crate) async fn serve_h1(
        &self,
        conn: &mut Conn,
        alarm: &mut Alarm,
        body: Boundary,
        head: &RequestHeader,
        ctx: &mut Context,
        arrived: Result<(), Reply>,
    ) -> After {
        let mut client = H1::new(conn, body);
        let coding = if body == Boundary::Chunked { Coding::Chunked } else { Coding::Plain };
        let upload = Upload::new(body == Boundary::Left(0), coding);
        let after = self.serve(&mut client, alarm, upload, head, ctx, arrived).await;
        if after == After::Closes && ctx.record.reason != Reason::None && client.is_open_ended() {
            return After::Breaks;
        }
        after
    }

    /// The same for a client of HTTP/2, of which `alarm` is one stream's.
    pub(crate) async fn serve_h2(
        &self,
        client: &mut impl Client,
        alarm: &mut Alarm,
        head: &RequestHeader,
        ctx: &mut Context,
        arrived: Result<(), Reply>,
    ) {
        let is_empty = client.is_body_read();
        let is_framed = is_empty || head.headers.contains_key(header::CONTENT_LENGTH);
        let upload = Upload::new(is_empty, if is_framed { Coding::Plain } else { Coding::Chunked });
        self.serve(client, alarm, upload, head, ctx, arrived).await;
    }

    async fn serve<C: Client>(
        &self,
        client: &mut C,
        alarm: &mut Alarm,
        upload: Upload,
        head: &RequestHeader,
        ctx: &mut Context,
        arrived: Result<(), Reply>,
    ) -> After {
        let keeps = head::persists(&head.headers, head.version == Version::HTTP_10);
        let after = if keeps { After::Goes } else { After::Closes };
        let streams = dispatch::is_stream(head) && ctx.route().is_some();
        let adopted = None;
        let mut passage =
            Passage { engine: self, client, alarm, head, ctx, upload, streams, adopted, told: false, after };
        passage.run(arrived).await;
        passage.tell();
        passage.after
    }
}

impl<C: Client> Passage<'_, C> {
    /// Every step from `admit` on.
    async fn run(&mut self, arrived: Result<(), Reply>) {
        let rate = self.ctx.arrival.as_ref().and_then(|arrival| arrival.connection.listener.timeouts.min_rate);
        self.ctx.min_rate = rate.filter(|_| !self.streams);
        if self.streams {
            self.client.may_drip();
        }
        finish::begin(self.ctx);
        let passed = match arrived {
            Ok(()) => match self.admit().await {
                Some(passed) => passed,
                None => return self.fail(Reason::ClientClosed).await,
            },
            refused => refused,
        };
        let consulted = match passed {
            Ok(()) if consult::applies(self.ctx) => {
                let (fetches, mut seen) = (&self.engine.fetches, None);
                let (read, watched) = (self.client.is_body_read(), self.client.can_be_watched());
                if read && let Some(answer) = consult::glance(fetches, self.ctx, self.head, &mut seen) {
                    return self.give(answer).await;
                }
                // In a box, since a route without a cache has no use for its room.
                let consulting = Box::pin(consult::consult(fetches, self.ctx, self.head, !read, seen));
                tokio::select! {
                    biased;
                    consulted = consulting => consulted,
                    () = poll_fn(|cx| self.client.poll_gone(cx)), if watched => {
                        return self.fail(Reason::ClientClosed).await;
                    }
                }
            }
            Ok(()) => Ok(Consulted::Pass),
            Err(reply) => Err(reply),
        };
        match consulted {
            Ok(Consulted::Pass) => self.proxy().await,
            Ok(Consulted::Answer(answer)) => self.give(*answer).await,
            Err(reply) => self.refuse(reply).await,
        }
    }

    /// Whether the request may pass. A policy may hold it back; `None` where the client has left meanwhile.
    async fn admit(&mut self) -> Option<Result<(), Reply>> {
        tokio::select! {
            biased;
            passed = admit::admit(self.ctx, self.head) => Some(passed),
            () = poll_fn(|cx| self.client.poll_gone(cx)), if self.client.can_be_watched() => None,
        }
    }

    /// Attempt after attempt, until one answers or none is left.
    async fn proxy(&mut self) {
        let uploads = !self.client.is_body_read();
        loop {
            let mut peer = match self.dispatch(uploads).await {
                Ok(peer) => peer,
                Err(reason) => return self.fail(reason).await,
            };
            match self.attempt(&mut peer, uploads).await {
                Ok(()) => return,
                Err(error) if error.retry() => log::debug!("another attempt after {error}"),
                Err(error) => return self.fail(gateway::reason_in(&error)).await,
            }
        }
    }

    /// Begins an attempt, for as long as the client waits for it.
    async fn dispatch(&mut self, uploads: bool) -> Result<Box<HttpPeer>, Reason> {
        tokio::select! {
            biased;
            peer = dispatch::dispatch(self.ctx, self.head, uploads) => peer,
            () = poll_fn(|cx| self.client.poll_gone(cx)), if self.client.can_be_watched() => Err(Reason::ClientClosed),
        }
    }

    /// One attempt, whose error says whether another may follow.
    async fn attempt(&mut self, peer: &mut HttpPeer, uploads: bool) -> pingora_core::Result<()> {
        let key = peer.reuse_hash();
        let (began, pick) = (self.ctx.attempt.began, &self.ctx.attempt.pick);
        let pooled = began.zip(pick.as_ref()).and_then(|(now, pick)| self.engine.pool.take(key, pick.counter(), now));
        let (mut origin, mut reused) = match pooled {
            Some(origin) => (origin, true),
            None => (self.connect(peer).await?, false),
        };
        loop {
            finish::connected(self.ctx, reused);
            match self.exchange(peer, &mut origin, reused).await {
                Ok(whole) => {
                    let (key, idle) = match self.adopted.take() {
                        Some(peer) => (peer.reuse_hash(), peer.options.idle_timeout),
                        None => (key, peer.options.idle_timeout),
                    };
                    if whole {
                        self.engine.pool.put(key, origin, idle);
                    }
                    return Ok(());
                }
                Err(Failed::Stale) => {
                    dispatch::renew(self.ctx, self.head, uploads, peer).map_err(gateway::carry)?;
                    (origin, reused) = (self.connect(peer).await?, false);
                }
                Err(Failed::Broken(mut error)) => {
                    let replayable = self.upload.is_replayable();
                    let again = dispatch::is_again(&error)
                        || dispatch::after_failure(self.ctx, Reading::of(&error), &self.head.method, replayable);
                    error.set_retry(again);
                    return Err(error);
                }
            }
        }
    }

    /// Connects, for as long as the client waits for it.
    async fn connect(&mut self, peer: &HttpPeer) -> pingora_core::Result<Origin> {
        let Some(pick) = &self.ctx.attempt.pick else { return Err(gateway::carry(Reason::Internal)) };
        // In a box, since it is large and seldom needed.
        let connecting = Box::pin(Origin::connect(&self.engine.connector, peer, pick.counter()));
        let connected = tokio::select! {
            biased;
            connected = connecting => connected,
            () = poll_fn(|cx| self.client.poll_gone(cx)), if self.client.can_be_watched() => {
                return Err(gone());
            }
        };
        connected.map_err(|mut error| {
            let again = dispatch::after_connect_failure(self.ctx, Reading::of(&error));
            error.set_retry(again);
            error
        })
    }

    /// Sends the request and passes the answer on; says whether the connection to the origin may be used again.
    async fn exchange(&mut self, peer: &HttpPeer, origin: &mut Origin, reused: bool) -> Result<bool, Failed> {
        self.upload.restart();
        if self.ctx.unpacks() {
            // How long it becomes nobody knows.
            self.upload.chunk();
        }
        let is_chunked = self.upload.is_chunked();
        let pick = self.ctx.attempt.pick.as_ref();
        write_head(self.ctx, pick, self.head, is_chunked, self.upload.out.head()).map_err(Failed::Broken)?;
        let (limits, keeps) = (self.limits(peer), self.after == After::Goes);
        self.client.forget();
        let (engine, client, upload) = (self.engine, &mut *self.client, &mut self.upload);
        let mut exchange = Exchange::new(engine, client, origin, self.head, self.ctx, upload, limits, keeps);
        let done = exchange.run(self.alarm).await;
        let (down, keeps) = (exchange.down, exchange.keeps);
        self.adopted = exchange.adopted;
        self.after = match &done {
            Ok(()) if keeps => After::Goes,
            Err(_) if !self.client.is_committed() => self.after,
            _ => After::Closes,
        };
        let error = match done {
            Ok(()) => return Ok(down.can_reuse() && self.upload.is_sent()),
            Err(error) => error,
        };
        let stale = reused && !down.is_heard() && is_closed(&error);
        if stale && self.head.method.is_idempotent() && self.upload.is_replayable() {
            return Err(Failed::Stale);
        }
        Err(Failed::Broken(error))
    }

    fn limits(&self, peer: &HttpPeer) -> Limits {
        let body = self.ctx.patience();
        let stream = self.ctx.route().filter(|_| self.streams);
        let attempt = &self.ctx.attempt;
        let call = dispatch::call_ends(self.head, self.ctx.record.start).filter(|_| self.streams);
        let deadline = if self.streams { call } else { attempt.deadline };
        Limits {
            origin_speaks: peer.options.read_timeout.unwrap_or(NO_LIMIT),
            head: deadline.zip(attempt.began).map(|(end, began)| end.saturating_duration_since(began)),
            is_for_all: call.is_some(),
            origin_listens: peer.options.write_timeout.unwrap_or(NO_LIMIT),
            either_speaks: stream.is_some(),
            client_speaks: stream.map_or(body, |route| route.stream_idle),
            client_listens: body,
            drain: body.min(LONGEST_DRAIN),
        }
    }

    /// No attempt is left. The client is told, unless it is gone or has had the beginning of another answer.
    async fn fail(&mut self, reason: Reason) {
        self.ctx.record.reason = reason;
        if self.client.is_committed() {
            self.client.break_off(reason);
            return;
        }
        self.after = After::Closes;
        (self.ctx.record.status, self.ctx.record.bytes_out) = (0, 0);
        if reason != Reason::ClientClosed {
            let reply = self.ctx.proofs.answer(reason);
            self.refuse(reply).await;
        }
    }

    /// Answers for ourselves.
    async fn refuse(&mut self, reply: Reply) {
        self.ctx.record.reason = reply.reason;
        let id = self.ctx.arrival.as_ref().map(|arrival| &arrival.client.request_id);
        let is_head = self.head.method == Method::HEAD;
        let Ok(mut answer) = refuse::answer(&reply, refuse::Form::of(self.head), id, is_head, self.ctx.tells_status())
        else {
            self.after = After::Closes;
            return;
        };
        relay::encode_whole(self.ctx, self.head, &mut answer);
        relay::response(self.ctx, C::TOLD, self.head, &mut answer.head);
        if is_closing(self.ctx) || (expects(self.head) && !self.client.is_body_read()) {
            self.after = After::Closes;
        }
        self.ctx.record.status = answer.head.status.as_u16();
        self.ctx.record.bytes_out = answer.content.len() as u64;
        self.client.forget();
        let has_content = !answer.content.is_empty();
        let keeps = self.after == After::Goes;
        let put = put_final(self.client, self.ctx, self.head, *answer.head, &Lines::default(), has_content, keeps);
        let said = match put {
            Ok(_) if has_content => self.let_pass(answer.content, true).await,
            Ok(_) => self.say().await,
            Err(_) => Err(Reason::ClientClosed),
        };
        if let Err(reason) = said {
            self.client.break_off(reason);
            self.after = After::Closes;
            if self.ctx.record.reason == Reason::None {
                self.ctx.record.reason = reason;
            }
        }
        if self.after == After::Goes && !self.client.is_body_read() {
            self.drain().await;
        }
    }

    /// Reads what is left of a request that was answered without it; where that takes too long the connection ends.
    async fn drain(&mut self) {
        let until = Instant::now() + self.ctx.patience().min(LONGEST_DRAIN);
        let whole = poll_fn(|cx| {
            while let Poll::Ready(piece) = self.upload.poll_piece(cx, self.client) {
                match piece {
                    Ok((_, false)) => {}
                    Ok((_, true)) => return Poll::Ready(true),
                    Err(_) => return Poll::Ready(false),
                }
            }
            self.alarm.poll(cx, until).map(|()| false)
        });
        if !whole.await {
            self.after = After::Closes;
        }
    }
}

impl<C> Passage<'_, C> {
    /// The end: what is left to count is counted, and all of it told.
    fn tell(&mut self) {
        self.told = true;
        self.ctx.record.bytes_in = self.upload.received();
        if self.ctx.record.status == 0 {
            self.ctx.record.status = match self.ctx.record.reason {
                Reason::None => Reason::ClientClosed.status_code(),
                reason => reason.status_code(),
            };
        }
        finish::tell(self.ctx, self.head);
    }
}

/// A request that is dropped on its way is told all the same: it was cut at the end of the grace period, or by a fault.
impl<C> Drop for Passage<'_, C> {
    fn drop(&mut self) {
        if !self.told {
            self.ctx.record.reason = if std::thread::panicking() { Reason::Internal } else { Reason::Stopping };
            self.tell();
        }
    }
}

/// Passes a final head on that [`relay::response`] has made ready, with the lines behind it.
fn put_final<C: Client>(
    client: &mut C,
    ctx: &Context,
    request: &RequestHeader,
    head: ResponseHeader,
    lines: &Lines,
    has_content: bool,
    keeps: bool,
) -> pingora_core::Result<bool> {
    client.put_final(head, lines, request, has_content, keeps, |head, out| relay::tell_client(ctx, request, head, out))
}

/// Writes the head that the origin `pick` is sent.
fn write_head(
    ctx: &Context,
    pick: Option<&Pick>,
    head: &RequestHeader,
    is_chunked: bool,
    out: &mut BytesMut,
) -> pingora_core::Result<()> {
    let mut to = head.clone();
    to.set_version(Version::HTTP_11);
    relay::request_by(ctx, pick, relay::Told::Behind, head, &mut to)?;
    out.reserve(HEAD);
    head::write_request(&to, is_chunked, out, |out| relay::tell(ctx, head, &to, out));
    Ok(())
}

/// Whether the error is the end of a connection and nothing else.
fn is_closed(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
        && *error.esource() == ErrorSource::Upstream
}

/// Whether the client's connection ends with the request under way: the process does, or its listener has changed.
fn is_closing(ctx: &Context) -> bool {
    ctx.arrival.as_ref().is_some_and(|arrival| arrival.connection.is_closing())
}

/// Whether the client waits with its content for a word from the origin (RFC 9110 section 10.1.1).
fn expects(request: &RequestHeader) -> bool {
    request.version != Version::HTTP_10 && request.headers.contains_key(header::EXPECT)
}
