//! How much is going on in one upstream: kept while any configuration has it.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tokio::sync::Notify;

/// Requests under way at all endpoints of an upstream together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) total: AtomicU32,
    /// Those among them that are retries after something was sent.
    pub(crate) retries: AtomicU32,
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

    /// A place is free.
    pub(crate) fn free(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
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
        self.0.free();
    }
}
