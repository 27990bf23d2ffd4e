//! Step 1: pin the snapshot, normalise the target, name the client, choose the route.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use filter::{Captures, Client, Reason, Reply, RequestId, Scheme, Trace, authority_of};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use listen::Connection;
use pingora_http::RequestHeader;
use snapshot::Snapshot;
use transform::told;

use crate::{
    context::{Arrival, Attempt, Context, host_of},
    dispatch,
    front::is_host,
    local,
};

/// Fills in what the request is. A refusal still leaves an arrival behind, so that it is logged like any request.
pub(crate) fn arrive(
    snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    head: &mut RequestHeader,
    ctx: &mut Context,
) -> Result<(), Reply> {
    let client = client(&connection, head);
    let arrival = ctx.arrival.insert(Arrival {
        snapshot,
        connection,
        route: None,
        client,
        host: None,
        path: None,
        captures: Captures::new(),
    });
    check(head)?;
    arrival.host = Some(canonical_host(host_of(head)));
    if let std::borrow::Cow::Owned(path) = route::normalise(head.uri.path())? {
        arrival.path = Some(path.into());
    }
    if is_misdirected(&arrival.connection, arrival.view(head).host) {
        return Err(Reason::Misdirected.into());
    }
    if arrival.connection.listener.redirect.is_some() && arrival.client.scheme == Scheme::Http {
        return Err(local::to_https(arrival.snapshot.https_port, head));
    }
    if !choose(arrival, head) {
        return Err(local::unclaimed(head));
    }
    let call_ends = dispatch::call_ends(head, ctx.record.start);
    let deadline = deadline(arrival, ctx.record.start).into_iter().chain(call_ends).min();
    ctx.attempt = Attempt { deadline, ..Attempt::default() };
    Ok(())
}

/// What HTTP/1's head reader has refused already, and HTTP/2's codec lets through.
fn check(head: &RequestHeader) -> Result<(), Reason> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Reason::MethodRefused);
    }
    let path = head.uri.path();
    if !path.starts_with('/') {
        // `OPTIONS *` asks about the server as a whole (RFC 9110 section 9.3.7), and no route is that.
        let asterisk = path == "*" && head.method == Method::OPTIONS;
        return Err(if asterisk { Reason::NoRoute } else { Reason::BadRequest });
    }
    if head.version == Version::HTTP_2 { check_h2(head) } else { Ok(()) }
}

fn check_h2(head: &RequestHeader) -> Result<(), Reason> {
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Reason::BadRequest);
    }
    if target.len() > listen::MAX_URL {
        return Err(Reason::UrlTooLong);
    }
    let authority = authority_of(head).as_bytes();
    let mut hosts = head.headers.get_all(header::HOST).iter();
    // RFC 9113 section 8.3.1: a Host beside the authority must say the same, or two readers would see two sites.
    let agree = hosts.next().is_none_or(|host| host.as_bytes().trim_ascii().eq_ignore_ascii_case(authority));
    if !agree || hosts.next().is_some() || !is_host(authority) {
        return Err(Reason::BadHost);
    }
    if head.headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return Err(Reason::BadRequest);
    }
    Ok(())
}

/// Writes a request that came over HTTP/2 as HTTP/1 would have: its authority in the Host field, and the rest of its
/// target by itself. Nobody has to take it apart again.
pub(crate) fn settle(head: &mut RequestHeader) {
    let Some(target) = head.uri.path_and_query().cloned() else { return };
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str());
        if let (false, Ok(host)) = (head.headers.contains_key(header::HOST), host) {
            // A constant name is a valid one.
            let _ = head.insert_header(header::HOST, host);
        }
        head.set_uri(Uri::from(target));
    }
}

/// Where clients are asked for certificates, a connection is good for the host that its handshake named, and for no other
/// one: whoever was let in by one name is not let in by all (ADR 11). A client that names none has connected by address.
fn is_misdirected(connection: &Connection, host: &str) -> bool {
    if connection.listener.client_auth.is_none() || host.is_empty() {
        return false;
    }
    match connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()) {
        Some(name) => name.strip_suffix('.').unwrap_or(name) != host,
        None => !is_address(host),
    }
}

fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
}

/// A preflight goes where the request that it asks for would go, if CORS is spoken there.
fn choose(arrival: &mut Arrival, head: &RequestHeader) -> bool {
    if let Some(method) = cors::preflight_method(head) {
        let mut asked = head.clone();
        asked.set_method(method);
        if find(arrival, &asked) && arrival.route().is_some_and(|route| route.cors.is_some()) {
            return true;
        }
    }
    find(arrival, head)
}

fn find(arrival: &mut Arrival, head: &RequestHeader) -> bool {
    let mut captures = Captures::new();
    let found = arrival.snapshot.table.find(&arrival.view(head), &mut captures);
    arrival.captures = captures;
    arrival.route = found.map(|id| id.0);
    found.is_some()
}

fn deadline(arrival: &Arrival, began: Instant) -> Option<Instant> {
    arrival.route().and_then(|route| route.timeout).map(|timeout| began + timeout)
}

/// Lower case, without a trailing dot.
fn canonical_host(host: &str) -> Box<str> {
    let mut host: Box<str> = host.strip_suffix('.').unwrap_or(host).into();
    host.make_ascii_lowercase();
    host
}

fn client(connection: &Connection, head: &RequestHeader) -> Client {
    let (peer, headers) = (connection.peer, &head.headers);
    let trusted = connection.is_trusted();
    let own = peer.map(|peer| peer.ip().to_canonical());
    let scheme = connection.listener.scheme();
    let port = connection.local.map_or(0, |local| local.port());
    let mut client = Client {
        address: own,
        peer,
        trusted,
        scheme,
        port,
        listener: connection.listener.name.clone(),
        tls: connection.tls.clone(),
        request_id: request_id(trusted, headers),
        trace: Trace::of_request(headers, fastrand::u128(..), fastrand::u64(..)),
    };
    if trusted {
        client.address = told::address(headers, |address| connection.listener.trusts(address)).or(own);
        client.scheme = told::scheme(headers).unwrap_or(scheme);
        client.port = told::port(headers).unwrap_or(port);
    }
    client
}

fn request_id(trusted: bool, headers: &HeaderMap) -> RequestId {
    let kept = trusted.then(|| headers.get("x-request-id")).flatten();
    kept.and_then(|value| RequestId::from_peer(value.as_bytes())).unwrap_or_else(new_request_id)
}

/// A fresh UUIDv7.
pub(crate) fn new_request_id() -> RequestId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RequestId::new(now.as_millis() as u64, fastrand::u128(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_compare_in_lower_case_and_without_the_root_dot() {
        for host in ["api.example.com", "API.example.com", "api.example.com."] {
            assert_eq!(&*canonical_host(host), "api.example.com");
        }
    }

    #[test]
    fn an_address_is_told_from_a_name() {
        assert!(["127.0.0.1", "[::1]"].into_iter().all(is_address));
        assert!(!["localhost", "1.2.3", "[a]", ""].into_iter().any(is_address));
    }
}
