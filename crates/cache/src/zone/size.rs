//! How much of the memory is for what is kept: all of it, but where clients hold more of what was let go than there is room for
//! beside it.

use std::sync::atomic::Ordering;

use super::Zone;
use crate::lock;

/// In how many steps what is kept gives way, and takes its room back.
const STEPS: u64 = 64;

/// So many of them it does not give: what clients take their time with shall not cost all that others ask for.
const LEFT: u64 = 32;

/// Which part of the memory is free beside what is about to come, before what is kept takes a step back.
const SPARE: u64 = 8;

impl Zone {
    /// Gives it so many bytes; what does not fit any more is let go.
    pub fn resize(&self, bytes: u64) {
        let _sizing = lock(&self.sizing);
        if self.capacity.swap(bytes, Ordering::Relaxed) != bytes {
            self.room.resize(bytes);
            self.kept.set_capacity(bytes);
        }
        if bytes == 0 {
            self.kept.clear();
        }
    }

    /// Lets go of what is kept where there is no room for so much that is about to come, as far as that may be.
    pub(super) fn make_room(&self, bytes: u64) {
        let is_whole = || self.kept.capacity() >= self.capacity.load(Ordering::Relaxed);
        if self.room.has(bytes) && is_whole() {
            return;
        }
        let _sizing = lock(&self.sizing);
        let whole = self.capacity.load(Ordering::Relaxed);
        let (step, mut share) = ((whole / STEPS).max(1), self.kept.capacity().min(whole));
        if self.room.has(bytes + whole / SPARE) {
            return self.kept.set_capacity(whole.min(share + step));
        }
        // What is being read makes no room yet, so it may take more than one.
        while !self.room.has(bytes) && share >= (LEFT + 1) * step {
            share -= step;
            self.kept.set_capacity(share);
        }
    }
}
