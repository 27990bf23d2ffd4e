//! What answers tell of limits (draft-ietf-httpapi-ratelimit-headers-11).

use std::{borrow::Cow, fmt::Write};

use bytes::BytesMut;
use filter::{Reply, Short, write_line};
use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use crate::{limit::Limit, plan::Tier};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// `"fair-use";q=100;w=60, "daily";q=1000;w=86400`, in a month of so many days; `None` where there is nothing to announce.
pub(crate) fn policies<'l>(limits: impl Iterator<Item = (&'l Limit, Tier)>, days: u64) -> Option<HeaderValue> {
    let mut text = String::new();
    for (limit, tier) in limits {
        let Some((quota, seconds)) = limit.policy(tier, days) else { continue };
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
fn x_fields(told: &Told<'_>) -> Option<[(HeaderName, HeaderValue); 3]> {
    let Told { limit, tier, remaining, reset, .. } = *told;
    let (quota, _) = limit.policy(tier, 0).filter(|_| limit.x_headers)?;
    Some([(X_LIMIT, quota.into()), (X_REMAINING, remaining.into()), (X_RESET, reset.into())])
}

/// What a client is told.
pub(crate) struct Told<'t> {
    /// The limit that it is nearest to the end of, and which of its rules concern the client.
    pub(crate) limit: &'t Limit,
    pub(crate) tier: Tier,
    /// What is said of all limits.
    pub(crate) policies: Option<Cow<'t, HeaderValue>>,
    pub(crate) remaining: u32,
    /// Seconds until there is more.
    pub(crate) reset: u64,
}

/// Tells a client that passes where it stands. An origin that has limits of its own has told of them already.
pub(crate) fn passing(told: &Told<'_>, head: &mut ResponseHeader) {
    let state = state_value(told.limit, told.remaining, told.reset).map(|state| (STATE, state));
    let policies = told.policies.as_deref().map(|policies| (POLICY, policies.clone()));
    for (name, value) in policies.into_iter().chain(state) {
        // Such a field cannot be refused: its name and value are checked.
        let _ = head.append_header(name, value);
    }
    for (name, value) in x_fields(told).into_iter().flatten() {
        let _ = head.insert_header(name, value);
    }
}

/// The same as lines of HTTP/1, behind all other fields of a head that was [cleared](clear).
pub(crate) fn write(told: &Told<'_>, out: &mut BytesMut) {
    if let Some(policies) = &told.policies {
        write_line(out, POLICY.as_str().as_bytes(), policies.as_bytes());
    }
    out.extend_from_slice(b"ratelimit: ");
    state(told.limit, told.remaining, told.reset, out);
    out.extend_from_slice(b"\r\n");
    for (name, value) in x_fields(told).into_iter().flatten() {
        write_line(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Takes out what [`passing`] would replace.
pub(crate) fn clear(limit: &Limit, head: &mut ResponseHeader) {
    if limit.x_headers && limit.policy(Tier::default(), 0).is_some() {
        [X_LIMIT, X_REMAINING, X_RESET].iter().for_each(|name| drop(head.remove_header(name)));
    }
}

/// Tells a client that is refused by a limit.
pub(crate) fn refusal(told: &Told<'_>, reply: &mut Reply) {
    let policies = told.policies.as_deref().map(|policies| (POLICY, policies.clone()));
    let state = state_value(told.limit, 0, told.reset).map(|state| (STATE, state));
    reply.headers.extend(policies.into_iter().chain(state));
    reply.headers.extend(x_fields(told).into_iter().flatten());
}
