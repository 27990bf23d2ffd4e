//! A budget for what an HTTP/2 client may say beside its requests (RFC 9113 section 10.5), and what the codec refuses.
//!
//! The codec bounds resets, CONTINUATION and empty DATA by itself; PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown
//! frames cost it work without end. [`Frames`] reads along, frame heads only, and says when it is enough. Time and what
//! the client is sent fill the budget up again, so that nobody who uses the connection for requests comes near its end.
//!
//! A request that the codec refuses by itself, for a pseudo-header that is missing or fields without end, it resets or
//! answers with 431 without a word to anybody else. It is seen where that leaves.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use filter::Reason;

use super::notes::Notes;

/// What a new connection may spend, and the most that can be saved up: a frame costs 1, one that must be answered 4, and
/// a request that is given up 16.
const BUDGET: u64 = 16_000;

/// What an answer gives back when it ends: many clients of gRPC reset each stream that has ended.
const ENDED: u64 = 1;

/// How much of it a second gives back.
const PER_SECOND: u64 = 2_000;

/// How many bytes sent to the client give 1 back. The answers to PING and SETTINGS give less than these cost.
const SENT_BYTES: u64 = 16;

/// How many bytes of compressed header fields are free. A request is rarely longer, and what more it costs it gets back
/// once it is accepted.
const FREE_HEADERS: usize = 512;

/// So many streams, and so many heads that are yet to be accepted, are remembered: a multiple of what the codec lets be.
const MOST_OPEN: usize = 1024;

/// The length of a frame head (RFC 9113 section 4.1), and of the connection preface (section 3.4).
const HEAD: usize = 9;
const PREFACE: usize = 24;

/// What requests and answers are made of (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// The flag of an answer's end, and the longest beginning that has its status alone, which is what the codec answers to
/// fields without end. Many of ours are as short.
const END_STREAM: u8 = 1;
const STATUS_ALONE: usize = 5;

/// The bit before a stream's number, which means nothing.
const RESERVED: u32 = 1 << 31;

