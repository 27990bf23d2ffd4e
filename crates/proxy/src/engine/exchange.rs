//! One attempt: request out, answer back, both at once and as they come.

use std::{
    future::poll_fn,
    task::{Context as Task, Poll},
    time::Duration,
};

use http::Version;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use tokio::time::Instant;

use super::{
    alarm::Alarm,
    client::Client,
    download::Download,
    h1::gone,
    origin::Origin,
    upload::{Piece, Upload},
};
use crate::{context::Context, dispatch, gateway, relay};

/// How long each side may be silent, or take nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) origin_speaks: Duration,
    pub(super) origin_listens: Duration,
    pub(super) client_speaks: Duration,
    pub(super) client_listens: Duration,
    /// How long the rest of a request may take once its answer is over.
    pub(super) drain: Duration,
}

/// Since when each side is waited for.
#[derive(Debug, Default)]
struct Waits {
    origin_speaks: Option<Instant>,
    origin_listens: Option<Instant>,
    client_speaks: Option<Instant>,
    client_listens: Option<Instant>,
    drain: Option<Instant>,
}

/// An attempt under way. Whatever can move in either direction moves; nothing is read for a side that has not yet taken
/// what came before.
pub(super) struct Exchange<'a, C> {
    pub(super) client: &'a mut C,
    pub(super) origin: &'a mut Origin,
    pub(super) head: &'a RequestHeader,
    pub(super) ctx: &'a mut Context,
    pub(super) upload: &'a mut Upload,
    pub(super) down: Download,
    /// Whether the client's connection goes on after the answer.
    pub(super) keeps: bool,
    pub(super) limits: Limits,
    waits: Waits,
}

impl<'a, C: Client> Exchange<'a, C> {
    pub(super) fn new(
        client: &'a mut C,
        origin: &'a mut Origin,
        head: &'a RequestHeader,
        ctx: &'a mut Context,
        upload: &'a mut Upload,
        limits: Limits,
        keeps: bool,
    ) -> Self {
        let (down, waits) = (Download::new(), Waits::default());
        Self { client, origin, head, ctx, upload, down, keeps, limits, waits }
    }

    /// Runs to the end of the answer, and of the request where the client's connection goes on.
    pub(super) async fn run(&mut self, alarm: &mut Alarm) -> Result<()> {
        poll_fn(|cx| self.poll(cx, alarm)).await
    }

    fn poll(&mut self, cx: &mut Task<'_>, alarm: &mut Alarm) -> Poll<Result<()>> {
        loop {
            let moved = self.take(cx)? | self.send(cx)? | self.read(cx)? | self.answer(cx)?;
            if self.is_over() {
                return Poll::Ready(Ok(()));
            }
            if !moved {
                break;
            }
        }
        self.look_for_client(cx)?;
        match self.next_deadline(Instant::now()) {
            Some((until, late)) if alarm.poll(cx, until).is_ready() => {
                self.keeps = false;
                Poll::Ready(if late == Late::Drain { Ok(()) } else { Err(late.error()) })
            }
            _ => Poll::Pending,
        }
    }

    fn is_over(&self) -> bool {
        self.is_answered() && (!self.keeps || (self.client.is_body_read() && self.upload.has_ended()))
    }

    /// Whether the client has everything.
    fn is_answered(&self) -> bool {
        self.down.is_whole() && self.client.is_empty()
    }

    /// Whether there is more to be read from the origin, and nothing waits for the client.
    fn wants_more(&self) -> bool {
        !self.down.is_whole() && self.client.is_empty()
    }

    /// From the client.
    fn take(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        let mut moved = false;
        while self.upload.wants_more() {
            let polled = match self.can_pipe() {
                true => self.upload.poll_pipe(cx, self.client),
                false => self.upload.poll_piece(cx, self.client),
            };
            let (piece, last) = match polled {
                Poll::Pending => break,
                // The answer is out, and the client has left without the rest of its request.
                Poll::Ready(Err(_)) if self.is_answered() => {
                    self.keeps = false;
                    return Ok(true);
                }
                Poll::Ready(piece) => piece?,
            };
            moved = true;
            (self.waits.client_speaks, self.waits.origin_speaks) = (None, None);
            let passed = match piece {
                Piece::Piped(count) => relay::request_piped(self.ctx, count),
                Piece::Here(content) => {
                    let mut chunk = Some(content);
                    let passed = relay::request_chunk(self.ctx, &mut chunk, last);
                    self.upload.put(chunk, last);
                    passed
                }
            };
            passed.map_err(|reply| gateway::carry(reply.reason).into_down())?;
        }
        Ok(moved)
    }

    /// Whether what comes from the client may go to the origin without being looked at.
    fn can_pipe(&self) -> bool {
        self.upload.can_pipe(self.client) && self.origin.socket().is_some() && !relay::looks_at_request(self.ctx)
    }

    /// To the origin. One that takes no more may have answered all the same.
    fn send(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        if self.upload.is_written() {
            return Ok(false);
        }
        let mut wrote = false;
        let polled = self.upload.poll_write(cx, self.origin, &mut wrote);
        if wrote {
            (self.waits.origin_listens, self.waits.origin_speaks) = (None, None);
        }
        if let Poll::Ready(Err(error)) = polled {
            log::debug!("an origin takes no more: {error}");
            self.upload.give_up();
            return Ok(true);
        }
        Ok(wrote)
    }

