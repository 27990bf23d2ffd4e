//! [`ProxyHttp`], hook by hook: nothing here but delegation to the steps.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use filter::{Reason, Reply};
use http::{HeaderValue, Version, header};
use limit::Way;
use pingora_core::{
    Error, ErrorType, Result,
    modules::http::HttpModules,
    protocols::{Digest, http::HttpTask},
    upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use snapshot::Live;
use upstream::{Fault, Reading, Use};

use crate::{
    admit, arrive,
    consult::{self, Consulted},
    context::Context,
    dispatch,
    fetch::Fetches,
    finish,
    front::{LONGEST_DRAIN, connection_of, pulse},
    persist, raced, refuse, relay,
    throttle::Flows,
};

/// The proxy as Pingora knows it: one for all listeners, so that they share the pools of upstream connections.
pub struct Gateway {
    live: Arc<Live>,
    /// What the cache asks for.
    fetches: Arc<Fetches>,
}

impl Gateway {
    /// A gateway that runs every request on what `live` holds when it arrives.
    pub(crate) fn new(live: Arc<Live>, fetches: Arc<Fetches>) -> Self {
        Self { live, fetches }
    }

    /// Answers for ourselves, and says whether the connection survives it.
    async fn refuse(&self, session: &mut Session, ctx: &mut Context, reply: Reply) -> Result<()> {
        ctx.record.reason = reply.reason;
        let (form, head) = (refuse::Form::of(session.req_header()), session.req_header());
        let is_head = head.method == http::Method::HEAD;
        let version = head.version;
        let id = ctx.arrival.as_ref().map(|arrival| &arrival.client.request_id);
        let mut answer = refuse::answer(&reply, form, id, is_head, ctx.tells_status())?;
        relay::encode_whole(ctx, session.req_header(), &mut answer);
        relay::response(ctx, relay::Told::Among, session.req_header(), &mut answer.head);
        let version = if version == Version::HTTP_2 { version } else { Version::HTTP_11 };
        refuse::write(session, answer, version).await
    }
}

/// An error that carries our own reason through Pingora; see [`reason_in`].
pub(crate) fn carry(reason: Reason) -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(reason.status_code()), reason.word())
}

