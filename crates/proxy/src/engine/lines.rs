//! The fields of an answer that nobody here has to see: they go to the client as they came (ADR 69).

use bytes::{BufMut, BytesMut};
use http::StatusCode;
use httparse::Header;
use pingora_http::RequestHeader;
use snapshot::{Answers, Passes};
use transform::hop;

use super::client::Client;
use crate::{context::Context, front::head::parse_length, relay};

/// The lines of an answer's fields, as the origin wrote them, but for those that the client is not sent. There are none where
/// somebody has to see one of them: all are in the head's table then.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: BytesMut,
    /// What they say of the length of the content.
    pub(super) length: Option<u64>,
    /// Whether they say when the answer was made.
    pub(super) is_dated: bool,
    /// What they say of the connection, if anything: that it goes on, or not.
    pub(super) persists: Option<bool>,
}

/// What of the answer to `request` has to be seen; `None` for all of it: of what is not written to an HTTP/1 socket at once,
/// of what is compared with a copy's, and of what may have changed something that is kept.
pub(super) fn asked<'c, C: Client>(ctx: &'c Context, request: &RequestHeader) -> Option<&'c Answers> {
    let passes = C::TOLD == relay::Told::Behind && ctx.mirror.is_none() && request.method.is_safe();
    ctx.route().filter(|_| passes).map(|route| &route.answers)
}

/// What a field is to a proxy, whatever policies there are.
enum Kind {
    /// Of no concern.
    Plain,
    Connection,
    Length,
    Date,
    /// A matter for tables: framing, what concerns one connection, a time to ask again.
    Seen,
}

impl Lines {
    /// The lines of `fields`, which stand in `head`; `None` where one of them has to be seen.
    pub(super) fn of(status: StatusCode, fields: &[Header<'_>], head: &[u8], asked: &Answers) -> Option<Self> {
        if !asked.spare_some() || is_special(status) {
            return None;
        }
        let mut lines = Self::default();
        let place = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        // A head ends with an empty line.
        let end = head.len().checked_sub(2)?;
        let start = fields.first().map_or(end, |first| place(first.name.as_bytes()));
        let mut at = start;
        // What is not copied yet, though it is meant for the client.
        let mut kept = start;
        lines.text.reserve(end.checked_sub(start)?);
        for field in fields {
            let (name, value) = (field.name.as_bytes(), field.value);
            let (begins, said) = (at, at + name.len() + 2);
            at = said + value.len() + 2;
            // A line that is spaced in another way is written anew.
            if place(name) != begins || place(value) != said || head.get(said - 1) != Some(&b' ') {
                return None;
            }
            let passes = match kind(name) {
                Kind::Seen => Passes::Seen,
                Kind::Plain => asked.passes(name),
                Kind::Date => {
                    lines.is_dated = true;
                    Passes::Unseen
                }
                Kind::Length => lines.take_length(value)?,
                Kind::Connection => lines.take_connection(value)?,
            };
            match passes {
                Passes::Unseen => {}
                Passes::Seen => return None,
                Passes::Never => {
                    lines.text.put_slice(head.get(kept..begins)?);
                    kept = at;
                }
            }
        }
        lines.text.put_slice(head.get(kept..at).filter(|_| at == end)?);
        Some(lines)
    }

    /// Anything but one plain number has to be seen.
    fn take_length(&mut self, value: &[u8]) -> Option<Passes> {
        let is_padded = value.len() > 1 && value.starts_with(b"0");
        let length = parse_length(value).filter(|_| !is_padded)?;
        self.length.replace(length).is_none().then_some(Passes::Unseen)
    }

    /// Anything but one of the two usual words has to be seen: it may name other fields.
    fn take_connection(&mut self, value: &[u8]) -> Option<Passes> {
        let closes = value.eq_ignore_ascii_case(b"close");
        let is_usual = closes || value.eq_ignore_ascii_case(b"keep-alive");
        (is_usual && self.persists.replace(!closes).is_none()).then_some(Passes::Never)
    }

    /// Writes them.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_slice(&self.text);
    }
}

/// Whether more depends on the head than on others: of an interim answer, of one that has no content whatever its fields
/// say, and of one that names protocols.
fn is_special(status: StatusCode) -> bool {
    status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::UPGRADE_REQUIRED)
}

fn kind(name: &[u8]) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        4 if is("date") => Kind::Date,
        10 if is("connection") => Kind::Connection,
        11 if is("retry-after") || is("grpc-status") => Kind::Seen,
        14 if is("content-length") => Kind::Length,
        17 if is("transfer-encoding") => Kind::Seen,
        _ if hop::is_answer_hop_by_hop(name) => Kind::Seen,
        _ => Kind::Plain,
    }
}
