//! Headers that tell browsers to be careful.

mod compile;
mod config;

use bytes::{Bytes, BytesMut};
use filter::{Amend, Scheme, Trail, View, write_line};
use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use crate::head::Head;

pub use config::{Embedder, Frame, HstsConfig, HstsTable, Opener, Referrer, Resource, SecurityConfig, SecurityTable};

/// Security headers, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityHeaders {
    fields: Box<[Field]>,
    /// The same as lines of HTTP/1.
    lines: Box<[u8]>,
    /// `Strict-Transport-Security`, over HTTPS only (RFC 6797 section 7.2).
    hsts: Option<Field>,
    /// Whether to remove what tells which software the origin runs.
    hide: bool,
    /// Whether ours take the place of the origin's.
    replace: bool,
}

/// A field and its only value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: HeaderName,
    written: Bytes,
    value: HeaderValue,
}

/// What tells which software the origin runs.
static TELLTALES: [HeaderName; 6] = [
    HeaderName::from_static("server"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
    HeaderName::from_static("x-generator"),
    HeaderName::from_static("x-runtime"),
];

impl Amend<ResponseHeader> for SecurityHeaders {
    fn amend(&self, head: &mut ResponseHeader, request: &View<'_>) {
        self.hide(head);
        for field in self.sent(request) {
            if self.replace || !head.headers.contains_key(&field.name) {
                head.put(field.written.clone(), field.value.clone());
            }
        }
    }
}

impl Trail<ResponseHeader> for SecurityHeaders {
    fn clear(&self, head: &mut ResponseHeader, request: &View<'_>) {
        self.hide(head);
        if self.replace {
            self.sent(request).for_each(|field| head.take(&field.name));
        }
    }

    fn write(&self, head: &ResponseHeader, request: &View<'_>, out: &mut BytesMut) {
        let sent = self.sent(request);
        if !head.headers.keys().any(|name| self.fields.iter().any(|field| field.name == name)) {
            out.extend_from_slice(&self.lines);
            return sent.skip(self.fields.len()).for_each(|field| field.write(head, out));
        }
        sent.for_each(|field| field.write(head, out));
    }
}

impl Field {
    /// Writes the line, unless the origin says it already.
    fn write(&self, head: &ResponseHeader, out: &mut BytesMut) {
        if !head.headers.contains_key(&self.name) {
            write_line(out, &self.written, self.value.as_bytes());
        }
    }
}

impl SecurityHeaders {
    fn hide(&self, head: &mut ResponseHeader) {
        if self.hide {
            head.take_where(|name| TELLTALES.contains(name));
        }
    }

    fn sent(&self, request: &View<'_>) -> impl Iterator<Item = &Field> {
        self.fields.iter().chain(self.hsts.iter().filter(|_| request.client.scheme == Scheme::Https))
    }

    /// The names of the fields that may be put or removed, in lower case.
    pub fn touched(&self) -> impl Iterator<Item = &str> {
        self.put().chain(self.hidden())
    }

    /// The names of those that may be put.
    pub fn put(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().chain(&self.hsts).map(|field| field.name.as_str())
    }

    /// The names of those that are removed.
    pub fn hidden(&self) -> impl Iterator<Item = &str> {
        TELLTALES.iter().filter(|_| self.hide).map(HeaderName::as_str)
    }

    /// The fields that are sent, for `explain`.
    pub fn describe(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .chain(&self.hsts)
            .filter_map(|field| Some((std::str::from_utf8(&field.written).ok()?, field.value.to_str().ok()?)))
    }
}

#[cfg(test)]
mod tests;
