//! The PROXY protocol's header: who a connection is really from, said in its first bytes.
//!
//! HAProxy's authors specify it (`proxy-protocol.txt`); version 1 is a line of text, version 2 is binary. [`encode`]
//! writes a header for a backend, [`parse`] reads one from the first bytes of a connection, however they arrive.
//!
//! ```
//! use maitred_proxy_protocol::{Ends, Parsed, Told, Version, encode, parse};
//!
//! let client = "192.0.2.7:50000".parse().ok();
//! let header = encode(Version::V1, &Ends { source: client, destination: "10.0.0.1:443".parse().ok() });
//! assert_eq!(header, b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n");
//!
//! let Parsed::Whole(length, Told::Client(ends)) = parse(&header) else { unreachable!() };
//! assert_eq!((length, ends.source), (header.len(), client));
//! assert_eq!(parse(&header[..10]), Parsed::Partial);
//! assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Parsed::Absent);
//! ```

mod encode;
mod parse;

use std::net::SocketAddr;

pub use encode::encode;
pub use parse::{MAX_LENGTH, Malformed, Parsed, Told, parse};

/// What every header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";

/// What every header of version 2 begins with.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The two forms of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of a client's connection, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ends {
    /// The client's end.
    pub source: Option<SocketAddr>,
    /// The end that the client connected to.
    pub destination: Option<SocketAddr>,
}
