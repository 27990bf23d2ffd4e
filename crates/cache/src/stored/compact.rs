//! What an answer takes of memory: a head that keeps no more than it says, and what the allocator makes of sizes.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use pingora_http::ResponseHeader;

/// What an entry of a map takes, in both maps of a head: names and values with their places, and names as written.
const ENTRY: usize = 104 + 96;

/// What a place of a map's table takes, in both maps.
const PLACE: usize = 2 * 4;

/// Up to this size the allocator gives what is asked for, to the word.
const SMALL: u64 = 64;

/// From this size on the allocator gives pages, not classes.
const LARGE: u64 = 16 << 20;

/// Blocks of one class are not let go of one after the other: such a share of what is in use lies between them. Measured with
/// answers of a hundred bytes, and with mixtures up to 1 MiB.
const GAPS: u64 = 4;

/// The same head in memory of its own: what came from a connection are parts of buffers that are larger.
pub(super) fn compact(head: &ResponseHeader) -> ResponseHeader {
    let fields: Vec<(&[u8], &HeaderValue)> = if head.has_case() {
        head.case_header_iter().map(|(name, value)| (name.as_slice(), value)).collect()
    } else {
        head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value)).collect()
    };
    let length = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut text = BytesMut::with_capacity(length);
    for (name, value) in &fields {
        text.extend_from_slice(name);
        text.extend_from_slice(value.as_bytes());
    }
    let text = text.freeze();
    rebuilt(head, &fields, &text).unwrap_or_else(|| head.clone())
}

fn rebuilt(head: &ResponseHeader, fields: &[(&[u8], &HeaderValue)], text: &Bytes) -> Option<ResponseHeader> {
    let mut own = if head.has_case() {
        ResponseHeader::build(head.status, Some(fields.len())).ok()?
    } else {
        ResponseHeader::build_no_case(head.status, Some(fields.len())).ok()?
    };
    own.set_version(head.version);
    if head.get_reason_phrase() != head.status.canonical_reason() {
        own.set_reason_phrase(head.get_reason_phrase()).ok()?;
    }
    let mut at = 0;
    for (name, value) in fields {
        let middle = at + name.len();
        let end = middle + value.len();
        let mut own_value = HeaderValue::from_maybe_shared(text.slice(middle..end)).ok()?;
        own_value.set_sensitive(value.is_sensitive());
        own.append_header(text.slice(at..middle), own_value).ok()?;
        at = end;
    }
    Some(own)
}

/// What a head takes beside what every answer does.
pub(super) fn weight(fields: &HeaderMap) -> u64 {
    let text: usize = fields.iter().map(|(name, value)| 2 * name.as_str().len() + value.len()).sum();
    let wanted = fields.len() + fields.len() / 3;
    let places = wanted.next_power_of_two().max(8);
    taken((places - places / 4) as u64 * ENTRY as u64) + taken((places * PLACE) as u64) + taken(text as u64)
}

/// What so many bytes in use take together with what lies between them.
pub(super) fn with_gaps(bytes: u64) -> u64 {
    bytes + bytes / GAPS
}

/// What the allocator takes for so many bytes: it has four classes of sizes between a power of two and the next.
pub(crate) fn taken(bytes: u64) -> u64 {
    if bytes <= SMALL {
        return bytes.next_multiple_of(8);
    }
    if bytes > LARGE {
        return bytes.next_multiple_of(64 * 1024);
    }
    let class = 1 << ((bytes - 1).ilog2() - 2);
    bytes.next_multiple_of(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_what_it_says_and_no_more() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut head = ResponseHeader::build(404, None).unwrap();
        head.set_reason_phrase(Some("Gone Fishing")).unwrap();
        head.append_header("X-Odd-Case", HeaderValue::from_maybe_shared(buffer.slice(..9)).unwrap()).unwrap();
        for value in ["a", "b"] {
            head.append_header("Vary", value).unwrap();
        }
        let own = compact(&head);
        let written = |head: &ResponseHeader| {
            let mut out = Vec::new();
            head.header_to_h1_wire(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&own), written(&head));
        assert_eq!((own.status, own.get_reason_phrase()), (head.status, Some("Gone Fishing")));
        drop(head);
        assert!(buffer.is_unique(), "nobody holds the buffer any more");
    }

    #[test]
    fn sizes_are_those_of_the_allocators_classes() {
        for (asked, given) in [
            (0, 0),
            (1, 8),
            (64, 64),
            (65, 80),
            (128, 128),
            (8193, 10_240),
            (10_240, 10_240),
            (10_241, 12_288),
            (1 << 20, 1 << 20),
            ((16 << 20) + 1, (16 << 20) + 65_536),
        ] {
            assert_eq!(taken(asked), given, "{asked}");
        }
    }
}
