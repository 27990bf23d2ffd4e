//! Fields that are meant for one connection only (RFC 9110 section 7.6.1), removed in both directions.
//!
//! Pingora can strip requests by itself, but lets only WebSocket upgrades through, answers 400 where a client names a
//! protected field, and does nothing for responses. maitred therefore asks it to preserve
//! (`HttpUpstreamRequestPolicy::preserve()`) and strips here, in `upstream_request_filter` and
//! `upstream_response_filter`. Framing stays Pingora's: a request without `Transfer-Encoding` whose body has no known
//! length is sent chunked, and the `Transfer-Encoding` of a response tells Pingora how to write it.

use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

use crate::head::{Head, members, name};

/// Names to be removed, collected while the fields are borrowed.
type Names = SmallVec<[HeaderName; 4]>;

/// Removes from a request for an upstream what was meant for us alone.
///
/// `head` is the request as it will be sent, in its final version; `client` is the request as the client sent it, whose
/// `Connection` field says what else to remove. Call it before anything is added: a client can then delete nothing
/// but what it sent itself, and of that no field that [every recipient needs](is_end_to_end).
///
/// An upgrade keeps `Connection: Upgrade` and `Upgrade`; `TE: trailers` is kept towards HTTP/2, where trailers exist.
pub fn strip_request(head: &mut RequestHeader, client: &RequestHeader) {
    let upgrade = if head.version == Version::HTTP_11 { upgrade(client).cloned() } else { None };
    let trailers = head.version == Version::HTTP_2 && accepts_trailers(client);
    let mut names = nominated(&client.headers);
    let hop = |name: &&HeaderName| is_hop_by_hop(name.as_ref()) || is_request_hop_by_hop(name.as_str());
    names.extend(head.headers.keys().filter(hop).cloned());
    for name in &names {
        head.take(name);
    }
    if let Some(protocol) = upgrade {
        head.put(name("Connection"), HeaderValue::from_static("Upgrade"));
        head.put(name("Upgrade"), protocol);
    }
    if trailers {
        head.put(name("TE"), HeaderValue::from_static("trailers"));
    }
}

/// Removes from an upstream's answer what was meant for us alone; `client` is the version that the client speaks.
///
/// A 101 keeps `Connection: Upgrade` and `Upgrade`, a 426 keeps `Upgrade`. `Trailer` is kept where trailers are, from
/// HTTP/2 to HTTP/2.
pub fn strip_response(head: &mut ResponseHeader, client: Version) {
    let upgrades = matches!(head.status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
    let upgrade = if upgrades { head.headers.get(header::UPGRADE).cloned() } else { None };
    let trailers = head.version == Version::HTTP_2 && client == Version::HTTP_2;
    let mut names = nominated(&head.headers);
    let hop = |name: &&HeaderName| is_answer_hop_by_hop(name.as_ref()) && !(trailers && **name == header::TRAILER);
    names.extend(head.headers.keys().filter(hop).cloned());
    for name in &names {
        head.take(name);
    }
    if let Some(protocol) = upgrade {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            head.put(name("Connection"), HeaderValue::from_static("Upgrade"));
        }
        head.put(name("Upgrade"), protocol);
    }
}

/// The protocol that a request asks to change to, when it is an upgrade that is passed on: HTTP/1.1, `Upgrade` and a
/// `Connection` that names it (RFC 9110 section 7.8).
///
/// `h2c` is not passed on: it would open a tunnel that speaks HTTP to the origin past every rule of ours.
pub fn upgrade(client: &RequestHeader) -> Option<&HeaderValue> {
    if client.version != Version::HTTP_11 {
        return None;
    }
    let mut values = client.headers.get_all(header::UPGRADE).into_iter();
    let (Some(protocol), None) = (values.next(), values.next()) else { return None };
    let http = members(&client.headers, &header::UPGRADE)
        .any(|name| name.eq_ignore_ascii_case(b"h2c") || name.to_ascii_lowercase().starts_with(b"http/"));
    let named = members(&client.headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    (named && !http).then_some(protocol)
}

/// Whether a client said `TE: trailers`.
fn accepts_trailers(client: &RequestHeader) -> bool {
    members(&client.headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// The fields that `Connection` names, without those that a connection has no say over. Nothing is looked up where
/// there is no such field, and the usual `keep-alive`, `close` and `upgrade` cost no more than a comparison.
fn nominated(fields: &http::HeaderMap) -> Names {
    let options = members(fields, &header::CONNECTION);
    let options = options.filter(|option| {
        !matches!(option.len(), 5 | 7 | 10)
            || !([&b"close"[..], b"upgrade", b"keep-alive"].iter().any(|usual| option.eq_ignore_ascii_case(usual)))
    });
    let names = options.filter_map(|option| HeaderName::from_bytes(option).ok());
    names.filter(|name| fields.contains_key(name) && !is_end_to_end(name.as_str())).collect()
}

/// Whether `Connection` names fields of a request that would reach the origin otherwise: it answers as if they were not there.
/// Those that end with us in any case, such as `HTTP2-Settings`, are named by clients that mean no harm.
pub fn withholds(client: &RequestHeader) -> bool {
    nominated(&client.headers).iter().any(|name| !is_hop_by_hop(name.as_ref()) && !is_request_hop_by_hop(name.as_str()))
}

/// Fields that end at every hop, in either direction. `Transfer-Encoding` is left to whoever frames the message.
fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        18 => is("proxy-authenticate"),
        _ => false,
    }
}

/// Whether a field of an answer, by its name in any case, ends with us; but for `Trailer` from HTTP/2 to HTTP/2.
pub fn is_answer_hop_by_hop(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    is_hop_by_hop(name) || is("trailer") || is("proxy-authentication-info")
}

/// Those that end with us in a request only. Pingora drops the trailers of HTTP/1.1, so none are announced.
fn is_request_hop_by_hop(name: &str) -> bool {
    matches!(name, "proxy-authorization" | "transfer-encoding" | "trailer" | "http2-settings")
}

/// Fields that concern every recipient: `Connection` must not name them (RFC 9110 section 7.6.1), and a proxy before us
/// may have added them in the belief that they arrive.
pub fn is_end_to_end(name: &str) -> bool {
    let plain = matches!(
        name,
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "content-range"
            | "transfer-encoding"
            | "authorization"
            | "cookie"
            | "set-cookie"
            | "cache-control"
            | "date"
            | "expect"
            | "location"
            | "origin"
            | "vary"
            | "via"
            | "forwarded"
            | "traceparent"
            | "tracestate"
    );
    plain || name.starts_with("x-forwarded-") || matches!(name, "x-real-ip" | "x-request-id")
}

#[cfg(test)]
mod tests;
