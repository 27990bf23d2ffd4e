//! The PROXY header that a connection begins with, where its listener takes one.

use bytes::{Buf, BytesMut};
use filter::Reason;
use proxy_protocol::{Parsed, Told, parse};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{Connection, ProxyProtocol, Socket};

/// How much is read at once: most headers are shorter.
const READ: usize = 256;

/// Reads the header and puts the client that it names in the peer's place. Returns what came after it and was read along.
/// The error is why the connection is refused; `None` for one that ended or fell silent without a word, as the health
/// checks of load balancers do.
pub(crate) async fn read(socket: &mut Socket, connection: &mut Connection) -> Result<BytesMut, Option<Reason>> {
    let mut bytes = BytesMut::new();
    let required = match connection.listener.proxy_protocol {
        ProxyProtocol::Off => return Ok(bytes),
        ProxyProtocol::Optional => false,
        ProxyProtocol::Required => true,
    };
    if !connection.is_trusted() {
        // Without a claim to refuse, whoever speaks the listener's own protocol is welcome.
        return if required { Err(Some(Reason::BadProxyHeader)) } else { Ok(bytes) };
    }
    let wait = connection.listener.timeouts.header;
    let verdict = match timeout(wait, header(socket, &mut bytes)).await {
        Ok(verdict) => verdict,
        Err(_) => return Err((!bytes.is_empty()).then_some(Reason::HeaderTimeout)),
    };
    match verdict {
        Some(Parsed::Whole(length, told)) => {
            bytes.advance(length);
            if let Told::Client(ends) = told {
                connection.peer = ends.source;
                connection.local = ends.destination;
            }
            Ok(bytes)
        }
        Some(Parsed::Absent) if !required => Ok(bytes),
        Some(_) => Err(Some(Reason::BadProxyHeader)),
        None => Err((!bytes.is_empty()).then_some(Reason::BadProxyHeader)),
    }
}

/// Reads until the verdict is known; `None` when the connection ends before it.
async fn header(socket: &mut Socket, bytes: &mut BytesMut) -> Option<Parsed> {
    loop {
        bytes.reserve(READ);
        if !matches!(socket.read_buf(bytes).await, Ok(1..)) {
            return None;
        }
        match parse(bytes) {
            Parsed::Partial => {}
            verdict => return Some(verdict),
        }
    }
}
