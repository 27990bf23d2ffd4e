//! Step 1: pin the snapshot, normalise the target, name the client, choose the route.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use filter::{Captures, Client, Reason, RequestId, Scheme, Trace, View};
use http::{HeaderMap, Method, Version, header};
use listen::Connection;
use pingora_http::RequestHeader;
use snapshot::Snapshot;

use crate::{
    context::{Arrival, Attempt, Context, authority_of, host_of},
    front::is_host,
};

/// Fills in what the request is. A refusal still leaves an arrival behind, so that it is logged like any request.
pub(crate) fn arrive(
    snapshot: Arc<Snapshot>,
    connection: &Connection,
    head: &mut RequestHeader,
    ctx: &mut Context,
) -> Result<(), Reason> {
    drop_h2c_upgrade(head);
    let client = client(connection, head);
    let arrival = ctx.arrival.insert(Arrival {
        snapshot,
        route: None,
        client,
        host: None,
        path: None,
        captures: Captures::new(),
    });
    check(head)?;
    arrival.host = canonical_host(host_of(head));
    if let std::borrow::Cow::Owned(path) = route::normalise(head.uri.path())? {
        arrival.path = Some(path.into());
    }
    choose(arrival, head)?;
    ctx.attempt = Attempt { deadline: deadline(arrival, ctx.record.began()), ..Attempt::default() };
    Ok(())
}

/// What HTTP/1's head reader has refused already, and HTTP/2's codec lets through.
fn check(head: &RequestHeader) -> Result<(), Reason> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Reason::MethodRefused);
    }
    if !head.uri.path().starts_with('/') && head.method != Method::OPTIONS {
        return Err(Reason::BadRequest);
    }
    if head.version == Version::HTTP_2 {
        if !is_host(authority_of(head).as_bytes()) {
            return Err(Reason::BadHost);
        }
        if head.headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
            return Err(Reason::BadRequest);
        }
    }
    Ok(())
}

/// An origin that took `Upgrade: h2c` up would hand the client a second, unfiltered way in; nobody needs it
/// (RFC 9113 section 3.1 withdrew it).
fn drop_h2c_upgrade(head: &mut RequestHeader) {
    let Some(upgrade) = head.headers.get(header::UPGRADE) else { return };
    let names_h2 = upgrade.as_bytes().split(|byte| *byte == b',').any(|protocol| {
        let protocol = protocol.trim_ascii();
        protocol.eq_ignore_ascii_case(b"h2c") || protocol.eq_ignore_ascii_case(b"h2")
    });
    if names_h2 || head.version != Version::HTTP_11 || head.headers.get_all(header::UPGRADE).iter().count() > 1 {
        head.remove_header(&header::UPGRADE);
        head.remove_header("http2-settings");
    }
}

fn choose(arrival: &mut Arrival, head: &RequestHeader) -> Result<(), Reason> {
    let mut captures = Captures::new();
    let found = {
        let view: View<'_> = arrival.view(head);
        arrival.snapshot.table.find(&view, &mut captures)
    };
    arrival.captures = captures;
    arrival.route = found.map(|id| id.0);
    found.map(|_| ()).ok_or(Reason::NoRoute)
}

fn deadline(arrival: &Arrival, began: Instant) -> Option<Instant> {
    arrival.route().and_then(|route| route.timeout).map(|timeout| began + timeout)
}

/// Lower case, without a trailing dot; `None` when it is so already.
fn canonical_host(host: &str) -> Option<Box<str>> {
    let trimmed = host.strip_suffix('.').unwrap_or(host);
    if trimmed.len() == host.len() && !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some(trimmed.to_ascii_lowercase().into())
}

fn client(connection: &Connection, head: &RequestHeader) -> Client {
    let peer = connection.peer;
    let trusted = connection.is_trusted();
    let facts = if trusted { forwarded(connection, &head.headers) } else { Seen::default() };
    let scheme = if connection.tls.is_some() { Scheme::Https } else { Scheme::Http };
    Client {
        address: facts.address.or_else(|| peer.map(|peer| peer.ip().to_canonical())),
        peer,
        trusted,
        scheme: facts.scheme.unwrap_or(scheme),
        port: facts.port.unwrap_or_else(|| connection.local.map_or(0, |local| local.port())),
        listener: connection.listener.name.clone(),
        tls: connection.tls.clone(),
        request_id: request_id(trusted, &head.headers),
        trace: Trace::of_request(&head.headers, random128(), fastrand::u64(..)),
    }
}

/// What a trusted proxy before us says of the client.
#[derive(Default)]
struct Seen {
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
    port: Option<u16>,
}

fn forwarded(connection: &Connection, headers: &HeaderMap) -> Seen {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let scheme = match text("x-forwarded-proto") {
        Some(proto) if proto.eq_ignore_ascii_case("https") => Some(Scheme::Https),
        Some(proto) if proto.eq_ignore_ascii_case("http") => Some(Scheme::Http),
        _ => None,
    };
    let address = connection.peer.map(|peer| {
        transform::client_address(peer.ip().to_canonical(), headers, |address| connection.listener.trusts(address))
    });
    Seen { address, scheme, port: text("x-forwarded-port").and_then(|port| port.parse().ok()) }
}

fn request_id(trusted: bool, headers: &HeaderMap) -> RequestId {
    let kept = trusted.then(|| headers.get("x-request-id")).flatten();
    kept.and_then(|value| RequestId::from_peer(value.as_bytes())).unwrap_or_else(new_request_id)
}

/// A fresh UUIDv7.
pub(crate) fn new_request_id() -> RequestId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RequestId::new(now.as_millis() as u64, random128())
}

fn random128() -> u128 {
    fastrand::u128(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_compare_in_lower_case_and_without_the_root_dot() {
        assert_eq!(canonical_host("api.example.com"), None);
        assert_eq!(canonical_host("API.example.com").as_deref(), Some("api.example.com"));
        assert_eq!(canonical_host("api.example.com.").as_deref(), Some("api.example.com"));
    }

    #[test]
    fn h2c_is_never_asked_of_an_origin() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.insert_header("Upgrade", "h2c").unwrap();
        drop_h2c_upgrade(&mut head);
        assert!(!head.headers.contains_key("upgrade"));
        head.insert_header("Upgrade", "websocket").unwrap();
        drop_h2c_upgrade(&mut head);
        assert!(head.headers.contains_key("upgrade"));
    }
}
