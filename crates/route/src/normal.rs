//! The one normal form of a path: what rules judge, and what the origin is sent.

use std::borrow::Cow;

use filter::Reason;

/// Brings a path into its one normal form (RFC 3986 section 6.2.2), or refuses it with [`Reason::BadPath`].
///
/// * Percent-encoded unreserved characters are decoded, other triplets are written in upper case, and what may not stand
///   in a path as it is (spaces, quotes, non-ASCII text) is percent-encoded.
/// * Slashes in a row become one, `.` and `..` are resolved, also when written `%2e`.
/// * Refused are: what does not begin with a slash or climbs above the root; an encoded slash; a backslash, raw or
///   encoded; control characters, raw or encoded; overlong UTF-8, which old decoders read as a slash or a dot; `%`
///   without two hex digits; `?` and `#`.
///
/// Path parameters (`/cars;color=red`, RFC 3986 section 3.3) are legal and belong to the origin, so they are kept and
/// sent as they came; *matching* does not see them ([`Table`](crate::Table)), so `/admin;x` is ruled as `/admin`, and so
/// is `/admin%3Bx`, since some origins decode first. The forms that make parameters a weapon against origins which cut
/// them off before they resolve dots, such as `/x/..;/admin` and `/;/admin`, are refused.
///
/// A path that is normal already, as nearly all are, costs one scan and no allocation.
///
/// ```
/// use maitred_route::normalise;
///
/// assert_eq!(normalise("/x/..//%61dmin").unwrap(), "/admin");
/// assert!(normalise("/static/..%2Fadmin").is_err());
/// ```
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, Reason> {
    if is_normal(raw.as_bytes()) { Ok(Cow::Borrowed(raw)) } else { rebuild(raw).map(Cow::Owned) }
}

/// Whether a path is certainly in normal form. May say no to one that is: that only costs time.
fn is_normal(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += match class(byte) {
            Class::Plain => 1,
            Class::Slash if is_suspect(&path[at + 1..]) => return false,
            Class::Slash => 1,
            Class::Percent if is_settled_triplet(&path[at..]) => 3,
            Class::Percent | Class::Other => return false,
        };
    }
    true
}

/// Whether what follows a slash may be an empty or a dot segment, or one of parameters alone.
fn is_suspect(rest: &[u8]) -> bool {
    let after_dots = match rest {
        [b'/' | b';', ..] | [b'%', b'3', b'B', ..] => return true,
        [b'.', b'.', after @ ..] | [b'.', after @ ..] => after,
        _ => return false,
    };
    matches!(after_dots.first(), None | Some(b'/' | b';' | b'%'))
}

/// Whether `text` begins with a triplet that normalisation keeps as it is.
fn is_settled_triplet(text: &[u8]) -> bool {
    let [b'%', high, low, ..] = *text else { return false };
    let (Some(byte), false) = (triplet(high, low), high.is_ascii_lowercase() || low.is_ascii_lowercase()) else {
        return false;
    };
    // A lead byte of overlong UTF-8 is looked at closely by `rebuild`.
    !is_unreserved(byte) && !is_refused(byte) && !matches!(byte, 0xC0 | 0xC1 | 0xE0 | 0xF0)
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    /// Stands in a path as it is.
    Plain,
    Slash,
    Percent,
    /// Has to be encoded or refused.
    Other,
}

const fn class(byte: u8) -> Class {
    const CLASSES: [Class; 256] = {
        let mut classes = [Class::Other; 256];
        let mut byte = 0;
        while byte < 256 {
            classes[byte] = match byte as u8 {
                b'/' => Class::Slash,
                b'%' => Class::Percent,
                // pchar of RFC 3986 section 3.3.
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                    Class::Plain
                }
                plain if is_unreserved(plain) => Class::Plain,
                _ => Class::Other,
            };
            byte += 1;
        }
        classes
    };
    CLASSES[byte as usize]
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a path may not hold, however it is written.
const fn is_refused(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, b'\\' | b'/')
}

const fn triplet(high: u8, low: u8) -> Option<u8> {
    match (hex(high), hex(low)) {
        (Some(high), Some(low)) => Some(high << 4 | low),
        _ => None,
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Writes the normal form segment by segment.
fn rebuild(raw: &str) -> Result<String, Reason> {
    let mut segments = raw.strip_prefix('/').ok_or(Reason::BadPath)?.split('/').peekable();
    let mut out = String::with_capacity(raw.len() + 8);
    while let Some(segment) = segments.next() {
        let start = out.len();
        let last = segments.peek().is_none();
        out.push('/');
        append(segment.as_bytes(), &mut out)?;
        let stays = match &out[start + 1..] {
            "" => last,
            "." => false,
            ".." => {
                out.truncate(start);
                let parent = out.rfind('/').ok_or(Reason::BadPath)?;
                out.truncate(parent);
                if last {
                    out.push('/');
                }
                continue;
            }
            other => {
                refuse_disguise(other, last)?;
                true
            }
        };
        if !stays {
            out.truncate(start + usize::from(last));
        }
    }
    Ok(out)
}

/// Refuses a segment that becomes empty or a dot segment once its parameters are cut off.
fn refuse_disguise(segment: &str, last: bool) -> Result<(), Reason> {
    let cut = |rest: &str| rest.starts_with(';') || rest.starts_with("%3B");
    let undotted = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.'));
    let (dots, empty) = (undotted.is_some_and(cut), cut(segment) && !last);
    if dots || empty { Err(Reason::BadPath) } else { Ok(()) }
}

/// Appends one segment in its normal form.
fn append(segment: &[u8], out: &mut String) -> Result<(), Reason> {
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        match class(byte) {
            Class::Plain => out.push(char::from(byte)),
            Class::Percent => {
                let [_, high, low, ref rest @ ..] = segment[at..] else { return Err(Reason::BadPath) };
                let byte = triplet(high, low).ok_or(Reason::BadPath)?;
                if is_refused(byte) || is_overlong(byte, rest) {
                    return Err(Reason::BadPath);
                }
                if is_unreserved(byte) {
                    out.push(char::from(byte))
                } else {
                    push_triplet(byte, out)
                }
                at += 2;
            }
            Class::Other if is_refused(byte) || matches!(byte, b'?' | b'#') => return Err(Reason::BadPath),
            Class::Slash | Class::Other => push_triplet(byte, out),
        }
        at += 1;
    }
    Ok(())
}

/// Whether `lead` and the triplet after it begin a UTF-8 sequence longer than its character needs (RFC 3629 section 3):
/// `%C0%AF` is a slash to a careless decoder.
fn is_overlong(lead: u8, rest: &[u8]) -> bool {
    let [b'%', high, low, ..] = *rest else { return false };
    let Some(next) = triplet(high, low) else { return false };
    match lead {
        0xC0 | 0xC1 => next & 0xC0 == 0x80,
        0xE0 => (0x80..0xA0).contains(&next),
        0xF0 => (0x80..0x90).contains(&next),
        _ => false,
    }
}

fn push_triplet(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 0xF)]));
}

#[cfg(test)]
mod tests;
