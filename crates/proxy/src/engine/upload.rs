//! The content of a request, on its way to the origin.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use pingora_core::{Error, ErrorType, Result};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::outbox::{Coding, Outbox};
use crate::front::{chunked::Chunks, conn::Boundary, conn::Conn};

/// How much is read at once at first, and once much has come.
const READ: (usize, usize) = (16 * 1024, 64 * 1024);

/// Room for less than this is not worth a read.
const LEAST_ROOM: usize = 4 * 1024;

/// How much of the content is kept, so that it can be sent again.
const KEPT: usize = 64 * 1024;

/// What of a request's content has come, and what of it the attempt under way has sent.
#[derive(Debug)]
pub(super) struct Upload {
    /// Whether the request has no content at all.
    is_empty: bool,
    chunks: Option<Chunks>,
    buffer: BytesMut,
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
    pub(super) fn new(body: Boundary) -> Self {
        let chunks = (body == Boundary::Chunked).then(Chunks::default);
        Self {
            is_empty: body == Boundary::Left(0),
            chunks,
            buffer: BytesMut::new(),
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
        self.chunks.is_some()
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
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<Result<(Bytes, bool)>> {
        if let Some(piece) = self.kept.get(self.again) {
            self.again += 1;
            let last = self.again == self.kept.len() && conn.is_body_read();
            return Poll::Ready(Ok((piece.clone(), last)));
        }
        loop {
            if conn.is_body_read() {
                return Poll::Ready(Ok((Bytes::new(), true)));
            }
            if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM {
                self.buffer.reserve(if self.received < READ.1 as u64 { READ.0 } else { READ.1 });
            }
            let count = ready!(poll_read_buf(cx, conn, &mut self.buffer)).map_err(broken)?;
            if count == 0 {
                return Poll::Ready(Err(gone()));
            }
            let content = match &mut self.chunks {
                None => self.buffer.split(),
                Some(chunks) => chunks.decode(&mut self.buffer).map_err(|_| malformed())?,
            };
            if !content.is_empty() || conn.is_body_read() {
                let content = content.freeze();
                self.keep(&content);
                return Poll::Ready(Ok((content, conn.is_body_read())));
            }
        }
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
            let coding = if self.is_chunked() { Coding::Chunked } else { Coding::Plain };
            self.out.put(content.unwrap_or_default(), coding, last);
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

fn broken(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ReadError, "the request's content", error).into_down()
}

fn gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client left").into_down()
}

fn malformed() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the request's chunks").into_down()
}
