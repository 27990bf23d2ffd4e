//! Answers of the cache, which no origin is asked for.

use std::future::poll_fn;

use bytes::Bytes;
use filter::Reason;
use http::header;

use super::{
    After, HEAD, Passage, head,
    outbox::{Coding, Outbox},
};
use crate::{
    consult::Answer,
    relay::{self, response_chunk},
};

impl Passage<'_> {
    /// Gives an answer that is kept, or comes as it is fetched.
    pub(super) async fn give(&mut self, answer: Answer) {
        let Answer { mut head, content } = answer;
        relay::encode(self.ctx, self.head, &mut head);
        relay::response(self.ctx, self.head, &mut head);
        let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
        let open_ended = content.is_some() && !chunked && !head.headers.contains_key(header::CONTENT_LENGTH);
        if open_ended || super::is_closing(self.ctx) {
            self.after = After::Closes;
        }
        self.ctx.record.status = head.status.as_u16();
        let mut out = Outbox::default();
        out.head().reserve(HEAD);
        head::write_final(&head, self.after == After::Goes, out.head());
        self.committed = true;
        let coding = if chunked { Coding::Chunked } else { Coding::Plain };
        let given = match content {
            Some(reader) => self.pass_on(reader, &mut out, coding).await,
            None => self.say(&mut out).await,
        };
        if let Err(reason) = given {
            self.ctx.record.reason = reason;
            self.after = if open_ended { After::Breaks } else { After::Closes };
        }
    }

    async fn pass_on(&mut self, mut reader: cache::Reader, out: &mut Outbox, coding: Coding) -> Result<(), Reason> {
        loop {
            let mut piece = tokio::select! {
                biased;
                piece = reader.next() => piece?,
                () = poll_fn(|cx| self.conn.poll_gone(cx)), if self.conn.is_body_read() => {
                    return Err(Reason::ClientClosed);
                }
            };
            let last = piece.is_none() || reader.is_done();
            response_chunk(self.ctx, &mut piece, last).map_err(|reply| reply.reason)?;
            let piece: Bytes = piece.unwrap_or_default();
            self.ctx.record.bytes_out += piece.len() as u64;
            if !piece.is_empty() || last {
                out.put(piece, coding, last);
            }
            self.say(out).await?;
            if last {
                return Ok(());
            }
        }
    }
}