/// The reason that [`carry`] put into an error, or what the error itself says.
pub(crate) fn reason_in(error: &Error) -> Reason {
    if let ErrorType::HTTPStatus(_) = error.etype()
        && let Some(context) = &error.context
        && let Some(reason) = Reason::ALL.iter().find(|reason| reason.word() == context.as_str())
    {
        return *reason;
    }
    upstream::reason_of(error)
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // Pingora's default is its compression module, which knows no weights and no ranges; ours is `relay::encode`.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let Some(connection) = connection_of(session.digest()) else { return Err(carry(Reason::Internal)) };
        // Upgrades are carried by the tunnel; what comes by here is served as if it had not asked.
        session.req_header_mut().remove_header(&http::header::UPGRADE);
        let snapshot = self.live.load();
        let arrived = arrive::arrive(snapshot, connection, session.req_header_mut(), ctx);
        set_client_timeouts(session, ctx);
        finish::begin(ctx);
        let passed = match arrived {
            Ok(()) if admit::may_wait(ctx) => {
                let head = session.req_header().clone();
                tokio::select! {
                    biased;
                    passed = admit::admit(ctx, &head) => passed,
                    () = left(session) => return Err(gone()),
                }
            }
            Ok(()) => admit::admit(ctx, session.req_header()).await,
            refused => refused,
        };
        let consulted = match passed {
            Ok(()) if consult::applies(ctx) => {
                let (uploads, head) = (!session.is_body_empty(), session.req_header().clone());
                // In a box, since a route without a cache has no use for its room.
                let consulting = Box::pin(consult::consult(&self.fetches, ctx, &head, uploads, None));
                tokio::select! {
                    biased;
                    consulted = consulting => consulted,
                    () = left(session) => return Err(gone()),
                }
            }
            Ok(()) => Ok(Consulted::Pass),
            Err(reply) => Err(reply),
        };
        match consulted {
            Ok(Consulted::Pass) if raced::takes(session, ctx) => {
                match raced::carry(&self.fetches, session, ctx).await? {
                    Ok(()) => Ok(true),
                    Err(reason) => {
                        let reply = ctx.proofs.answer(reason);
                        self.refuse(session, ctx, reply).await.map(|()| true)
                    }
                }
            }
            Ok(Consulted::Pass) => Ok(false),
            Ok(Consulted::Answer(answer)) => give(session, ctx, *answer).await.map(|()| true),
            Err(reply) => self.refuse(session, ctx, reply).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let uploads = !session.is_body_empty();
        let mut peer = dispatch::dispatch(ctx, session.req_header(), uploads).await.map_err(carry)?;
        ctx.attempt.pick.iter().for_each(|pick| pick.count(&mut peer));
        Ok(peer)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.attempt.used = Use::of(digest);
        finish::connected(ctx, reused);
        persist::tell_to_go_on(session, peer).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        relay::request(ctx, relay::Told::Among, session.req_header(), head)?;
        // Pingora's pool gives out whatever there is: the first request after a connection's time is its last.
        match &ctx.attempt.used {
            Some(used) if used.is_over() => head.insert_header(header::CONNECTION, HeaderValue::from_static("close")),
            _ => Ok(()),
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        chunk: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        let keeps_pace = pulse::beat(chunk.as_ref().map_or(0, Bytes::len), last);
        let passed = if keeps_pace { relay::request_chunk(ctx, chunk, last) } else { Err(Reason::BodyTimeout.into()) };
        passed.map_err(|reply| {
            let mut error = carry(reply.reason);
            error.as_down();
            error
        })?;
        Flows::of(ctx).hold(Way::Up, chunk.as_ref().map_or(0, Bytes::len)).await;
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if head.status.is_informational() && is_late(session, ctx) {
            return Err(Error::explain(ErrorType::ReadTimedout, "the final head").into_up());
        }
        let replayable = !session.as_ref().retry_buffer_truncated();
        if !head.status.is_informational() && dispatch::after_answer(ctx, session.req_header(), head, replayable) {
            return Err(dispatch::again());
        }
        relay::upstream_response(ctx, head, session.req_header().version, session.is_upgrade_req())
    }

    async fn response_filter(&self, session: &mut Session, head: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
        relay::encode(ctx, session.req_header(), head);
        relay::response(ctx, relay::Told::Among, session.req_header(), head);
        persist::settle(session, head);
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        chunk: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        pulse::answer();
        relay::response_chunk(ctx, chunk, last).map_err(|reply| carry(reply.reason))?;
        let Some(chunk) = chunk else { return Ok(None) };
        keep_pace(session, ctx, chunk.len());
        Ok(Flows::of(ctx).wait(Way::Down, chunk.len()))
    }

    /// What is compressed ends with the encoder's last words, which no trailers can follow here.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut http::HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        let mut rest = None;
        relay::response_chunk(ctx, &mut rest, true).map_err(|reply| carry(reply.reason))?;
        Ok(rest)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let retry = dispatch::after_connect_failure(ctx, Reading::of(&error));
        error.set_retry(retry);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        _reused: bool,
    ) -> Box<Error> {
        if dispatch::is_again(&error) {
            error.set_retry(true);
            return error;
        }
        let replayable = !session.as_ref().retry_buffer_truncated();
        let mut reading = Reading::of(&error);
        // The engine does not tell for whom it waited: a client that still has to send may have brought this about.
        if *error.etype() == ErrorType::ReadTimedout && !session.is_body_done() {
            reading.fault = Fault::Client;
        }
        let retry = dispatch::after_failure(ctx, reading, &session.req_header().method, replayable);
        error.set_retry(retry);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let reason = reason_in(error);
        ctx.record.reason = reason;
        // The engine closes the connection after a failure, so the answer had better say so.
        session.set_keepalive(None);
        let silent = persist::answered(session).is_some() || reason == Reason::ClientClosed;
        let reply = ctx.proofs.answer(reason);
        if !silent && let Err(error) = self.refuse(session, ctx, reply).await {
            log::debug!("could not answer {}: {error}", reason.word());
        }
        FailToProxy { error_code: reason.status_code(), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        if let Some(error) = error
            && ctx.record.reason == Reason::None
        {
            ctx.record.reason = reason_in(error);
        }
        finish::finish(session, ctx);
    }

    /// The access log has every failure already; a line more for each would let an attack fill the disk.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, error: &Error) -> bool {
        log::debug!("{error}");
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        error: &Error,
        _at: ProxyWarnLogContext,
    ) -> bool {
        log::debug!("{error}");
        true
    }
}

