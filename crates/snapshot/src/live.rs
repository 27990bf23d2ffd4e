//! The one pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::Snapshot;

/// The snapshot that requests which arrive now run on.
pub struct Live(ArcSwap<Snapshot>);

impl Live {
    /// Begins with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        snapshot.arrange_cache();
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// Pins the snapshot of the moment.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Publishes `snapshot`: requests that arrive from now on run on it, those under way end on theirs.
    pub fn publish(&self, snapshot: Snapshot) {
        let before = self.0.swap(Arc::new(snapshot));
        let now = self.0.load();
        now.arrange_cache();
        if now.cache.is_none()
            && let Some(cache) = &before.cache
        {
            cache.arrange(&cache::Settings::default(), None);
        }
    }
}
