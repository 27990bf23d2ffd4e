//! Frames of HTTP/2 by hand (RFC 9113 section 6).

use bytes::Bytes;
use testkit::Wire;

/// The preface of HTTP/2 with empty SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The same with windows as wide as can be.
pub const WIDE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\
                          \0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0";

/// SETTINGS that take the windows of all streams back.
pub const CLOSED: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";

/// `GET http://a/`, as a header block.
pub const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

/// A frame that was sent.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Bytes,
}

impl Frame {
    /// Reads the next one.
    pub async fn read(wire: &mut Wire) -> Self {
        let read = async {
            loop {
                if let Some(frame) = Self::first(wire.ahead()) {
                    let _ = wire.read_exactly(9 + frame.payload.len()).await;
                    return frame;
                }
                assert!(wire.fill().await.unwrap(), "the connection has ended");
            }
        };
        testkit::within("a frame", read).await
    }

    /// The first of these bytes, if it is whole.
    pub fn first(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, d, e, f, g, ..] = *bytes else { return None };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let payload = Bytes::copy_from_slice(bytes.get(9..9 + length)?);
        Some(Self { kind, flags, id: u32::from_be_bytes([d, e, f, g]), payload })
    }

    /// How many bytes of content are in it.
    pub fn content(&self) -> usize {
        if self.kind == 0 { self.payload.len() } else { 0 }
    }

    /// Whether it is the last of an answer.
    pub fn ends(&self) -> bool {
        matches!(self.kind, 0 | 1) && self.flags & 1 == 1
    }
}

/// A HEADERS frame that opens and ends stream `id`, with this header block.
pub fn headers(id: u32, block: &[u8]) -> Vec<u8> {
    frame(1, 5, id, block)
}

/// A HEADERS frame that opens stream `id`, of which content is to come.
pub fn begin(id: u32, block: &[u8]) -> Vec<u8> {
    frame(1, 4, id, block)
}

/// An RST_STREAM frame for stream `id`.
pub fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(3, 0, id, &code.to_be_bytes())
}

/// A WINDOW_UPDATE frame for stream `id`.
pub fn window(id: u32, more: u32) -> Vec<u8> {
    frame(8, 0, id, &more.to_be_bytes())
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags];
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
