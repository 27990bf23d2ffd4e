//! A client's socket as Pingora's engine sees it.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{Socket, live::Entered};

/// How many bytes are gathered before a write; more goes out at once, together with what was gathered.
const GATHER: usize = 16 * 1024;

/// How much of the gathering buffer an idle connection keeps.
const KEEP: usize = 1024;

/// How many pieces one vectored write takes: far below the system's limit (`IOV_MAX`), and more than anybody sends.
const PIECES: usize = 32;

/// A client's socket that gathers small writes: head and body of an answer leave in one system call.
///
/// Reads are not buffered, since every reader above brings a buffer of its own; and the write buffer exists only while
/// there is something in it, so that an idle connection costs next to nothing. Pingora's own stream has both buffers
/// from the start, and their sizes cannot be set from outside.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    /// Read from the socket before it became a wire.
    ahead: BytesMut,
    /// Written by the engine and, from `sent` on, not yet by the socket.
    gathered: Vec<u8>,
    sent: usize,
    /// How much the socket has taken in all.
    taken: u64,
    /// What counts the connection, for as long as there is the socket.
    _entered: Option<Arc<Entered>>,
    digest: Arc<SocketDigest>,
    established: SystemTime,
}

impl Wire {
    /// Wraps an accepted socket; `digest` is what Pingora knows of its addresses, and `ahead` what has been read of it.
    pub(crate) fn new(socket: Socket, digest: SocketDigest, ahead: BytesMut) -> Self {
        let (digest, established) = (Arc::new(digest), SystemTime::now());
        Self { socket, ahead, gathered: Vec::new(), sent: 0, taken: 0, _entered: None, digest, established }
    }

    /// The same; its connection counts as open for as long as there is it.
    pub(crate) fn counted_by(mut self, entered: Arc<Entered>) -> Self {
        self._entered = Some(entered);
        self
    }

    /// How much the socket has taken in all.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Closes once the other end has closed as well. A socket that is closed with unread bytes in it resets the
    /// connection, and the reset overtakes what was said last.
    pub(crate) async fn close_gently(mut self) {
        let mut unread = [0; 512];
        let _ = AsyncWriteExt::shutdown(&mut self).await;
        while self.read(&mut unread).await.is_ok_and(|read| read > 0) {}
    }

    /// Makes the closing of the connection a reset.
    pub(crate) fn break_off(&mut self) {
        self.gathered = Vec::new();
        self.sent = 0;
        self.socket.break_off();
    }

    /// Its socket, unless some of what it has brought is here already.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        self.ahead.is_empty().then_some(&self.socket)
    }

    fn held(&self) -> usize {
        self.gathered.len() - self.sent
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.sent > 0 {
            self.gathered.drain(..self.sent);
            self.sent = 0;
        }
        self.gathered.extend_from_slice(bytes);
    }

    /// Counts `count` of the gathered bytes as sent.
    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.held() == 0 {
            self.sent = 0;
            if self.gathered.capacity() > KEEP { self.gathered = Vec::new() } else { self.gathered.clear() }
        }
    }

    /// Writes what is gathered and then `pieces`; returns how much of the pieces was written, which is not zero.
    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let held = self.held();
            let mut all = [IoSlice::new(&[]); PIECES];
            all[0] = IoSlice::new(&self.gathered[self.sent..]);
            let count = pieces.len().min(PIECES - 1);
            all[1..=count].copy_from_slice(&pieces[..count]);
            let first = usize::from(held == 0);
            let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &all[first..=count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written as u64;
            self.advance(written.min(held));
            if written > held {
                return Poll::Ready(Ok(written - held));
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(out.remaining());
            out.put_slice(&self.ahead.split_to(count));
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(cx, out)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held() + bytes.len() <= GATHER {
            self.hold(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.held() + length <= GATHER {
            pieces.iter().for_each(|piece| self.hold(piece));
            return Poll::Ready(Ok(length));
        }
        self.poll_send(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held() > 0 {
            let wire = &mut *self;
            let written = ready!(Pin::new(&mut wire.socket).poll_write(cx, &wire.gathered[wire.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            wire.taken += written as u64;
            wire.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The engine drops a connection without flushing it when it has given it up; what it had said by then is still sent,
/// as far as that is possible without waiting.
impl Drop for Wire {
    fn drop(&mut self) {
        if self.held() > 0 {
            let rest = &self.gathered[self.sent..];
            let _ = match &self.socket {
                Socket::Tcp(socket) => socket.try_write(rest),
                Socket::Unix(socket) => socket.try_write(rest),
            };
        }
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.socket.as_raw_fd()
    }
}

impl Ssl for Wire {}

impl Peek for Wire {}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            log::debug!("a connection was gone before it was closed: {error}");
        }
    }
}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest { established_ts: self.established, ..TimingDigest::default() })]
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.digest = Arc::new(digest);
    }
}

#[cfg(test)]
mod tests;
