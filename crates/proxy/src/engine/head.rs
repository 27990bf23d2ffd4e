//! Heads of HTTP/1 messages as the engine reads and writes them.

use std::mem::MaybeUninit;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::{RequestHeader, ResponseHeader};
use snapshot::Answers;

use super::lines::Lines;
use crate::front::{
    answer::Whole,
    chunked::Chunks,
    head::{MAX_FIELDS, check_lines, parse_length},
};

/// The head of an answer, and what it says of its connection.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) head: ResponseHeader,
    /// Its fields, where they are not in the head's table.
    pub(super) lines: Lines,
    /// The head's length in bytes.
    pub(super) length: usize,
    /// Whether the connection may be used again after it.
    pub(super) persists: bool,
}

/// An answer that is none (RFC 9112).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where the content of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its head.
    Head,
    /// After so many bytes more.
    Left(u64),
    /// Where the chunked coding says.
    Chunked(Chunks),
    /// With the connection, which has ended or not.
    Close { ended: bool },
}

/// Reads the head at the start of `bytes`; `None` while it is not whole. What is not `asked` for of it stays as it came.
pub(super) fn read(bytes: &[u8], asked: Option<&Answers>) -> Result<Option<Answered>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut answer, bytes, &mut fields)
        .map_err(|_| Malformed)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    check_lines(&bytes[..length]).map_err(|_| Malformed)?;
    let status = StatusCode::from_u16(answer.code.unwrap_or(0)).map_err(|_| Malformed)?;
    let lines = asked.and_then(|asked| Lines::of(status, answer.headers, &bytes[..length], asked));
    let room = if lines.is_some() { 0 } else { answer.headers.len() + 4 };
    let mut head = ResponseHeader::build(status, Some(room)).map_err(|_| Malformed)?;
    if lines.is_none() {
        for field in Whole::new(&bytes[..length]).fields(answer.headers) {
            let (name, value) = field.ok_or(Malformed)?;
            head.append_header(name, value).map_err(|_| Malformed)?;
        }
    }
    if let Some(words) = answer.reason
        && Some(words) != head.status.canonical_reason()
    {
        head.set_reason_phrase(Some(words)).map_err(|_| Malformed)?;
    }
    let is_old = answer.version == Some(0);
    let persists = match &lines {
        Some(lines) => lines.persists.unwrap_or(!is_old),
        None => persists(&head.headers, is_old),
    };
    head.set_version(Version::HTTP_11);
    Ok(Some(Answered { head, lines: lines.unwrap_or_default(), length, persists }))
}

/// Whether a connection goes on after a message with these fields (RFC 9112 section 9.3).
pub(super) fn persists(fields: &HeaderMap, is_old: bool) -> bool {
    let (mut close, mut keep) = (false, false);
    for line in fields.get_all(header::CONNECTION) {
        for option in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            close |= option.eq_ignore_ascii_case(b"close");
            keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    !close && (keep || !is_old)
}

/// Where the content of an answer to `method` ends (RFC 9112 section 6.3). A length beside chunks is no longer than the
/// chunks are, and no reason to trust the connection any further: `persists` becomes false.
pub(super) fn ending(answer: &mut Answered, method: &Method) -> Result<Ending, Malformed> {
    let head = &answer.head;
    let is_empty = *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if head.headers.contains_key(header::TRANSFER_ENCODING) && !is_empty {
        // `relay::upstream_response` refuses every other coding.
        answer.persists &= !head.headers.contains_key(header::CONTENT_LENGTH);
        return Ok(Ending::Chunked(Chunks::default()));
    }
    let mut length = answer.lines.length;
    for line in head.headers.get_all(header::CONTENT_LENGTH) {
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let said = parse_length(member).ok_or(Malformed)?;
            if length.replace(said).is_some_and(|before| before != said) {
                return Err(Malformed);
            }
        }
    }
    match length {
        _ if is_empty => Ok(Ending::Head),
        Some(0) => Ok(Ending::Head),
        Some(length) => Ok(Ending::Left(length)),
        None => {
            answer.persists = false;
            Ok(Ending::Close { ended: false })
        }
    }
}

