//! Requests that change the protocol (RFC 9110 section 7.8): WebSocket, and whatever else an origin grants.
//!
//! The engine can carry an upgrade, but in Pingora 0.9.1 it now and then ends one right after its 101, and it closes both
//! halves with the first. An upgrade needs none of what the engine is for, so it is carried here: the same steps, then
//! bytes. What the client sends after its head is held until the origin has agreed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use filter::{Reason, Reply};
use http::{StatusCode, Version};
use limit::Way;
use pingora_core::{connectors::TransportConnector, protocols::Stream};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use upstream::{Connection, Fault, Reading};

use super::{
    answer::{self, Content},
    conn::{Boundary, Conn},
    say,
};
use crate::{context::Context, dispatch, finish, persist::is_interim, refuse, relay, throttle::Flows};

/// What each direction of a tunnel reads at once.
const BUFFER: usize = 8 * 1024;

/// How long one half of a tunnel may be silent once the other is closed: time for last words, not for a leak.
const HALF_CLOSED: Duration = Duration::from_secs(2);

/// The connector of all tunnels. Nothing is pooled: a connection that has changed its protocol ends with it.
pub(crate) struct Tunnels(Arc<TransportConnector>);

/// A connection to a backend, and what counts it.
type Line = (Stream, Option<Connection>);

/// How the exchange before the tunnel failed.
enum Failed {
    /// Nothing was written to the client, which is told this.
    Refused(Box<Reply>),
    /// There is nobody to tell, or it is too late.
    Gone(Reason),
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Self::Refused(Box::new(reason.into()))
    }
}

impl Tunnels {
    pub(crate) fn new(connector: Arc<TransportConnector>) -> Self {
        Self(connector)
    }

    /// Carries one request, whose head of `length` bytes is the first that `conn` has read ahead, and ends `conn`.
    pub(crate) async fn carry(&self, mut conn: Conn, length: usize, head: RequestHeader, mut ctx: Context) {
        conn.skip(length);
        let mut kept = None;
        match self.exchange(&mut conn, &head, &mut ctx).await {
            Ok(told) => kept = told,
            Err(Failed::Refused(reply)) => refuse(&mut conn, &head, &mut ctx, &reply).await,
            Err(Failed::Gone(reason)) => ctx.record.reason = reason,
        }
        if ctx.record.status == 0 {
            ctx.record.status = Reason::ClientClosed.status_code();
        }
        match kept {
            Some(kept) => kept.tell(&mut ctx, &head),
            None => finish::tell(&mut ctx, &head),
        }
    }

    /// Returns what is told of a tunnel.
    async fn exchange(
        &self,
        conn: &mut Conn,
        head: &RequestHeader,
        ctx: &mut Context,
    ) -> Result<Option<finish::Kept>, Failed> {
        // Reading now tells one thing only: that the client is gone. What it sends is held.
        conn.set_boundary(0, Boundary::Left(0));
        let mut nothing = [0; 1];
        let ((mut origin, _counted), mut answer) = tokio::select! {
            asked = self.ask(head, ctx) => asked?,
            _ = conn.read(&mut nothing) => return Err(Failed::Gone(Reason::ClientClosed)),
        };
        let content = answer::content(&answer.head, head)?;
        relay::response(ctx, relay::Told::Among, head, &mut answer.head);
        let switched = answer.head.status == StatusCode::SWITCHING_PROTOCOLS;
        ctx.record.status = answer.head.status.as_u16();
        let text = answer::wire(&answer.head, !switched);
        let idle = ctx.route().map_or(Duration::ZERO, |route| route.stream_idle);
        write(conn, &text, ctx.patience()).await.map_err(Failed::Gone)?;
        if switched {
            let kept = finish::Kept::of(ctx);
            tunnel(conn, origin, &answer.rest, idle, ctx).await;
            return Ok(kept);
        }
        let relayed = relay_content(conn, &mut origin, answer.rest, content, ctx).await;
        say(conn, &[]).await;
        relayed.map(|()| None).map_err(Failed::Gone)
    }

