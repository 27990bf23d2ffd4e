//! One attempt: request out, answer back, both at once and as they come.

use std::{
    future::poll_fn,
    task::{Context as Task, Poll},
    time::Duration,
};

use filter::Reason;
use http::{StatusCode, Version};
use pingora_core::{Error, ErrorSource, ErrorType, Result, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;
use tokio::time::Instant;
use upstream::Reading;

use super::{
    Engine,
    alarm::Alarm,
    client::Client,
    download::Download,
    h1::gone,
    head::Answered,
    late::{Late, Limits},
    lines,
    origin::Origin,
    outbox::Outbox,
    rival::Rival,
    upload::{Piece, Upload},
    write_head,
};
use crate::{context::Context, dispatch, gateway, hedge, persist::is_interim, relay, throttle::Valves};

/// Since when each side is waited for.
#[derive(Debug, Default)]
struct Waits {
    origin_speaks: Option<Instant>,
    /// Since when, where interim answers have come meanwhile.
    head: Option<Instant>,
    origin_listens: Option<Instant>,
    client_speaks: Option<Instant>,
    client_listens: Option<Instant>,
    drain: Option<Instant>,
    hedge: Option<Instant>,
}

impl Waits {
    /// The origin has spoken, or has something new to speak of.
    fn hear(&mut self) {
        (self.origin_speaks, self.head) = (None, None);
    }
}

/// An attempt under way. Whatever can move in either direction moves; nothing is read for a side that has not yet taken
/// what came before.
pub(super) struct Exchange<'a, C> {
    engine: &'a Engine,
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
    /// How long until another origin is asked as well, and how many more may be.
    hedge: Option<(Duration, u32)>,
    rivals: Vec<Rival>,
    /// What the first origin has died of, while others may still answer.
    failed: Option<Box<Error>>,
    /// Whom the answer is from, where another origin than the first was faster.
    pub(super) adopted: Option<Box<HttpPeer>>,
    /// What is held back, where a limit on bandwidth says so.
    pub(super) valves: Option<Box<Valves>>,
}

impl<'a, C: Client> Exchange<'a, C> {
    #[expect(clippy::too_many_arguments, reason = "it is one attempt, taken apart for its borrows")]
    pub(super) fn new(
        engine: &'a Engine,
        client: &'a mut C,
        origin: &'a mut Origin,
        head: &'a RequestHeader,
        ctx: &'a mut Context,
        upload: &'a mut Upload,
        limits: Limits,
        keeps: bool,
    ) -> Self {
        let (down, waits, hedge) = (Download::new(), Waits::default(), hedge::after(ctx, head));
        let (rivals, failed, adopted, valves) = (Vec::new(), None, None, Valves::of(ctx));
        Self {
            engine,
            client,
            origin,
            head,
            ctx,
            upload,
            down,
            keeps,
            limits,
            waits,
            hedge,
            rivals,
            failed,
            adopted,
            valves,
        }
    }

    /// Runs to the end of the answer, and of the request where the client's connection goes on.
    pub(super) async fn run(&mut self, alarm: &mut Alarm) -> Result<()> {
        poll_fn(|cx| self.poll(cx, alarm)).await
    }

    fn poll(&mut self, cx: &mut Task<'_>, alarm: &mut Alarm) -> Poll<Result<()>> {
        loop {
            match self.turn(cx, alarm) {
                Poll::Ready(Err(error)) if self.is_survived(&error) => self.failed = Some(error),
                done => return done,
            }
        }
    }

    fn turn(&mut self, cx: &mut Task<'_>, alarm: &mut Alarm) -> Poll<Result<()>> {
        loop {
            loop {
                let moved = self.take(cx)? | self.send(cx)? | self.read(cx)? | self.race(cx)? | self.answer(cx)?;
                if self.is_over() {
                    return Poll::Ready(Ok(()));
                }
                if !moved {
                    break;
                }
            }
            self.look_for_client(cx)?;
            match self.next_deadline(Instant::now()) {
                Some((until, late)) if alarm.poll(cx, until).is_ready() => match late {
                    Late::Nobody => {}
                    Late::Hedge => self.ask_another(),
                    Late::Rival => self.give_up_late(Instant::now())?,
                    Late::Drain => {
                        self.keeps = false;
                        return Poll::Ready(Ok(()));
                    }
                    _ => return Poll::Ready(Err(late.error())),
                },
                _ => return Poll::Pending,
            }
        }
    }

