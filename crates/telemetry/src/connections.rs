//! How many connections to a backend there are, and how many of them are in use.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

/// The connections to one backend. They are the same ones whatever becomes of the configuration: who has one open keeps
/// this.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Connections {
    open: AtomicI64,
    /// Those among them that carry something.
    active: AtomicI64,
}

impl Connections {
    /// Counts one that was made.
    pub fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// Counts the end of one.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Counts that one begins to carry something.
    pub fn taken(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    /// Counts that one does not carry anything any more.
    pub fn released(&self) {
        self.active.fetch_sub(1, Relaxed);
    }

    /// How many carry something.
    pub fn active(&self) -> i64 {
        self.active.load(Relaxed).max(0)
    }

    /// How many wait for their next request.
    pub fn idle(&self) -> i64 {
        (self.open.load(Relaxed) - self.active()).max(0)
    }
}

/// The connections to every backend, for as long as anybody holds them.
#[derive(Debug, Default)]
pub(crate) struct AllConnections(Mutex<HashMap<Place, Weak<Connections>>>);

/// An upstream and one of its backends.
type Place = (Box<str>, Box<str>);

impl AllConnections {
    /// Those to one backend: the same ones for as long as one of them is open.
    pub(crate) fn to(&self, upstream: &str, backend: &str) -> Arc<Connections> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            // Before it grows, and so seldom enough to cost nothing.
            all.retain(|_, connections| connections.strong_count() > 0);
        }
        let kept = all.entry((upstream.into(), backend.into())).or_default();
        kept.upgrade().unwrap_or_else(|| {
            let made = Arc::default();
            *kept = Arc::downgrade(&made);
            made
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_again_and_nothing_else_is_kept() {
        let all = AllConnections::default();
        let one = all.to("users", "a:80");
        one.opened();
        one.taken();
        assert_eq!((all.to("users", "a:80").active(), all.to("users", "a:80").idle()), (1, 0));
        assert_eq!(all.to("users", "b:80").idle(), 0);
        one.released();
        assert_eq!((one.active(), one.idle()), (0, 1));
        drop(one);
        assert_eq!(all.to("users", "a:80").idle(), 0);
        (0..100).for_each(|n| drop(all.to("users", &n.to_string())));
        assert!(all.0.lock().unwrap().len() < 20);
    }
}
