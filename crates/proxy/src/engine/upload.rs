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
    h1,
    origin::Origin,
    outbox::{Coding, Outbox},
    pipe::{self, Pipe},
};

/// How much of the content is kept, so that it can be sent again.
const KEPT: usize = 64 * 1024;

/// In how many pieces, each of which costs more than its bytes, before they are joined.
const MOST_KEPT: usize = 64;

/// Less than this is kept as a copy: it may be a slice of a buffer that is as large as many of it, and keeps all of that.
const LEAST_SHARED: usize = 4 * 1024;

/// Less than this is not worth a pipe.
const LEAST: u64 = 16 * 1024;

/// A piece of the content.
#[derive(Debug)]
pub(super) enum Piece {
    Here(Bytes),
    /// So many bytes that are on their way already, and that nobody gets to see.
    Piped(usize),
}

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
    /// Whether the client was told by a 100 to send it, in whichever attempt.
    pub(super) invited: bool,
    /// What is to be written to the origin.
    pub(super) out: Outbox,
    /// What is to be moved there after it.
    pipe: Option<Pipe>,
    /// Whether the system has refused to move content through a pipe.
    refused: bool,
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
            invited: false,
            out: Outbox::default(),
            pipe: None,
            refused: false,
        }
    }

    /// Begins an attempt. It must be [replayable](Upload::is_replayable).
    pub(super) fn restart(&mut self) {
        self.out.clear();
        self.pipe = None;
        (self.again, self.ended, self.unwanted) = (0, self.is_empty, false);
    }

    /// From here on the origin is told by chunks where it ends.
    pub(super) fn chunk(&mut self) {
        self.coding = Coding::Chunked;
    }

    /// Whether nothing is lost of what has come.
    pub(super) fn is_replayable(&self) -> bool {
        self.keeps
    }

    /// Puts all of the content into `out`: it must have come, and be [replayable](Upload::is_replayable).
    pub(super) fn copy_to(&self, out: &mut Outbox) {
        if !self.is_empty {
            out.put(self.kept.concat().into(), self.coding, true);
        }
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
        self.ended && !self.unwanted && self.is_written()
    }

    /// Whether nothing waits for the origin.
    pub(super) fn is_written(&self) -> bool {
        self.out.is_empty() && self.pipe.is_none()
    }

    /// Whether the origin waits for the rest of it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.unwanted
    }

    /// Whether there is nothing more to read for it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there is room for a next piece.
    pub(super) fn wants_more(&self) -> bool {
        !self.ended && self.out.has_room() && self.pipe.is_none()
    }

    /// The origin takes no more.
    pub(super) fn give_up(&mut self) {
        self.out.clear();
        self.pipe = None;
        self.unwanted = true;
    }

    /// The answer has begun: nothing will be sent again. What this attempt has yet to send of what is kept, it sends.
    pub(super) fn forget(&mut self) {
        self.kept.drain(..self.again);
        (self.keeps, self.again) = (false, 0);
    }

    /// Whether the rest of the content can go by without being kept or looked at.
    pub(super) fn can_pipe(&self, client: &impl Client) -> bool {
        !self.keeps
            && self.again == self.kept.len()
            && !self.unwanted
            && !self.refused
            && self.coding == Coding::Plain
            && client.left_for_pipe() >= LEAST
    }

    /// Moves a piece of it into a pipe.
    pub(super) fn poll_pipe(&mut self, cx: &mut Context<'_>, client: &mut impl Client) -> Poll<Result<(Piece, bool)>> {
        let Ok(mut pipe) = Pipe::take() else {
            self.refused = true;
            return self.poll_piece(cx, client);
        };
        match client.poll_pipe(cx, &mut pipe) {
            Poll::Pending => {
                pipe.rest();
                Poll::Pending
            }
            Poll::Ready(Err(error)) if pipe::is_refused(&error) => {
                self.refused = true;
                self.poll_piece(cx, client)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(h1::broken(error))),
            Poll::Ready(Ok(0)) => Poll::Ready(Err(h1::gone())),
            Poll::Ready(Ok(count)) => {
                self.pipe = Some(pipe);
                self.received += count as u64;
                self.ended = client.is_body_read();
                Poll::Ready(Ok((Piece::Piped(count), self.ended)))
            }
        }
    }

    /// Writes to the origin; ready once nothing waits any more. `wrote` is set where anything was taken.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        origin: &mut Origin,
        wrote: &mut bool,
    ) -> Poll<io::Result<()>> {
        ready!(self.out.poll_write(cx, origin, wrote))?;
        while let Some(pipe) = &mut self.pipe {
            let Some(socket) = origin.socket() else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
            *wrote |= ready!(pipe.poll_drain(cx, socket))? > 0;
            if pipe.held() == 0
                && let Some(pipe) = self.pipe.take()
            {
                pipe.rest();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next piece of the content, and whether it is the last.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>, client: &mut impl Client) -> Poll<Result<(Piece, bool)>> {
        if let Some(piece) = self.kept.get(self.again) {
            self.again += 1;
            let last = self.again == self.kept.len() && client.is_body_read();
            return Poll::Ready(Ok((Piece::Here(piece.clone()), last)));
        }
        if client.is_body_read() {
            return Poll::Ready(Ok((Piece::Here(Bytes::new()), true)));
        }
        let content = ready!(client.poll_content(cx, self.received))?;
        if !content.is_empty() {
            self.keep(&content);
        }
        Poll::Ready(Ok((Piece::Here(content), client.is_body_read())))
    }

    fn keep(&mut self, content: &Bytes) {
        self.received += content.len() as u64;
        if self.keeps && self.received <= KEPT as u64 {
            if self.kept.len() == MOST_KEPT {
                let joined = self.kept.concat();
                self.kept.clear();
                self.kept.push(joined.into());
            }
            // Most content is a single piece, which is not worth a copy.
            let is_small = !self.kept.is_empty() && content.len() < LEAST_SHARED;
            self.kept.push(if is_small { Bytes::copy_from_slice(content) } else { content.clone() });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_whole_and_in_few_pieces() {
        let mut upload = Upload::new(false, Coding::Plain);
        let all: Vec<u8> = (0..1000).map(|number| number as u8).collect();
        for piece in all.chunks(3) {
            upload.keep(&Bytes::copy_from_slice(piece));
            assert_eq!(upload.again, upload.kept.len());
            assert!(upload.kept.len() <= MOST_KEPT);
        }
        assert!(upload.is_replayable());
        assert_eq!(upload.kept.concat(), all);
        upload.keep(&Bytes::from(vec![0; KEPT]));
        assert!(!upload.is_replayable() && upload.kept.is_empty());
    }

    #[test]
    fn what_is_being_sent_again_is_sent_to_its_end_once_the_answer_has_begun() {
        let mut upload = Upload::new(false, Coding::Plain);
        ["a", "b", "c"].iter().for_each(|piece| upload.keep(&Bytes::from_static(piece.as_bytes())));
        upload.restart();
        let taken = |upload: &mut Upload| {
            let piece = upload.kept.get(upload.again).cloned();
            upload.again += usize::from(piece.is_some());
            piece
        };
        assert_eq!(taken(&mut upload).unwrap(), "a");
        upload.forget();
        assert!(!upload.is_replayable());
        assert_eq!((taken(&mut upload).unwrap(), taken(&mut upload).unwrap()), (Bytes::from("b"), Bytes::from("c")));
        assert!(taken(&mut upload).is_none());
        upload.keep(&Bytes::from_static(b"d"));
        assert!(upload.kept.is_empty());
    }

    #[test]
    fn small_pieces_of_large_buffers_let_go_of_these() {
        let mut upload = Upload::new(false, Coding::Plain);
        let buffers: Vec<Bytes> = (0..MOST_KEPT).map(|_| vec![b'x'; 16 * 1024].into()).collect();
        buffers.iter().for_each(|buffer| upload.keep(&buffer.slice(..100)));
        assert_eq!(upload.kept.concat().len(), 100 * MOST_KEPT);
        let held = buffers.iter().filter(|buffer| !buffer.is_unique()).count();
        assert_eq!(held, 1, "the first may be the only one");
        // What is as large as its buffer is not copied.
        upload.keep(&buffers[1].slice(..8 * 1024));
        assert!(!buffers[1].is_unique());
    }
}
