//! Cookies as they are written (RFC 6265 section 5.4), in however many fields they come. A byte that is no text spoils the
//! cookie that it is in, and no other.

use std::iter;

use http::{HeaderMap, header};
use memchr::{memchr, memchr_iter};

/// The cookies of all fields, as they are written.
pub fn all(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    fields.get_all(header::COOKIE).into_iter().flat_map(|line| pieces(line.as_bytes()))
}

/// The cookies of a field, as they are written. Sessions are long: a byte at a time would cost more than all else of them.
pub fn pieces(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(b';', line).chain(iter::once(line.len()));
    ends.scan(0, |start, end| Some(&line[std::mem::replace(start, end + 1)..end]))
}

/// The name and the value. What has no `=` is taken for a name, as some servers do.
pub fn parts(piece: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'=', piece) {
        Some(at) => (piece[..at].trim_ascii(), Some(piece[at + 1..].trim_ascii())),
        None => (piece.trim_ascii(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_a_name_and_seldom_no_value() {
        let all: Vec<_> = pieces(b"a=1;  b = \"2\" ;c;d=x=y;\xff=\xfe;").map(parts).collect();
        let expected: [(&[u8], Option<&[u8]>); 6] = [
            (b"a", Some(b"1")),
            (b"b", Some(b"\"2\"")),
            (b"c", None),
            (b"d", Some(b"x=y")),
            (b"\xff", Some(b"\xfe")),
            (b"", None),
        ];
        assert_eq!(all, expected);
    }
}
