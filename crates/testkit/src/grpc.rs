//! gRPC's message framing: a flag byte, four bytes of length, and the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A length-prefixed gRPC message, uncompressed.
pub fn message(content: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + content.len());
    framed.put_u8(0);
    framed.put_u32(content.len() as u32);
    framed.put_slice(content);
    framed.freeze()
}

/// Puts messages back together from the pieces of a body.
#[derive(Debug, Default)]
pub struct Messages {
    ahead: BytesMut,
}

impl Messages {
    /// Takes the next piece of the body.
    pub fn feed(&mut self, piece: &[u8]) {
        self.ahead.extend_from_slice(piece);
    }
}

impl Iterator for Messages {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.ahead.get(1..5)?.try_into().ok()?) as usize;
        if self.ahead.len() < 5 + length {
            return None;
        }
        self.ahead.advance(5);
        Some(self.ahead.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_being_cut_anywhere() {
        let stream = [message(b"one"), message(b""), message(b"three")].concat();
        let mut messages = Messages::default();
        let mut seen = Vec::new();
        for byte in &stream {
            messages.feed(&[*byte]);
            seen.extend(messages.next());
        }
        assert_eq!(seen, [&b"one"[..], b"", b"three"]);
    }
}