/// A reset, its code and the length of that (RFC 9113 sections 6.4 and 7).
const RST_STREAM: u8 = 3;
const PROTOCOL_ERROR: [u8; CODE] = [0, 0, 0, 1];
const REFUSED_STREAM: [u8; CODE] = [0, 0, 0, 7];
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
    /// The streams that neither side has ended, as far as they are seen here, and the last that the client has opened.
    open: Vec<u32>,
    newest: u32,
    /// What the heads that are yet to be accepted have cost.
    heads: VecDeque<(u32, u64)>,
    /// How many bytes of answers there were.
    answered: u64,
    notes: Arc<Notes>,
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
        u32::from_be_bytes([a, b, c, d]) & !RESERVED
    }

    /// Whether the frame is part of a request or an answer.
    fn carries(&self) -> bool {
        matches!(self.kind(), DATA | HEADERS | CONTINUATION)
    }

    /// Whether nothing comes on its stream after the frame.
    fn ends(&self) -> bool {
        match self.kind() {
            DATA | HEADERS => self.head[4] & END_STREAM != 0,
            kind => kind == RST_STREAM,
        }
    }

    /// Whether the frame resets its stream with that code.
    fn resets(&self, code: [u8; CODE]) -> bool {
        self.kind() == RST_STREAM && self.length() == CODE && self.head[HEAD..] == code
    }

    /// What the frame refuses, as far as can be seen. Nobody but the codec resets for what the other end has done wrong.
    fn refusal(&self) -> Option<Reason> {
        match self.kind() {
            RST_STREAM if self.resets(PROTOCOL_ERROR) => Some(Reason::BadRequest),
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
            open: Vec::new(),
            newest: 0,
            heads: VecDeque::new(),
            answered: 0,
            notes: Arc::default(),
        }
    }

    /// What is told past the codec.
    pub fn notes(&self) -> &Arc<Notes> {
        &self.notes
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
            let stream = self.to_client.stream();
            if let Some((tell, reason)) = self.refused.as_ref().zip(self.to_client.refusal()) {
                // Whoever listened may be at its end.
                let _ = tell.send(Refusal { stream, reason });
            }
            // A later one that is accepted does not pay for it.
            if self.to_client.resets(PROTOCOL_ERROR) || self.to_client.resets(REFUSED_STREAM) {
                self.heads.retain(|(refused, _)| *refused != stream);
            }
            if self.to_client.carries() {
                self.answered += (HEAD + self.to_client.length()) as u64;
            }
            if self.to_client.ends() && self.close(stream) {
                self.earn(ENDED);
            }
        }
        self.notes.answer(self.answered);
    }

    /// Follows `bytes` from the client.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while self.from_client.next(&mut bytes) {
            let (heads, stream) = (&self.from_client, self.from_client.stream());
            let cost = match heads.kind() {
                HEADERS | CONTINUATION => self.open(stream, heads.length()),
                RST_STREAM => self.give_up(stream),
                kind => cost(kind, heads.head[4]),
            };
            self.spend(cost)?;
        }
        Ok(())
    }

    /// What so many bytes of header fields cost: each of them can stand for a field of some kilobytes.
    fn open(&mut self, stream: u32, length: usize) -> u64 {
        if stream > self.newest {
            self.newest = stream;
            if self.open.len() < MOST_OPEN {
                self.open.push(stream);
            }
        }
        let cost = (length / FREE_HEADERS) as u64;
        if cost > 0 {
            self.repay();
            // Trailers of a request that is accepted are not paid back.
            if stream > self.notes.accepted() && self.heads.len() < MOST_OPEN {
                self.heads.push_back((stream, cost));
            }
        }
        cost
    }

    /// Gives back what the heads of accepted requests have cost.
    fn repay(&mut self) {
        let accepted = self.notes.accepted();
        while let Some((_, cost)) = self.heads.front().copied().filter(|(stream, _)| *stream <= accepted) {
            self.heads.pop_front();
            self.earn(cost);
        }
    }

    /// What a reset costs. A request that is given up once it was begun has cost an origin's connection; one that has its
    /// answer has not.
    fn give_up(&mut self, stream: u32) -> u64 {
        let was_open = self.close(stream) || self.open.len() == MOST_OPEN;
        if was_open { 16 } else { 1 }
    }

    /// Whether the stream was open until now.
    fn close(&mut self, stream: u32) -> bool {
        let at = self.open.iter().position(|open| *open == stream);
        at.map(|at| self.open.swap_remove(at)).is_some()
    }

    fn earn(&mut self, count: u64) {
        self.left = (self.left + count).min(BUDGET);
    }

    fn spend(&mut self, cost: u64) -> Result<(), Flood> {
        if self.left < cost {
            let now = Instant::now();
            let passed = now.duration_since(self.filled).as_millis() as u64;
            self.filled = now;
            let earned = passed.saturating_mul(PER_SECOND) / 1000 + self.sent / SENT_BYTES;
            self.sent = 0;
            self.earn(earned);
        }
        self.left = self.left.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

/// What a frame costs of the budget that belongs to no request, by its type and its flags (RFC 9113 section 6).
fn cost(kind: u8, flags: u8) -> u64 {
    let is_acknowledgement = flags & 1 == 1;
    match kind {
        DATA => 0,
        // SETTINGS and PING, which have to be answered.
        4 | 6 if !is_acknowledgement => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ERROR: &[u8] = &[0, 0, 0, 0];
    const CANCEL: &[u8] = &[0, 0, 0, 8];

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        on(1, kind, flags, payload)
    }

    fn on(stream: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// The streams of a client that opens many.
    fn streams() -> impl Iterator<Item = u32> {
        (1..200_000).step_by(2)
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
    fn requests_that_are_given_up_are_a_flood_and_ended_ones_that_are_reset_are_none() {
        let mut frames = open();
        let given_up = |stream| [on(stream, 1, 5, b"head"), on(stream, 3, 0, CANCEL)].concat();
        let passed = streams().take_while(|stream| frames.follow(&given_up(*stream)).is_ok()).count();
        assert!((1000..1500).contains(&passed), "{passed}");
        let mut frames = open();
        for stream in streams() {
            frames.follow(&on(stream, 1, 4, b"head")).unwrap();
            frames.sent(&on(stream, 1, 5, b"\xbf"));
            // The bit before the number means nothing.
            frames.follow(&on(stream | RESERVED, 3, 0, NO_ERROR)).unwrap();
        }
        assert!(frames.open.is_empty());
    }

    #[test]
    fn a_reset_stream_cannot_be_reset_again_for_nothing() {
        let mut frames = open();
        frames.follow(&frame(1, 4, b"head")).unwrap();
        frames.sent(&frame(1, 5, b"\xbf"));
        let ended = (0..100_000).any(|_| frames.follow(&frame(3, 0, NO_ERROR)).is_err());
        assert!(ended);
    }

    #[test]
    fn long_heads_of_accepted_requests_cost_nothing_and_others_are_a_flood() {
        let mut frames = open();
        for stream in streams() {
            frames.follow(&on(stream, 1, 5, &[b'x'; 4096])).unwrap();
            frames.notes.accept(stream);
            frames.sent(&on(stream, 1, 5, b"\x89\xbe"));
        }
        assert!(frames.heads.len() <= 1);
        let mut frames = open();
        let refused = |stream| [on(stream, 1, 1, &[b'x'; 4096]), on(stream, 9, 4, &[b'x'; 4096])].concat();
        let ended = streams().any(|stream| frames.follow(&refused(stream)).is_err());
        assert!(ended);
        let mut frames = open();
        frames.notes.accept(1);
        let trailers = frame(9, 0, &[b'x'; 4096]);
        assert!((0..100_000).any(|_| frames.follow(&trailers).is_err()));
    }

    #[test]
    fn a_request_that_is_accepted_does_not_pay_for_those_that_were_refused_before_it() {
        for code in [PROTOCOL_ERROR, REFUSED_STREAM] {
            let mut frames = open();
            let ended = streams().any(|stream| {
                let is_long = frames.follow(&on(stream, 1, 5, &[b'x'; 8192])).is_err();
                if stream % 4 == 3 {
                    frames.notes.accept(stream);
                } else {
                    frames.sent(&on(stream, 3, 0, &code));
                }
                is_long
            });
            assert!(ended, "{code:?}");
        }
    }

    #[test]
    fn what_is_remembered_of_streams_is_bounded() {
        let mut frames = open();
        streams().for_each(|stream| frames.follow(&on(stream, 1, 5, b"head")).unwrap());
        assert_eq!(frames.open.len(), MOST_OPEN);
        let ended = streams().skip(MOST_OPEN).take(2000).any(|s| frames.follow(&on(s, 3, 0, CANCEL)).is_err());
        assert!(ended, "those that are not remembered cost as much");
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
