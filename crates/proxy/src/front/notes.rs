//! What those on both sides of the HTTP/2 codec tell each other past it: the socket below, and the requests above.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Of one connection. Whoever reads them is woken by the codec in any case.
#[derive(Debug, Default)]
pub struct Notes {
    is_full: AtomicBool,
    taken: AtomicU64,
    answered: AtomicU64,
    accepted: AtomicU32,
}

impl Notes {
    /// The socket takes no more for now, after so many bytes.
    pub fn fill(&self, taken: u64) {
        self.taken.store(taken, Relaxed);
        self.is_full.store(true, Release);
    }

    /// The socket has taken everything.
    pub fn clear(&self) {
        self.is_full.store(false, Relaxed);
    }

    /// How many bytes the socket has taken, where more wait for it.
    pub fn full(&self) -> Option<u64> {
        self.is_full.load(Acquire).then(|| self.taken.load(Relaxed))
    }

    /// So many bytes of answers have come out of the codec. What else it says tells nothing of them.
    pub fn answer(&self, bytes: u64) {
        self.answered.store(bytes, Relaxed);
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Of the streams up to this one somebody carries each that is a request.
    pub fn accept(&self, stream: u32) {
        self.accepted.store(stream, Relaxed);
    }

    pub fn accepted(&self) -> u32 {
        self.accepted.load(Relaxed)
    }
}
