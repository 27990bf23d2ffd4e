//! Values that must not be written.

use std::borrow::Cow;

/// What stands in place of a value.
const HIDDEN: &[u8] = b"***";

/// Whether `name`, in any case, is among `names`, which are in lower case.
pub(super) fn is_hidden(name: &str, names: &[Box<str>]) -> bool {
    names.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
}

/// A header field's value, or `***` when the field is among `names`.
pub(super) fn field<'v>(name: &str, value: &'v [u8], names: &[Box<str>]) -> &'v [u8] {
    if is_hidden(name, names) { HIDDEN } else { value }
}

/// A query, with the values of the parameters among `names` hidden. Allocates only when there are such.
pub(super) fn query<'q>(query: &'q [u8], names: &[Box<str>]) -> Cow<'q, [u8]> {
    if !pairs(query).any(|pair| secret_at(pair, names).is_some()) {
        return Cow::Borrowed(query);
    }
    let mut out = Vec::with_capacity(query.len());
    for pair in pairs(query) {
        match secret_at(pair, names) {
            Some(value) => {
                out.extend_from_slice(&pair[..value]);
                out.extend_from_slice(HIDDEN);
                if let Some(separator) = pair.last().filter(|byte| is_separator(byte)) {
                    out.push(*separator);
                }
            }
            None => out.extend_from_slice(pair),
        }
    }
    Cow::Owned(out)
}

/// A URL of another page, without credentials before its host and with its query treated as our own.
pub(super) fn referer<'u>(url: &'u [u8], names: &[Box<str>]) -> Cow<'u, [u8]> {
    let url = field("referer", url, names);
    let query_at = url.iter().position(|byte| matches!(byte, b'?' | b'#')).map_or(url.len(), |at| at + 1);
    let (before, after) = url.split_at(query_at);
    let kept = query(after, names);
    let (start, end) = userinfo(before).unwrap_or((0, 0));
    if start == end && matches!(kept, Cow::Borrowed(_)) {
        return Cow::Borrowed(url);
    }
    let mut out = Vec::with_capacity(url.len());
    out.extend_from_slice(&before[..start]);
    if start < end {
        out.extend_from_slice(HIDDEN);
    }
    out.extend_from_slice(&before[end..]);
    out.extend_from_slice(&kept);
    Cow::Owned(out)
}

/// Where the userinfo of `url` stands (RFC 3986 section 3.2.1).
fn userinfo(url: &[u8]) -> Option<(usize, usize)> {
    let start = url.windows(2).position(|two| two == b"//")? + 2;
    let authority = url[start..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'));
    let end = authority.map_or(url.len(), |length| start + length);
    let at = url[start..end].iter().rposition(|byte| *byte == b'@')?;
    Some((start, start + at))
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b'&' | b';' | b'#' | b'?')
}

/// The parameters of a query, each with the separator after it.
fn pairs(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split_inclusive(is_separator)
}

/// Where the value of `pair` begins, when its name is among `names`.
fn secret_at(pair: &[u8], names: &[Box<str>]) -> Option<usize> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    names.iter().any(|name| is_name(&pair[..equals], name)).then_some(equals + 1)
}

/// Whether `raw`, percent-decoded and in lower case, is `name`.
fn is_name(raw: &[u8], name: &str) -> bool {
    let mut rest = raw;
    for expected in name.bytes() {
        let (byte, tail) = match rest {
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (nibble(*high) << 4 | nibble(*low), tail)
            }
            [byte, tail @ ..] => (*byte, tail),
            [] => return false,
        };
        if byte.to_ascii_lowercase() != expected {
            return false;
        }
        rest = tail;
    }
    rest.is_empty()
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