    fn is_over(&self) -> bool {
        self.is_answered() && (!self.keeps || (self.client.is_body_read() && self.upload.has_ended()))
    }

    /// Whether the client has everything.
    fn is_answered(&self) -> bool {
        self.down.is_whole() && self.client.is_empty() && !self.holds(|valves| &valves.down)
    }

    /// Whether there is more to be read from the origin, and nothing waits for the client.
    fn wants_more(&self) -> bool {
        !self.down.is_whole() && self.client.is_empty() && !self.holds(|valves| &valves.down)
    }

    /// From the client.
    fn take(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        let mut moved = self.let_up();
        while self.upload.wants_more() && !self.holds(|valves| &valves.up) {
            let before = self.upload.received();
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
            self.waits.client_speaks = None;
            self.waits.hear();
            let passed = match piece {
                Piece::Piped(count) => relay::request_piped(self.ctx, count),
                Piece::Here(content) => {
                    let mut chunk = Some(content);
                    let passed = relay::request_chunk(self.ctx, &mut chunk, last);
                    self.put_up(chunk, last, before);
                    passed
                }
            };
            passed.map_err(|reply| gateway::carry(reply.reason).into_down())?;
        }
        Ok(moved)
    }

    /// Whether what comes from the client may go to the origin without being looked at.
    fn can_pipe(&self) -> bool {
        let counted = self.valves.is_some() || relay::looks_at_request(self.ctx);
        !counted && self.upload.can_pipe(self.client) && self.origin.socket().is_some()
    }

