//! What is to be written next in one direction.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// A head or the size of a chunk, a piece of content, and what closes the chunk. They leave in one system call.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    prefix: BytesMut,
    content: Bytes,
    tail: &'static [u8],
    /// How much of the prefix is not to be [cut](Outbox::cut).
    stays: usize,
    /// How many bytes were taken since all that was taken was on its way.
    unflushed: usize,
}

/// How the content of a message is marked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// By its length, or by the end of the connection.
    Plain,
    /// In chunks.
    Chunked,
}

impl Outbox {
    /// What is written before any content: a head.
    pub(super) fn head(&mut self) -> &mut BytesMut {
        &mut self.prefix
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.prefix.clear();
        (self.content, self.tail, self.stays, self.unflushed) = (Bytes::new(), b"", 0, 0);
    }

    /// What was put so far is a message of its own, and will be written whatever becomes of the next one.
    pub(super) fn stays(&mut self) {
        self.stays = self.prefix.len();
    }

    /// Forgets everything but what [stays](Outbox::stays).
    pub(super) fn cut(&mut self) {
        self.prefix.truncate(self.stays);
        (self.content, self.tail) = (Bytes::new(), b"");
    }

    /// Puts a piece of content after what waits; the `last` one ends the message. There must be none waiting.
    pub(super) fn put(&mut self, content: Bytes, coding: Coding, last: bool) {
        if coding == Coding::Chunked {
            if content.is_empty() {
                self.tail = if last { b"0\r\n\r\n" } else { b"" };
                return;
            }
            chunk_size(&mut self.prefix, content.len());
            self.tail = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        }
        self.content = content;
    }

    /// Everything that waits, in one piece.
    pub(super) fn into_bytes(self) -> Bytes {
        let mut whole = self.prefix;
        whole.extend_from_slice(&self.content);
        whole.extend_from_slice(self.tail);
        whole.freeze()
    }

    /// How many bytes are to be written.
    fn unwritten(&self) -> usize {
        self.prefix.len() + self.content.len() + self.tail.len()
    }

    /// How many bytes wait, written or not: what was taken into a buffer is not on its way yet.
    pub(super) fn waiting(&self) -> usize {
        self.unwritten() + self.unflushed
    }

    /// Whether all is written and flushed.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Whether there is room for a piece of content: the one before it is gone.
    pub(super) fn has_room(&self) -> bool {
        self.content.is_empty() && self.tail.is_empty()
    }

    /// Writes and flushes; ready once nothing waits any more. `wrote` is set where anything was taken.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin + ?Sized),
        wrote: &mut bool,
    ) -> Poll<io::Result<()>> {
        while self.unwritten() > 0 {
            let count = if self.has_room() {
                ready!(Pin::new(&mut *to).poll_write(cx, &self.prefix))?
            } else {
                let pieces = [IoSlice::new(&self.prefix), IoSlice::new(&self.content), IoSlice::new(self.tail)];
                let first = usize::from(self.prefix.is_empty());
                ready!(Pin::new(&mut *to).poll_write_vectored(cx, &pieces[first..]))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *wrote = true;
            self.unflushed += count;
            self.advance(count);
        }
        if self.unflushed > 0 {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix.len());
        self.prefix.advance(of_prefix);
        self.stays = self.stays.saturating_sub(of_prefix);
        let of_content = (count - of_prefix).min(self.content.len());
        self.content.advance(of_content);
        self.tail = &self.tail[(count - of_prefix - of_content).min(self.tail.len())..];
        if self.content.is_empty() {
            // Whoever reads next gets the memory back.
            self.content = Bytes::new();
        }
    }
}

/// The line that begins a chunk of so many bytes.
fn chunk_size(out: &mut BytesMut, size: usize) {
    let mut digits = [0; 18];
    let mut at = digits.len();
    let mut left = size;
    for byte in [b'\n', b'\r'] {
        at -= 1;
        digits[at] = byte;
    }
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and only where it is asked to write.
    struct Narrow(Vec<u8>, usize);

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn pieces_leave_in_order_however_they_are_taken() {
        for width in [1, 2, 3, 7, 100] {
            let (mut outbox, mut to) = (Outbox::default(), Narrow(Vec::new(), width));
            let mut cx = Context::from_waker(std::task::Waker::noop());
            outbox.head().extend_from_slice(b"head\r\n\r\n");
            for (content, last) in [("hello, chunked world", false), ("", false), ("x", true)] {
                outbox.put(Bytes::from_static(content.as_bytes()), Coding::Chunked, last);
                let mut wrote = false;
                assert!(matches!(outbox.poll_write(&mut cx, &mut to, &mut wrote), Poll::Ready(Ok(()))));
            }
            assert!(outbox.is_empty() && outbox.has_room());
            let text = String::from_utf8(to.0).unwrap();
            assert_eq!(text, "head\r\n\r\n14\r\nhello, chunked world\r\n1\r\nx\r\n0\r\n\r\n");
        }
    }

    /// Takes everything, and gets rid of nothing.
    struct Stuck;

    impl AsyncWrite for Stuck {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_in_a_buffer_still_waits() {
        let mut outbox = Outbox::default();
        outbox.put(Bytes::from_static(b"content"), Coding::Plain, true);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(outbox.poll_write(&mut cx, &mut Stuck, &mut false).is_pending());
        assert!(outbox.has_room() && !outbox.is_empty());
        assert_eq!(outbox.waiting(), 7);
        let mut narrow = Narrow(Vec::new(), 1);
        assert!(outbox.poll_write(&mut cx, &mut narrow, &mut false).is_ready());
        assert_eq!((outbox.waiting(), outbox.is_empty()), (0, true));
    }

    #[test]
    fn an_interim_head_of_which_a_part_is_written_is_not_cut() {
        let (mut outbox, mut to) = (Outbox::default(), Narrow(Vec::new(), 5));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        outbox.head().extend_from_slice(b"interim one;");
        outbox.stays();
        assert_eq!(to.0.len(), 0);
        // A part of it leaves.
        let written = Pin::new(&mut to).poll_write(&mut cx, &outbox.prefix);
        assert!(matches!(written, Poll::Ready(Ok(5))));
        outbox.advance(5);
        outbox.head().extend_from_slice(b"final");
        outbox.put(Bytes::from_static(b"content"), Coding::Chunked, true);
        outbox.cut();
        assert!(outbox.has_room());
        outbox.head().extend_from_slice(b"another");
        assert!(outbox.poll_write(&mut cx, &mut to, &mut false).is_ready());
        outbox.cut();
        assert!(outbox.is_empty());
        assert_eq!(to.0, b"interim one;another");
    }

    #[test]
    fn an_empty_message_has_a_last_chunk_only() {
        let (mut outbox, mut to) = (Outbox::default(), Narrow(Vec::new(), 100));
        outbox.put(Bytes::new(), Coding::Chunked, true);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = outbox.poll_write(&mut cx, &mut to, &mut false);
        assert_eq!(to.0, b"0\r\n\r\n");
    }
}
