//! A budget for what an HTTP/2 client may say beside its requests (RFC 9113 section 10.5).
//!
//! The codec bounds resets, CONTINUATION and empty DATA by itself; PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown
//! frames cost it work without end. [`Frames`] reads along, frame heads only, and says when it is enough. Time and what
//! the client is sent fill the budget up again, so that nobody who uses the connection for requests comes near its end.

use std::time::Instant;

/// What a new connection may spend, and the most that can be saved up: a frame costs 1, one that must be answered 4.
const BUDGET: u64 = 16_000;

/// How much of it a second gives back.
const PER_SECOND: u64 = 2_000;

/// How many bytes sent to the client give 1 back. The answers to PING and SETTINGS give less than these cost.
const SENT_BYTES: u64 = 16;

/// How many bytes of compressed header fields are free. A request is rarely longer.
const FREE_HEADERS: usize = 512;

/// The length of a frame head (RFC 9113 section 4.1), and of the connection preface (section 3.4).
const HEAD: usize = 9;
const PREFACE: usize = 24;

/// Follows what a client sends.
#[derive(Debug)]
pub struct Frames {
    /// Bytes to come that are no frame head: the preface, or the payload of a frame.
    skip: usize,
    head: [u8; HEAD],
    /// How much of the head is there.
    have: usize,
    left: u64,
    sent: u64,
    filled: Instant,
}

/// The client has said too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

impl Frames {
    /// For a connection that begins with its preface.
    pub fn new() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], have: 0, left: BUDGET, sent: 0, filled: Instant::now() }
    }

    /// Notes what the client is sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Follows `bytes` from the client.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < HEAD {
                return Ok(());
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.spend(cost(kind, flags, self.skip))?;
        }
    }

    fn spend(&mut self, cost: u64) -> Result<(), Flood> {
        if self.left < cost {
            let now = Instant::now();
            let passed = now.duration_since(self.filled).as_millis() as u64;
            self.filled = now;
            let earned = passed.saturating_mul(PER_SECOND) / 1000 + self.sent / SENT_BYTES;
            self.sent = 0;
            self.left = (self.left + earned).min(BUDGET);
        }
        self.left = self.left.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

/// What a frame costs of the budget, by its type, its flags and the length of its payload (RFC 9113 section 6).
fn cost(kind: u8, flags: u8, length: usize) -> u64 {
    let is_acknowledgement = flags & 1 == 1;
    match kind {
        0 => 0,
        // HEADERS and CONTINUATION: each byte of them can stand for a field of some kilobytes.
        1 | 9 => (length / FREE_HEADERS) as u64,
        // SETTINGS and PING, which have to be answered.
        4 | 6 if !is_acknowledgement => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn open() -> Frames {
        let mut frames = Frames::new();
        frames.follow(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        frames
    }

    #[test]
    fn requests_cost_nothing_however_they_are_cut() {
        let mut frames = open();
        let request = [frame(1, 4, b"head"), frame(0, 0, &[0; 200]), frame(9, 4, b"more")].concat();
        for size in [1, 2, 7, 9, 1000] {
            for piece in request.repeat(50).chunks(size) {
                frames.follow(piece).unwrap();
            }
        }
        assert_eq!(frames.left, BUDGET);
    }

    #[test]
    fn floods_end() {
        for (kind, payload) in
            [(6, &[0; 8][..]), (4, &[]), (2, &[0; 5]), (8, &[0; 4]), (0x77, b"x"), (1, &[0x82; 16_000])]
        {
            let mut frames = open();
            let one = frame(kind, 0, payload);
            let ended = (0..100_000).any(|_| frames.follow(&one).is_err());
            assert!(ended, "frame type {kind}");
        }
    }

    #[test]
    fn what_is_sent_pays_for_the_windows_that_it_needs() {
        let mut frames = open();
        for _ in 0..100_000 {
            frames.sent(64);
            frames.follow(&frame(8, 0, &[0; 4])).unwrap();
        }
    }

    #[test]
    fn the_answers_to_pings_do_not_pay_for_pings() {
        let mut frames = open();
        let ended = (0..100_000).any(|_| {
            frames.sent(17);
            frames.follow(&frame(6, 0, &[0; 8])).is_err()
        });
        assert!(ended);
    }
}
