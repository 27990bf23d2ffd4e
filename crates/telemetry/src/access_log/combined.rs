//! The access log in Apache's combined format.

use std::time::SystemTime;

use http::Version;

use super::{LoggedRequest, redact, text};
use crate::Record;

/// Appends the line of one request that began at `start`:
/// `203.0.113.7 - - [21/Nov/2026:21:45:03 +0000] "GET /products/7 HTTP/2.0" 200 1834 "-" "curl/8.5"`.
pub(super) fn write(
    out: &mut Vec<u8>,
    start: SystemTime,
    record: &Record,
    request: &LoggedRequest<'_>,
    hidden: &[Box<str>],
) {
    match request.client_ip {
        Some(address) => text::address(out, address),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - ");
    write_user(out, request.identity.and_then(|by| by.user.as_deref()));
    out.extend_from_slice(b" [");
    text::apache(out, start);
    out.extend_from_slice(b"] \"");
    write_line(out, request, hidden);
    out.extend_from_slice(b"\" ");
    match record.status {
        0 => out.push(b'-'),
        status => text::number(out, u64::from(status)),
    }
    out.push(b' ');
    match record.bytes_out {
        0 => out.push(b'-'),
        bytes => text::number(out, bytes),
    }
    out.extend_from_slice(b" \"");
    let referer = request.referer.map(|url| redact::referer(url, hidden));
    text::quoted(out, referer.as_deref().unwrap_or(b"-"));
    out.extend_from_slice(b"\" \"");
    text::quoted(out, request.user_agent.map_or(b"-", |agent| redact::field("user-agent", agent, hidden)));
    out.extend_from_slice(b"\"\n");
}

/// The user as one word: the format has no quotes around it.
fn write_user(out: &mut Vec<u8>, user: Option<&str>) {
    let mut words = user.filter(|user| !user.is_empty()).unwrap_or("-").split(' ');
    text::quoted(out, words.next().unwrap_or("-").as_bytes());
    for word in words {
        out.extend_from_slice(b"%20");
        text::quoted(out, word.as_bytes());
    }
}

/// The request line, or `-` when none could be read.
fn write_line(out: &mut Vec<u8>, request: &LoggedRequest<'_>, hidden: &[Box<str>]) {
    let (Some(method), Some(path)) = (request.method, request.path) else {
        out.push(b'-');
        return;
    };
    text::quoted(out, method);
    out.push(b' ');
    text::quoted(out, path);
    if let Some(query) = request.query.filter(|query| !query.is_empty()) {
        out.push(b'?');
        text::quoted(out, &redact::query(query, hidden));
    }
    if let Some(version) = request.protocol {
        out.push(b' ');
        out.extend_from_slice(protocol(version));
    }
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_11 => b"HTTP/1.1",
        Version::HTTP_2 => b"HTTP/2.0",
        _ => b"HTTP/3.0",
    }
}
