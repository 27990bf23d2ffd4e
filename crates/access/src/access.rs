//! Sizes and shapes, judged before anybody else looks at the request.

use filter::{Admit, Mode, Reason, Reply, View};
use http::{HeaderMap, Version, header};

use crate::{BodyLimit, compile::LONGEST_URL, content::Kinds};

/// The most fields that a request may have.
const MAX_FIELDS: usize = 100;

/// The most options that `Connection` may name: each of them is a field to look for.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// What of a request may enter. Every route has one: what is not configured has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub(crate) max_body: Option<Most>,
    pub(crate) max_header: Most,
    pub(crate) max_url: Most,
    /// `None`: every type.
    pub(crate) kinds: Option<Kinds>,
    /// Whether any of them is only told of.
    pub(crate) has_shadow: bool,
}

/// A size that nothing may exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most {
    pub most: u64,
    pub mode: Mode,
}

impl Most {
    /// Whether a limit of this mode refuses what is so large. Only such a one asks how large that is.
    fn refuses(self, mode: Mode, size: impl FnOnce() -> usize) -> bool {
        self.mode == mode && size() as u64 > self.most
    }
}

impl Admit for Access {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        self.head(Mode::Enforce, request)?;
        let fields = &request.head.headers;
        framing(fields)?;
        expectation(request.head.version, fields)?;
        self.content(Mode::Enforce, request, announced(fields)?)
    }
}

impl Access {
    /// Why a limit in shadow would have refused the request; [`Reason::None`] where none would. A body of which nobody says
    /// how large it is, is watched by its [limit](Access::body_limit).
    pub fn would_refuse(&self, request: &View<'_>) -> Reason {
        if !self.has_shadow {
            return Reason::None;
        }
        let length = announced(&request.head.headers).ok().flatten();
        let judged = self.head(Mode::Shadow, request).and_then(|()| self.content(Mode::Shadow, request, length));
        judged.err().map_or(Reason::None, |reply| reply.reason)
    }

    /// A watch over the body of one attempt; `None` where bodies have no limit.
    pub fn body_limit(&self) -> Option<BodyLimit> {
        self.max_body.map(|Most { most, mode }| BodyLimit::new(most, mode))
    }

    /// The largest body in bytes by a limit of this mode; `None` where there is none.
    pub fn max_body(&self, mode: Mode) -> Option<u64> {
        self.max_body.filter(|max| max.mode == mode).map(|max| max.most)
    }

    /// What limits of this mode say to target and fields. Beyond what the house can handle nothing is tried out.
    fn head(&self, mode: Mode, request: &View<'_>) -> Result<(), Reply> {
        let (target, fields) = (request.head.raw_path(), &request.head.headers);
        let endless = mode == Mode::Enforce && target.len() as u64 > LONGEST_URL.0;
        if endless || self.max_url.refuses(mode, || target.len()) {
            return Err(Reason::UrlTooLong.into());
        }
        let crowded = mode == Mode::Enforce && fields.len() > MAX_FIELDS;
        match crowded || self.max_header.refuses(mode, || block_size(fields)) {
            true => Err(Reason::HeaderTooLarge.into()),
            false => Ok(()),
        }
    }

    /// What limits of this mode say to content of this length, as far as that is told.
    fn content(&self, mode: Mode, request: &View<'_>, length: Option<u64>) -> Result<(), Reply> {
        if self.max_body(mode).is_some_and(|max| length.is_some_and(|length| length > max)) {
            return Err(Reason::BodyTooLarge.into());
        }
        match self.kinds.as_ref().filter(|kinds| kinds.mode() == mode) {
            Some(kinds) if !kinds.admit(&request.head.method, &request.head.headers, length) => {
                Err(Reason::ContentTypeRefused.into())
            }
            _ => Ok(()),
        }
    }
}

/// The size of the field block as HTTP/1.1 writes it: `name: value` and a line end each.
fn block_size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Refuses what the engine lets through and would not send on as it came: transfer codings other than `chunked`, which
/// it would strip from a body that still has them, and a `Connection` that names half the alphabet.
fn framing(fields: &HeaderMap) -> Result<(), Reply> {
    if let Some(first) = fields.get(header::TRANSFER_ENCODING) {
        let one = fields.get_all(header::TRANSFER_ENCODING).into_iter().nth(1).is_none();
        if !one || !first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Reply::refuse(Reason::BadRequest).detail("The only transfer coding understood is chunked."));
        }
    }
    let lines = fields.get_all(header::CONNECTION).into_iter();
    let options: usize = lines.map(|line| 1 + line.as_bytes().iter().filter(|&&byte| byte == b',').count()).sum();
    if options > MAX_CONNECTION_OPTIONS { Err(Reason::BadRequest.into()) } else { Ok(()) }
}

/// Refuses to promise what nobody here can keep (RFC 9110 section 10.1.1). HTTP/1.0 knows no expectations.
fn expectation(version: Version, fields: &HeaderMap) -> Result<(), Reply> {
    let mut values = fields.get_all(header::EXPECT).into_iter();
    let known = values.all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue"));
    if known || version < Version::HTTP_11 { Ok(()) } else { Err(Reason::BadExpectation.into()) }
}

/// The body's length, where the request tells it. Repeated lengths have to be equal (RFC 9110 section 8.6).
fn announced(fields: &HeaderMap) -> Result<Option<u64>, Reply> {
    let mut length = None;
    for line in fields.get_all(header::CONTENT_LENGTH) {
        for member in line.as_bytes().split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            let digits = !member.is_empty() && member.iter().all(u8::is_ascii_digit);
            // More digits than 64 bits hold are a length all the same, and larger than any limit.
            let number = std::str::from_utf8(member).ok().filter(|_| digits);
            let number = number.map(|text| text.parse().unwrap_or(u64::MAX));
            if number.is_none() || length.is_some_and(|known| Some(known) != number) {
                return Err(Reason::BadRequest.into());
            }
            length = number;
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
