//! What the proxies before us tell of the client: address, scheme, host and port.
//!
//! Ask only where the connection's peer is trusted. Of several values the last counts, because the nearest proxy wrote
//! it; a client may have put anything before. `X-Forwarded-*` wins over `Forwarded` (RFC 7239), which counts where
//! there is no field of the older kind.

use std::net::{IpAddr, SocketAddr};

use filter::Scheme;
use http::{HeaderMap, HeaderName, header::FORWARDED};

use crate::head::members;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The client's address as seen through trusted proxies: from the connection's peer leftwards through
/// `X-Forwarded-For`, as far as each address is trusted to have told the one before it.
///
/// ```
/// use maitred_transform::client_address;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.0.0.2".parse().unwrap());
/// let trusted = |address: std::net::IpAddr| address.to_string().starts_with("10.");
/// let client = client_address("10.0.0.1".parse().unwrap(), &headers, trusted);
/// assert_eq!(client.to_string(), "203.0.113.7");
/// ```
pub fn client_address(peer: IpAddr, headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    address(headers, is_trusted).unwrap_or(peer)
}

/// The address that a trusted peer tells; `None` when it tells none. For a peer that has no address of its own, at the
/// other end of a unix socket.
///
/// What cannot be read as an address ends the walk: nothing further left can be vouched for.
pub fn address(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut nearest = None;
    let mut walk = |node: Option<IpAddr>| {
        let Some(address) = node else { return false };
        nearest = Some(address);
        is_trusted(address)
    };
    if headers.contains_key(&X_FORWARDED_FOR) {
        let _ = members(headers, &X_FORWARDED_FOR).rev().all(|node| walk(node_address(node)));
    } else {
        let elements = members(headers, &FORWARDED).rev();
        let _ = elements.map(|element| parameter(element, b"for")).all(|node| walk(node.and_then(node_address)));
    }
    nearest
}

/// The scheme that the client used, as a trusted peer tells it.
pub fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let told = last(headers, &X_FORWARDED_PROTO, b"proto")?;
    if told.eq_ignore_ascii_case(b"https") || told.eq_ignore_ascii_case(b"wss") {
        Some(Scheme::Https)
    } else if told.eq_ignore_ascii_case(b"http") || told.eq_ignore_ascii_case(b"ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// The host that the client asked for, with its port if it gave one, as a trusted peer tells it.
pub fn host(headers: &HeaderMap) -> Option<&str> {
    let told = std::str::from_utf8(last(headers, &X_FORWARDED_HOST, b"host")?).ok()?;
    told.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@')).then_some(told)
}

/// The port that the client connected to, as a trusted peer tells it: in `X-Forwarded-Port`, with the host, or by the
/// scheme.
pub fn port(headers: &HeaderMap) -> Option<u16> {
    let told = members(headers, &X_FORWARDED_PORT).next_back();
    let told = told.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
    told.or_else(|| host(headers)?.parse::<http::uri::Authority>().ok()?.port_u16())
        .or_else(|| Some(scheme(headers)?.default_port()))
        .filter(|&port| port != 0)
}

/// The last member of the field `name`, or the parameter `key` of the last element of `Forwarded`.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName, key: &[u8]) -> Option<&'h [u8]> {
    if headers.contains_key(name) {
        return members(headers, name).next_back();
    }
    parameter(members(headers, &FORWARDED).next_back()?, key)
}

/// The value of a parameter in one element of `Forwarded`, without its quotes. None of the values that we read can hold
/// a comma, a semicolon or a backslash, so that quoted ones which do are unreadable, never misread.
fn parameter<'h>(element: &'h [u8], key: &[u8]) -> Option<&'h [u8]> {
    element.split(|&byte| byte == b';').find_map(|pair| {
        let split = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (pair[..split].trim_ascii(), pair[split + 1..].trim_ascii());
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.eq_ignore_ascii_case(key).then_some(value)
    })
}

/// The address of a node: `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:8080`; `None`
/// for `unknown` and for hidden names.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|node| node.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