    /// Connects, sends the head, and reads the final head of the answer, as often as may be tried.
    async fn ask(&self, head: &RequestHeader, ctx: &mut Context) -> Result<(Line, Answered), Failed> {
        loop {
            let (mut origin, counted) = self.connect(head, ctx).await?;
            let mut answered = exchange_heads(&mut origin, head, ctx).await?;
            if dispatch::after_answer(ctx, head, &answered.head, true) {
                continue;
            }
            relay::upstream_response(ctx, &mut answered.head, Version::HTTP_11, true)
                .map_err(|_| failed(ctx, Reason::UpstreamProtocol))?;
            return Ok(((origin, counted), answered));
        }
    }

    async fn connect(&self, head: &RequestHeader, ctx: &mut Context) -> Result<Line, Failed> {
        loop {
            let dispatched = dispatch::dispatch(ctx, head, false).await;
            let peer = dispatched.map_err(|reason| Failed::Refused(Box::new(ctx.proofs.answer(reason))))?;
            match self.0.new_stream(&*peer).await {
                Ok(origin) => {
                    let counted = ctx.attempt.pick.as_ref().map(|pick| pick.counter().connection());
                    finish::connected(ctx, false);
                    return Ok((origin, counted));
                }
                Err(error) => {
                    let reading = Reading::of(&error);
                    if !dispatch::after_connect_failure(ctx, reading) {
                        return Err(reading.reason.into());
                    }
                }
            }
        }
    }
}

