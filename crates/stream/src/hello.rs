//! The first message of a TLS client, read for the name that it asks for (SNI) and otherwise left as it is.
//!
//! A library for TLS would judge the message as well, and refuse what this machine's version of it does not speak; that
//! is for the backend to do.

use std::time::Duration;

use filter::Reason;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

/// The longest first message that is read, in bytes: those with keys against quantum computers have some 2 KiB.
const MAX_LENGTH: usize = 16 * 1024;

/// How much is read at once.
const READ: usize = 2 * 1024;

/// The alert that answers a name which nobody here has (RFC 6066 section 3): a record of TLS 1.0, fatal,
/// unrecognized_name.
pub(crate) const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 1, 0, 2, 2, 112];

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of a client's first message.
    Partial,
    /// The whole of it, and the name that it asks for, in lower case.
    Whole(Option<String>),
    /// Something else.
    Other,
}

/// Reads the message. Returns every byte that was read, and the name.
pub(crate) async fn read(
    from: &mut (impl AsyncRead + Unpin + ?Sized),
    limit: Duration,
) -> Result<(Vec<u8>, Option<String>), Reason> {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            bytes.reserve(READ);
            if !matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
                return Err(Reason::ClientClosed);
            }
            match parse(&bytes) {
                Hello::Partial if bytes.len() < MAX_LENGTH => {}
                Hello::Whole(name) => return Ok(name),
                Hello::Partial | Hello::Other => return Err(Reason::NotTls),
            }
        }
    };
    let name = timeout(limit, reading).await.unwrap_or(Err(Reason::HeaderTimeout))?;
    Ok((bytes, name))
}

/// Reads the message that `bytes` begin with (RFC 8446 sections 4 and 5.1).
pub(crate) fn parse(bytes: &[u8]) -> Hello {
    match message(bytes) {
        Ok(Some(message)) => match name(&message) {
            Some(name) => Hello::Whole(name),
            None => Hello::Other,
        },
        Ok(None) => Hello::Partial,
        Err(NotHello) => Hello::Other,
    }
}

/// What is no first message of a client.
struct NotHello;

/// The message without its header, put together from the records that carry it; `None` while there is more to come.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, NotHello> {
    let (mut whole, mut rest) = (Vec::new(), bytes);
    loop {
        // Content type 22 (handshake), a version 3.x, and a length.
        if rest.first().is_some_and(|kind| *kind != 22) || rest.get(1).is_some_and(|major| *major != 3) {
            return Err(NotHello);
        }
        let Some((header, after)) = rest.split_first_chunk::<5>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > MAX_LENGTH {
            return Err(NotHello);
        }
        let fragment = &after[..length.min(after.len())];
        whole.extend_from_slice(fragment);
        // Message type 1 (client_hello) and a length of three bytes.
        if whole.first().is_some_and(|kind| *kind != 1) {
            return Err(NotHello);
        }
        if let Some(&[_, high, middle, low]) = whole.first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or(usize::MAX);
            if length > MAX_LENGTH {
                return Err(NotHello);
            }
            if whole.len() >= 4 + length {
                return Ok(Some(whole[4..4 + length].to_vec()));
            }
        }
        if fragment.len() < length {
            return Ok(None);
        }
        rest = &after[length..];
    }
}

/// The name in a message; the outer `None` where it cannot be read.
fn name(message: &[u8]) -> Option<Option<String>> {
    let mut rest = Fields(message);
    rest.take(2 + 32)?; // version, random
    rest.vector(1)?; // session id
    rest.vector(2)?; // cipher suites
    rest.vector(1)?; // compression methods
    if rest.0.is_empty() {
        return Some(None); // TLS 1.2 and before may have no extensions
    }
    let mut extensions = Fields(rest.vector(2)?);
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.take(2)?;
        let body = extensions.vector(2)?;
        if kind == [0, 0] {
            if found.is_some() {
                return None; // of each kind there is one (RFC 8446 section 4.2); two might be read differently
            }
            found = Some(server_name(body)?);
        }
    }
    Some(found)
}

/// The one name of the extension (RFC 6066 section 3).
fn server_name(body: &[u8]) -> Option<String> {
    let mut names = Fields(Fields(body).vector(2)?);
    let kind = names.take(1)?;
    let name = names.vector(2)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let usable = kind == [0] && names.0.is_empty() && (1..=253).contains(&name.len()) && name.iter().all(plain);
    usable.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// Bytes, from which fields are taken one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A field that begins with its length, a number of so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests;
