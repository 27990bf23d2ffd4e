//! Answers compressed for who asks for it.

mod compile;
mod config;
mod encoder;
mod negotiate;
mod types;

use bytes::Bytes;
use filter::Inspect;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};

use self::types::Pattern;
use crate::head::{Head, members, name};

pub use config::{Algorithm, CompressConfig, CompressTable};
pub use encoder::Encoder;

/// Compression of a route's answers, ready to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// In our order of preference.
    algorithms: Box<[Algorithm]>,
    level: u32,
    min_size: u64,
    types: Box<[Pattern]>,
}

/// What is said of the bytes as the origin sent them, and of no others.
pub(crate) static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

impl Compress {
    /// Says whether the answer with this head is sent compressed to who sent `request`, and changes the head so that it
    /// tells the truth: coding, length, framing and validator. The content then goes through the encoder.
    pub fn begin(&self, request: &RequestHeader, head: &mut ResponseHeader) -> Option<Encoder> {
        if head.status == StatusCode::NOT_MODIFIED && is_known_weakly(request, head) {
            vary(head);
            weaken(head);
            return None;
        }
        if head.status == StatusCode::PARTIAL_CONTENT {
            // RFC 9110 section 15.3.7: a part says what the whole would.
            if self.suits(request, head) && self.is_long_enough(whole_length(&head.headers)) {
                vary(head);
            }
            return None;
        }
        let length = length(&head.headers);
        let Some(algorithm) = self.choice(request, head) else {
            if self.concerns(request, head) {
                vary(head);
            }
            return None;
        };
        let encoder = Encoder::new(algorithm, self.level, length.is_none()).ok()?;
        self.label(algorithm, head);
        if request.version == Version::HTTP_11 {
            head.put(name("Transfer-Encoding"), HeaderValue::from_static("chunked"));
        }
        (request.method != Method::HEAD).then_some(encoder)
    }

    /// Has a 304 say of an answer whose head is `whole` what that one would say (RFC 9110 section 15.4.5).
    pub fn unmodified(&self, request: &RequestHeader, whole: &ResponseHeader, head: &mut ResponseHeader) {
        if self.concerns(request, whole) {
            vary(head);
        }
        if self.choice(request, whole).is_some() {
            weaken(head);
        }
    }

    /// How the answer with this head is compressed for who sent `request`: the algorithm and its level. `None` where it is
    /// sent as it is.
    pub fn coding(&self, request: &RequestHeader, head: &ResponseHeader) -> Option<(&'static str, u32)> {
        self.choice(request, head).map(|algorithm| (algorithm.name(), self.level))
    }

    /// The head of an answer that was compressed before, by the [`coding`](Compress::coding) of this request.
    pub fn relabel(&self, request: &RequestHeader, head: &mut ResponseHeader, length: u64) {
        if let Some(algorithm) = self.choice(request, head) {
            self.label(algorithm, head);
            head.take(&header::TRANSFER_ENCODING);
            head.put(name("Content-Length"), HeaderValue::from(length));
        }
    }

    fn choice(&self, request: &RequestHeader, head: &ResponseHeader) -> Option<Algorithm> {
        // RFC 9112 section 6.1: a client of HTTP/1.0 cannot read chunks, and the length is known at the end only.
        if !self.concerns(request, head) || request.version < Version::HTTP_11 {
            return None;
        }
        negotiate::choose(&self.algorithms, &request.headers)
    }

    /// Whether the answer depends on what the client accepts.
    fn concerns(&self, request: &RequestHeader, head: &ResponseHeader) -> bool {
        self.is_for(request, head) && self.is_long_enough(length(&head.headers))
    }

    fn is_long_enough(&self, length: Option<u64>) -> bool {
        length.is_none_or(|length| length >= self.min_size)
    }

    fn label(&self, algorithm: Algorithm, head: &mut ResponseHeader) {
        vary(head);
        head.put(name("Content-Encoding"), HeaderValue::from_static(algorithm.name()));
        head.take(&header::CONTENT_LENGTH);
        head.take(&header::ACCEPT_RANGES);
        DIGESTS.iter().for_each(|name| head.take(name));
        weaken(head);
    }

    /// The same as [`begin`](Compress::begin) for content that is there as a whole, whose length can be told.
    pub fn whole(&self, request: &RequestHeader, head: &mut ResponseHeader, content: Bytes) -> Bytes {
        let Some(mut encoder) = self.begin(request, head) else { return content };
        let mut encoded = Some(content);
        // Memory cannot fail to take bytes; if it did, an empty answer would be cut off by its length.
        let _ = encoder.chunk(&mut encoded, true);
        let encoded = encoded.unwrap_or_default();
        head.take(&header::TRANSFER_ENCODING);
        head.put(name("Content-Length"), HeaderValue::from(encoded.len()));
        encoded
    }

    /// In a few words for who asks what a route does.
    pub fn describe(&self) -> String {
        let names: Vec<&str> = self.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        format!("compress with {} if ≥ {}", names.join(", "), document::Size(self.min_size))
    }

    /// Whether it may be compressed for somebody, whatever this client accepts.
    fn is_for(&self, request: &RequestHeader, head: &ResponseHeader) -> bool {
        let bodiless = head.status.is_informational()
            || matches!(
                head.status,
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::NOT_MODIFIED
            );
        !bodiless && !head.headers.contains_key(header::CONTENT_RANGE) && self.suits(request, head)
    }

    /// Whether its kind is compressed, and nobody forbids it.
    fn suits(&self, request: &RequestHeader, head: &ResponseHeader) -> bool {
        let fields = &head.headers;
        !is_encoded(fields)
            && !forbids(fields)
            && !forbids(&request.headers)
            && kind(fields).is_some_and(|kind| self.types.iter().any(|pattern| pattern.matches(kind)))
    }
}

/// The media type without its parameters.
fn kind(fields: &HeaderMap) -> Option<&[u8]> {
    let value = fields.get(header::CONTENT_TYPE)?.as_bytes();
    value.split(|byte| *byte == b';').next().map(<[u8]>::trim_ascii)
}

fn length(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// How long that is which a part is of (RFC 9110 section 14.4).
fn whole_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}

fn is_encoded(fields: &HeaderMap) -> bool {
    members(fields, &header::CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

/// RFC 9111 sections 5.2.1.6 and 5.2.2.6.
fn forbids(fields: &HeaderMap) -> bool {
    members(fields, &header::CACHE_CONTROL).any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// RFC 9110 section 12.5.5: whoever keeps the answer has to know that another client gets another one.
fn vary(head: &mut ResponseHeader) {
    let known = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding");
    if !members(&head.headers, &header::VARY).any(known) {
        head.append(name("Vary"), HeaderValue::from_static("Accept-Encoding"));
    }
}

/// RFC 9110 section 8.8.1: other bytes of the same meaning have a weak validator.
fn weaken(head: &mut ResponseHeader) {
    let Some(tag) = head.headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        head.put(name("ETag"), weak);
    }
}

/// Whether the client has what this 304 is about by the weak form of its tag, as it has what was compressed here.
fn is_known_weakly(request: &RequestHeader, head: &ResponseHeader) -> bool {
    let Some(tag) = head.headers.get(header::ETAG).map(HeaderValue::as_bytes) else { return false };
    members(&request.headers, &header::IF_NONE_MATCH).any(|known| known.strip_prefix(b"W/") == Some(tag))
}

#[cfg(test)]
mod tests;
