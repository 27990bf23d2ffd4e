//! What is forwarded is written anew, so that every recipient reads it alike: one `Content-Length`, one `Cookie`.

use http::{HeaderValue, Version, header};
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

/// Settles the framing of an answer: equal repeated lengths become one.
pub fn settle_response(head: &mut ResponseHeader) {
    one_length(head);
}

fn one_length<H: Head>(head: &mut H) {
    let mut lines = head.fields().get_all(header::CONTENT_LENGTH).into_iter();
    let Some(first) = lines.next() else { return };
    if lines.next().is_none() && !first.as_bytes().contains(&b',') {
        return;
    }
    let first = members(head.fields(), &header::CONTENT_LENGTH).next();
    if let Some(value) = first.and_then(|member| HeaderValue::from_bytes(member).ok()) {
        head.put(name("Content-Length"), value);
    }
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
        for values in [&["5", "5"][..], &["5, 5"], &["5,5", "5"], &["5"]] {
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
    fn cookie_crumbs_are_joined_for_http_1() {
        let head = request(Version::HTTP_11, "cookie", &["a=1", "b=2", "c=3"]);
        assert_eq!(head.headers.get_all("cookie").into_iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let head = request(Version::HTTP_2, "cookie", &["a=1", "b=2"]);
        assert_eq!(head.headers.get_all("cookie").into_iter().count(), 2);
    }
}
