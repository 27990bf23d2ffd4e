//! A condition that the test opens: what stands in the place of a sleep.

use std::sync::Arc;

use tokio::sync::watch;

use crate::within;

/// A gate that an [`Answer`](crate::Answer) stops at until the test opens it, or until the other side is gone.
///
/// Clones are the same gate. It stays open once opened.
#[derive(Debug, Clone)]
pub struct Gate {
    opened: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { opened: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets everyone through who waits here, now and later.
    pub fn open(&self) {
        self.opened.send_replace(true);
    }

    /// Waits until somebody stands at the gate: everything before it has been done.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until `count` have come to the gate.
    pub async fn reached_by(&self, count: usize) {
        let mut reached = self.reached.subscribe();
        within(format!("{count} to reach the gate"), reached.wait_for(|n| *n >= count)).await.unwrap();
    }

    /// Stands at the gate until it opens. Not bounded: the test that opens it is.
    pub async fn pass(&self) {
        self.reached.send_modify(|n| *n += 1);
        let mut opened = self.opened.subscribe();
        let _ = opened.wait_for(|open| *open).await;
    }
}
