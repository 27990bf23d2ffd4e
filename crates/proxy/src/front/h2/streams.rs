//! How many requests of an HTTP/2 connection are under way, and what they leave for the next ones.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use crate::engine::Alarm;

/// So many timers are kept for requests to come; more at once are made anew.
const SPARE: usize = 8;

/// The requests of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    active: AtomicUsize,
    malformed: AtomicUsize,
    /// Who is to hear that none is left.
    watch: Mutex<Option<Waker>>,
    /// Timers that are set already: the wait of a next request sets none.
    spare: Mutex<Vec<Alarm>>,
}

/// One request under way, for as long as it lives.
#[derive(Debug)]
pub(super) struct Entered(Arc<Streams>);

impl Streams {
    /// A request begins.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        self.active.fetch_add(1, Ordering::Relaxed);
        Entered(self.clone())
    }

    /// How many requests were malformed.
    pub(super) fn malformed(&self) -> usize {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Whether no request is under way. Otherwise whoever asks is woken when none is left.
    pub(super) fn watch(&self, cx: &Context<'_>) -> bool {
        if self.active.load(Ordering::Acquire) == 0 {
            return true;
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if !watch.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *watch = Some(cx.waker().clone());
        }
        drop(watch);
        // The last one may have ended in between, and seen nobody to wake.
        self.active.load(Ordering::Acquire) == 0
    }
}

impl Entered {
    /// A timer for its waits.
    pub(super) fn alarm(&self) -> Alarm {
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// It is over, and was `malformed` or not.
    pub(super) fn leave(self, mut alarm: Alarm, malformed: bool) {
        alarm.rest();
        self.0.malformed.fetch_add(usize::from(malformed), Ordering::Relaxed);
        let mut spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(alarm);
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(waker) = &*self.0.watch.lock().unwrap_or_else(PoisonError::into_inner)
        {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_watches_hears_when_none_is_left() {
        let streams = Arc::new(Streams::default());
        let cx = Context::from_waker(Waker::noop());
        assert!(streams.watch(&cx));
        let (first, second) = (streams.enter(), streams.enter());
        assert!(!streams.watch(&cx));
        first.leave(Alarm::default(), true);
        assert!(!streams.watch(&cx));
        drop(second);
        assert!(streams.watch(&cx));
        assert_eq!(streams.malformed(), 1);
        assert_eq!(streams.spare.lock().unwrap().len(), 1);
    }
}
