//! A client's connection, read one message at a time.
//!
//! Pingora's HTTP/1 engine reads whatever the socket has. [`Conn`] stands between: it buffers a whole request head, so
//! that the head can be judged before the engine sees a byte of it, and it hands out no byte that belongs to the next
//! message. A pipelined request therefore waits here, in order, while the one before it is answered.

mod facts;

use std::{
    any::Any,
    io,
    pin::Pin,
    sync::{Arc, mpsc::Receiver},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use listen::MinRate;
use pingora_core::protocols::{ALPN, Stream, raw_connect::ProxyDigest};
use pingora_http::ResponseHeader;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    runtime::Handle,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{
    chunked::Chunks,
    frames::{Frames, Refusal},
    notes::Notes,
    pace::Watch,
};
use crate::engine::Pipe;

/// How many bytes of following requests are held while one is answered; beyond it the client's own TCP window fills.
const HELD_AHEAD: usize = 64 * 1024;

/// How long a client that has closed its side waits for an answer that does not move. One that has only said its last
/// word (`shutdown(SHUT_WR)`) gets its answer; one that is gone has its request cancelled soon.
const HALF_CLOSED: Duration = Duration::from_millis(500);

/// How long a client that is still sending may take to read the answer that it has got already.
const FAREWELL: Duration = Duration::from_secs(2);

/// The first allocation for a request head; most heads fit.
const HEAD_BUFFER: usize = 2048;

/// Where a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// With the connection: HTTP/2, or a protocol that was changed to.
    Open,
    /// After so many bytes.
    Left(u64),
    /// Where the chunked coding says.
    Chunked,
}

/// What of the bytes to come belongs to the message being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    /// Everything.
    Open,
    /// So many bytes.
    Left(u64),
    /// So many bytes of head, then a chunked body.
    Chunked { head: u64, body: Chunks },
}

/// A client connection with its facts, and with the bytes that were read ahead.
pub struct Conn {
    stream: Stream,
    ahead: BytesMut,
    span: Span,
    protocol: Option<ALPN>,
    /// Set once the client has closed its side: when that will be told.
    closing: Option<Pin<Box<Sleep>>>,
    /// Reads along where HTTP/2 is spoken.
    frames: Option<Box<Frames>>,
    /// Whether the client has been sent anything.
    answered: bool,
    /// How fast bodies over HTTP/1 have to come, and do.
    watch: Watch,
    facts: Arc<ProxyDigest>,
}

impl Conn {
    /// Wraps an accepted stream; `facts` travel with it to every request that it carries (see [`Conn::facts`]). Bodies
    /// over HTTP/1 have to come as fast as `min_rate` says.
    pub fn new(stream: Stream, facts: Box<dyn Any + Send + Sync>, min_rate: Option<MinRate>) -> Option<Self> {
        let carrier = ResponseHeader::build(200, Some(0)).ok()?;
        let protocol = stream.selected_alpn_proto();
        let frames = matches!(protocol, Some(ALPN::H2)).then(|| Box::new(Frames::new()));
        Some(Self {
            stream,
            ahead: BytesMut::new(),
            span: Span::Open,
            protocol,
            closing: None,
            frames,
            answered: false,
            watch: Watch::new(min_rate),
            facts: Arc::new(ProxyDigest::new(Box::new(carrier), Some(facts))),
        })
    }

    /// Whether TLS agreed on HTTP/2, or [`Conn::speak_h2`] was told of its preface.
    pub fn is_h2(&self) -> bool {
        matches!(self.protocol, Some(ALPN::H2))
    }

    /// From here on the connection is HTTP/2 by prior knowledge (RFC 9113 section 3.3).
    pub fn speak_h2(&mut self) {
        self.protocol = Some(ALPN::H2);
        self.frames = Some(Box::new(Frames::new()));
        self.span = Span::Open;
    }

    /// The bytes read and not yet given to the engine.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops the first `count` of the bytes read ahead.
    pub fn skip(&mut self, count: usize) {
        self.ahead.advance(count.min(self.ahead.len()));
    }

    /// Reads more bytes ahead; 0 at the end of the stream.
    pub async fn read_ahead(&mut self) -> io::Result<usize> {
        self.make_room();
        self.stream.read_buf(&mut self.ahead).await
    }

