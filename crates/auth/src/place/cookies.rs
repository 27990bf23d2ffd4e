//! A credential among the cookies of a request, in however many fields they come.

use filter::cookies::{all, parts, pieces};
use http::{HeaderValue, header};
use pingora_http::RequestHeader;

use super::Found;

/// Looks for the one cookie of that name. Where there are two, browsers and servers differ in which of them counts.
pub(super) fn find<'r>(head: &'r RequestHeader, name: &str) -> Found<'r> {
    let mut found = Found::Nothing;
    for (_, value) in all(&head.headers).map(parts).filter(|(own, _)| *own == name.as_bytes()) {
        found = match (found, value.and_then(plain)) {
            (Found::Nothing, Some(value)) => Found::One(value.into()),
            _ => Found::Unclear,
        };
    }
    found
}

/// Takes cookies out, by their names. Whatever else is in the fields stays as it was written.
pub(super) fn remove(head: &mut RequestHeader, is_own: impl Fn(&[u8]) -> bool) {
    let has_own = |line: &HeaderValue| pieces(line.as_bytes()).any(|piece| is_own(parts(piece).0));
    if !head.headers.get_all(header::COOKIE).iter().any(has_own) {
        return;
    }
    let lines: Vec<HeaderValue> = head.headers.get_all(header::COOKIE).iter().cloned().collect();
    head.remove_header(&header::COOKIE);
    for line in lines {
        let kept = if has_own(&line) { without(line.as_bytes(), &is_own) } else { Some(line) };
        if let Some(kept) = kept {
            // It was a field of this head, or is a part of one.
            let _ = head.append_header(header::COOKIE, kept);
        }
    }
}

/// A field without some of its cookies; `None` where nothing is left.
fn without(line: &[u8], is_own: impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let others: Vec<&[u8]> = pieces(line).filter(|piece| !is_own(parts(piece).0)).collect();
    if others.iter().all(|piece| piece.trim_ascii().is_empty()) {
        return None;
    }
    HeaderValue::from_bytes(others.join(&b';').trim_ascii_start()).ok()
}

/// A value without the quotes that may stand around it (RFC 6265 section 4.1.1); `None` where it is empty or no text.
fn plain(value: &[u8]) -> Option<&str> {
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    str::from_utf8(bare).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&[u8]]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for line in lines {
            head.append_header("cookie", HeaderValue::from_bytes(line).unwrap()).unwrap();
        }
        head
    }

    #[test]
    fn a_cookie_is_found_among_others_and_once() {
        let found = |lines: &[&[u8]]| match find(&head(lines), "key") {
            Found::Nothing => None,
            Found::Unclear => Some(Err(())),
            Found::One(value) => Some(Ok(value.into_owned())),
        };
        let one = |value: &str| Some(Ok(value.to_owned()));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[b"keys=1; a=key; Key=2; akey=3"]), None);
        assert_eq!(found(&[b"a=1; key=x=y; b=2"]), one("x=y"));
        assert_eq!(found(&[b"a=1", b"key=\"x\"", b"b=\xff"]), one("x"));
        assert_eq!(found(&[b"a=\xff;key=x"]), one("x"));
        for unclear in [&b"key=x; key=x"[..], b"key=x;key =y", b"key", b"key=", b"key=\"\"", b"key=\xff", b"key=x; key"]
        {
            assert_eq!(found(&[unclear]), Some(Err(())), "{unclear:?}");
        }
        assert_eq!(found(&[b"key=x", b"a=1", b"key=x"]), Some(Err(())));
    }

    #[test]
    fn only_its_own_are_taken_out() {
        let left = |lines: &[&[u8]]| {
            let mut head = head(lines);
            remove(&mut head, |name| name == b"key");
            head.headers.get_all("cookie").iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>()
        };
        for (line, kept) in [
            (&b"a=1;  b=\"2\" ;c"[..], Some(&b"a=1;  b=\"2\" ;c"[..])),
            (b"a=1; key=x; b=\"2\"", Some(b"a=1; b=\"2\"")),
            (b"key=x; a=\xff;b=2", Some(b"a=\xff;b=2")),
            (b"a=1; key=x", Some(b"a=1")),
            (b"key=x; a=1; key = y; key", Some(b"a=1")),
            (b"key=x;", None),
            (b"key=x", None),
        ] {
            assert_eq!(left(&[line]), kept.into_iter().collect::<Vec<_>>(), "{line:?}");
        }
        assert_eq!(left(&[b"a=1", b"key=x", b"b=2; key=y"]), [b"a=1", b"b=2"]);
    }
}
