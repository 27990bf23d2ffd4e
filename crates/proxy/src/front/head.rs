//! A request head, judged strictly before the engine sees it (RFC 9112).
//!
//! What is ambiguous is refused here, so that nothing behind us can read it otherwise: bare line feeds, folded lines,
//! two lengths, a length beside a transfer coding, two hosts, a target that is no path.

use std::mem::MaybeUninit;

use filter::Reason;
use http::Version;

use super::conn::Boundary;

/// More fields than this are refused with 431; Pingora's own limit is 256.
pub const MAX_FIELDS: usize = 100;

/// What the engine need not find out again about a head that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The head's length in bytes, its empty line included.
    pub length: usize,
    /// Where the message ends.
    pub body: Boundary,
    /// Whether it has an Upgrade field.
    pub upgrade: bool,
}

/// What a refused head could still tell the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The method, when the first line had one.
    pub method: Option<String>,
    /// The target, when the first line had one.
    pub target: Option<String>,
    /// The version of HTTP, where that is known.
    pub version: Option<Version>,
}

/// What the bytes read so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged<H> {
    /// Not a whole head yet.
    Partial,
    /// A head that may pass, as it is held.
    Passed(Passed, H),
    /// A head that may not.
    Refused(Refused),
}

/// The largest head and target that a listener reads at all; routes may allow less.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole head.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// Judges the start of `bytes` as a request head, and has it held where it passes: it is parsed once.
pub fn judge<H>(bytes: &[u8], limits: Limits, hold: impl FnOnce(&httparse::Request<'_, '_>, &[u8]) -> H) -> Judged<H> {
    // RFC 9112 section 2.2: a server should ignore one empty line before the request line.
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = &bytes[skipped..];
    if bytes == b"\r" && skipped == 0 {
        return Judged::Partial;
    }
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Judged::Refused(Refused::new(bytes, Reason::BadRequest));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
    let refuse = |reason| Judged::Refused(Refused::new(bytes, reason));
    match parsed {
        Ok(httparse::Status::Complete(length)) => {
            let judged = if length > limits.head {
                Err(Reason::HeaderTooLarge)
            } else {
                check_lines(&bytes[..length]).and_then(|()| check(&request, limits))
            };
            match judged {
                Ok((body, upgrade)) => {
                    let passed = Passed { length: length + skipped, body, upgrade };
                    Judged::Passed(passed, hold(&request, &bytes[..length]))
                }
                Err(reason) => refuse(reason),
            }
        }
        Ok(httparse::Status::Partial) => match over_limit(bytes, limits) {
            Some(reason) => refuse(reason),
            None => Judged::Partial,
        },
        Err(httparse::Error::TooManyHeaders) => refuse(Reason::HeaderTooLarge),
        Err(httparse::Error::Version) => refuse(version_reason(bytes)),
        Err(_) => refuse(Reason::BadRequest),
    }
}

impl Refused {
    pub fn new(bytes: &[u8], reason: Reason) -> Self {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(2048)]).into_owned();
        let mut words = line.split(' ');
        let token = |word: &&str| !word.is_empty() && word.len() <= 32 && word.bytes().all(|b| b.is_ascii_uppercase());
        let method = words.next().filter(token).map(str::to_owned);
        let target = method.as_ref().and_then(|_| words.next()).map(str::to_owned);
        Self { reason, method, target, version: None }
    }
}

/// Whether a head that is not whole yet has already outgrown what may come.
fn over_limit(bytes: &[u8], limits: Limits) -> Option<Reason> {
    let in_first_line = memchr::memchr(b'\n', bytes).is_none();
    if in_first_line && bytes.len() > limits.target + 64 {
        Some(Reason::UrlTooLong)
    } else if bytes.len() > limits.head {
        Some(Reason::HeaderTooLarge)
    } else {
        None
    }
}

/// A request line of three words that ends on HTTP/2.0, or on 1.2 and later, names a version that we do not speak;
/// everything else is no request line.
fn version_reason(bytes: &[u8]) -> Reason {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match words[..] {
        [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Reason::BadVersion
        }
        _ => Reason::BadRequest,
    }
}

