//! Who the client is, told to the origin; and what clients claim about themselves, removed.

mod claims;

use filter::{Amend, Client, Scheme, View};
use http::{HeaderValue, header};
use pingora_http::RequestHeader;

use crate::{
    head::{Head, name},
    line::Line,
    told,
};

pub use claims::{CLAIMS, is_claim};

/// Tells the origin who the client is: `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, `X-Request-Id`, `traceparent`,
/// the certificate that the client has shown (`Client-Cert`, RFC 9440) and, where asked for, `Forwarded` (RFC 7239).
///
/// From an untrusted peer everything that could pass for such knowledge is [removed](CLAIMS) first. From a trusted one
/// `X-Forwarded-For` and `Forwarded` are continued, scheme, host and port stay as it told them, and the rest of what it
/// claims is passed on, except for a client certificate: too many proxies pass that field on as their clients sent it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Whether `Forwarded` is sent besides the fields that everybody knows: `forwarded = true` in a route's `request`.
    pub forwarded: bool,
}

impl Amend<RequestHeader> for Forwarding {
    fn amend(&self, head: &mut RequestHeader, request: &View<'_>) {
        let client = request.client;
        claims::remove(head, client.trusted);
        let asked = asked_host(request);
        let told = if client.trusted { told::host(&request.head.headers) } else { None };
        forwarded_for(head, request);
        if self.forwarded {
            forwarded(head, request, asked.as_ref());
        }
        head.put(name("X-Forwarded-Proto"), HeaderValue::from_static(client.scheme.as_str()));
        match told.and_then(|host| HeaderValue::from_str(host).ok()).or(asked) {
            Some(host) => head.put(name("X-Forwarded-Host"), host),
            None => head.take(&claims::X_FORWARDED_HOST),
        }
        head.put(name("X-Forwarded-Port"), port_value(client.port));
        if let Ok(id) = HeaderValue::from_str(client.request_id.as_str()) {
            head.put(name("X-Request-Id"), id);
        }
        head.put(name("traceparent"), client.trace.to_header_value());
        if !client.trace.is_continued() {
            head.take(&claims::TRACESTATE);
        }
        if let Some(certificate) = client.tls.as_ref().and_then(|tls| tls.client.as_ref()) {
            head.put(name("Client-Cert"), certificate.field.clone());
        }
    }
}

/// The host as the client sent it, port included: the `Host` field or the `:authority` of HTTP/2.
fn asked_host(request: &View<'_>) -> Option<HeaderValue> {
    let field = request.head.headers.get(header::HOST).filter(|host| !host.is_empty());
    field.cloned().or_else(|| HeaderValue::from_str(request.head.uri.authority()?.as_str()).ok())
}

/// Sets `X-Forwarded-For` to the peer, after what a trusted one told.
fn forwarded_for(head: &mut RequestHeader, request: &View<'_>) {
    let mut line = Line::default();
    if request.client.trusted {
        line.push_list(request.head.headers.get_all(&claims::X_FORWARDED_FOR));
    }
    if let Some(peer) = request.client.peer {
        line.separate();
        line.write(peer.ip().to_canonical());
    }
    match line.value().filter(|value| !value.is_empty()) {
        Some(value) => head.put(name("X-Forwarded-For"), value),
        None => head.take(&claims::X_FORWARDED_FOR),
    }
}

/// Sets `Forwarded` to an element of ours, after those that a trusted peer sent.
fn forwarded(head: &mut RequestHeader, request: &View<'_>, host: Option<&HeaderValue>) {
    let mut line = Line::default();
    if request.client.trusted {
        line.push_list(request.head.headers.get_all(header::FORWARDED));
    }
    line.separate();
    element(&mut line, request.client, host);
    if let Some(value) = line.value() {
        head.put(name("Forwarded"), value);
    }
}

/// One element of `Forwarded`. An IPv6 address stands in brackets and quotes (RFC 7239 section 6), a host in quotes
/// where it is no token, which a port makes it. Behind a trusted peer the scheme is that of its connection to us.
fn element(line: &mut Line, client: &Client, host: Option<&HeaderValue>) {
    match client.peer.map(|peer| peer.ip().to_canonical()) {
        Some(address) if address.is_ipv6() => line.write(format_args!("for=\"[{address}]\"")),
        Some(address) => line.write(format_args!("for={address}")),
        None => line.push(b"for=unknown"),
    }
    if let Some(host) = host {
        line.push(b";host=");
        quote(line, host.as_bytes());
    }
    let secure = if client.trusted { client.tls.is_some() } else { client.scheme == Scheme::Https };
    line.push(if secure { b";proto=https" } else { b";proto=http" });
}

/// Writes a token as it is and anything else as a quoted string (RFC 9110 section 5.6.4).
fn quote(line: &mut Line, text: &[u8]) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if text.iter().all(plain) {
        return line.push(text);
    }
    line.push(b"\"");
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            line.push(b"\\");
        }
        line.push(&[byte]);
    }
    line.push(b"\"");
}

/// A port as text; the two that nearly every client uses are there already.
fn port_value(port: u16) -> HeaderValue {
    match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => HeaderValue::from(other),
    }
}

#[cfg(test)]
mod tests;
