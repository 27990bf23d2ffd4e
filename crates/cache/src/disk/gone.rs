//! What was let go, for the sake of the files that were not looked at yet.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering, fence},
};

use crate::freshness::Millis;

/// How many places there are for the moments. Two keys that share a place make each other's answers of before be fetched once
/// more, and nothing worse; so it never forgets and has no end: 2 MiB, once anything was let go.
const PLACES: usize = 1 << 18;

/// Under which keys what was asked for before which moment counts no more.
#[derive(Default)]
pub(super) struct Gone(OnceLock<Box<[AtomicU64]>>);

impl Gone {
    /// What was asked for before `until` counts no more. Who looks into the index after this, and does not find what another
    /// thread is adding, can rely on that thread to find this.
    pub(super) fn note(&self, hash: u128, until: Millis) {
        let places = self.0.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        if let Some(place) = places.get(place(hash)) {
            place.fetch_max(until, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Whether an answer under this key that was asked for then counts no more.
    pub(super) fn means(&self, hash: u128, asked: Millis) -> bool {
        let until = self.0.get().and_then(|places| places.get(place(hash)));
        until.is_some_and(|until| asked < until.load(Ordering::Relaxed))
    }
}

fn place(hash: u128) -> usize {
    hash as usize % PLACES
}