/// Sends the head and reads the final head of the answer.
async fn exchange_heads(origin: &mut Stream, head: &RequestHeader, ctx: &mut Context) -> Result<Answered, Failed> {
    let mut to = head.clone();
    to.set_version(Version::HTTP_11);
    relay::request(ctx, relay::Told::Among, head, &mut to).map_err(|_| Reason::Internal)?;
    let exchanged = timeout(dispatch::head_timeout(ctx), async {
        origin.write_all(&answer::request_wire(&to)).await?;
        origin.flush().await?;
        read_answer(origin).await
    });
    match exchanged.await {
        Err(_) => Err(failed(ctx, Reason::UpstreamTimeout)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(failed(ctx, Reason::UpstreamProtocol)),
        Ok(Err(_)) => Err(failed(ctx, Reason::UpstreamReset)),
        Ok(Ok(answered)) => Ok(answered),
    }
}

fn failed(ctx: &mut Context, reason: Reason) -> Failed {
    dispatch::count_failure(ctx, Reading { reason, fault: Fault::Backend, sent: true });
    reason.into()
}

/// A final head, and what came after it.
struct Answered {
    head: ResponseHeader,
    rest: BytesMut,
}

/// Reads up to the final head. Interim ones other than 101 are for the engine's clients; here they are passed over.
async fn read_answer(origin: &mut Stream) -> io::Result<Answered> {
    let mut bytes = BytesMut::with_capacity(BUFFER);
    loop {
        if let Some((head, length)) = answer::parse(&bytes)? {
            let rest = bytes.split_off(length);
            if is_interim(head.status) {
                bytes = rest;
                continue;
            }
            return Ok(Answered { head, rest });
        }
        if bytes.len() > listen::MAX_HEADER {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if origin.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Passes the content of an answer that did not switch, framing and all, and not a byte beyond its end.
async fn relay_content(
    conn: &mut Conn,
    origin: &mut Stream,
    mut bytes: BytesMut,
    mut content: Content,
    ctx: &mut Context,
) -> Result<(), Reason> {
    let wait = ctx.upstream().map_or(Duration::ZERO, |upstream| upstream.timeout());
    let mut nothing = [0; 1];
    loop {
        let ours = content.take(&bytes).map_err(|_| Reason::UpstreamProtocol)?;
        ctx.record.bytes_out += ours as u64;
        Flows::of(ctx).hold(Way::Down, ours).await;
        write(conn, &bytes[..ours], ctx.patience()).await?;
        if content.is_done() {
            return Ok(());
        }
        bytes.clear();
        let read = tokio::select! {
            read = timeout(wait, origin.read_buf(&mut bytes)) => read,
            _ = conn.read(&mut nothing) => return Err(Reason::ClientClosed),
        };
        match read {
            Err(_) => return Err(Reason::UpstreamTimeout),
            Ok(Ok(0)) if content == Content::UntilClose => return Ok(()),
            Ok(Ok(0) | Err(_)) => return Err(Reason::UpstreamReset),
            Ok(Ok(_)) => {}
        }
    }
}

/// Writes a piece of the answer, for as long as `patience` lasts.
async fn write(conn: &mut Conn, bytes: &[u8], patience: Duration) -> Result<(), Reason> {
    let written = timeout(patience, async {
        conn.write_all(bytes).await?;
        conn.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Reason::ClientClosed),
        Err(_) => Err(Reason::AnswerTimeout),
    }
}

/// What both directions of a tunnel share: how much has passed, and when something last did.
struct Flow {
    began: Instant,
    last: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    half_closed: Notify,
}

impl Default for Flow {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self { began: Instant::now(), last: zero(), up: zero(), down: zero(), half_closed: Notify::new() }
    }
}

impl Flow {
    fn touch(&self, counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
        self.last.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Ready once nothing has passed for `idle`, or for a shorter while once one half is closed.
    async fn silent(&self, idle: Duration) {
        tokio::select! {
            () = self.silent_for(idle) => {}
            () = async {
                self.half_closed.notified().await;
                self.silent_for(HALF_CLOSED.min(idle)).await;
            } => {}
        }
    }

    async fn silent_for(&self, idle: Duration) {
        loop {
            let until = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + idle;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Carries bytes both ways until both sides have closed, one has broken off, or nothing has moved for `idle`.
async fn tunnel(conn: &mut Conn, origin: Stream, early: &[u8], idle: Duration, ctx: &mut Context) {
    conn.set_boundary(0, Boundary::Open);
    let (flow, flows) = (Flow::default(), Flows::of(ctx));
    let (from_client, mut to_client) = tokio::io::split(conn);
    let (from_origin, to_origin) = tokio::io::split(origin);
    let down = async {
        flows.hold(Way::Down, early.len()).await;
        to_client.write_all(early).await?;
        to_client.flush().await?;
        flow.touch(&flow.down, early.len());
        pump(from_origin, to_client, &flow, &flow.down, (flows, Way::Down)).await
    };
    let both = async { tokio::try_join!(pump(from_client, to_origin, &flow, &flow.up, (flows, Way::Up)), down) };
    tokio::select! {
        // A side that breaks off ends a tunnel as rightly as one that closes.
        _ = both => {}
        () = flow.silent(idle) => {}
    }
    ctx.record.bytes_in += flow.up.load(Ordering::Relaxed);
    ctx.record.bytes_out += flow.down.load(Ordering::Relaxed);
}

/// Copies until the end of `from`, which is then the end of `to`: the other direction goes on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    flow: &Flow,
    counter: &AtomicU64,
    (flows, way): (Flows<'_>, Way),
) -> io::Result<()> {
    let mut buffer = vec![0; flows.piece(way).unwrap_or(BUFFER).min(BUFFER)];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            flow.touch(counter, 0);
            flow.half_closed.notify_one();
            return to.shutdown().await;
        }
        flows.hold(way, count).await;
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        flow.touch(counter, count);
    }
}

/// Tells the client why there is no tunnel, and closes.
pub(super) async fn refuse(conn: &mut Conn, head: &RequestHeader, ctx: &mut Context, reply: &Reply) {
    ctx.record.reason = reply.reason;
    ctx.record.status = reply.status.as_u16();
    let id = ctx.arrival.as_ref().map(|arrival| &arrival.client.request_id);
    let is_head = head.method == http::Method::HEAD;
    let tells = ctx.tells_status();
    let Ok(mut answer) = refuse::answer(reply, refuse::Form::of(head), id, is_head, tells) else { return };
    relay::response(ctx, relay::Told::Among, head, &mut answer.head);
    ctx.record.bytes_out = answer.content.len() as u64;
    say(conn, &refuse::raw(&answer)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_its_answer_is_not_waited_for_without_end() {
        let (_client, server) = tokio::io::duplex(16);
        let mut conn = Conn::new(Box::new(server), Box::new(()), None).unwrap();
        let patience = Duration::from_secs(30);
        assert_eq!(write(&mut conn, &[b'x'; 16], patience).await, Ok(()));
        assert_eq!(write(&mut conn, b"more", patience).await, Err(Reason::AnswerTimeout));
    }
}
