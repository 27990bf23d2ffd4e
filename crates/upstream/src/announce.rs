//! Connections that begin with a header of the PROXY protocol.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use pingora_core::{
    Error, ErrorType, OrErr, Result,
    connectors::L4Connect,
    protocols::l4::{ext, socket::SocketAddr, stream::Stream},
    upstreams::peer::HttpPeer,
};
use proxy_protocol::{Ends, Version, encode};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Connects as Pingora does, and says the header first. The peer's `total_connection_timeout` bounds both.
#[derive(Debug)]
struct Announcing(Vec<u8>);

/// Makes the connections of `peer` begin with a header that tells `ends`. Such a connection is another client's as little
/// as its header is, so it is found again in the pool under these ends only.
pub(crate) fn announce(peer: &mut HttpPeer, version: Version, ends: &Ends) {
    // A client can choose its port and much of its address; with keys of our own it cannot choose what they hash to.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    peer.group_key = KEYS.hash_one((peer.group_key, version, ends));
    peer.options.custom_l4 = Some(Arc::new(Announcing(encode(version, ends))));
}

#[async_trait]
impl L4Connect for Announcing {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        match address {
            SocketAddr::Inet(address) => {
                let mut socket = ext::connect(address, None).await.map_err(ours)?;
                self.say(&mut socket).await?;
                Ok(socket.into())
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().unwrap_or(Path::new(""));
                let mut socket = ext::connect_uds(path).await.map_err(ours)?;
                self.say(&mut socket).await?;
                Ok(socket.into())
            }
        }
    }
}

impl Announcing {
    async fn say(&self, socket: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let said: io::Result<()> = async {
            socket.write_all(&self.0).await?;
            socket.flush().await
        }
        .await;
        said.or_err(ErrorType::ConnectError, "cannot write the PROXY header")
    }
}

/// An error of our own socket is told as Pingora tells it where it connects itself: an internal one.
fn ours(error: Box<Error>) -> Box<Error> {
    match error.etype() {
        ErrorType::SocketError | ErrorType::BindError => {
            Error::because(ErrorType::InternalError, "cannot connect", error)
        }
        _ => error,
    }
}
