//! How many connections are open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Counts the open connections of all listeners and tells when the last one has ended.
#[derive(Debug, Default)]
pub(crate) struct Live {
    open: AtomicUsize,
    idle: Notify,
}

/// Counts the open connections of one listener and lets no more in than it may have.
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicUsize,
    most: AtomicUsize,
    all: Arc<Live>,
}

/// An open connection; counted until dropped.
#[derive(Debug)]
pub(crate) struct Entered(Arc<Gate>);

impl Live {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.open() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Gate {
    pub(crate) fn new(most: usize, all: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most: AtomicUsize::new(most), all })
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Lets other numbers in from now on; whoever is in stays.
    pub(crate) fn allow(&self, most: usize) {
        self.most.store(most, Ordering::Release);
    }

    /// Lets a connection in, unless there are as many as there may be.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Entered> {
        self.all.open.fetch_add(1, Ordering::AcqRel);
        let entered = Entered(Arc::clone(self));
        (self.open.fetch_add(1, Ordering::AcqRel) < self.most.load(Ordering::Acquire)).then_some(entered)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        if self.0.all.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_enter_than_may() {
        let live = Arc::new(Live::default());
        let gate = Gate::new(2, Arc::clone(&live));
        let first = gate.enter();
        let _second = gate.enter();
        assert!(gate.enter().is_none());
        assert_eq!((gate.open(), live.open()), (2, 2));
        drop(first);
        assert!(gate.enter().is_some());
    }

    #[tokio::test]
    async fn idle_is_told_when_the_last_one_leaves() {
        let live = Arc::new(Live::default());
        live.idle().await;
        let gate = Gate::new(9, Arc::clone(&live));
        let (first, second) = (gate.enter(), gate.enter());
        let waiting = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.idle().await }
        });
        drop(first);
        assert!(!waiting.is_finished());
        drop(second);
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }
}
