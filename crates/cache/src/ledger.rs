//! What was changed and what was purged, and when: nothing that was asked for before counts any more, wherever it is kept.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    freshness::Millis,
    lock,
    purge::Selector,
    stored::Label,
    wire::{In, Out},
};

/// How many places there are for the moment when something under a path was changed. Two paths that share a place make each
/// other's answers be fetched once more, and nothing worse.
pub(crate) const PLACES: usize = 1 << Place::BITS;

/// One of them.
pub(crate) type Place = u16;

/// How many purges are remembered for the sake of what was being fetched meanwhile, or is kept elsewhere.
pub(crate) const PURGES: usize = 1024;

/// What no kept answer may be older than.
#[derive(Default)]
pub(crate) struct Ledger {
    changed: OnceLock<Box<[AtomicU64]>>,
    purges: Mutex<Purges>,
}

#[derive(Default)]
struct Purges {
    latest: VecDeque<Purge>,
    /// The moment of the last one that is forgotten: what is older counts as purged.
    forgotten: Millis,
}

/// What somebody ordered to be let go of, or to be stale from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Purge {
    pub(crate) when: Millis,
    pub(crate) soft: bool,
    pub(crate) selector: Selector,
}

impl Purge {
    /// Whether an answer that was asked for then is meant.
    pub(crate) fn means(&self, label: &Label, asked: Millis) -> bool {
        asked <= self.when && self.selector.means(label)
    }

    /// Puts it to those that somebody has still to be told of, within [bounds](bound).
    pub(crate) fn wait_in(&self, untold: &mut VecDeque<Self>) {
        untold.push_back(self.clone());
        bound(untold);
    }

    pub(crate) fn write(&self, out: &mut Out) {
        out.number(self.when);
        out.flag(self.soft);
        self.selector.write(out);
    }

    pub(crate) fn take(from: &mut In<'_>) -> Option<Self> {
        Some(Self { when: from.number()?, soft: from.flag()?, selector: Selector::take(from)? })
    }
}

/// In the place of more purges than are remembered there is one for everything that was asked for until the latest of them.
pub(crate) fn bound(purges: &mut VecDeque<Purge>) {
    if purges.len() > PURGES
        && let Some(when) = purges.iter().map(|purge| purge.when).max()
    {
        *purges = [Purge { when, soft: false, selector: Selector::All }].into();
    }
}

impl Ledger {
    /// Something was changed at this path of this host. Gives its place.
    pub(crate) fn change(&self, host: &str, path: &str, now: Millis) -> usize {
        let place = usize::from(place(host, path));
        self.change_place(place, now);
        place
    }

    pub(crate) fn change_place(&self, place: usize, when: Millis) {
        let places = self.changed.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        if let Some(place) = places.get(place) {
            place.fetch_max(when, Ordering::Relaxed);
        }
    }

    pub(crate) fn changed_at(&self, place: usize) -> Millis {
        let places = self.changed.get();
        places.and_then(|places| places.get(place)).map_or(0, |when| when.load(Ordering::Relaxed))
    }

    /// Whether nothing was changed since an answer was asked for.
    pub(crate) fn is_valid(&self, label: &Label, asked: Millis) -> bool {
        let is_older = |place: &Place| self.changed_at(usize::from(*place)) < asked;
        self.changed.get().is_none() || label.places().iter().all(is_older)
    }

    /// Whether an answer that was asked for then is still what it was kept as: nothing was changed or purged since.
    pub(crate) fn counts(&self, label: &Label, asked: Millis) -> bool {
        self.is_valid(label, asked) && !self.was_purged(label, asked, asked)
    }

    pub(crate) fn note(&self, purge: Purge) {
        let mut purges = lock(&self.purges);
        if purges.latest.len() == PURGES
            && let Some(oldest) = purges.latest.pop_front()
        {
            purges.forgotten = purges.forgotten.max(oldest.when);
        }
        purges.latest.push_back(purge);
    }

    /// What was asked for before counts as purged: nobody knows any more whether it was.
    pub(crate) fn forget_before(&self, when: Millis) {
        let mut purges = lock(&self.purges);
        purges.forgotten = purges.forgotten.max(when);
    }

    /// Whether an answer that was asked for then has been purged. It was found at `since` or later: what is forgotten of before
    /// that was carried out where it was found. What is remembered need not be yet, whenever it was ordered.
    pub(crate) fn was_purged(&self, label: &Label, asked: Millis, since: Millis) -> bool {
        let purges = lock(&self.purges);
        let mut hard = purges.latest.iter().filter(|purge| !purge.soft);
        asked.max(since) <= purges.forgotten || hard.any(|purge| purge.means(label, asked))
    }

    /// Since when an answer that was asked for then is stale by order; 0 where it is not.
    pub(crate) fn outdated(&self, label: &Label, asked: Millis) -> Millis {
        let purges = lock(&self.purges);
        let soft = purges.latest.iter().filter(|purge| purge.soft && purge.means(label, asked));
        soft.map(|purge| purge.when).max().unwrap_or(0)
    }
}

/// A host that no request names, for the groups of one (RFC 9875).
pub(crate) fn of_group(host: &str) -> String {
    format!("group of {host}")
}

/// Where a path of a host has its moment. The same in every process.
pub(crate) fn place(host: &str, path: &str) -> Place {
    let mut text = Vec::with_capacity(host.len() + path.len() + 1);
    text.extend_from_slice(host.as_bytes());
    text.push(0);
    text.extend_from_slice(path.as_bytes());
    // As many bits as tell them apart.
    xxh3_64(&text) as Place
}