/// Writes the head of a request, with whatever lines `more` adds.
pub(super) fn write_request(head: &RequestHeader, chunked: bool, out: &mut BytesMut, more: impl FnOnce(&mut BytesMut)) {
    out.put_slice(head.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.raw_path());
    out.put_slice(b" HTTP/1.1\r\n");
    head.header_to_h1_wire(out);
    more(out);
    out.put_slice(if chunked { b"Transfer-Encoding: chunked\r\n\r\n" } else { b"\r\n" });
}

/// Writes the head of an interim answer.
pub(super) fn write_interim(head: &ResponseHeader, out: &mut BytesMut) {
    write_status(head, out);
    head.header_to_h1_wire(out);
    out.put_slice(b"\r\n");
}

/// Writes the head of a final answer, with the origin's `lines`, whatever lines `more` adds and what is said of the
/// connection. An answer without a date gets one (RFC 9110 section 6.6.1).
pub(super) fn write_final(
    head: &ResponseHeader,
    lines: &Lines,
    keeps: bool,
    out: &mut BytesMut,
    more: impl FnOnce(&mut BytesMut),
) {
    write_status(head, out);
    lines.write(out);
    head.header_to_h1_wire(out);
    more(out);
    if !lines.is_dated && !head.headers.contains_key(header::DATE) {
        out.put_slice(b"Date: ");
        out.put_slice(get_cached_date().as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(if keeps { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
}

fn write_status(head: &ResponseHeader, out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.get_reason_phrase().unwrap_or("").as_bytes());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Answered {
        read(text.as_bytes(), None).unwrap().unwrap()
    }

    fn end(fields: &str) -> Result<(Ending, bool), Malformed> {
        let mut answer = answered(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        ending(&mut answer, &Method::GET).map(|ending| (ending, answer.persists))
    }

    #[test]
    fn an_answer_ends_where_its_framing_says() {
        assert_eq!(end("Content-Length: 5\r\n"), Ok((Ending::Left(5), true)));
        assert_eq!(end("Content-Length: 0\r\n"), Ok((Ending::Head, true)));
        assert_eq!(end("Content-Length: 5\r\nContent-Length: 5\r\n"), Ok((Ending::Left(5), true)));
        assert_eq!(end("Transfer-Encoding: chunked\r\n"), Ok((Ending::Chunked(Chunks::default()), true)));
        let both = end("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(both, Ok((Ending::Chunked(Chunks::default()), false)));
        assert_eq!(end(""), Ok((Ending::Close { ended: false }, false)));
        for wrong in ["5\r\nContent-Length: 6", "5, 6", "x", "-1", "", "99999999999999999999"] {
            assert_eq!(end(&format!("Content-Length: {wrong}\r\n")), Err(Malformed), "{wrong}");
        }
        for text in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"] {
            assert_eq!(ending(&mut answered(text), &Method::GET), Ok(Ending::Head));
        }
        let mut to_head = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(ending(&mut to_head, &Method::HEAD), Ok(Ending::Head));
    }

    #[test]
    fn a_connection_goes_on_unless_somebody_says_otherwise() {
        for (text, goes_on) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: x,close\r\nConnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(answered(text).persists, goes_on, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for wrong in [
            "hello\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        ] {
            assert!(read(wrong.as_bytes(), None).is_err(), "{wrong}");
        }
        assert!(read(b"HTTP/1.1 200 OK\r\nX: y\r\n", None).unwrap().is_none());
    }

    #[test]
    fn heads_are_written_as_they_were_read() {
        let mut out = BytesMut::new();
        write_interim(&answered("HTTP/1.1 404 Gone Fishing\r\nX-Case: Y\r\n\r\n").head, &mut out);
        assert_eq!(out, "HTTP/1.1 404 Gone Fishing\r\nX-Case: Y\r\n\r\n");
        let mut out = BytesMut::new();
        let dated = answered("HTTP/1.1 200 OK\r\nDate: today\r\n\r\n").head;
        write_final(&dated, &Lines::default(), false, &mut out, |_| {});
        assert_eq!(out, "HTTP/1.1 200 OK\r\nDate: today\r\nConnection: close\r\n\r\n");
    }
}
