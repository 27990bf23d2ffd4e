//! The spelling of a path by which it is judged: a normalised one without its parameters, and with reserved characters plain.

use std::borrow::Cow;

/// The spelling of a normalised path by which it is judged: `/admin` for `/admin;x`, and `/@admin` for `/%40admin`.
pub fn spelled(path: &str) -> Cow<'_, str> {
    if !path.contains([';', '%']) {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len());
    spell(path, |byte, _| text.push(char::from(byte)));
    Cow::Owned(text)
}

/// Every byte of that spelling, with where it stands in the path.
pub fn spell(path: &str, mut put: impl FnMut(u8, usize)) {
    let mut at = 0;
    while let Some(&byte) = path.as_bytes().get(at) {
        // Some origins decode before they cut parameters off, so an encoded semicolon begins them too.
        if byte == b';' || path.as_bytes()[at..].starts_with(b"%3B") {
            at = path[at..].find('/').map_or(path.len(), |slash| at + slash);
            continue;
        }
        let plain = plain(&path.as_bytes()[at..]);
        put(plain.unwrap_or(byte), at);
        at += if plain.is_some() { 3 } else { 1 };
    }
}

/// The character that the triplet at the start of `text` spells, where it may stand in a path as it is and ends nothing
/// there. Normalisation has decoded the unreserved ones already.
fn plain(text: &[u8]) -> Option<u8> {
    Some(match text {
        [b'%', b'2', b'1', ..] => b'!',
        [b'%', b'2', b'4', ..] => b'$',
        [b'%', b'2', b'6', ..] => b'&',
        [b'%', b'2', b'7', ..] => b'\'',
        [b'%', b'2', b'8', ..] => b'(',
        [b'%', b'2', b'9', ..] => b')',
        [b'%', b'2', b'A', ..] => b'*',
        [b'%', b'2', b'B', ..] => b'+',
        [b'%', b'2', b'C', ..] => b',',
        [b'%', b'3', b'A', ..] => b':',
        [b'%', b'3', b'D', ..] => b'=',
        [b'%', b'4', b'0', ..] => b'@',
        _ => return None,
    })
}