    /// The same, polled.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        std::pin::pin!(self.stream.read_buf(&mut self.ahead)).poll(cx)
    }

    /// Room for more bytes ahead. What a large head has needed is not kept for the next one.
    fn make_room(&mut self) {
        self.ahead.reserve(HEAD_BUFFER);
        if self.ahead.is_empty() && self.ahead.capacity() > 2 * HEAD_BUFFER {
            self.ahead = BytesMut::with_capacity(HEAD_BUFFER);
        }
    }

    /// Reads to the end of the stream and forgets what came; the caller bounds the time.
    pub async fn drain(&mut self) -> io::Result<()> {
        loop {
            self.ahead.clear();
            if self.read_ahead().await? == 0 {
                return Ok(());
            }
        }
    }

    /// Says how much of what follows belongs to the message that the engine reads next: `head` bytes, then a body.
    pub fn set_boundary(&mut self, head: usize, body: Boundary) {
        let head = head as u64;
        self.watch.begin();
        self.span = match body {
            Boundary::Open => Span::Open,
            Boundary::Left(body) => Span::Left(head.saturating_add(body)),
            Boundary::Chunked => Span::Chunked { head, body: Chunks::default() },
        };
    }

    /// The message may come as slowly as it likes: it is a stream.
    pub fn may_drip(&mut self) {
        self.watch.exempt();
    }

    /// How many bytes may be read at most, for the span alone; 0 at the message's end.
    fn limit(&self) -> usize {
        let most = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        match self.span {
            Span::Left(left) => most(left),
            Span::Chunked { head: 0, body } if body.is_done() => 0,
            Span::Chunked { head: 0, .. } | Span::Open => usize::MAX,
            Span::Chunked { head, .. } => most(head),
        }
    }

    /// Counts what was read; returns how much of it belongs to the message.
    fn account(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len() as u64;
        match &mut self.span {
            Span::Open => {
                let refused = |_| io::Error::new(io::ErrorKind::InvalidData, "a flood of control frames");
                self.frames.as_mut().map_or(Ok(()), |frames| frames.follow(bytes)).map_err(refused)?;
            }
            Span::Left(left) => *left -= count,
            Span::Chunked { head: 0, body } => {
                let refused = |_| io::Error::new(io::ErrorKind::InvalidData, "malformed chunked body");
                return body.follow(bytes).map_err(refused);
            }
            Span::Chunked { head, .. } => *head -= count,
        }
        Ok(bytes.len())
    }

    /// Whether all of the message has been read.
    pub fn is_body_read(&self) -> bool {
        self.limit() == 0
    }

    /// How much of the message is still to come, where its length was said.
    pub fn left(&self) -> u64 {
        if let Span::Left(left) = self.span { left } else { 0 }
    }

    /// Whether nothing stands between what is still to come and the socket.
    pub fn is_bare(&self) -> bool {
        self.ahead.is_empty() && listen::socket(&self.stream).is_some()
    }

    /// How many bytes the client's socket has taken in all.
    pub fn taken(&self) -> u64 {
        listen::taken(&self.stream)
    }

    /// Moves what has come of such a body into the pipe; says how much, and 0 at the end of the stream.
    pub fn poll_pipe(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let limit = self.limit();
        let Some(socket) = listen::socket(&self.stream) else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let polled = pipe.poll_fill(cx, socket, limit);
        if polled.is_pending() {
            self.watch.waits();
        }
        let moved = ready!(polled)?;
        if let Span::Left(left) = &mut self.span {
            *left -= moved as u64;
        }
        if moved > 0 {
            self.keep_pace(moved)?;
        }
        Poll::Ready(Ok(moved))
    }

    /// Ready once the client is gone. Its message must have been read; what it sends ahead is held.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_beyond(cx).map(|_| ())
    }

    /// The same, but for a client that has only closed its side.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.poll_end(cx), Poll::Ready(Err(_))) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Makes the end of the connection a reset, so that what was cut off does not look whole.
    pub fn break_off(mut self) {
        self.answered = false;
        listen::reset(std::mem::replace(&mut self.stream, Box::new(io::Cursor::new(Vec::new()))));
    }

    /// The client has closed its side. Ready once nothing has been written to it for a while either.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.closing.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED))).as_mut().poll(cx)
    }

    /// Something was written.
    fn note_write(&mut self) {
        self.answered = true;
        // It may have waited for this: a 100, or the answer to what it has sent so far.
        self.watch.restart();
        self.note_taken();
    }

    /// The client takes what it is sent: one that has closed its side still listens.
    fn note_taken(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.as_mut().reset(Instant::now() + HALF_CLOSED);
        }
    }

    /// So many bytes of `slices` were taken.
    fn note_written(&mut self, slices: &[io::IoSlice<'_>], mut count: usize) {
        let Some(frames) = &mut self.frames else { return };
        for slice in slices {
            let taken = count.min(slice.len());
            frames.sent(&slice[..taken]);
            count -= taken;
        }
    }

    /// Tells of the streams that the codec of HTTP/2 refuses by itself, and what else goes past it.
    pub fn beside_codec(&mut self) -> (Receiver<Refusal>, Arc<Notes>) {
        let frames = self.frames.get_or_insert_with(|| Box::new(Frames::new()));
        (frames.refused(), frames.notes().clone())
    }

    /// Whether a write has to wait for the socket is told whoever waits for the client to take its answers.
    fn note_room(&self, is_full: bool) {
        match &self.frames {
            Some(frames) if is_full => frames.notes().fill(self.taken()),
            Some(frames) => frames.notes().clear(),
            None => {}
        }
    }

    /// Whether the client is sending a body that nobody wants any more.
    fn is_talked_over(&self) -> bool {
        let unread = match self.span {
            Span::Left(left) => left > 0,
            Span::Chunked { body, .. } => !body.is_done(),
            Span::Open => false,
        };
        self.answered && self.closing.is_none() && (unread || !self.ahead.is_empty())
    }

    /// Reads up to `limit` bytes of the stream; says how many.
    fn poll_stream(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let before = out.filled().len();
        let polled = if limit == out.remaining() {
            Pin::new(&mut self.stream).poll_read(cx, out)
        } else {
            let mut part = ReadBuf::new(out.initialize_unfilled_to(limit));
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
            let read = part.filled().len();
            out.advance(read);
            polled
        };
        if polled.is_pending() && self.span != Span::Open {
            self.watch.waits();
        }
        polled.map_ok(|()| out.filled().len() - before)
    }

    /// Ends a body that drips. What is complete has come in time.
    fn keep_pace(&mut self, bytes: usize) -> io::Result<()> {
        if self.watch.moved(bytes) || self.limit() == 0 {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "a body that comes too slowly"))
    }

    /// Waits for the message's end to be followed by the end of the stream, for long enough to say that the client is gone.
    fn poll_beyond(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        self.poll_closing(cx).map(Ok)
    }

    /// Ready at the end of the stream; what comes instead is held.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < HELD_AHEAD {
            self.make_room();
            let read = {
                let future = std::pin::pin!(self.stream.read_buf(&mut self.ahead));
                ready!(future.poll(cx))?
            };
            if read == 0 {
                // Whether requests of its wait here or not: a client that is gone may have left some behind.
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let conn = self.get_mut();
        let limit = conn.limit().min(out.remaining());
        if limit == 0 && out.remaining() > 0 {
            return conn.poll_beyond(cx);
        }
        let before = out.filled().len();
        if !conn.ahead.is_empty() {
            let count = limit.min(conn.ahead.len());
            out.put_slice(&conn.ahead[..count]);
            conn.ahead.advance(count);
        } else if ready!(conn.poll_stream(cx, out, limit))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let ours = conn.account(&out.filled()[before..])?;
        conn.keep_pace(ours)?;
        let beyond = &out.filled()[before + ours..];
        if !beyond.is_empty() {
            // Read before its end was known: it begins the next message, ahead of what is held already.
            let mut held = BytesMut::from(beyond);
            held.extend_from_slice(&conn.ahead);
            conn.ahead = held;
            out.set_filled(before + ours);
        } else if conn.ahead.is_empty() {
            conn.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if polled.is_pending() {
            self.note_room(true);
        }
        let written = ready!(polled)?;
        self.note_write();
        self.note_written(&[io::IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.closing.is_some().then(|| self.taken());
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if before.is_some_and(|taken| taken != self.taken()) {
            self.note_taken();
        }
        self.note_room(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if polled.is_pending() {
            self.note_room(true);
        }
        let written = ready!(polled)?;
        self.note_write();
        self.note_written(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Closing a socket with unread bytes resets the connection, and the client may lose the answer that says why it was
/// refused. So what it still sends is read for a while.
impl Drop for Conn {
    fn drop(&mut self) {
        if !self.is_talked_over() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut stream = std::mem::replace(&mut self.stream, Box::new(io::Cursor::new(Vec::new())));
        runtime.spawn(timeout(FAREWELL, async move {
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        }));
    }
}

#[cfg(test)]
mod tests;
