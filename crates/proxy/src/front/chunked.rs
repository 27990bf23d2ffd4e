//! The chunked coding, checked as it goes by (RFC 9112 section 7.1).
//!
//! The engine decodes; this only says where the message ends and refuses what another reader could take for something
//! else: a size without digits, a bare line feed, a size that overflows.

use bytes::BytesMut;

/// More bytes of chunk extensions than this, over a whole message, are an attack.
const MAX_EXTENSIONS: usize = 4 * 1024;

/// More bytes of trailers than this are refused; they are dropped anyway, since HTTP/1 origins are sent none.
const MAX_TRAILERS: usize = 16 * 1024;

/// Where in a chunked message the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a chunk's size, after so many digits.
    Size { digits: u8, size: u64 },
    /// In a chunk's extensions.
    Extension { size: u64 },
    /// After the carriage return of a size line.
    SizeEnd { size: u64 },
    /// In a chunk's data, with so many bytes to come.
    Data { left: u64 },
    /// After a chunk's data.
    DataEnd,
    /// After the carriage return that follows a chunk's data.
    DataEndFeed,
    /// At the start of a trailer line, or of the empty line that ends the message.
    Trailer,
    /// In a trailer line.
    TrailerLine,
    /// After the carriage return of a trailer line.
    TrailerLineEnd,
    /// After the carriage return of the last, empty line.
    LastFeed,
    /// After the message.
    Done,
}

/// Follows a chunked body byte by byte, data in leaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    extensions: usize,
    trailers: usize,
}

/// The body is not in the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { digits: 0, size: 0 }, extensions: 0, trailers: 0 }
    }
}

impl Chunks {
    /// Whether the message has ended.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Follows `bytes`; returns how many of them belong to the message.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut seen = 0;
        while let Some(&byte) = bytes.get(seen) {
            match self.at {
                At::Done => break,
                At::Data { left } => {
                    let here = left.min((bytes.len() - seen) as u64);
                    seen += here as usize;
                    self.at = if here == left { At::DataEnd } else { At::Data { left: left - here } };
                    continue;
                }
                _ => self.at = self.step(byte)?,
            }
            seen += 1;
        }
        Ok(seen)
    }

    /// Takes the content out of `bytes`, as far as they belong to the message; what follows its end is left. So is what
    /// is malformed after some content: the next call says so.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<BytesMut, Malformed> {
        let (mut from, mut to) = (0, 0);
        while let Some(&byte) = bytes.get(from) {
            match self.at {
                At::Done => break,
                At::Data { left } => {
                    let here = left.min((bytes.len() - from) as u64);
                    let end = from + here as usize;
                    bytes.copy_within(from..end, to);
                    (from, to) = (end, to + here as usize);
                    self.at = if here == left { At::DataEnd } else { At::Data { left: left - here } };
                    continue;
                }
                _ => match self.step(byte) {
                    Ok(at) => self.at = at,
                    Err(_) if to > 0 => break,
                    Err(malformed) => return Err(malformed),
                },
            }
            from += 1;
        }
        let mut content = bytes.split_to(from);
        content.truncate(to);
        Ok(content)
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        match (self.at, byte) {
            (At::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit))).ok_or(Malformed)?;
                if digits >= 16 { Err(Malformed) } else { Ok(At::Size { digits: digits + 1, size }) }
            }
            (At::Size { digits: 1.., size }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Ok(At::Extension { size }),
            (At::Extension { size }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Extension { size }, byte) if is_text(byte) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS { Err(Malformed) } else { Ok(At::Extension { size }) }
            }
            (At::SizeEnd { size: 0 }, b'\n') => Ok(At::Trailer),
            (At::SizeEnd { size }, b'\n') => Ok(At::Data { left: size }),
            (At::DataEnd, b'\r') => Ok(At::DataEndFeed),
            (At::DataEndFeed, b'\n') => Ok(At::Size { digits: 0, size: 0 }),
            (At::Trailer, b'\r') => Ok(At::LastFeed),
            (At::Trailer | At::TrailerLine, byte) if is_text(byte) => {
                self.trailers += 1;
                if self.trailers > MAX_TRAILERS { Err(Malformed) } else { Ok(At::TrailerLine) }
            }
            (At::TrailerLine, b'\r') => Ok(At::TrailerLineEnd),
            (At::TrailerLineEnd, b'\n') => Ok(At::Trailer),
            (At::LastFeed, b'\n') => Ok(At::Done),
            _ => Err(Malformed),
        }
    }
}

/// Anything that may stand in a line: no control byte but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(body: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut chunks = Chunks::default();
        let whole = chunks.follow(body).map(|seen| (seen, chunks.is_done()));
        // However it is cut, the verdict is the same.
        for size in 1..4 {
            let mut chunks = Chunks::default();
            let mut seen = Ok(0);
            for piece in body.chunks(size) {
                if let (Ok(sum), false) = (seen, chunks.is_done()) {
                    seen = chunks.follow(piece).map(|count| sum + count);
                }
            }
            assert_eq!(seen.map(|seen| (seen, chunks.is_done())), whole, "{}", body.escape_ascii());
        }
        whole
    }

    #[test]
    fn the_content_is_what_the_chunks_hold() {
        let body = &b"4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\nX: y\r\n\r\nNEXT"[..];
        for size in 1..body.len() {
            let (mut chunks, mut content, mut waiting) = (Chunks::default(), Vec::new(), BytesMut::new());
            for piece in body.chunks(size) {
                waiting.extend_from_slice(piece);
                content.extend_from_slice(&chunks.decode(&mut waiting).unwrap());
            }
            assert!(chunks.is_done());
            assert_eq!((&content[..], &waiting[..]), (&b"Wikipedia"[..], &b"NEXT"[..]), "in pieces of {size}");
        }
        assert!(Chunks::default().decode(&mut BytesMut::from("zz\r\n")).is_err());
        let (mut chunks, mut broken) = (Chunks::default(), BytesMut::from("4\r\nhalf\r\nzz\r\n"));
        assert_eq!(chunks.decode(&mut broken).unwrap(), "half");
        assert!(chunks.decode(&mut broken).is_err());
    }

    #[test]
    fn a_message_ends_after_its_last_chunk_and_trailers() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n0\r\nX: y\r\nZ: w\r\n\r\n",
            "00A\r\n0123456789\r\n0\r\n\r\n",
        ] {
            let next = format!("{body}GET / HTTP/1.1");
            assert_eq!(follow(next.as_bytes()), Ok((body.len(), true)), "{body:?}");
        }
        assert_eq!(follow(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_malformed() {
        for body in [
            "\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            " 5\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "10000000000000000\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nX: y\n\r\n",
            "5;a\0b\r\nhello\r\n",
        ] {
            assert_eq!(follow(body.as_bytes()), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        assert_eq!(follow(format!("5;{}\r\n", "x".repeat(5000)).as_bytes()), Err(Malformed));
        assert_eq!(follow(format!("0\r\n{}", "X: y\r\n".repeat(5000)).as_bytes()), Err(Malformed));
    }
}
