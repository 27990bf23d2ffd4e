//! What answers tell of limits (draft-ietf-httpapi-ratelimit-headers-11).

use std::fmt::Write as _;

use filter::Reply;
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
        name(&mut text, limit);
        // Writing to a string cannot fail.
        let _ = write!(text, ";q={quota};w={seconds}");
    }
    HeaderValue::try_from(text).ok().filter(|text| !text.is_empty())
}

/// A string of structured fields (RFC 9651 section 3.3.3), which holds visible ASCII only.
fn name(text: &mut String, limit: &Limit) {
    text.push('"');
    for letter in limit.name.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            _ => text.push('_'),
        }
    }
    text.push('"');
}

/// `"fair-use";r=99;t=60`.
fn state(limit: &Limit, remaining: u32, reset: u64) -> Option<HeaderValue> {
    let mut text = String::with_capacity(limit.name.len() + 32);
    name(&mut text, limit);
    let _ = write!(text, ";r={remaining};t={reset}");
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
    let state = state(limit, nearest.remaining, reset).map(|state| (STATE, state));
    let policies = policies.map(|policies| (POLICY, policies.clone()));
    for (name, value) in policies.into_iter().chain(state) {
        // Such a field cannot be refused: its name and value are checked.
        let _ = head.append_header(name, value);
    }
    for (name, value) in x_fields(limit, nearest.remaining, reset).into_iter().flatten() {
        let _ = head.insert_header(name, value);
    }
}

/// Tells a client that is refused by `limit`.
pub(crate) fn refusal(limit: &Limit, policies: Option<&HeaderValue>, reset: u64, reply: &mut Reply) {
    let policies = policies.map(|policies| (POLICY, policies.clone()));
    let state = state(limit, 0, reset).map(|state| (STATE, state));
    reply.headers.extend(policies.into_iter().chain(state));
    reply.headers.extend(x_fields(limit, 0, reset).into_iter().flatten());
}
