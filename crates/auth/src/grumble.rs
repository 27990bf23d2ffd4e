//! Saying that somebody cannot be asked: now and then, not once for every request.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

/// How often it is said, in seconds.
const EVERY: i64 = 5;

/// When it was last said, and how often it was not.
#[derive(Debug, Default)]
pub(crate) struct Grumble {
    last: AtomicI64,
    unsaid: AtomicU32,
}

impl Grumble {
    /// Says why `policy` cannot tell, unless that was said just now.
    pub(crate) fn warn(&self, policy: &str, why: &str) {
        let (now, last) = (jiff::Timestamp::now().as_second(), self.last.load(Relaxed));
        if now - last < EVERY || self.last.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            self.unsaid.fetch_add(1, Relaxed);
            return;
        }
        let more = match self.unsaid.swap(0, Relaxed) {
            0 => String::new(),
            times => format!(" (and {times} times before)"),
        };
        log::warn!("the policy `{policy}` cannot tell who calls: {why}{more}");
    }
}
