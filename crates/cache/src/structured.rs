//! Fields that are structured (RFC 9651).

use http::{HeaderMap, HeaderName};

/// All lines of a field, as one: they are parsed together (RFC 9651 section 4.2). `None` where there is none.
pub(crate) fn text(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = fields.get_all(name).into_iter().map(|line| line.as_bytes());
    let first = lines.next()?;
    Some(lines.fold(first.to_vec(), |text, line| [text.as_slice(), b", ", line].concat()))
}
