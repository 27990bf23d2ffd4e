//! Bodies that are counted and checked as they pass, and a pattern of any length that nobody has to hold in memory.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::Fields;

/// A prime, so that a piece that is lost, repeated or moved shows as a difference.
const PERIOD: usize = 65_521;
/// How much of a body is kept for looking at; the rest is only counted and compared with the pattern.
const KEPT: usize = 1 << 20;

static BLOCK: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut once: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    once.extend_from_within(..);
    Bytes::from(once)
});

/// Up to 64 KiB of the pattern that generated bodies are made of, from `offset` on: never more than `left` bytes.
pub fn pattern(offset: u64, left: u64) -> Bytes {
    let start = (offset % PERIOD as u64) as usize;
    let length = left.min(PERIOD as u64) as usize;
    BLOCK.slice(start..start + length)
}

/// What arrived of a body.
#[derive(Debug, Clone)]
pub struct Body {
    /// How many bytes came.
    pub length: u64,
    /// The first mebibyte of them.
    pub start: Vec<u8>,
    /// Whether every byte so far is the one that [`pattern`] has at its place.
    pub is_pattern: bool,
    /// Whether the body ended as its framing promised; `false` when it was cut off.
    pub complete: bool,
    /// The trailer fields after it.
    pub trailers: Fields,
}

impl Default for Body {
    fn default() -> Self {
        Self { length: 0, start: Vec::new(), is_pattern: true, complete: false, trailers: Fields::default() }
    }
}

impl Body {
    /// Takes the next piece.
    pub fn take(&mut self, mut piece: &[u8]) {
        let room = KEPT.saturating_sub(self.start.len()).min(piece.len());
        self.start.extend_from_slice(&piece[..room]);
        while !piece.is_empty() {
            let expected = pattern(self.length, piece.len() as u64);
            self.is_pattern = self.is_pattern && piece[..expected.len()] == expected[..];
            self.length += expected.len() as u64;
            piece = &piece[expected.len()..];
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.start).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_body_is_recognised_whatever_its_pieces() {
        let mut body = Body::default();
        let mut sent = 0;
        for length in [1_u64, 70, 65_521, 40_000, 65_520] {
            let piece = pattern(sent, length);
            sent += piece.len() as u64;
            body.take(&piece);
        }
        assert!(body.is_pattern);
        assert_eq!(body.length, sent);
    }

    #[test]
    fn a_lost_byte_shows() {
        let mut body = Body::default();
        body.take(&pattern(0, 100));
        body.take(&pattern(101, 100));
        assert!(!body.is_pattern);
    }
}
