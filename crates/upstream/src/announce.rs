//! Connections that begin with a header of the PROXY protocol.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use pingora_core::{
    ErrorType, OrErr, Result,
    connectors::L4Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream},
    upstreams::peer::HttpPeer,
};
use proxy_protocol::{Ends, Version, encode};
use tokio::io::AsyncWriteExt;

use crate::counted::{Dial, plain};

/// Connects, and says the header first. The peer's `total_connection_timeout` bounds both.
#[derive(Debug)]
struct Announcing {
    header: Vec<u8>,
    dial: Option<Dial>,
}

/// Makes the connections of `peer` begin with a header that tells `ends`. Such a connection is another client's as little
/// as its header is, so it is found again in the pool under these ends only.
pub(crate) fn announce(peer: &mut HttpPeer, version: Version, ends: &Ends) {
    // A client can choose its port and much of its address; with keys of our own it cannot choose what they hash to.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    peer.group_key = KEYS.hash_one((peer.group_key, version, ends));
    // With room for more streams Pingora's pool would keep an entry for these ends for ever where two streams begin and end at
    // the same moment (see `counted`), and nobody comes by there again.
    peer.options.max_h2_streams = 1;
    let dial = peer.options.custom_l4.take();
    peer.options.custom_l4 = Some(Arc::new(Announcing { header: encode(version, ends), dial }));
}

#[async_trait]
impl L4Connect for Announcing {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let mut stream = match &self.dial {
            Some(dial) => dial.connect(address).await?,
            None => plain(address).await?,
        };
        let said: io::Result<()> = async {
            stream.write_all(&self.header).await?;
            stream.flush().await
        }
        .await;
        said.or_err(ErrorType::ConnectError, "cannot write the PROXY header")?;
        Ok(stream)
    }
}
