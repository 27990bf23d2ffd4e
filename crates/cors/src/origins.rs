//! Which origins are meant.

use regex::bytes::RegexSet;

/// The origins that may call, as patterns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    /// `*`.
    pub(crate) any: bool,
    /// `null`.
    pub(crate) null: bool,
    /// In lower case and sorted.
    pub(crate) exact: Box<[Box<str>]>,
    /// Schemes and what the host ends in: `https://` and `.example.com:8443`.
    pub(crate) wildcards: Box<[(Box<str>, Box<str>)]>,
    /// Anchored at both ends.
    pub(crate) patterns: Option<RegexSet>,
}

impl Origins {
    /// Whether `origin`, the value of the field, is one of them. Browsers write origins in lower case (WHATWG URL
    /// section 4.5), and so they are compared.
    pub(crate) fn contain(&self, origin: &[u8]) -> bool {
        if origin == b"null" {
            return self.null;
        }
        self.any
            || self.exact.binary_search_by(|known| known.as_bytes().cmp(origin)).is_ok()
            || self.wildcards.iter().any(|(scheme, end)| is_below(origin, scheme.as_bytes(), end.as_bytes()))
            || self.patterns.as_ref().is_some_and(|patterns| patterns.is_match(origin))
    }

    /// Whether only one answer is possible, whoever asks.
    pub(crate) fn is_everyone(&self) -> bool {
        self.any
    }
}

/// Whether `origin` is `scheme`, one or more labels, and `end`.
fn is_below(origin: &[u8], scheme: &[u8], end: &[u8]) -> bool {
    let labels = origin.strip_prefix(scheme).and_then(|rest| rest.strip_suffix(end));
    labels.is_some_and(|labels| {
        labels.split(|&byte| byte == b'.').all(|label| {
            !label.is_empty() && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
    })
}
