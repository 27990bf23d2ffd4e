//! A client's connection, read one message at a time.
//!
//! Pingora's HTTP/1 engine reads whatever the socket has. [`Conn`] stands between: it buffers a whole request head, so
//! that the head can be judged before the engine sees a byte of it, and it hands out no byte that belongs to the next
//! message. A pipelined request therefore waits here, in order, while the one before it is answered.

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How many bytes of following requests are held while one is answered; beyond it the client's own TCP window fills.
const HELD_AHEAD: usize = 64 * 1024;

/// The first allocation for a request head; most heads fit.
const HEAD_BUFFER: usize = 2048;

/// What of the bytes to come belongs to the message being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Everything: the engine finds the end itself (chunked, or no HTTP any more).
    Open,
    /// So many bytes more.
    Left(u64),
}

/// A client connection with its facts, and with the bytes that were read ahead.
pub struct Conn {
    stream: Stream,
    ahead: BytesMut,
    boundary: Boundary,
    protocol: Option<ALPN>,
    facts: Arc<ProxyDigest>,
}

impl Conn {
    /// Wraps an accepted stream; `facts` travel with it to every request that it carries (see [`Conn::facts`]).
    pub fn new(stream: Stream, facts: Box<dyn Any + Send + Sync>) -> Option<Self> {
        let carrier = ResponseHeader::build(200, Some(0)).ok()?;
        let protocol = stream.selected_alpn_proto();
        Some(Self {
            stream,
            ahead: BytesMut::new(),
            boundary: Boundary::Open,
            protocol,
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
        self.boundary = Boundary::Open;
    }

    /// The bytes read and not yet given to the engine.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads more bytes ahead; 0 at the end of the stream.
    pub async fn read_ahead(&mut self) -> io::Result<usize> {
        self.ahead.reserve(HEAD_BUFFER);
        self.stream.read_buf(&mut self.ahead).await
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

    /// Says how much of what follows belongs to the message that the engine reads next.
    pub fn set_boundary(&mut self, boundary: Boundary) {
        self.boundary = boundary;
    }

    /// Waits for the message's end to be followed by the end of the stream, and holds what comes instead.
    fn poll_beyond(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < HELD_AHEAD {
            self.ahead.reserve(HEAD_BUFFER);
            let read = {
                let future = std::pin::pin!(self.stream.read_buf(&mut self.ahead));
                ready!(future.poll(cx))?
            };
            if read == 0 {
                // The client is gone — unless requests of its wait here, which only a half-closed one would leave.
                return if self.ahead.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let conn = self.get_mut();
        let limit = match conn.boundary {
            Boundary::Left(0) => return conn.poll_beyond(cx),
            Boundary::Left(left) => usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining()),
            Boundary::Open => out.remaining(),
        };
        let before = out.filled().len();
        if conn.ahead.is_empty() && limit >= out.remaining() {
            ready!(Pin::new(&mut conn.stream).poll_read(cx, out))?;
        } else if conn.ahead.is_empty() {
            let mut part = ReadBuf::new(out.initialize_unfilled_to(limit));
            ready!(Pin::new(&mut conn.stream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            out.advance(read);
        } else {
            let count = limit.min(conn.ahead.len());
            out.put_slice(&conn.ahead[..count]);
            conn.ahead.advance(count);
            if conn.ahead.is_empty() {
                conn.ahead = BytesMut::new();
            }
        }
        if let Boundary::Left(left) = &mut conn.boundary {
            *left -= (out.filled().len() - before) as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Conn {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Conn {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.protocol.clone()
    }
}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.facts.clone())
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Conn {}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut conn = f.debug_struct("Conn");
        conn.field("ahead", &self.ahead.len()).field("boundary", &self.boundary).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
