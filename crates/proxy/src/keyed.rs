//! What the cache knows a request by.

use cache::{Asked, Forward, Key, Policy};
use filter::ClientCertificate;
use http::Method;
use pingora_http::RequestHeader;
use snapshot::Route;
use transform::{hop, told};

use crate::dispatch::is_stream;

/// A request as the origin is [`shown`] it, where that is another one than the client sent.
pub(crate) type Shown = Option<Box<RequestHeader>>;

/// The request as the origin is shown it, as far as credentials go, where that is another one than the client sent: what is
/// hidden from the origin tells no answers apart, and is not to be written down with them.
pub(crate) fn shown(route: &Route, head: &RequestHeader) -> Shown {
    if route.veils { route.auth.veiled(head).map(Box::new) } else { None }
}

/// What the answer is kept under to a request as the origin is [`shown`] it; `None` where it is kept for nobody.
pub(crate) fn key_of(route: &Route, policy: &Policy, request: &filter::View<'_>) -> Option<Key> {
    if route.auth.exposes(request) {
        return None;
    }
    let key = policy.key(request)?;
    // The origin is told it, and may answer by it.
    let told = if request.client.trusted { told::host(&request.head.headers) } else { None };
    let key = match told.filter(|_| policy.tells_hosts()) {
        Some(host) => key.of_host(host),
        None => key,
    };
    Some(match certificate(route, request) {
        Some(shown) => key.of_certificate(&shown.fingerprint),
        None => key,
    })
}

/// The certificate of the client that the origin is told (RFC 9440). A `Vary` that names the field says nothing: no client
/// sends it.
fn certificate<'r>(route: &Route, request: &filter::View<'r>) -> Option<&'r ClientCertificate> {
    let shown = request.client.tls.as_ref()?.client.as_deref()?;
    tells_certificates(route).then_some(shown)
}

/// Whether the origin is told the certificates of clients.
pub(crate) fn tells_certificates(route: &Route) -> bool {
    !route.request.as_ref().is_some_and(|edits| edits.hides("client-cert"))
}

/// Why a request has nothing to do with the cache; `None` where it has.
pub(crate) fn passes(policy: &Policy, request: &filter::View<'_>, asked: &Asked, uploads: bool) -> Option<Forward> {
    let head = request.head;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Some(Forward::Method);
    }
    if policy.bypasses(request) {
        return Some(Forward::Bypass);
    }
    let own = uploads || asked.no_store || is_stream(head) || cache::select::is_for_origin(&head.headers);
    // The origin would answer to less than what the answer is kept under.
    (own || hop::withholds(head)).then_some(Forward::Request)
}