/// Every line feed follows a carriage return, and every carriage return precedes one: a parser that takes a bare one
/// for a line's end would see other fields than we do (RFC 9112 section 2.2).
pub fn check_lines(head: &[u8]) -> Result<(), Reason> {
    // As many of the one as of the other, and each of the one right behind one of the other: then they come in pairs.
    let mut feeds = 0;
    let follow = memchr::memchr_iter(b'\n', head).all(|at| {
        feeds += 1;
        at > 0 && head[at - 1] == b'\r'
    });
    let strict = follow && memchr::memchr_iter(b'\r', head).count() == feeds;
    if strict { Ok(()) } else { Err(Reason::BadRequest) }
}

fn check(request: &httparse::Request<'_, '_>, limits: Limits) -> Result<(Boundary, bool), Reason> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Reason::BadRequest);
    };
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(Reason::MethodRefused);
    }
    if target.len() > limits.target {
        return Err(Reason::UrlTooLong);
    }
    check_target(method, target)?;
    let mut framing = Framing::default();
    for field in request.headers.iter() {
        framing.see(field)?;
    }
    let upgrade = framing.upgrade;
    framing.body(minor, target).map(|body| (body, upgrade))
}

/// Origin form and absolute form pass (RFC 9112 section 3.2); `*` belongs to OPTIONS alone.
fn check_target(method: &str, target: &str) -> Result<(), Reason> {
    let plain = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let absolute = || {
        let scheme = target.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("http://"))
            || target.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("https://"));
        scheme && !authority(target).is_empty()
    };
    let known = target.starts_with('/') || absolute() || (method == "OPTIONS" && target == "*");
    if plain && known { Ok(()) } else { Err(Reason::BadRequest) }
}

/// The authority of an absolute-form target; empty for other forms.
fn authority(target: &str) -> &str {
    let after = target.split_once("://").map_or("", |(_, after)| after);
    if target.starts_with('/') { "" } else { after.split(['/', '?']).next().unwrap_or("") }
}

/// What the fields say of the message's framing and host.
#[derive(Default)]
struct Framing<'h> {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    host: Option<&'h [u8]>,
}

impl<'h> Framing<'h> {
    fn see(&mut self, field: &httparse::Header<'h>) -> Result<(), Reason> {
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(field.value).ok_or(Reason::BadRequest)?;
            // Even two equal lengths are one too many: someone behind us may add them up or read a list.
            if self.length.replace(length).is_some() {
                return Err(Reason::BadRequest);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // RFC 9112 section 6.1: chunked once and last; we decode no other coding.
            if self.chunked || !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Reason::BadRequest);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("host") {
            if self.host.replace(field.value.trim_ascii()).is_some() {
                return Err(Reason::BadHost);
            }
        } else if name.eq_ignore_ascii_case("upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn body(self, minor: u8, target: &str) -> Result<Boundary, Reason> {
        let named = authority(target).as_bytes();
        match self.host {
            Some(host) if !is_host(host) => return Err(Reason::BadHost),
            // RFC 9112 section 3.2: HTTP/1.1 without Host is refused; absolute form names the host itself.
            None if minor == 1 && named.is_empty() => return Err(Reason::BadHost),
            // A Host beside an absolute target must say the same, or two readers would see two sites.
            Some(host) if !named.is_empty() && !host.eq_ignore_ascii_case(named) => return Err(Reason::BadHost),
            _ if !named.is_empty() && !is_host(named) => return Err(Reason::BadHost),
            _ => {}
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Reason::BadRequest),
            (true, None) if minor == 0 => Err(Reason::BadRequest),
            (true, None) => Ok(Boundary::Chunked),
            (false, length) => Ok(Boundary::Left(length.unwrap_or(0))),
        }
    }
}

/// Digits alone: no sign, no list, no white space inside, no overflow.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A host name, IPv4 address or bracketed IPv6 address with an optional port (RFC 3986 section 3.2.2, without
/// percent-encoding and sub-delimiters, which no host on the web has).
pub fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let inner = &rest[..end];
            let address = std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
            match &rest[end + 1..] {
                _ if !address => return false,
                [] => (inner, &b""[..]),
                [b':', port @ ..] => (inner, port),
                _ => return false,
            }
        }
        _ => {
            let end = memchr::memchr(b':', text).unwrap_or(text.len());
            let host = &text[..end];
            if !host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
                return false;
            }
            (host, text.get(end + 1..).unwrap_or_default())
        }
    };
    let port = std::str::from_utf8(port).unwrap_or("?");
    let known = port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    !host.is_empty() && host.len() <= 255 && known
}

#[cfg(test)]
mod tests;
