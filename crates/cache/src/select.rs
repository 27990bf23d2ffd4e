//! What of a stored answer a request gets: all of it, a part, or the word that it has it already (RFC 9110 sections 13
//! and 14).

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    freshness::{self, Millis},
    stored::Stored,
};

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// All of it.
    Whole,
    /// That it has not changed: 304.
    NotModified,
    /// The bytes from the first up to, but without, the second: 206.
    Part(u64, u64),
    /// That there is no such part of so many bytes: 416.
    Unsatisfiable(u64),
}

/// Whether the request has conditions that only the origin can judge (RFC 9111 section 4.3.2).
pub fn is_for_origin(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Judges conditions and ranges in the order of RFC 9110 section 13.2.2. Of an answer that was kept before the request came it is
/// told what time it is `now`.
pub fn select(method: &Method, request: &HeaderMap, stored: &Stored, now: Option<Millis>) -> Selected {
    if stored.status() != StatusCode::OK {
        return Selected::Whole;
    }
    let head = &stored.head().headers;
    if is_unmodified(request, head, now) {
        return Selected::NotModified;
    }
    let Some(length) = stored.content().length().filter(|_| method == Method::GET) else { return Selected::Whole };
    match request.get(header::RANGE) {
        Some(range) if still_the_same(request, head) => part(range, length),
        _ => Selected::Whole,
    }
}

/// RFC 9110 sections 13.1.2 and 13.1.3. Where it does not say when it was changed, what was kept before is as old as its `Date`
/// (RFC 9111 section 4.3.2). That says nothing of an answer that was made for this very request, nor does a client know what it
/// will be given in the future.
fn is_unmodified(request: &HeaderMap, head: &HeaderMap, now: Option<Millis>) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        let tag = head.get(header::ETAG).map(|tag| opaque(tag.as_bytes()));
        let mut lines = request.get_all(header::IF_NONE_MATCH).into_iter();
        return lines.any(|line| tags(line.as_bytes()).any(|one| one == b"*" || Some(opaque(one)) == tag));
    }
    let Some(since) = freshness::date(request, &header::IF_MODIFIED_SINCE) else { return false };
    let modified = if head.contains_key(header::LAST_MODIFIED) {
        freshness::date(head, &header::LAST_MODIFIED)
    } else if now.is_some_and(|now| since <= now) {
        freshness::date(head, &header::DATE)
    } else {
        None
    };
    modified.is_some_and(|modified| modified <= since)
}

/// RFC 9110 section 13.1.5: only a strong validator tells that a part fits to what the client has.
fn still_the_same(request: &HeaderMap, head: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE).map(HeaderValue::as_bytes) else { return true };
    if condition.starts_with(b"\"") {
        return head.get(header::ETAG).is_some_and(|tag| tag.as_bytes() == condition);
    }
    let (Some(asked), Some(modified)) = (freshness::read(condition), freshness::date(head, &header::LAST_MODIFIED))
    else {
        return false;
    };
    // RFC 9110 section 8.8.2.2: a date is strong where the answer is at least a second younger.
    let strong = freshness::date(head, &header::DATE).is_some_and(|date| date >= modified + 1000);
    strong && asked == modified
}

/// The tags of a list; a comma within quotes separates nothing.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let separates = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    line.split(separates).map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty())
}

/// RFC 9110 section 8.8.3.2: weak comparison passes over the `W/`.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// RFC 9110 section 14.1.2. Several parts at once are given as the whole, which section 14.2 allows; so is what cannot be
/// read.
fn part(range: &HeaderValue, length: u64) -> Selected {
    let text = range.to_str().unwrap_or_default();
    let Some((unit, spec)) = text.split_once('=') else { return Selected::Whole };
    let Some((first, last)) = spec.split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes")) else {
        return Selected::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Selected::Whole,
        (Some(_), None) if !last.is_empty() => Selected::Whole,
        (Some(first), _) if first >= length => Selected::Unsatisfiable(length),
        (Some(first), last) => Selected::Part(first, last.map_or(length, |last| last.saturating_add(1).min(length))),
        (None, Some(0)) if first.is_empty() => Selected::Unsatisfiable(length),
        (None, Some(suffix)) if first.is_empty() && length > 0 => Selected::Part(length.saturating_sub(suffix), length),
        (None, Some(_)) if first.is_empty() => Selected::Unsatisfiable(length),
        _ => Selected::Whole,
    }
}

/// What is larger than can be counted is beyond every end.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
