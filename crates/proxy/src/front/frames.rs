//! A budget for what an HTTP/2 client may say beside its requests (RFC 9113 section 10.5), and what the codec refuses.
//!
//! The codec bounds resets, CONTINUATION and empty DATA by itself; PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown
//! frames cost it work without end. [`Frames`] reads along, frame heads only, and says when it is enough. Time and what
//! the client is sent fill the budget up again, so that nobody who uses the connection for requests comes near its end.
//!
//! A request that the codec refuses by itself, for a pseudo-header that is missing or fields without end, it resets or
//! answers with 431 without a word to anybody else. It is seen where that leaves.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

use filter::Reason;

/// What a new connection may spend, and the most that can be saved up: a frame costs 1, one that must be answered 4, and
/// a request that is given up 16.
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

/// The beginning of an answer, the flag of its end, and the longest that has its status alone, which is what the codec
/// answers to fields without end: each of ours has more, and few are as short.
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const STATUS_ALONE: usize = 5;

/// A reset, its code and the length of that (RFC 9113 sections 6.4 and 7).
const RST_STREAM: u8 = 3;
const PROTOCOL_ERROR: [u8; CODE] = [0, 0, 0, 1];
const CODE: usize = 4;

/// Follows what a client sends, and what it is sent.
#[derive(Debug)]
pub struct Frames {
    from_client: Heads,
    to_client: Heads,
    left: u64,
    sent: u64,
    filled: Instant,
    refused: Option<Sender<Refusal>>,
}

/// The heads of frames in one direction.
#[derive(Debug)]
struct Heads {
    /// Bytes to come that are neither a frame head nor looked at: the preface, or the payload of a frame.
    skip: usize,
    head: [u8; HEAD + CODE],
    /// How much of the head is there.
    have: usize,
}

/// A stream that the codec may have refused: whoever carries its request knows better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub stream: u32,
    pub reason: Reason,
}

/// The client has said too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

impl Heads {
    /// Takes from the front of `bytes` up to the end of the next head, with the first bytes of a reset's payload; whether
    /// there was one.
    fn next(&mut self, bytes: &mut &[u8]) -> bool {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = &bytes[skipped..];
        while self.have < self.wanted() {
            let taken = (self.wanted() - self.have).min(bytes.len());
            if taken == 0 {
                return false;
            }
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            *bytes = &bytes[taken..];
        }
        self.skip = self.length() - (self.have - HEAD);
        self.have = 0;
        true
    }

    fn wanted(&self) -> usize {
        if self.have >= HEAD && self.kind() == RST_STREAM && self.length() == CODE { HEAD + CODE } else { HEAD }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    fn kind(&self) -> u8 {
        self.head[3]
    }

    fn stream(&self) -> u32 {
        let [_, _, _, _, _, a, b, c, d, ..] = self.head;
        u32::from_be_bytes([a, b, c, d])
    }

    /// What the frame refuses, as far as can be seen. Nobody but the codec resets for what the other end has done wrong.
    fn refusal(&self) -> Option<Reason> {
        match self.kind() {
            RST_STREAM if self.length() == CODE && self.head[HEAD..] == PROTOCOL_ERROR => Some(Reason::BadRequest),
            HEADERS if self.head[4] & END_STREAM != 0 && self.length() <= STATUS_ALONE => Some(Reason::HeaderTooLarge),
            _ => None,
        }
    }
}

impl Frames {
    /// For a connection that begins with its preface.
    pub fn new() -> Self {
        let heads = |skip| Heads { skip, head: [0; HEAD + CODE], have: 0 };
        Self {
            from_client: heads(PREFACE),
            to_client: heads(0),
            left: BUDGET,
            sent: 0,
            filled: Instant::now(),
            refused: None,
        }
    }

    /// Tells of the streams that the codec refuses from here on.
    pub fn refused(&mut self) -> Receiver<Refusal> {
        let (tell, told) = channel();
        self.refused = Some(tell);
        told
    }

    /// Notes what the client is sent.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        while self.to_client.next(&mut bytes) {
            if let Some((tell, reason)) = self.refused.as_ref().zip(self.to_client.refusal()) {
                // Whoever listened may be at its end.
                let _ = tell.send(Refusal { stream: self.to_client.stream(), reason });
            }
        }
    }

    /// Follows `bytes` from the client.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while self.from_client.next(&mut bytes) {
            let heads = &self.from_client;
            self.spend(cost(heads.kind(), heads.head[4], heads.length()))?;
        }
        Ok(())
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
        // A request that is given up once it was begun: it has cost an origin's connection.
        RST_STREAM => 16,
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
        for (kind, payload) in [
            (3, &[0, 0, 0, 8][..]),
            (6, &[0; 8]),
            (4, &[]),
            (2, &[0; 5]),
            (8, &[0; 4]),
            (0x77, b"x"),
            (1, &[0x82; 16_000]),
        ] {
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
            frames.sent(&frame(0, 0, &[0; 55]));
            frames.follow(&frame(8, 0, &[0; 4])).unwrap();
        }
    }

    #[test]
    fn the_answers_to_pings_do_not_pay_for_pings() {
        let mut frames = open();
        let ended = (0..100_000).any(|_| {
            frames.sent(&frame(6, 1, &[0; 8]));
            frames.follow(&frame(6, 0, &[0; 8])).is_err()
        });
        assert!(ended);
    }

    #[test]
    fn what_the_codec_refuses_is_told_of_however_it_is_cut() {
        let said = [
            frame(4, 0, &[0; 6]),
            frame(3, 0, &[0, 0, 0, 1]),
            frame(0, 1, b"content that says \x03"),
            frame(3, 0, &[0, 0, 0, 8]),
            frame(1, 4, b"head"),
            frame(1, 5, b"H\x83i\x90\xff"),
        ]
        .concat();
        for size in [1, 3, 4, 9, 10, 13, 1000] {
            let mut frames = Frames::new();
            let refused = frames.refused();
            said.chunks(size).for_each(|piece| frames.sent(piece));
            let told: Vec<_> = refused.try_iter().map(|refusal| (refusal.stream, refusal.reason)).collect();
            assert_eq!(told, [(1, Reason::BadRequest), (1, Reason::HeaderTooLarge)], "{size}");
        }
    }
}
