//! How much memory answers take, kept or not: what is on its way into the cache and what a slow client still reads takes memory
//! as well as what is kept, and whoever asks for much of it must not have more of it than there is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Which part of the memory there is beside it for answers that are on their way, or let go and still being read. The largest
/// answer that is kept has room there.
const BESIDE: u64 = 4;

/// Up to this size an answer has room always: what is not kept takes as much, for a client that does not read it.
const SMALL: u64 = 256 * 1024;

/// Where that is no larger part of the memory.
const PART: u64 = 64;

/// What all answers in memory have taken together, and the most that they may.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: AtomicU64,
    most: AtomicU64,
    small: AtomicU64,
}

/// What one of them has taken. It is given back with it.
#[derive(Debug, Default)]
pub struct Place {
    room: Option<Arc<Room>>,
    taken: u64,
}

impl Room {
    /// So much is kept at most.
    pub(crate) fn resize(&self, memory: u64) {
        self.most.store(memory.saturating_add(memory / BESIDE), Ordering::Relaxed);
        self.small.store(SMALL.min(memory / PART), Ordering::Relaxed);
    }

    /// Whether there is room for so much more.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.taken.load(Ordering::Relaxed).saturating_add(bytes) <= self.most.load(Ordering::Relaxed)
    }

    /// A place of which nothing is taken.
    pub(crate) fn place(self: &Arc<Self>) -> Place {
        Place { room: Some(self.clone()), taken: 0 }
    }

    /// What is taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Takes so many bytes more, where there is room for them. A place of no room has it always.
    pub fn take(&mut self, bytes: u64) -> bool {
        let Some(room) = &self.room else { return true };
        let taken = room.taken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if taken > room.most.load(Ordering::Relaxed) && self.taken + bytes > room.small.load(Ordering::Relaxed) {
            room.taken.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.taken += bytes;
        true
    }

    /// Is in this room from now on, with so many bytes that are there already, unless it is in one.
    pub(crate) fn settle(&mut self, room: &Arc<Room>, bytes: u64) {
        if self.room.is_none() {
            room.taken.fetch_add(bytes, Ordering::Relaxed);
            *self = Self { room: Some(room.clone()), taken: bytes };
        }
    }

    /// Gives back what is more than so many bytes.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        if let Some(room) = &self.room {
            room.taken.fetch_sub(self.taken.saturating_sub(bytes), Ordering::Relaxed);
            self.taken = self.taken.min(bytes);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shrink(0);
    }
}
