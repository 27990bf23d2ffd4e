//! What was changed is not what is kept of it (RFC 9111 section 4.4, RFC 9875).

use cache::Status;
use filter::{Scheme, View};
use http::{HeaderName, Uri, header};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::{consult::CACHE_STATUS, context::Context};

/// What an answer of the origin, or of ours, does to what is kept, and what is said of how it came about. For every answer
/// but those of [`consult`](crate::consult).
pub(crate) fn conclude(ctx: &Context, from: &RequestHeader, head: &mut ResponseHeader) {
    if let Some(value) = ctx.cached.as_ref().and_then(Status::value) {
        let _ = head.append_header(CACHE_STATUS, value);
    }
    if ctx.attempt.answered && !from.method.is_safe() && (head.status.is_success() || head.status.is_redirection()) {
        invalidate(ctx, from, head);
    }
}

/// RFC 9875 section 3: what the answer to an unsafe method says is changed with it.
const GROUPS: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// RFC 9111 section 4.4: what was changed, and what the answer names of the same origin, is not what is kept of it.
fn invalidate(ctx: &Context, from: &RequestHeader, head: &ResponseHeader) {
    let Some(arrival) = &ctx.arrival else { return };
    let Some(zone) = &arrival.snapshot.cache else { return };
    let (view, now) = (arrival.view(from), cache::now());
    zone.change(view.host, view.path, now);
    for group in cache::groups(&head.headers, &GROUPS) {
        zone.change_group(view.host, &group, now);
    }
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(place) = head.headers.get(&name).and_then(|place| place.to_str().ok()) else { continue };
        let Some(path) = path_of(place, &view) else { continue };
        if let Ok(path) = route::normalise(&path) {
            zone.change(view.host, &path, now);
        }
    }
}

/// The path of what is named, where that is of the origin that the client has asked: no other is this one's to speak for.
fn path_of(place: &str, view: &View<'_>) -> Option<String> {
    let scheme = view.client.scheme;
    let place = if place.starts_with("//") { format!("{}:{place}", scheme.as_str()) } else { place.to_owned() };
    let place = place.parse::<Uri>().ok()?;
    let usual = if scheme == Scheme::Https { 443 } else { 80 };
    let is_ours = |host: &str| {
        let asked = filter::authority_of(view.head).rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        host.eq_ignore_ascii_case(view.host)
            && place.scheme_str() == Some(scheme.as_str())
            && place.port_u16().unwrap_or(usual) == asked.unwrap_or(usual)
    };
    place.host().is_none_or(is_ours).then(|| place.path().to_owned())
}
