//! What was changed is not what is kept of it (RFC 9111 section 4.4, RFC 9875).

use cache::Status;
use http::{HeaderName, header};
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

/// RFC 9111 section 4.4: what was changed, and what the answer names on the same host, is not what is kept of it.
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
        let Ok(place) = place.parse::<http::Uri>() else { continue };
        let same = place.host().is_none_or(|host| host.eq_ignore_ascii_case(view.host));
        if same && let Ok(path) = route::normalise(place.path()) {
            zone.change(view.host, &path, now);
        }
    }
}
