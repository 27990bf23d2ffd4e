//! The answers that need no route: health, and the way to TLS.

use filter::{Body, Reason, Reply, authority_of};
use http::{HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;

use crate::context::strip_port;

/// What a request gets that no route takes: `GET /health` is answered unless a route claims it.
pub(crate) fn unclaimed(head: &RequestHeader) -> Reply {
    let asks_health = head.uri.path() == "/health" && matches!(head.method, Method::GET | Method::HEAD);
    if asks_health { health() } else { Reason::NoRoute.into() }
}

fn health() -> Reply {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let version = env!("CARGO_PKG_VERSION");
    let body = format!("{{\"status\":\"healthy\",\"timestamp\":\"{now}\",\"version\":\"{version}\"}}\n");
    Reply::answer(StatusCode::OK, Body::Bytes(body.into()))
        .with(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Where a listener with `redirect = "https"` sends everybody; 308 keeps method and body (RFC 9110 section 15.4.9).
pub(crate) fn to_https(port: Option<u16>, head: &RequestHeader) -> Reply {
    let host = strip_port(authority_of(head));
    if host.is_empty() {
        // Only HTTP/1.0 may leave it out, and then there is no URL to send anybody to.
        return Reason::BadHost.into();
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let port = match port {
        Some(port) if port != 443 => format!(":{port}"),
        _ => String::new(),
    };
    match HeaderValue::from_str(&format!("https://{host}{port}{target}")) {
        Ok(location) => Reply::answer(StatusCode::PERMANENT_REDIRECT, Body::Empty).with(header::LOCATION, location),
        Err(_) => Reason::BadRequest.into(),
    }
}