/// Allows the client as long for the next piece of its answer as its rate gives it.
pub(crate) fn keep_pace(session: &mut Session, ctx: &Context, length: usize) {
    if let (Some(rate), Some(arrival)) = (ctx.min_rate, &ctx.arrival) {
        let most = arrival.connection.listener.timeouts.body;
        session.set_write_timeout(Some(rate.time_for(length).min(most)));
    }
}

/// Ready once the client has given up its stream, or over HTTP/1 its connection: nothing of what comes after the request is
/// read there, so that only its end can be seen (`front/conn.rs`).
pub(crate) async fn left(session: &mut Session) {
    let is_read = session.is_body_done();
    let downstream = session.as_downstream_mut();
    if let Some(stream) = downstream.as_custom_mut() {
        return drop(stream.read_body_or_idle(true).await);
    }
    if is_read && downstream.as_http1().is_some() {
        return drop(downstream.read_body_or_idle(true).await);
    }
    match downstream.watch_h2_stream_close() {
        Some(closed) => drop(closed.await),
        None => std::future::pending().await,
    }
}

/// Whether the final head should have been there by now. Each answer of any kind sets Pingora's timer anew, as content that
/// is sent does, which may take its time; a stream's may come as late as it likes.
fn is_late(session: &Session, ctx: &Context) -> bool {
    ctx.attempt.deadline.is_some_and(|deadline| deadline <= Instant::now())
        && session.as_downstream().body_bytes_read() == 0
        && !dispatch::is_stream(session.req_header())
}

pub(crate) fn gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client left").into_down()
}

/// Gives an answer of the cache: one that is kept, or that comes as it is fetched.
async fn give(session: &mut Session, ctx: &mut Context, answer: consult::Answer) -> Result<()> {
    let consult::Answer { mut head, content, .. } = answer;
    relay::encode(ctx, session.req_header(), &mut head);
    relay::response(ctx, relay::Told::Among, session.req_header(), &mut head);
    let version = session.req_header().version;
    head.set_version(if version == Version::HTTP_2 { version } else { Version::HTTP_11 });
    persist::settle(session, &mut head);
    let Some(mut reader) = content else {
        let whole = vec![HttpTask::Header(Box::new(head), true)];
        return session.write_response_tasks(whole).await.map(|_| ());
    };
    session.write_response_header(Box::new(head), false).await?;
    loop {
        let mut piece = tokio::select! {
            biased;
            piece = reader.next() => piece.map_err(carry)?,
            () = left(session) => return Err(gone()),
        };
        let last = piece.is_none() || reader.is_done();
        relay::response_chunk(ctx, &mut piece, last).map_err(|reply| carry(reply.reason))?;
        let piece = piece.unwrap_or_default();
        keep_pace(session, ctx, piece.len());
        let_pass(session, ctx, piece, last).await?;
        if last {
            return Ok(());
        }
    }
}

/// Writes a piece of content, in turns where a limit on bandwidth says so.
async fn let_pass(session: &mut Session, ctx: &Context, mut content: Bytes, last: bool) -> Result<()> {
    let flows = Flows::of(ctx);
    loop {
        let piece = content.split_to(flows.piece(Way::Down).unwrap_or(usize::MAX).min(content.len()));
        flows.hold(Way::Down, piece.len()).await;
        let is_last = last && content.is_empty();
        if !piece.is_empty() || is_last {
            session.write_response_body(Some(piece), is_last).await?;
        }
        if content.is_empty() {
            return Ok(());
        }
    }
}

/// Pingora's own defaults are infinite in places (`pingora.md` 2.9), so every one of them is set for every request. A
/// stream may be silent for as long as its route says.
fn set_client_timeouts(session: &mut Session, ctx: &mut Context) {
    let Some(arrival) = &ctx.arrival else { return };
    let listen::Timeouts { body, min_rate, .. } = arrival.connection.listener.timeouts;
    let stream = arrival.route().filter(|_| dispatch::is_stream(session.req_header()));
    let silence = stream.map_or(body, |route| route.stream_idle);
    session.set_read_timeout(Some(silence));
    pulse::allow(silence, stream.is_some());
    ctx.min_rate = min_rate.filter(|_| stream.is_none());
    session.set_write_timeout(Some(body));
    session.set_total_drain_timeout(Some(body.min(LONGEST_DRAIN)));
    // RFC 9110 section 15.2: a client of HTTP/1.0 does not know informational answers.
    let is_old = session.req_header().version == Version::HTTP_10;
    session.set_ignore_info_resp(is_old);
}
