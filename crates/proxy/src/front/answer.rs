//! Heads and framing of HTTP/1 messages that are carried without the engine.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use filter::Reason;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{
    chunked::{Chunks, Malformed},
    head::{MAX_FIELDS, check_lines, parse_length},
};

/// Where the content of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// After so many bytes.
    Left(u64),
    /// Where the chunked coding says.
    Chunked(Chunks),
    /// With the connection.
    UntilClose,
}

impl Content {
    /// How much of `bytes` belongs to the content.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Left(left) => {
                let ours = (*left).min(bytes.len() as u64);
                *left -= ours;
                Ok(ours as usize)
            }
            Self::Chunked(chunks) => chunks.follow(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Left(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::UntilClose => false,
        }
    }
}

/// Where the content of `answer` to `request` ends (RFC 9112 section 6.3).
pub(crate) fn content(answer: &ResponseHeader, request: &RequestHeader) -> Result<Content, Reason> {
    let empty = request.method == Method::HEAD
        || answer.status.is_informational()
        || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut lengths = answer.headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = answer.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next(), lengths.next(), lengths.next()) {
        _ if empty => Ok(Content::Left(0)),
        (Some(coding), None, None, None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Content::Chunked(Chunks::default()))
        }
        (None, None, Some(length), None) => {
            parse_length(length.as_bytes()).map(Content::Left).ok_or(Reason::UpstreamProtocol)
        }
        (None, None, None, None) => Ok(Content::UntilClose),
        _ => Err(Reason::UpstreamProtocol),
    }
}

/// The head of an answer at the start of `bytes` and its length; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<(ResponseHeader, usize)>> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(bytes).map_err(|_| wrong())? else { return Ok(None) };
    check_lines(&bytes[..length]).map_err(|_| wrong())?;
    let mut head = ResponseHeader::build(answer.code.unwrap_or(0), Some(answer.headers.len())).map_err(|_| wrong())?;
    head.set_version(Version::HTTP_11);
    for field in answer.headers.iter() {
        let value = HeaderValue::from_bytes(field.value).map_err(|_| wrong())?;
        head.append_header(field.name.to_owned(), value).map_err(|_| wrong())?;
    }
    Ok(Some((head, length)))
}

/// Holds the head of a request that has been judged; `None` where it cannot be held as one. Its fields are parts of one
/// copy of `bytes`, which it was parsed from.
pub(super) fn hold(request: &httparse::Request<'_, '_>, bytes: &[u8]) -> Option<RequestHeader> {
    // With room for what is told of it on arrival: policies add to copies.
    let room = Some(request.headers.len() + 1);
    let mut head = RequestHeader::build(request.method?, request.path?.as_bytes(), room).ok()?;
    head.set_version(if request.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 });
    for field in Whole::new(bytes).fields(request.headers) {
        let (name, value) = field?;
        head.append_header(name, value).ok()?;
    }
    Some(head)
}

/// A copy of a head that its fields share, instead of one copy for each of them.
pub(crate) struct Whole<'h> {
    from: &'h [u8],
    copy: Bytes,
}

impl<'h> Whole<'h> {
    pub(crate) fn new(head: &'h [u8]) -> Self {
        Self { from: head, copy: Bytes::copy_from_slice(head) }
    }

    /// Names and values as parts of the copy; `None` for a value that is none.
    pub(crate) fn fields(&self, fields: &[httparse::Header<'_>]) -> impl Iterator<Item = Option<(Bytes, HeaderValue)>> {
        let held = |field: &httparse::Header<'_>| {
            let value = HeaderValue::from_maybe_shared(self.part(field.value)).ok()?;
            Some((self.part(field.name.as_bytes()), value))
        };
        fields.iter().map(held)
    }

    /// What in the copy is `part` of the head.
    fn part(&self, part: &[u8]) -> Bytes {
        let start = (part.as_ptr() as usize).wrapping_sub(self.from.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= self.copy.len() => self.copy.slice(start..end),
            _ => Bytes::copy_from_slice(part),
        }
    }
}

/// A request's head as bytes.
pub(crate) fn request_wire(head: &RequestHeader) -> BytesMut {
    let mut text = BytesMut::with_capacity(1024);
    text.put_slice(head.method.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(head.raw_path());
    text.put_slice(b" HTTP/1.1\r\n");
    head.header_to_h1_wire(&mut text);
    text.put_slice(b"\r\n");
    text
}

/// An answer's head as bytes; one that `closes` says so.
pub(super) fn wire(head: &ResponseHeader, closes: bool) -> BytesMut {
    let mut text = BytesMut::with_capacity(512);
    text.put_slice(b"HTTP/1.1 ");
    text.put_slice(head.status.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(head.status.canonical_reason().unwrap_or("").as_bytes());
    text.put_slice(b"\r\n");
    head.header_to_h1_wire(&mut text);
    if closes {
        text.put_slice(b"Connection: close\r\n");
    }
    text.put_slice(b"\r\n");
    text
}

/// Whether a request asks to change the protocol, and may: HTTP/1.1, without content, and not to HTTP itself.
pub(super) fn asks_to_switch(head: &RequestHeader) -> bool {
    const LENGTH: HeaderName = header::CONTENT_LENGTH;
    let has_content = head.headers.contains_key(header::TRANSFER_ENCODING)
        || head.headers.get(LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    !has_content && transform::hop::upgrade(head).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> ResponseHeader {
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    fn request(text: &str) -> RequestHeader {
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(text.as_bytes()).unwrap().is_complete());
        hold(&request, text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_ends_where_its_framing_says() {
        let get = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let end = |fields: &str| content(&answered(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), &get);
        assert_eq!(end("Content-Length: 5\r\n"), Ok(Content::Left(5)));
        assert_eq!(end("Transfer-Encoding: chunked\r\n"), Ok(Content::Chunked(Chunks::default())));
        assert_eq!(end(""), Ok(Content::UntilClose));
        for wrong in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: x\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert_eq!(end(wrong), Err(Reason::UpstreamProtocol), "{wrong}");
        }
        let switched = answered("HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(content(&switched, &get), Ok(Content::Left(0)));
    }

    #[test]
    fn only_a_plain_upgrade_is_carried() {
        let asks = |fields: &str| asks_to_switch(&request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")));
        assert!(asks("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
        assert!(asks("Connection: keep-alive, upgrade\r\nUpgrade: thing/1\r\nContent-Length: 0\r\n"));
        assert!(!asks("Upgrade: websocket\r\n"));
        assert!(!asks("Connection: Upgrade\r\nUpgrade: h2c\r\n"));
        assert!(!asks("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"));
    }

    #[test]
    fn heads_survive_the_way_through() {
        let text = "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Case: Y\r\n\r\n";
        assert_eq!(request_wire(&request(text)), text);
        let text = "HTTP/1.1 404 Not Found\r\nX-Case: Y\r\n\r\n";
        assert_eq!(wire(&answered(text), false), text);
    }
}
