//! HTTP/1 by hand: reads heads and bodies off a connection and writes whatever bytes a test likes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Body, Fields, Stream};

/// The other side went away, or broke the framing that it had promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut(pub String);

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Cut(error.to_string())
    }
}

/// How a body's end is known (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// It has this many bytes.
    Length(u64),
    /// It is chunked.
    Chunked,
    /// It goes on until the connection closes.
    UntilClose,
}

impl Framing {
    /// The framing of a request with these fields.
    pub fn of_request(fields: &Fields) -> Self {
        Self::declared(fields).unwrap_or(Framing::Empty)
    }

    /// The framing of an answer to `method`.
    pub fn of_answer(method: &str, status: u16, fields: &Fields) -> Self {
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Framing::Empty;
        }
        Self::declared(fields).unwrap_or(Framing::UntilClose)
    }

    fn declared(fields: &Fields) -> Option<Self> {
        if fields.has_token("transfer-encoding", "chunked") {
            return Some(Framing::Chunked);
        }
        fields.get("content-length").map(|length| Framing::Length(length.parse().unwrap_or(0)))
    }
}

/// A connection with what has been read ahead of it.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    ahead: BytesMut,
}

impl Wire {
    /// Takes over a connection.
    pub fn new(stream: Stream) -> Self {
        Self { stream, ahead: BytesMut::with_capacity(64 << 10) }
    }

    /// The connection below.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The connection below, to speak another protocol on once everything read ahead was taken.
    pub fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Gives the connection back, with what was read ahead of it.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.ahead)
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        self.stream.reset();
    }

    /// Writes and flushes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Says that nothing more will be written (TCP half-close).
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads once; `false` at the end of the stream.
    pub async fn fill(&mut self) -> Result<bool, Cut> {
        self.ahead.reserve(32 << 10);
        Ok(self.stream.read_buf(&mut self.ahead).await? > 0)
    }

    /// What was read ahead and not yet taken.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes what was read ahead.
    pub fn take_ahead(&mut self) -> Bytes {
        self.ahead.split().freeze()
    }

    /// Waits until the other side closes or resets. What it still sends is kept.
    pub async fn until_closed(&mut self) {
        while let Ok(true) = self.fill().await {}
    }

    /// Reads up to and including `mark`; `None` when the stream ends before it.
    pub async fn read_through(&mut self, mark: &[u8]) -> Result<Option<Bytes>, Cut> {
        let mut searched = 0;
        loop {
            let found = self.ahead[searched..].windows(mark.len()).position(|window| window == mark);
            if let Some(position) = found {
                return Ok(Some(self.ahead.split_to(searched + position + mark.len()).freeze()));
            }
            searched = self.ahead.len().saturating_sub(mark.len() - 1);
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads a message head up to its empty line; `None` when the stream ends before it.
    pub async fn read_head(&mut self) -> Result<Option<Bytes>, Cut> {
        self.read_through(b"\r\n\r\n").await
    }

    /// Reads exactly `count` bytes.
    pub async fn read_exactly(&mut self, count: usize) -> Result<Bytes, Cut> {
        while self.ahead.len() < count {
            if !self.fill().await? {
                return Err(Cut(format!("closed after {} of {count} bytes", self.ahead.len())));
            }
        }
        Ok(self.ahead.split_to(count).freeze())
    }

    /// Reads everything up to the end of the stream.
    pub async fn read_to_end(&mut self) -> Result<Bytes, Cut> {
        while self.fill().await? {}
        Ok(self.take_ahead())
    }

    /// The next piece of a body of which `left` bytes are still to come.
    pub async fn piece(&mut self, left: u64) -> Result<Bytes, Cut> {
        if self.ahead.is_empty() && !self.fill().await? {
            return Err(Cut(format!("closed with {left} bytes of the body to come")));
        }
        let count = left.min(self.ahead.len() as u64) as usize;
        Ok(self.ahead.split_to(count).freeze())
    }

    /// Reads a whole body, giving each piece to `each` as it comes; the trailer fields of a chunked one are returned.
    pub async fn read_body(&mut self, framing: Framing, mut each: impl FnMut(&[u8])) -> Result<Fields, Cut> {
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => self.read_counted(length, &mut each).await?,
            Framing::Chunked => return self.read_chunks(&mut each).await,
            Framing::UntilClose => {
                each(&self.take_ahead());
                while self.fill().await? {
                    each(&self.take_ahead());
                }
            }
        }
        Ok(Fields::default())
    }

    /// Reads a whole body into a [`Body`], which says whether it was complete.
    pub async fn collect(&mut self, framing: Framing) -> (Body, Option<Cut>) {
        let mut body = Body::default();
        match self.read_body(framing, |piece| body.take(piece)).await {
            Ok(trailers) => (Body { complete: true, trailers, ..body }, None),
            Err(cut) => (body, Some(cut)),
        }
    }

    async fn read_counted(&mut self, length: u64, each: &mut impl FnMut(&[u8])) -> Result<(), Cut> {
        let mut left = length;
        while left > 0 {
            let piece = self.piece(left).await?;
            left -= piece.len() as u64;
            each(&piece);
        }
        Ok(())
    }

    async fn read_chunks(&mut self, each: &mut impl FnMut(&[u8])) -> Result<Fields, Cut> {
        loop {
            match self.read_chunk_size().await? {
                0 => return self.read_trailers().await,
                size => self.read_counted(size, each).await?,
            }
            self.read_chunk_end().await?;
        }
    }

    /// The size line of the next chunk, without its extensions.
    pub async fn read_chunk_size(&mut self) -> Result<u64, Cut> {
        let line = self.read_through(b"\r\n").await?.ok_or_else(|| Cut("closed before a chunk size".into()))?;
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or("").trim();
        u64::from_str_radix(digits, 16).map_err(|_| Cut(format!("{text:?} is no chunk size")))
    }

    /// The line end after a chunk.
    pub async fn read_chunk_end(&mut self) -> Result<(), Cut> {
        match &self.read_exactly(2).await?[..] {
            b"\r\n" => Ok(()),
            other => Err(Cut(format!("{other:?} after a chunk"))),
        }
    }

    /// The trailer fields after the last chunk.
    pub async fn read_trailers(&mut self) -> Result<Fields, Cut> {
        let mut lines = String::new();
        loop {
            let line = self.read_through(b"\r\n").await?.ok_or_else(|| Cut("closed in the trailers".into()))?;
            if line == b"\r\n"[..] {
                return Ok(Fields::parse(&lines));
            }
            lines.push_str(&String::from_utf8_lossy(&line));
        }
    }
}
