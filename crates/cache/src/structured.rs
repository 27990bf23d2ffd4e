//! Fields that are structured (RFC 9651).

use http::{HeaderMap, HeaderName};

/// All lines of a field, as one: they are parsed together (RFC 9651 section 4.2). `None` where there is none.
pub(crate) fn text(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = fields.get_all(name).into_iter().map(|line| line.as_bytes()).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}
