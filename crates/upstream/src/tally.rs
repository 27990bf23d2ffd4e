//! How much is going on in one upstream: kept while any configuration has it.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tokio::sync::Notify;

use crate::{adaptive::Adaptive, durations::Durations, hedge::Hedging};

/// Requests under way at all endpoints of an upstream together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) total: AtomicU32,
    /// Those among them that are retries after something was sent.
    pub(crate) retries: AtomicU32,
    /// How many it may be.
    pub(crate) adaptive: Adaptive,
    /// How long answers take, for whoever asks another endpoint as well.
    pub(crate) hedging: Hedging,
    /// How long answers take, for the limit.
    pub(crate) durations: Durations,
    /// Requests that wait for a place.
    waiting: AtomicU32,
    freed: Notify,
}

/// A request that waits for a place.
pub(crate) struct Waiting<'t>(&'t Tally);

impl Tally {
    /// Gets in line, where fewer than `most` are waiting.
    pub(crate) fn wait(&self, most: u32) -> Option<Waiting<'_>> {
        let room = |waiting: u32| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(SeqCst, SeqCst, room).ok().map(|_| Waiting(self))
    }

    /// A place is free. Who waits may wait for this one alone or for `one_of_many`: then all are told.
    pub(crate) fn free(&self, one_of_many: bool) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        match one_of_many {
            true => self.freed.notify_waiters(),
            false => self.freed.notify_one(),
        }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }
}

impl Waiting<'_> {
    /// Ready when a place may be free.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
        // Whoever leaves the line may have been told of a place that the next one can have.
        self.0.free(false);
    }
}
