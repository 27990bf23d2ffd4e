//! What is forwarded is written anew, so that every recipient reads it alike: one `Content-Length`, one `Cookie`.

use http::{HeaderValue, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::head::{Head, members, name};

/// Settles the framing of a request for an upstream. Call it once `head` has its final version.
///
/// Equal repeated lengths, which RFC 9110 section 8.6 lets a recipient accept, become one; different ones were refused
/// by the parser. Cookie crumbs of HTTP/2 are joined for HTTP/1.1 (RFC 9113 section 8.2.3).
pub fn settle_request(head: &mut RequestHeader) {
    one_length(head);
    if head.version != Version::HTTP_2 {
        join_cookies(head);
    }
}

/// Settles the framing of an answer: equal repeated lengths become one, and a 204 has neither length nor coding
/// (RFC 9110 section 8.6, RFC 9112 section 6.1).
pub fn settle_response(head: &mut ResponseHeader) {
    one_length(head);
    if head.status == StatusCode::NO_CONTENT {
        head.take(&header::CONTENT_LENGTH);
    }
    if matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        head.take(&header::TRANSFER_ENCODING);
    }
}

/// Whether an answer has no transfer coding but `chunked`. Another one would lose its name on the way to HTTP/2, and
/// its content would be taken for what it is not.
pub fn is_framing_known(head: &ResponseHeader) -> bool {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).into_iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

fn one_length<H: Head>(head: &mut H) {
    let mut lines = head.fields().get_all(header::CONTENT_LENGTH).into_iter();
    let Some(first) = lines.next() else { return };
    let padded = first.len() > 1 && first.as_bytes().starts_with(b"0");
    if lines.next().is_none() && !first.as_bytes().contains(&b',') && !padded {
        return;
    }
    let first = members(head.fields(), &header::CONTENT_LENGTH).next();
    if let Some(value) = first.and_then(|member| HeaderValue::from_bytes(unpadded(member)).ok()) {
        head.put(name("Content-Length"), value);
    }
}

/// Without leading zeros, which some read as octal.
fn unpadded(length: &[u8]) -> &[u8] {
    let zeros = length.iter().take_while(|byte| **byte == b'0').count();
    &length[zeros.min(length.len().saturating_sub(1))..]
}

fn join_cookies(head: &mut RequestHeader) {
    let mut lines = head.headers.get_all(header::COOKIE).into_iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let mut joined = Vec::new();
    for line in head.headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(joined) {
        head.put(name("Cookie"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, name: &'static str, values: &[&str]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        head.set_version(version);
        for value in values {
            head.append_header(name, *value).unwrap();
        }
        settle_request(&mut head);
        head
    }

    #[test]
    fn equal_lengths_become_one() {
        for values in [&["5", "5"][..], &["5, 5"], &["5,5", "5"], &["5"], &["05"], &["005", "5"]] {
            let head = request(Version::HTTP_11, "Content-Length", values);
            assert_eq!(head.headers.get_all("content-length").into_iter().collect::<Vec<_>>(), ["5"], "{values:?}");
        }
        let mut answer = ResponseHeader::build(200, None).unwrap();
        answer.append_header("Content-Length", "7").unwrap();
        answer.append_header("Content-Length", "7").unwrap();
        settle_response(&mut answer);
        assert_eq!(answer.headers.get_all("content-length").into_iter().count(), 1);
    }

    #[test]
    fn nothing_has_no_length() {
        let answer = |status: u16| {
            let mut answer = ResponseHeader::build(status, None).unwrap();
            answer.append_header("Content-Length", "00").unwrap();
            answer.append_header("Transfer-Encoding", "chunked").unwrap();
            settle_response(&mut answer);
            let has = |name| answer.headers.contains_key(name);
            (has(header::CONTENT_LENGTH), has(header::TRANSFER_ENCODING))
        };
        assert_eq!(answer(204), (false, false));
        assert_eq!(answer(304), (true, false));
        assert_eq!(answer(200), (true, true));
    }

    #[test]
    fn an_answer_is_chunked_or_not_coded() {
        let known = |codings: &[&str]| {
            let mut answer = ResponseHeader::build(200, None).unwrap();
            for coding in codings {
                answer.append_header("Transfer-Encoding", *coding).unwrap();
            }
            is_framing_known(&answer)
        };
        assert!(known(&[]) && known(&["chunked"]) && known(&["Chunked "]));
        assert!(!known(&["gzip, chunked"]) && !known(&["xchunked"]) && !known(&["chunked", "chunked"]));
    }

    #[test]
    fn cookie_crumbs_are_joined_for_http_1() {
        let head = request(Version::HTTP_11, "cookie", &["a=1", "b=2", "c=3"]);
        assert_eq!(head.headers.get_all("cookie").into_iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let head = request(Version::HTTP_2, "cookie", &["a=1", "b=2"]);
        assert_eq!(head.headers.get_all("cookie").into_iter().count(), 2);
    }
}
