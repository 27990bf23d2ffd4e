//! What answers tell of limits (draft-ietf-httpapi-ratelimit-headers-11).

use std::fmt::Write;

use bytes::BytesMut;
use filter::{Reply, Short, write_line};
use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use crate::{limit::Limit, permits::Nearest};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// `"fair-use";q=100;w=60, "daily";q=1000;w=86400`; `None` where there is nothing to announce.
pub(crate) fn policies<'l>(limits: impl Iterator<Item = &'l Limit>) -> Option<HeaderValue> {
    let mut text = String::new();
    for limit in limits {
        let Some((quota, seconds)) = limit.policy() else { continue };
        if !text.is_empty() {
            text.push_str(", ");
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{};q={quota};w={seconds}", limit.told);
    }
    HeaderValue::try_from(text).ok().filter(|text| !text.is_empty())
}

/// A limit's name as a string of structured fields (RFC 9651 section 3.3.3), which holds visible ASCII only.
pub(crate) fn told(name: &str) -> Box<str> {
    let mut text = String::from("\"");
    for letter in name.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            _ => text.push('_'),
        }
    }
    text.push('"');
    text.into()
}

/// `"fair-use";r=99;t=60`.
fn state(limit: &Limit, remaining: u32, reset: u64, out: &mut impl Write) {
    let (remaining, reset) = (Short::of_number(remaining), Short::of_number(reset));
    for part in [&*limit.told, ";r=", remaining.as_str(), ";t=", reset.as_str()] {
        // Writing to memory cannot fail.
        let _ = out.write_str(part);
    }
}

fn state_value(limit: &Limit, remaining: u32, reset: u64) -> Option<HeaderValue> {
    let mut text = String::with_capacity(limit.told.len() + 32);
    state(limit, remaining, reset, &mut text);
    HeaderValue::try_from(text).ok()
}

/// The older fields, which every gateway fills in a little differently: the quota, what is left, seconds until more.
fn x_fields(limit: &Limit, remaining: u32, reset: u64) -> Option<[(HeaderName, HeaderValue); 3]> {
    let (quota, _) = limit.policy().filter(|_| limit.x_headers)?;
    Some([(X_LIMIT, quota.into()), (X_REMAINING, remaining.into()), (X_RESET, reset.into())])
}

/// Tells a client that passes where it stands. An origin that has limits of its own has told of them already.
pub(crate) fn passing(limit: &Limit, policies: Option<&HeaderValue>, nearest: Nearest, head: &mut ResponseHeader) {
    let reset = u64::from(nearest.reset);
    let state = state_value(limit, nearest.remaining, reset).map(|state| (STATE, state));
    let policies = policies.map(|policies| (POLICY, policies.clone()));
    for (name, value) in policies.into_iter().chain(state) {
        // Such a field cannot be refused: its name and value are checked.
        let _ = head.append_header(name, value);
    }
    for (name, value) in x_fields(limit, nearest.remaining, reset).into_iter().flatten() {
        let _ = head.insert_header(name, value);
    }
}

/// The same as lines of HTTP/1, behind all other fields of a head that was [cleared](clear).
pub(crate) fn write(limit: &Limit, policies: Option<&HeaderValue>, nearest: Nearest, out: &mut BytesMut) {
    let reset = u64::from(nearest.reset);
    if let Some(policies) = policies {
        write_line(out, POLICY.as_str().as_bytes(), policies.as_bytes());
    }
    out.extend_from_slice(b"ratelimit: ");
    state(limit, nearest.remaining, reset, out);
    out.extend_from_slice(b"\r\n");
    for (name, value) in x_fields(limit, nearest.remaining, reset).into_iter().flatten() {
        write_line(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Takes out what [`passing`] would replace.
pub(crate) fn clear(limit: &Limit, head: &mut ResponseHeader) {
    if limit.x_headers && limit.policy().is_some() {
        [X_LIMIT, X_REMAINING, X_RESET].iter().for_each(|name| drop(head.remove_header(name)));
    }
}

/// Tells a client that is refused by `limit`.
pub(crate) fn refusal(limit: &Limit, policies: Option<&HeaderValue>, reset: u64, reply: &mut Reply) {
    let policies = policies.map(|policies| (POLICY, policies.clone()));
    let state = state_value(limit, 0, reset).map(|state| (STATE, state));
    reply.headers.extend(policies.into_iter().chain(state));
    reply.headers.extend(x_fields(limit, 0, reset).into_iter().flatten());
}