    /// To the origin. One that takes no more may have answered all the same.
    fn send(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        if self.upload.is_written() || self.failed.is_some() {
            return Ok(false);
        }
        let mut wrote = false;
        let polled = self.upload.poll_write(cx, self.origin, &mut wrote);
        if wrote {
            self.waits.origin_listens = None;
            self.waits.hear();
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
        if !self.wants_more() || self.failed.is_some() {
            return Ok(false);
        }
        // What is left of the last read is malformed: this says so.
        self.pass_content()?;
        if !self.down.poll_read(cx, self.origin)?.is_ready() {
            return Ok(false);
        }
        while let Some(answered) = self.down.next_head(lines::asked::<C>(self.ctx, self.head))? {
            let since = self.waits.head.or(self.waits.origin_speaks);
            self.waits.hear();
            if is_interim(answered.head.status) {
                self.waits.head = since;
            }
            self.answered(answered)?;
        }
        // A head has its time as a whole: who drips one would have hours.
        if self.ctx.attempt.answered {
            self.waits.origin_speaks = None;
            if self.limits.either_speaks {
                self.waits.client_speaks = None;
            }
        }
        self.pass_content()?;
        Ok(true)
    }

    /// What has come of the content, as the policies leave it.
    fn pass_content(&mut self) -> Result<()> {
        if !self.client.has_room() || self.holds(|valves| &valves.down) {
            return Ok(());
        }
        let Some((content, last)) = self.down.take_content()? else { return Ok(()) };
        let mut chunk = Some(content);
        relay::response_chunk(self.ctx, &mut chunk, last).map_err(|reply| gateway::carry(reply.reason))?;
        let content = chunk.unwrap_or_default();
        self.down.passed(&content, last);
        self.ctx.record.bytes_out = self.down.sent;
        if last || !content.is_empty() {
            self.put_down(content, last);
        }
        Ok(())
    }

    fn answered(&mut self, mut answered: Answered) -> Result<()> {
        if is_interim(answered.head.status) {
            self.upload.invited |= answered.head.status == StatusCode::CONTINUE;
            relay::upstream_response(self.ctx, &mut answered.head, self.head.version, false)?;
            relay::response(self.ctx, C::TOLD, self.head, &mut answered.head);
            // RFC 9110 section 15.2: a client of HTTP/1.0 does not know informational answers.
            if self.head.version != Version::HTTP_10 {
                self.client.put_interim(&answered.head);
            }
            return Ok(());
        }
        if dispatch::after_answer(self.ctx, self.head, &answered.head, self.upload.is_replayable()) {
            return Err(dispatch::again());
        }
        for rival in std::mem::take(&mut self.rivals) {
            hedge::lose(self.ctx, &rival.second);
        }
        // What the origin itself said of its framing, before it is settled.
        let ending = self.down.ending(&mut answered, &self.head.method)?;
        relay::upstream_response(self.ctx, &mut answered.head, self.head.version, false)?;
        relay::encode(self.ctx, self.head, &mut answered.head);
        relay::response(self.ctx, C::TOLD, self.head, &mut answered.head);
        self.upload.forget();
        let keeps = self.keeps && !super::is_closing(self.ctx) && !self.is_waiting();
        let status = answered.head.status.as_u16();
        let has_content = self.down.begin(ending);
        let Answered { head, lines, .. } = answered;
        self.keeps = super::put_final(self.client, self.ctx, self.head, head, &lines, has_content, keeps)?;
        self.ctx.record.status = status;
        Ok(())
    }

    /// Whether the client waits with its content for a 100, or for this answer: it may then never send it (RFC 9110
    /// section 10.1.1).
    fn is_waiting(&self) -> bool {
        let owes = !self.client.is_body_read() && self.upload.received() == 0;
        owes && !self.upload.invited && super::expects(self.head)
    }

    /// To the client.
    fn answer(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        self.let_down();
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
    /// One that still has something to take has the time for that: where it is gone, the writing says so.
    fn look_for_client(&mut self, cx: &mut Task<'_>) -> Result<()> {
        if !self.client.is_empty() || !self.client.can_be_watched() {
            return Ok(());
        }
        // One that has closed its side waits for what is held back from it like any other.
        let gone = match self.holds(|valves| &valves.down) {
            true => self.client.poll_broken(cx),
            false => self.client.poll_gone(cx),
        };
        if gone.is_ready() { Err(self::gone()) } else { Ok(()) }
    }

    /// The first of the times up to which somebody is waited for.
    fn next_deadline(&mut self, now: Instant) -> Option<(Instant, Late)> {
        let (over, reads) = (self.is_answered(), self.wants_more());
        let (held, waits) = (self.holds(|valves| &valves.up), self.is_waiting());
        let upload = self.upload.wants_more() && !self.client.is_body_read() && !held && !waits;
        // An origin waits for what is held back from it, and for what the client still has to send.
        let owes = upload && self.upload.is_wanted();
        let speaks = reads && self.failed.is_none() && !held && (!owes || self.limits.is_for_all);
        // Where the client waits for a 100, any client could bring about that an origin which knows none is silent.
        let silent = if owes || waits { Late::All } else { Late::OriginSpeaks };
        // One that answers while it reads cannot go on where nobody takes its answer; then it is the client, or what is
        // held back from it, that is waited for.
        let takes = reads && !self.upload.is_written();
        let listening = !self.client.is_empty();
        let (asks, after) = (self.may_ask_another(), self.hedge.map_or(Duration::ZERO, |(after, _)| after));
        let late = self.rivals.iter().map(|rival| (rival.until, Late::Rival)).min_by_key(|(until, _)| *until);
        let opens = self.valves.as_ref().and_then(|valves| valves.opens()).map(|at| (at, Late::Nobody));
        let (waits, limits) = (&mut self.waits, &self.limits);
        let (tells, head) = (speaks && waits.head.is_some() && limits.head.is_some(), limits.head.unwrap_or_default());
        let listens = Limits::listens(limits.client_listens, self.ctx.min_rate, self.client.waiting());
        let all = [
            (Late::Hedge, asks, &mut waits.hedge, after),
            (Late::Drain, over, &mut waits.drain, limits.drain),
            (Late::ClientListens, listening, &mut waits.client_listens, listens),
            (Late::ClientSpeaks, upload && !over, &mut waits.client_speaks, limits.client_speaks),
            (Late::OriginListens, takes, &mut waits.origin_listens, limits.origin_listens),
            (silent, speaks, &mut waits.origin_speaks, limits.origin_speaks),
            (silent, tells, &mut waits.head, head),
        ];
        let mut first = late.into_iter().chain(opens).min_by_key(|(until, _)| *until);
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

/// Where others are asked as well.
impl<C: Client> Exchange<'_, C> {
    /// Whether another origin is asked once the first has had its time: nothing but its answer is waited for, and the request
    /// can be sent again.
    fn may_ask_another(&self) -> bool {
        self.hedge.is_some_and(|(_, left)| left > 0)
            && self.failed.is_none()
            && !self.ctx.attempt.answered
            && !self.ctx.unpacks()
            && self.client.is_body_read()
            && self.upload.is_sent()
            && self.upload.is_replayable()
    }

    fn ask_another(&mut self) {
        self.waits.hedge = None;
        if let Some((_, left)) = &mut self.hedge {
            *left -= 1;
        }
        let asked = self.rivals.iter().map(|rival| rival.second.pick.endpoint());
        let Some(second) = hedge::begin(self.ctx, self.head, asked) else { return };
        let mut request = Outbox::default();
        let is_chunked = self.upload.is_chunked();
        if write_head(self.ctx, Some(&second.pick), self.head, is_chunked, request.head()).is_ok() {
            self.upload.copy_to(&mut request);
            let until = hedge::until(self.ctx, &second);
            self.rivals.push(Rival::new(self.engine, second, until, request.into_bytes()));
        }
    }

    /// Whether an error of the first origin leaves others that may answer.
    fn is_survived(&self, error: &Error) -> bool {
        let is_first = dispatch::is_again(error) || *error.esource() == ErrorSource::Upstream;
        is_first && !self.rivals.is_empty() && self.failed.is_none() && !self.client.is_committed()
    }

    /// From those that were asked as well. The error is the first origin's, once none of them is left either.
    fn race(&mut self, cx: &mut Task<'_>) -> Result<bool> {
        let mut moved = false;
        let mut index = 0;
        while let Some(rival) = self.rivals.get_mut(index) {
            let Poll::Ready(came) = rival.poll(cx, self.engine) else {
                index += 1;
                continue;
            };
            moved = true;
            let rival = self.rivals.swap_remove(index);
            match came {
                Ok(answered) if hedge::is_wanted(answered.head.status.as_u16()) => {
                    self.adopt(rival, answered)?;
                    return Ok(true);
                }
                Ok(answered) => {
                    let status = answered.head.status.as_u16();
                    hedge::pass_over(self.ctx, &rival.second, status);
                    hedge::note(self.ctx, &rival.second, Reason::UpstreamStatus, status);
                }
                Err(error) => self.fail(&rival, Reading::of(&error)),
            }
        }
        self.look_for_rivals()?;
        Ok(moved)
    }

    fn fail(&mut self, rival: &Rival, reading: Reading) {
        hedge::fail(self.ctx, &rival.second, reading);
        hedge::note(self.ctx, &rival.second, reading.reason, 0);
    }

    fn look_for_rivals(&mut self) -> Result<()> {
        match self.failed.take_if(|_| self.rivals.is_empty()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Those that have had their time have failed.
    fn give_up_late(&mut self, now: Instant) -> Result<()> {
        let (late, others) = std::mem::take(&mut self.rivals).into_iter().partition(|rival| rival.until <= now);
        self.rivals = others;
        let late: Vec<Rival> = late;
        for rival in late {
            self.fail(&rival, Reading::of(&Late::OriginSpeaks.error()));
        }
        self.look_for_rivals()
    }

    /// The first answer is this one.
    fn adopt(&mut self, rival: Rival, answered: Answered) -> Result<()> {
        let (failed, has_all) = (self.failed.take().map(|error| Reading::of(&error)), rival.has_all());
        let (second, down, stream) = rival.into_parts();
        if let Some(stream) = stream {
            *self.origin = stream;
        }
        self.down = down;
        self.waits.hear();
        self.adopted = Some(hedge::win(self.ctx, second, failed));
        self.answered(answered)?;
        if !has_all {
            // It would take the next request for the rest of this one.
            self.down.is_last();
        }
        self.pass_content()
    }
}

#[cfg(test)]
mod tests;
