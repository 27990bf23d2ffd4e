//! Answers of the cache, which no origin is asked for.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;
use filter::Reason;
use limit::Way;
use tokio::time::Instant;

use super::{After, Client, Passage, late::Limits, lines::Lines};
use crate::{
    consult::Answer,
    relay::{self, response_chunk},
    throttle::Flows,
};

impl<C: Client> Passage<'_, C> {
    /// Gives an answer that is kept, or comes as it is fetched.
    pub(super) async fn give(&mut self, answer: Answer) {
        let Answer { mut head, content, .. } = answer;
        relay::encode(self.ctx, self.head, &mut head);
        relay::response(self.ctx, C::TOLD, self.head, &mut head);
        self.ctx.record.status = head.status.as_u16();
        let keeps = self.after == After::Goes && !super::is_closing(self.ctx);
        let put = super::put_final(self.client, self.ctx, self.head, head, &Lines::default(), content.is_some(), keeps);
        let given = match put {
            Ok(keeps) => {
                self.after = if keeps { After::Goes } else { After::Closes };
                match content {
                    Some(reader) => self.pass_on(reader).await,
                    None => self.say().await,
                }
            }
            Err(_) => Err(Reason::ClientClosed),
        };
        if let Err(reason) = given {
            self.ctx.record.reason = reason;
            self.client.break_off(reason);
            self.after = After::Closes;
        }
    }

    /// Writes a piece of content, in turns where a limit on bandwidth says so.
    pub(super) async fn let_pass(&mut self, content: Bytes, last: bool) -> Result<(), Reason> {
        if Flows::of(self.ctx).piece(Way::Down).is_some() {
            return Box::pin(self.let_trickle(content, last)).await;
        }
        if !content.is_empty() || last {
            self.client.put(content, last);
        }
        self.say().await
    }

    /// Writes what was put. Whoever takes some of it has its time anew.
    pub(super) async fn say(&mut self) -> Result<(), Reason> {
        let (most, rate, mut since) = (self.ctx.patience(), self.ctx.min_rate, None);
        poll_fn(|cx| {
            let mut wrote = false;
            if let Poll::Ready(said) = self.client.poll_write(cx, &mut wrote) {
                return Poll::Ready(said.map_err(|_| Reason::ClientClosed));
            }
            if wrote {
                since = None;
            }
            let limit = Limits::listens(most, rate, self.client.waiting());
            let until = *since.get_or_insert_with(Instant::now) + limit;
            self.alarm.poll(cx, until).map(|()| Err(Reason::AnswerTimeout))
        })
        .await
    }

    async fn let_trickle(&mut self, mut content: Bytes, last: bool) -> Result<(), Reason> {
        loop {
            let flows = Flows::of(self.ctx);
            let piece = content.split_to(flows.piece(Way::Down).unwrap_or(usize::MAX).min(content.len()));
            tokio::select! {
                biased;
                () = flows.hold(Way::Down, piece.len()) => {}
                () = poll_fn(|cx| self.client.poll_broken(cx)), if self.client.can_be_watched() => {
                    return Err(Reason::ClientClosed);
                }
            }
            let is_last = last && content.is_empty();
            if !piece.is_empty() || is_last {
                self.client.put(piece, is_last);
            }
            self.say().await?;
            if content.is_empty() {
                return Ok(());
            }
        }
    }

    async fn pass_on(&mut self, mut reader: cache::Reader) -> Result<(), Reason> {
        if self.ctx.encoder.is_none() {
            // Nothing is done to it on its way, so it may go as fast as the client takes it.
            reader.hurry();
        }
        loop {
            let mut piece = tokio::select! {
                biased;
                piece = reader.next() => piece?,
                () = poll_fn(|cx| self.client.poll_gone(cx)), if self.client.can_be_watched() => {
                    return Err(Reason::ClientClosed);
                }
            };
            let last = piece.is_none() || reader.is_done();
            response_chunk(self.ctx, &mut piece, last).map_err(|reply| reply.reason)?;
            let piece: Bytes = piece.unwrap_or_default();
            self.ctx.record.bytes_out += piece.len() as u64;
            self.let_pass(piece, last).await?;
            if last {
                return Ok(());
            }
        }
    }
}
