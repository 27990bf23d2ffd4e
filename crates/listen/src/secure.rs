//! A client's TLS connection as Pingora's engine sees it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use filter::TlsFacts;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{listener, wire::Wire};

/// TLS over a [`Wire`], after its handshake.
#[derive(Debug)]
pub(crate) struct Secure {
    tls: TlsStream<Wire>,
    digest: Arc<SslDigest>,
    protocol: Option<ALPN>,
}

impl Secure {
    /// Performs the handshake.
    ///
    /// # Errors
    ///
    /// What went wrong, and the socket, which may have the alert that says so under way.
    pub(crate) async fn accept(config: Arc<ServerConfig>, wire: Wire) -> Result<(Self, TlsFacts), (io::Error, Wire)> {
        let tls = TlsAcceptor::from(config).accept(wire).into_fallible().await?;
        let session = tls.get_ref().1;
        let Some(facts) = listener::facts(session) else {
            let unread = io::Error::new(io::ErrorKind::InvalidData, "the client's certificate cannot be read");
            return Err((unread, tls.into_inner().0));
        };
        let protocol = match session.alpn_protocol() {
            Some(b"h2") => Some(ALPN::H2),
            Some(b"http/1.1") => Some(ALPN::H1),
            _ => None,
        };
        let digest = Arc::new(SslDigest::new(facts.cipher, facts.version, None, None, Vec::new()));
        Ok((Self { tls, digest, protocol }, facts))
    }

    /// Whether the two agreed on HTTP/2.
    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.protocol, Some(ALPN::H2))
    }

    /// How much the socket has taken in all.
    pub(crate) fn taken(&self) -> u64 {
        self.tls.get_ref().0.taken()
    }

    /// Makes the closing of the connection a reset.
    pub(crate) fn break_off(&mut self) {
        self.tls.get_mut().0.break_off();
    }

    fn wire(&self) -> &Wire {
        self.tls.get_ref().0
    }
}

impl AsyncRead for Secure {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, out)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

impl UniqueID for Secure {
    fn id(&self) -> UniqueIDType {
        self.wire().id()
    }
}

impl Ssl for Secure {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.digest))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.protocol.clone()
    }
}

impl Peek for Secure {}

#[async_trait]
impl Shutdown for Secure {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            log::debug!("a TLS connection was gone before it was closed: {error}");
        }
    }
}

impl GetTimingDigest for Secure {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.wire().get_timing_digest()
    }
}

impl GetProxyDigest for Secure {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Secure {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.wire().get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.tls.get_mut().0.set_socket_digest(digest);
    }
}
