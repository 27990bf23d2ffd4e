//! The content of a request, on its way to the origin.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use pingora_core::Result;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    client::Client,
    outbox::{Coding, Outbox},
};

/// How much of the content is kept, so that it can be sent again.
const KEPT: usize = 64 * 1024;

/// What of a request's content has come, and what of it the attempt under way has sent.
#[derive(Debug)]
pub(super) struct Upload {
    /// Whether the request has no content at all.
    is_empty: bool,
    /// How the origin is told where it ends.
    coding: Coding,
    /// How much has come from the client.
    received: u64,
    /// What has come so far, as long as it is all of it.
    kept: SmallVec<[Bytes; 2]>,
    keeps: bool,
    /// How many of the kept pieces this attempt has sent.
    again: usize,
    /// Whether the last piece is on its way.
    ended: bool,
    /// Whether the origin takes no more of it: the rest is read and thrown away.
    unwanted: bool,
    /// What is to be written to the origin.
    pub(super) out: Outbox,
}

impl Upload {
    pub(super) fn new(is_empty: bool, coding: Coding) -> Self {
        Self {
            is_empty,
            coding,
            received: 0,
            kept: SmallVec::new(),
            keeps: true,
            again: 0,
            ended: false,
            unwanted: false,
            out: Outbox::default(),
        }
    }

    /// Begins an attempt. It must be [replayable](Upload::is_replayable).
    pub(super) fn restart(&mut self) {
        self.out.clear();
        (self.again, self.ended, self.unwanted) = (0, self.is_empty, false);
    }

    /// Whether nothing is lost of what has come.
    pub(super) fn is_replayable(&self) -> bool {
        self.keeps
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.coding == Coding::Chunked
    }

    /// How many bytes of content have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the attempt has sent everything.
    pub(super) fn is_sent(&self) -> bool {
        self.ended && !self.unwanted && self.out.is_empty()
    }

    /// Whether there is nothing more to read for it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there is room for a next piece.
    pub(super) fn wants_more(&self) -> bool {
        !self.ended && self.out.has_room()
    }

    /// The origin takes no more.
    pub(super) fn give_up(&mut self) {
        self.out.clear();
        self.unwanted = true;
    }

    /// The answer has begun: nothing will be sent again.
    pub(super) fn forget(&mut self) {
        (self.keeps, self.again) = (false, 0);
        self.kept.clear();
    }

    /// The next piece of the content, and whether it is the last.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>, client: &mut impl Client) -> Poll<Result<(Bytes, bool)>> {
        if let Some(piece) = self.kept.get(self.again) {
            self.again += 1;
            let last = self.again == self.kept.len() && client.is_body_read();
            return Poll::Ready(Ok((piece.clone(), last)));
        }
        if client.is_body_read() {
            return Poll::Ready(Ok((Bytes::new(), true)));
        }
        let content = ready!(client.poll_content(cx, self.received))?;
        if !content.is_empty() {
            self.keep(&content);
        }
        Poll::Ready(Ok((content, client.is_body_read())))
    }

    fn keep(&mut self, content: &Bytes) {
        self.received += content.len() as u64;
        if self.keeps && self.received <= KEPT as u64 {
            self.kept.push(content.clone());
            self.again = self.kept.len();
        } else {
            self.keeps = false;
            self.kept.clear();
            self.again = 0;
        }
    }

    /// Takes a piece for the origin, as the policies left it.
    pub(super) fn put(&mut self, content: Option<Bytes>, last: bool) {
        self.ended = last;
        if !self.unwanted {
            self.out.put(content.unwrap_or_default(), self.coding, last);
        }
    }
}

/// Reads into the room that `buffer` has; 0 at the end of the stream.
pub(super) fn poll_read_buf(
    cx: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin + ?Sized),
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    std::pin::pin!(from.read_buf(buffer)).poll(cx)
}
