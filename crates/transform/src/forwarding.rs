//! Who the client is, told to the origin; and what clients claim about themselves, removed.

mod claims;
mod state;

use bytes::BytesMut;
use filter::{Amend, Client, Scheme, Short, Trail, View, write_line};
use http::{HeaderValue, header};
use pingora_http::RequestHeader;

use crate::{
    head::{Head, name},
    line::Line,
    told,
};

pub use claims::{CLAIMS, OVERRIDES, is_claim};

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
    /// Whether the trace is told the configuration, in a member of its `tracestate`.
    pub generation: bool,
    /// Whether the route is ruled by method: then an untrusted peer does not get to name [another one](OVERRIDES) than was
    /// judged.
    pub methods: bool,
}

/// The fields that are told.
pub const TOLD: [&str; 9] = [
    "x-forwarded-for",
    "forwarded",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-id",
    "traceparent",
    "tracestate",
    "client-cert",
];

impl Amend<RequestHeader> for Forwarding {
    fn amend(&self, head: &mut RequestHeader, request: &View<'_>) {
        let client = request.client;
        claims::remove(head, client.trusted, self.methods);
        if client.trusted {
            // Both may have nothing to say.
            head.take(&claims::X_FORWARDED_FOR);
            head.take(&claims::X_FORWARDED_HOST);
        }
        if !client.trace.is_continued() {
            head.take(&claims::TRACESTATE);
        }
        self.tell(request, |field, value| {
            let value = match value {
                Value::Fixed(text) => Some(HeaderValue::from_static(text)),
                Value::Kept(value) => Some(value.clone()),
                Value::Made(bytes) => HeaderValue::from_bytes(bytes).ok(),
            };
            if let Some(value) = value {
                head.put(name(field), value);
            }
        });
    }
}

impl Trail<RequestHeader> for Forwarding {
    fn clear(&self, head: &mut RequestHeader, request: &View<'_>) {
        claims::remove(head, false, self.methods);
        head.take(&claims::TRACEPARENT);
        if self.generation || !request.client.trace.is_continued() {
            head.take(&claims::TRACESTATE);
        }
    }

    fn write(&self, _: &RequestHeader, request: &View<'_>, out: &mut BytesMut) {
        self.tell(request, |field, value| write_line(out, field.as_bytes(), value.as_bytes()));
    }
}

impl Forwarding {
    /// Every field that is told.
    fn tell(&self, request: &View<'_>, mut put: impl FnMut(&'static str, Value<'_>)) {
        let client = request.client;
        let asked = asked_host(request);
        let told = if client.trusted { told::host(&request.head.headers) } else { None };
        let line = forwarded_for(request);
        if !line.is_empty() {
            put("X-Forwarded-For", Value::Made(line.as_bytes()));
        }
        if self.forwarded {
            put("Forwarded", Value::Made(forwarded(request, asked.map(|host| host.as_bytes())).as_bytes()));
        }
        put("X-Forwarded-Proto", Value::Fixed(client.scheme.as_str()));
        if let Some(host) = told.map(|host| Value::Made(host.as_bytes())).or(asked) {
            put("X-Forwarded-Host", host);
        }
        match client.port {
            80 => put("X-Forwarded-Port", Value::Fixed("80")),
            443 => put("X-Forwarded-Port", Value::Fixed("443")),
            other => put("X-Forwarded-Port", Value::Made(Short::of_number(other).as_bytes())),
        }
        put("X-Request-Id", Value::Made(client.request_id.as_bytes()));
        put("traceparent", Value::Made(client.trace.to_header().as_bytes()));
        if self.generation {
            put("tracestate", Value::Made(state::with_generation(request).as_bytes()));
        }
        if let Some(certificate) = client.tls.as_ref().and_then(|tls| tls.client.as_ref()) {
            put("Client-Cert", Value::Kept(&certificate.field));
        }
    }
}

/// What a field is told, as far as possible without a copy.
#[derive(Debug, Clone, Copy)]
enum Value<'v> {
    /// Known when maitred was built.
    Fixed(&'static str),
    /// A value that somebody holds.
    Kept(&'v HeaderValue),
    /// Made for this request.
    Made(&'v [u8]),
}

impl<'v> Value<'v> {
    fn as_bytes(self) -> &'v [u8] {
        match self {
            Self::Fixed(text) => text.as_bytes(),
            Self::Kept(value) => value.as_bytes(),
            Self::Made(bytes) => bytes,
        }
    }
}

/// The host as the client sent it, port included: the `Host` field or the `:authority` of HTTP/2.
fn asked_host<'r>(request: &View<'r>) -> Option<Value<'r>> {
    let field = request.head.headers.get(header::HOST).filter(|host| !host.is_empty());
    field.map(Value::Kept).or_else(|| Some(Value::Made(request.head.uri.authority()?.as_str().as_bytes())))
}

/// `X-Forwarded-For`: the peer, after what a trusted one told.
fn forwarded_for(request: &View<'_>) -> Line {
    let mut line = Line::default();
    if request.client.trusted {
        line.push_list(request.head.headers.get_all(&claims::X_FORWARDED_FOR));
    }
    if let Some(peer) = request.client.peer {
        line.separate();
        line.push(Short::of_address(peer.ip().to_canonical()).as_bytes());
    }
    line
}

/// `Forwarded`: an element of ours, after those that a trusted peer sent.
fn forwarded(request: &View<'_>, host: Option<&[u8]>) -> Line {
    let mut line = Line::default();
    if request.client.trusted {
        line.push_list(request.head.headers.get_all(header::FORWARDED));
    }
    line.separate();
    element(&mut line, request.client, host);
    line
}

/// One element of `Forwarded`. An IPv6 address stands in brackets and quotes (RFC 7239 section 6), a host in quotes
/// where it is no token, which a port makes it. Behind a trusted peer the scheme is that of its connection to us.
fn element(line: &mut Line, client: &Client, host: Option<&[u8]>) {
    match client.peer.map(|peer| peer.ip().to_canonical()) {
        Some(address) if address.is_ipv6() => line.write(format_args!("for=\"[{address}]\"")),
        Some(address) => line.write(format_args!("for={address}")),
        None => line.push(b"for=unknown"),
    }
    if let Some(host) = host {
        line.push(b";host=");
        quote(line, host);
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

#[cfg(test)]
mod tests;
