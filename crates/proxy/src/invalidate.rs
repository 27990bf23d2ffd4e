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

/// RFC 9111 section 4.4: what was changed, and what the answer names of the same origin, is not what is kept of it, by whichever
/// scheme and port of the host it came there (ADR 33).
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
        let Some(path) = path_of(place.trim(), &view) else { continue };
        if let Ok(path) = route::normalise(&path) {
            zone.change(view.host, &path, now);
        }
    }
}

/// The path of what is named, as a reference (RFC 3986 section 4.1), where that is of the origin that the client has asked: no
/// other is this one's to speak for.
fn path_of(place: &str, view: &View<'_>) -> Option<String> {
    let scheme = view.client.scheme;
    if place.starts_with("//") {
        return path_on(&format!("{}:{place}", scheme.as_str()), view);
    }
    let end = place.find([':', '/', '?', '#']);
    if end.is_some_and(|end| place[end..].starts_with(':')) {
        return path_on(place, view);
    }
    Some(resolved(place, view.path))
}

/// The path of a whole URI, where its origin is the one that the client has asked.
fn path_on(uri: &str, view: &View<'_>) -> Option<String> {
    let (uri, scheme) = (uri.parse::<Uri>().ok()?, view.client.scheme);
    let usual = if scheme == Scheme::Https { 443 } else { 80 };
    let asked = filter::authority_of(view.head).rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let is_ours = uri.host().is_some_and(|host| host.eq_ignore_ascii_case(view.host))
        && uri.scheme_str() == Some(scheme.as_str())
        && uri.port_u16().unwrap_or(usual) == asked.unwrap_or(usual);
    is_ours.then(|| uri.path().to_owned())
}

/// What a reference without scheme and host means beside the path `base` (RFC 3986 section 5.2.2), with the dots that are left in
/// it.
fn resolved(reference: &str, base: &str) -> String {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    match path {
        "" => base.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", base.rsplit_once('/').map_or("", |(folder, _)| folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn a_reference_is_relative_to_what_was_asked_rfc_3986_5_4() {
        for (reference, path) in [
            ("/g", "/g"),
            ("g", "/b/c/g"),
            ("./g", "/b/c/./g"),
            ("g/", "/b/c/g/"),
            ("g?y#s", "/b/c/g"),
            ("?y", "/b/c/d;p"),
            ("#s", "/b/c/d;p"),
            ("", "/b/c/d;p"),
            (";x", "/b/c/;x"),
            ("..", "/b/c/.."),
            ("../../g", "/b/c/../../g"),
            ("/?y", "/"),
        ] {
            assert_eq!(resolved(reference, "/b/c/d;p"), path, "{reference}");
        }
        assert_eq!(resolved("g", "/"), "/g");
    }
}
