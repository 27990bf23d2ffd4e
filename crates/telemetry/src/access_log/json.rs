//! The access log as JSON: one object a line, in a fixed order.

use std::time::{Duration, SystemTime};

use filter::Scheme;
use http::Version;

use super::{LoggedRequest, redact, text};
use crate::{Circuit, Record, Try};

/// A field: its name, type and meaning.
type Field = (&'static str, &'static str, &'static str);

/// What a request has of its last attempt, and each attempt in `tries` of its own.
const ATTEMPT: [Field; 2] = [
    ("connect_ms", "number", "milliseconds that the attempt's connection took to make; 0 when it was reused"),
    ("upstream_ms", "number", "milliseconds from the start of the attempt until the head of its answer was there"),
];

/// The fields in their order. The manual's page is made from this, and a test holds [`write`] to it.
pub(crate) const FIELDS: &[Field] = &[
    ("time", "string", "when the request began: RFC 3339 in UTC, with milliseconds"),
    ("request_id", "string", "the id that client and backend were told in `X-Request-Id`"),
    ("trace_id", "string", "the id of the trace (W3C `traceparent`), 32 hexadecimal digits"),
    ("listener", "string", "the listener that it came in by"),
    ("client_ip", "string", "the client's address, seen through trusted proxies"),
    ("protocol", "string", "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`"),
    ("tls", "string", "`TLSv1.2` or `TLSv1.3`; null on a plaintext connection"),
    ("scheme", "string", "`http` or `https`, seen through trusted proxies"),
    ("method", "string", "the method"),
    ("host", "string", "the host asked for, without a port"),
    ("path", "string", "the path"),
    ("query", "string", "the query without its `?`; values named in `redact` are `***`"),
    ("status", "number", "the status that the client was sent; null when it was sent none"),
    ("bytes_in", "number", "bytes of the request's body"),
    ("bytes_out", "number", "bytes of the response's body"),
    ("duration_ms", "number", "milliseconds from the beginning of the request until its answer was sent"),
    ("route", "string", "the route; `-` when none matched or the request could not be read"),
    ("upstream", "string", "the upstream; null for an answer of maitred's own"),
    ("backend", "string", "the address of the backend tried last"),
    ("upstream_status", "number", "the status that it answered with"),
    ATTEMPT[0],
    ATTEMPT[1],
    ("attempts", "number", "how often a backend was tried"),
    ("reused", "boolean", "whether the last attempt went over a connection from the pool"),
    (
        "cache",
        "string",
        "what the cache had to do with it: `hit`, `miss`, `stale`, `revalidated` or `bypass`; null on a route without one",
    ),
    ("auth", "string", "the policy of `auth` that vouches for the client"),
    ("user", "string", "the user that it vouches for"),
    ("key", "string", "which of the user's keys it was; never the key itself"),
    ("limit", "string", "the limit that refused it, or else the one that its client is nearest to"),
    ("limit_remaining", "number", "how many more requests that limit would have let pass"),
    ("variant", "string", "the upstream of the route's `split` that took it"),
    ("waf_score", "number", "reserved"),
    ("country", "string", "where the client's address is, by the databases of `[access]`: two letters"),
    ("referer", "string", "the field Referer, without credentials"),
    ("user_agent", "string", "the field User-Agent"),
    ("error", "string", "why maitred answered itself or the request ended early: a word of the table of reasons"),
    ("shadow", "string", "why a policy with `mode = \"shadow\"` would have refused it: a word of the same table"),
    (
        "tries",
        "array",
        "every attempt in its order, where there were several or the only one came to nothing; see below",
    ),
    ("circuit", "string", "how the circuit breaker of that backend was at the end: `closed`, `half_open` or `open`"),
    ("generation", "number", "the configuration that it was served under, as `maitred history` numbers them"),
];

/// Appends the line of one request that began at `start`.
pub(super) fn write(
    out: &mut Vec<u8>,
    start: SystemTime,
    record: &Record,
    request: &LoggedRequest<'_>,
    hidden: &[Box<str>],
) {
    out.extend_from_slice(b"{\"time\":\"");
    text::rfc3339(out, start);
    out.push(b'"');
    write_request(out, request, hidden);
    write_outcome(out, record, request);
    word(out, b",\"cache\":", record.cache.map(|cached| cached.word()));
    let by = request.identity;
    string(out, b",\"auth\":", by.map(|by| by.policy.as_bytes()));
    string(out, b",\"user\":", by.and_then(|by| by.user.as_deref()).map(str::as_bytes));
    string(out, b",\"key\":", by.and_then(|by| by.key.as_deref()).map(str::as_bytes));
    string(out, b",\"limit\":", request.limit.map(str::as_bytes));
    number(out, b",\"limit_remaining\":", request.limit_remaining);
    // Their issues fill these in; they stand here already so that the order stays as it is.
    string(out, b",\"variant\":", request.variant.map(str::as_bytes));
    out.extend_from_slice(b",\"waf_score\":null");
    string(out, b",\"country\":", request.country.as_ref().map(<[u8; 2]>::as_slice));
    let referer = request.referer.map(|url| redact::referer(url, hidden));
    string(out, b",\"referer\":", referer.as_deref());
    let user_agent = request.user_agent.map(|agent| redact::field("user-agent", agent, hidden));
    string(out, b",\"user_agent\":", user_agent);
    word(out, b",\"error\":", Some(record.reason.word()).filter(|word| !word.is_empty()));
    word(out, b",\"shadow\":", Some(record.shadow.word()).filter(|word| !word.is_empty()));
    tries(out, &record.tries);
    word(out, b",\"circuit\":", record.circuit.map(Circuit::word));
    number(out, b",\"generation\":", Some(request.generation).filter(|generation| *generation != 0));
    out.extend_from_slice(b"}\n");
}

fn write_request(out: &mut Vec<u8>, request: &LoggedRequest<'_>, hidden: &[Box<str>]) {
    word(out, b",\"request_id\":", request.request_id);
    word(out, b",\"trace_id\":", request.trace_id);
    string(out, b",\"listener\":", Some(request.listener.as_bytes()));
    text::key(out, b",\"client_ip\":");
    match request.client_ip {
        Some(address) => text::quoted_address(out, address),
        None => out.extend_from_slice(b"null"),
    }
    word(out, b",\"protocol\":", request.protocol.map(protocol));
    word(out, b",\"tls\":", request.tls);
    word(out, b",\"scheme\":", request.scheme.map(Scheme::as_str));
    string(out, b",\"method\":", request.method);
    string(out, b",\"host\":", request.host);
    string(out, b",\"path\":", request.path);
    // A request that was read and has no query has an empty one.
    let query = request.query.or(request.path.map(|_| &b""[..])).map(|query| redact::query(query, hidden));
    string(out, b",\"query\":", query.as_deref());
}

fn write_outcome(out: &mut Vec<u8>, record: &Record, request: &LoggedRequest<'_>) {
    number(out, b",\"status\":", status(record.status));
    number(out, b",\"bytes_in\":", Some(record.bytes_in));
    number(out, b",\"bytes_out\":", Some(record.bytes_out));
    millis(out, b",\"duration_ms\":", Some(record.duration));
    string(out, b",\"route\":", Some(request.route.as_bytes()));
    string(out, b",\"upstream\":", request.upstream.map(str::as_bytes));
    string(out, b",\"backend\":", request.backend.map(str::as_bytes));
    number(out, b",\"upstream_status\":", status(record.upstream_status));
    times(out, record.connect, record.first_byte);
    number(out, b",\"attempts\":", Some(u64::from(record.attempts)));
    text::key(out, b",\"reused\":");
    out.extend_from_slice(match record.reused {
        Some(true) => b"true",
        Some(false) => b"false",
        None => b"null",
    });
}

/// The fields of an attempt in `tries`.
pub(crate) const TRY_FIELDS: &[Field] = &[
    ("backend", "string", "the address of the backend"),
    (
        "error",
        "string",
        "what the attempt died of, a word of the table of reasons; null where the client got its answer",
    ),
    ("status", "number", "the status that the backend answered with"),
    ATTEMPT[0],
    ATTEMPT[1],
    ("circuit", "string", "how the backend's circuit breaker was then"),
];

fn tries(out: &mut Vec<u8>, tries: &[Try]) {
    text::key(out, b",\"tries\":");
    if tries.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    for (index, attempt) in tries.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        string(out, b"{\"backend\":", Some(attempt.backend.as_bytes()));
        word(out, b",\"error\":", Some(attempt.reason.word()).filter(|word| !word.is_empty()));
        number(out, b",\"status\":", status(attempt.status));
        times(out, attempt.connect, attempt.first_byte);
        word(out, b",\"circuit\":", attempt.circuit.map(Circuit::word));
        out.push(b'}');
    }
    out.push(b']');
}

/// What [`ATTEMPT`] describes.
fn times(out: &mut Vec<u8>, connect: Option<Duration>, first_byte: Option<Duration>) {
    millis(out, b",\"connect_ms\":", connect);
    millis(out, b",\"upstream_ms\":", first_byte);
}

fn status(status: u16) -> Option<u64> {
    (status != 0).then_some(u64::from(status))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}

/// What somebody else has chosen, or a name of the configuration.
fn string<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<&[u8]>) {
    text::key(out, key);
    match value {
        Some(value) => {
            out.push(b'"');
            text::json(out, value);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// A word of ours, in which nothing has to be escaped.
fn word<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], word: Option<&str>) {
    text::key(out, key);
    match word {
        Some(word) => {
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn number<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<u64>) {
    text::key(out, key);
    match value {
        Some(value) => text::number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn millis<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<Duration>) {
    text::key(out, key);
    match value {
        Some(value) => text::millis(out, value),
        None => out.extend_from_slice(b"null"),
    }
}
