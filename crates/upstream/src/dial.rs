//! Finds out whether a connection can be made.

use std::{io, path::Path};

use filter::Reason;
use pingora_core::protocols::l4::socket::SocketAddr;
use tokio::net::{TcpStream, UnixStream};

use crate::reading::{Fault, Reading};

/// Connects and closes at once.
pub(crate) async fn dial(address: &SocketAddr) -> Result<(), Reading> {
    let connected = match address {
        SocketAddr::Inet(address) => TcpStream::connect(address).await.map(drop),
        SocketAddr::Unix(address) => {
            UnixStream::connect(address.as_pathname().unwrap_or(Path::new(""))).await.map(drop)
        }
    };
    connected.map_err(|error| Reading::of_connecting(&error))
}

impl Reading {
    /// Reads the error of a connection that could not be made.
    pub fn of_connecting(error: &io::Error) -> Self {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, ConnectionRefused, OutOfMemory, TimedOut};
        let reason = match error.kind() {
            ConnectionRefused => Reason::UpstreamRefused,
            TimedOut => Reason::ConnectTimeout,
            AddrInUse | AddrNotAvailable | OutOfMemory => Reason::LocalResource,
            _ if crate::reading::has_run_out(error) => Reason::LocalResource,
            _ => Reason::UpstreamUnreachable,
        };
        let fault = if reason == Reason::LocalResource { Fault::Ours } else { Fault::Backend };
        Self { reason, fault, sent: false }
    }
}
