//! Requests unpacked for origins that cannot do that themselves, within bounds.

mod coder;
mod compile;
mod config;

use bytes::Bytes;
use filter::{Admit, Inspect, Reason, Reply, View};
use http::{HeaderMap, HeaderValue, Version, header};
use pingora_http::RequestHeader;

use self::coder::{Coder, Fault, Sink};
use crate::{
    compress::DIGESTS,
    head::{Head, members},
};

pub use config::{DecompressConfig, DecompressTable};

/// Content may be so long, however small it came: short texts pack very well.
const FLOOR: u64 = 64 * 1024;

/// What a piece that comes may become at once.
const PIECE: u64 = 16 * 1024 * 1024;

/// What is said to who sends another coding (RFC 9110 section 15.5.16).
const KNOWN: HeaderValue = HeaderValue::from_static("gzip, br, zstd, deflate");

/// Unpacks the content of a route's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decompress {
    /// How many times as long as it came content may become.
    max_ratio: u64,
}

/// How content is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

impl Packed {
    /// What `Content-Encoding` says; an error for what is not known, and for one coding over another, which is how bombs
    /// are built.
    fn of(fields: &HeaderMap) -> Result<Option<Self>, Reason> {
        let mut found = None;
        for coding in members(fields, &header::CONTENT_ENCODING) {
            let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
            let packed = match coding {
                _ if is("identity") => continue,
                // RFC 9110 section 8.4.1.3.
                _ if is("gzip") || is("x-gzip") => Self::Gzip,
                _ if is("br") => Self::Brotli,
                _ if is("zstd") => Self::Zstd,
                _ if is("deflate") => Self::Deflate,
                _ => return Err(Reason::UnknownCoding),
            };
            if found.replace(packed).is_some() {
                return Err(Reason::UnknownCoding);
            }
        }
        Ok(found)
    }
}

impl Admit for Decompress {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let fields = &request.head.headers;
        let framed = fields.contains_key(header::CONTENT_LENGTH) || fields.contains_key(header::TRANSFER_ENCODING);
        match Packed::of(fields) {
            // Over HTTP/1 nothing follows such a head; HTTP/2 does not tell.
            Err(reason) if framed || request.head.version == Version::HTTP_2 => {
                Err(Reply::refuse(reason).with(header::ACCEPT_ENCODING, KNOWN))
            }
            _ => Ok(()),
        }
    }
}

impl Decompress {
    /// What unpacks the content that follows these fields, up to `most` bytes of it; `None` where it is not packed. Made
    /// anew for every attempt, whose content begins again.
    pub fn decoder(&self, fields: &HeaderMap, most: Option<u64>) -> Option<Decoder> {
        let packed = Packed::of(fields).ok()??;
        let coder = Coder::new(packed).ok();
        Some(Decoder { coder, max_ratio: self.max_ratio, most: most.unwrap_or(u64::MAX), came: 0, made: 0 })
    }

    /// In a few words for who asks what a route does.
    pub fn describe(&self) -> String {
        format!("unpack what is sent, up to {} times as long", self.max_ratio)
    }
}

/// Makes a head tell the truth about content that goes through a [`Decoder`].
pub fn tell_unpacked(head: &mut RequestHeader) {
    head.take(&header::CONTENT_ENCODING);
    head.take(&header::CONTENT_LENGTH);
    DIGESTS.iter().for_each(|name| head.take(name));
}

/// Unpacks the content of one request as it goes by. Nothing is unpacked that would be longer than it may be.
pub struct Decoder {
    /// `None` where there is no memory for it.
    coder: Option<Coder>,
    max_ratio: u64,
    /// The most that may come, and the most that it may become.
    most: u64,
    came: u64,
    made: u64,
}

impl Decoder {
    /// How long the content is so far: as it came or as it is made, whichever is longer.
    pub fn length(&self) -> u64 {
        self.came.max(self.made)
    }

    /// How much may be made of what has come so far.
    fn room(&self) -> usize {
        let allowed = self.came.saturating_mul(self.max_ratio).max(FLOOR).min(self.most);
        usize::try_from(allowed.saturating_sub(self.made).min(PIECE)).unwrap_or(usize::MAX)
    }

    fn decode(&mut self, packed: &[u8], last: bool) -> Result<Bytes, Reason> {
        self.came = self.came.saturating_add(packed.len() as u64);
        if self.came > self.most {
            return Err(Reason::BodyTooLarge);
        }
        let room = self.room();
        let coder = self.coder.as_mut().ok_or(Reason::Internal)?;
        let mut sink = Sink::new(room);
        let mut decoded = coder.write(packed, &mut sink);
        if last && decoded.is_ok() && self.came > 0 {
            decoded = coder.finish(&mut sink);
        }
        match decoded {
            Ok(()) => {
                self.made += sink.bytes.len() as u64;
                Ok(sink.bytes.into())
            }
            Err(Fault::Full) => Err(Reason::BodyTooLarge),
            Err(Fault::Broken) => Err(Reason::BadContent),
        }
    }
}

impl Inspect for Decoder {
    fn chunk(&mut self, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Reply> {
        let packed = chunk.take().unwrap_or_default();
        // Nothing yet is not the end: Pingora's engine takes the lack of a piece for it.
        *chunk = Some(self.decode(&packed, last)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
