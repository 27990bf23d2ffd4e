//! Numbers, times and text of strangers, written into a buffer without an allocation.

use std::{
    cell::RefCell,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use filter::Short;
use jiff::{Timestamp, tz::TimeZone};

/// At most this much of a value that the client chose is written.
pub(super) const LONGEST: usize = 8 * 1024;

/// Appends a key with what stands around it: its length is known when maitred is built, so that it is a few moves.
#[inline]
pub(super) fn key<const N: usize>(out: &mut Vec<u8>, key: &[u8; N]) {
    out.extend_from_slice(key);
}

/// Appends an address; one of IPv4 written as IPv6 is written as IPv4.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    out.extend_from_slice(Short::of_address(address.to_canonical()).as_bytes());
}

/// Appends an address in quotes.
pub(super) fn quoted_address(out: &mut Vec<u8>, address: IpAddr) {
    out.push(b'"');
    self::address(out, address);
    out.push(b'"');
}

/// Appends `number` in decimal.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Short::of_number(number).as_bytes());
}

/// Appends a duration in milliseconds with up to three decimals: `3.412`, `2.9`, `0`.
pub(super) fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    let fraction = (micros % 1000) as u16;
    if fraction > 0 {
        let digits = [b'.', digit(fraction / 100), digit(fraction / 10 % 10), digit(fraction % 10)];
        let end = digits.iter().rposition(|byte| *byte != b'0').unwrap_or(0);
        out.extend_from_slice(&digits[..=end]);
    }
}

fn digit(value: u16) -> u8 {
    b'0' + value as u8
}

/// The forms of a time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 3339: `2026-11-21T21:45:03`, to be followed by milliseconds and `Z`.
    Rfc3339,
    /// Apache's: `21/Nov/2026:21:45:03 +0000`.
    Apache,
}

thread_local! {
    /// The last second written by this thread, and how.
    static SECOND: RefCell<(Option<(u64, Form)>, String)> = const { RefCell::new((None, String::new())) };
}

/// Appends `time` in UTC to the second; each second is made once.
fn second(out: &mut Vec<u8>, seconds: u64, form: Form) {
    SECOND.with_borrow_mut(|(last, text)| {
        if *last != Some((seconds, form)) {
            let timestamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            let utc = timestamp.unwrap_or_default().to_zoned(TimeZone::UTC);
            *text = match form {
                Form::Rfc3339 => utc.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
                Form::Apache => utc.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            };
            *last = Some((seconds, form));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// Appends `time` as `2026-11-21T21:45:03.127Z`.
pub(super) fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    second(out, since.as_secs(), Form::Rfc3339);
    let millis = since.subsec_millis() as u16;
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10 % 10), digit(millis % 10), b'Z']);
}

/// Appends `time` as `21/Nov/2026:21:45:03 +0000`.
pub(super) fn apache(out: &mut Vec<u8>, time: SystemTime) {
    second(out, time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(), Form::Apache);
}

/// The part of `bytes` that is written, and whether something was left out.
pub(super) fn clip(bytes: &[u8]) -> (&[u8], bool) {
    if bytes.len() <= LONGEST {
        return (bytes, false);
    }
    // Not within a character.
    let end = (LONGEST - 3..=LONGEST).rev().find(|end| bytes[*end] & 0xC0 != 0x80).unwrap_or(LONGEST);
    (&bytes[..end], true)
}

/// Appends the content of a JSON string: `bytes` as text on one line, whatever they are. What is not UTF-8 becomes
/// U+FFFD, and everything that any reader could take for the end of a line is escaped.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    let (bytes, clipped) = clip(bytes);
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|char| json_char(out, char));
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
    if clipped {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Whether nothing has to be escaped. Looked at in words of 8 bytes, since the text of strangers is most of a line.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut odd = 0;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        // The high bit of each byte that is equal to `byte`, or before one that is: enough to know that there is one.
        let has = |byte: u64| (word ^ (ONES * byte)).wrapping_sub(ONES) & !(word ^ (ONES * byte));
        // Below 0x20; then those that are 0x7F or above, which get their high bit by one more.
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let beyond = word | (word & !HIGH).wrapping_add(ONES);
        odd |= control | beyond | has(u64::from(b'"')) | has(u64::from(b'\\'));
    }
    let is_odd = |byte: &u8| !matches!(byte, 0x20..0x7F) || matches!(byte, b'"' | b'\\');
    odd & HIGH == 0 && !rest.iter().any(is_odd)
}

fn json_char(out: &mut Vec<u8>, char: char) {
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // Controls, among them NEL, and the separators of lines and paragraphs.
        '\0'..='\x1F' | '\x7F'..='\u{9F}' | '\u{2028}' | '\u{2029}' => {
            let code = char as u32;
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                out.push(hex(code >> shift));
            }
        }
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends `bytes` as Apache does between quotes: visible ASCII as it is, everything else escaped.
pub(super) fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    let (bytes, clipped) = clip(bytes);
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x20..0x7F => out.push(byte),
            _ => out.extend_from_slice(&[b'\\', b'x', hex(u32::from(byte) >> 4), hex(u32::from(byte))]),
        }
    }
    if clipped {
        out.extend_from_slice(b"...");
    }
}

fn hex(value: u32) -> u8 {
    b"0123456789abcdef"[(value & 0xF) as usize]
}

#[cfg(test)]
mod tests;
