//! What an exchange needs of the client's side, whichever version of HTTP it speaks.

use std::{
    io,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{lines::Lines, pipe::Pipe};
use crate::relay::Told;

/// The client of one request: its content comes from here, and its answer goes there.
pub(crate) trait Client: Send {
    /// Where the policies' fields go in its answer's head.
    const TOLD: Told;

    /// Whether all of the request has been read.
    fn is_body_read(&self) -> bool;

    /// The request is a stream, whose content may come as slowly as it likes.
    fn may_drip(&mut self) {}

    /// Whether it can be [waited for](Client::poll_gone) to leave. Over HTTP/1 that hides behind unread content.
    fn can_be_watched(&self) -> bool;

    /// Ready once it is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The same, but for a client of HTTP/1 that has only closed its side: it may still take its answer.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }

    /// The next piece of the request's content, after `received` bytes of it; nothing only at its end.
    fn poll_content(&mut self, cx: &mut Context<'_>, received: u64) -> Poll<Result<Bytes>>;

    /// How many bytes of the request's content are still to come, where they can be moved into a [pipe](Client::poll_pipe).
    fn left_for_pipe(&self) -> u64 {
        0
    }

    /// Moves what has come of the content into the pipe, and says how much.
    fn poll_pipe(&mut self, _cx: &mut Context<'_>, _pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Passes an interim head on.
    fn put_interim(&mut self, head: &ResponseHeader);

    /// Passes the final head on, framed for this client; returns whether its connection `keeps`. Content follows where
    /// the answer `has_content`, even if it turns out to be empty. `lines` are fields of the origin that are not in its
    /// table, and `more` writes those that are to be behind the others: neither unless they are [told](Client::TOLD)
    /// behind.
    fn put_final(
        &mut self,
        head: ResponseHeader,
        lines: &Lines,
        request: &RequestHeader,
        has_content: bool,
        keeps: bool,
        more: impl FnOnce(&ResponseHeader, &mut BytesMut),
    ) -> Result<bool>;

    /// Passes a piece of content on, the `last` or another one. There must be [room](Client::has_room).
    fn put(&mut self, content: Bytes, last: bool);

    /// Forgets what was put of a final answer and is not written: it belongs to an attempt that came to nothing.
    /// Interim heads stay: one may be on its way in part, and a 100 counts for the next attempt as well.
    fn forget(&mut self);

    /// Whether there is room for a piece of content: the one before it is gone.
    fn has_room(&self) -> bool;

    /// Whether everything is on its way.
    fn is_empty(&self) -> bool;

    /// How many bytes wait.
    fn waiting(&self) -> usize;

    /// Writes; ready once nothing waits any more. `wrote` is set where anything was taken.
    fn poll_write(&mut self, cx: &mut Context<'_>, wrote: &mut bool) -> Poll<io::Result<()>>;

    /// Whether it has been sent any of the final answer.
    fn is_committed(&self) -> bool;

    /// The answer that it has been sent the beginning of ends here, for this reason.
    fn break_off(&mut self, reason: Reason);
}
