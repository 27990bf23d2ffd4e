//! Headers that tell browsers to be careful.

mod compile;
mod config;

use bytes::Bytes;
use filter::{Amend, Scheme, View};
use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use crate::head::Head;

pub use config::{Embedder, Frame, HstsConfig, HstsTable, Opener, Referrer, Resource, SecurityConfig, SecurityTable};

/// Security headers, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityHeaders {
    fields: Box<[Field]>,
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
        if self.hide {
            TELLTALES.iter().for_each(|name| head.take(name));
        }
        let hsts = self.hsts.iter().filter(|_| request.client.scheme == Scheme::Https);
        for field in self.fields.iter().chain(hsts) {
            if self.replace || !head.headers.contains_key(&field.name) {
                head.put(field.written.clone(), field.value.clone());
            }
        }
    }
}

impl SecurityHeaders {
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