    /// From the origin.
    fn read(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        if !self.wants_more() {
            return Ok(false);
        }
        // What is left of the last read is malformed: this says so.
        self.pass_content()?;
        if !self.down.poll_read(cx, self.origin)?.is_ready() {
            return Ok(false);
        }
        self.waits.origin_speaks = None;
        while let Some(answered) = self.down.next_head()? {
            self.answered(answered)?;
        }
        self.pass_content()?;
        Ok(true)
    }

    /// What has come of the content, as the policies leave it.
    fn pass_content(&mut self) -> Result<()> {
        if !self.client.has_room() {
            return Ok(());
        }
        let Some((content, last)) = self.down.take_content()? else { return Ok(()) };
        let mut chunk = Some(content);
        relay::response_chunk(self.ctx, &mut chunk, last).map_err(|reply| gateway::carry(reply.reason))?;
        let content = chunk.unwrap_or_default();
        self.down.passed(&content, last);
        self.ctx.record.bytes_out = self.down.sent;
        if last || !content.is_empty() {
            self.client.put(content, last);
        }
        Ok(())
    }

    fn answered(&mut self, mut answered: super::head::Answered) -> Result<()> {
        if answered.head.status.is_informational() && answered.head.status != http::StatusCode::SWITCHING_PROTOCOLS {
            relay::upstream_response(self.ctx, &mut answered.head, self.head.version, false)?;
            relay::response(self.ctx, self.head, &mut answered.head);
            // RFC 9110 section 15.2: a client of HTTP/1.0 does not know informational answers.
            if self.head.version != Version::HTTP_10 {
                self.client.put_interim(&answered.head);
            }
            return Ok(());
        }
        if dispatch::after_answer(self.ctx, self.head, &answered.head, self.upload.is_replayable()) {
            return Err(dispatch::again());
        }
        // What the origin itself said of its framing, before it is settled.
        let ending = self.down.ending(&mut answered, &self.head.method)?;
        relay::upstream_response(self.ctx, &mut answered.head, self.head.version, false)?;
        relay::encode(self.ctx, self.head, &mut answered.head);
        relay::response(self.ctx, self.head, &mut answered.head);
        self.upload.forget();
        let keeps = self.keeps && !super::is_closing(self.ctx) && !self.is_waiting();
        let status = answered.head.status.as_u16();
        let has_content = self.down.begin(ending);
        self.keeps = self.client.put_final(answered.head, self.head, has_content, keeps)?;
        self.ctx.record.status = status;
        Ok(())
    }

    /// Whether the client waits with its content for a 100, or for this answer: it may then never send it (RFC 9110
    /// section 10.1.1).
    fn is_waiting(&self) -> bool {
        self.upload.received() == 0 && super::expects(self.head) && !self.client.is_body_read()
    }

    /// To the client.
    fn answer(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        if self.client.is_empty() {
            return Ok(false);
        }
        let mut wrote = false;
        let polled = self.client.poll_write(cx, &mut wrote);
        if wrote {
            self.waits.client_listens = None;
        }
        match polled {
            Poll::Ready(Err(error)) => Err(Error::because(ErrorType::WriteError, "the answer", error).into_down()),
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Pending => Ok(wrote),
        }
    }

    /// A client that has sent everything has nothing more to say but that it is gone; over HTTP/2 it can say so at any time.
    fn look_for_client(&mut self, cx: &mut Task<'_>) -> Result<()> {
        if self.client.can_be_watched() && self.client.poll_gone(cx).is_ready() {
            return Err(gone());
        }
        Ok(())
    }

    /// The first of the times up to which somebody is waited for.
    fn next_deadline(&mut self, now: Instant) -> Option<(Instant, Late)> {
        let over = self.is_answered();
        let upload = self.upload.wants_more() && !self.client.is_body_read();
        let (speaks, listening) = (self.wants_more(), !self.client.is_empty());
        let (waits, limits) = (&mut self.waits, &self.limits);
        let listens = self
            .ctx
            .min_rate
            .map_or(limits.client_listens, |rate| rate.time_for(self.client.waiting()).min(limits.client_listens));
        let all = [
            (Late::Drain, over, &mut waits.drain, limits.drain),
            (Late::ClientListens, listening, &mut waits.client_listens, listens),
            (Late::ClientSpeaks, upload && !over, &mut waits.client_speaks, limits.client_speaks),
            (Late::OriginListens, !over && !self.upload.is_written(), &mut waits.origin_listens, limits.origin_listens),
            (Late::OriginSpeaks, speaks, &mut waits.origin_speaks, limits.origin_speaks),
        ];
        let mut first: Option<(Instant, Late)> = None;
        for (late, waited, since, limit) in all {
            if waited {
                let until = *since.get_or_insert(now) + limit;
                if first.is_none_or(|first| until < first.0) {
                    first = Some((until, late));
                }
            } else {
                *since = None;
            }
        }
        first
    }
}

/// Who is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    OriginSpeaks,
    OriginListens,
    ClientSpeaks,
    ClientListens,
    Drain,
}

impl Late {
    fn error(self) -> Box<Error> {
        match self {
            Self::OriginSpeaks => Error::explain(ErrorType::ReadTimedout, "the answer").into_up(),
            Self::OriginListens => Error::explain(ErrorType::WriteTimedout, "the request").into_up(),
            Self::ClientSpeaks => Error::explain(ErrorType::ReadTimedout, "the request's content").into_down(),
            Self::ClientListens | Self::Drain => Error::explain(ErrorType::WriteTimedout, "the answer").into_down(),
        }
    }
}
