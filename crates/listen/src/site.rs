//! What the connections of a listener are met with, from one change of its configuration to the next.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use pingora_core::server::ShutdownWatch;
use telemetry::ListenerMeters;
use tokio::sync::watch;

use crate::{Listener, Serve, live::Gate};

/// Where a socket's doorkeeper looks up how to meet a connection.
pub(crate) type Post = ArcSwap<Site>;

/// A listener as it is at the moment, with all that its connections need.
pub(crate) struct Site {
    pub listener: Arc<Listener>,
    pub meters: Arc<ListenerMeters>,
    pub gate: Arc<Gate>,
    pub serve: Arc<dyn Serve>,
    /// Its connections; those of the same listener under another configuration are not among them.
    connections: Arc<AtomicUsize>,
    retire: watch::Sender<bool>,
}

/// A connection of a site; counted until dropped.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Site {
    pub(crate) fn new(
        listener: Arc<Listener>,
        meters: Arc<ListenerMeters>,
        gate: Arc<Gate>,
        serve: Arc<dyn Serve>,
    ) -> Self {
        Self { listener, meters, gate, serve, connections: Arc::default(), retire: watch::Sender::new(false) }
    }

    /// What tells its connections that they are to end.
    pub(crate) fn closing(&self) -> ShutdownWatch {
        let mut closing = self.retire.subscribe();
        // Who waits for a change has to see the one that has happened.
        if *closing.borrow() {
            closing.mark_changed();
        }
        closing
    }

    /// Counts a connection.
    pub(crate) fn count(&self) -> Counted {
        self.connections.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(&self.connections))
    }

    /// Asks its connections to end as soon as they can: idle ones now, others with the request under way. Returns how
    /// many there are.
    pub(crate) fn retire(&self) -> usize {
        self.retire.send_replace(true);
        self.connections.load(Ordering::Acquire)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("listener", &self.listener.name).finish_non_exhaustive()
    }
}
