//! Copies of a route's requests for another upstream, whose answers nobody waits for.

mod compare;

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::Duration,
};

use http::HeaderName;
use telemetry::MirrorMeters;

pub use self::compare::{Answer, Compare};
use crate::{clock, upstream::Upstream};

/// What of a route's requests is copied, and where to.
#[derive(Debug)]
pub struct Mirror {
    upstream: Arc<Upstream>,
    /// From 0 to 1.
    share: f64,
    max_body: usize,
    timeout: Duration,
    concurrent: u32,
    remove: Box<[HeaderName]>,
    compare: Option<Compare>,
    meters: MirrorMeters,
    under_way: AtomicU32,
    /// When a difference was last told, in milliseconds.
    told: AtomicU64,
    /// How many have not been told since.
    untold: AtomicU64,
}

/// The place of one copy among those under way. Given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Mirror>);

/// Not more than one line a second is written about differences.
const PAUSE: u64 = 1_000;

impl Mirror {
    #[expect(clippy::too_many_arguments, reason = "one for each key")]
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        share: f64,
        max_body: usize,
        timeout: Duration,
        concurrent: u32,
        remove: Box<[HeaderName]>,
        compare: Option<Compare>,
        meters: MirrorMeters,
    ) -> Self {
        let (under_way, told, untold) = (AtomicU32::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { upstream, share, max_body, timeout, concurrent, remove, compare, meters, under_way, told, untold }
    }

    /// Whether this request is to be copied, with a place for the copy. Where all places are taken it is not, which is
    /// counted.
    pub fn begin(self: &Arc<Self>) -> Option<Place> {
        if self.share < 1.0 && fastrand::f64() >= self.share {
            return None;
        }
        let room = |count: u32| (count < self.concurrent).then_some(count + 1);
        if self.under_way.fetch_update(AcqRel, Relaxed, room).is_err() {
            self.meters.dropped();
            return None;
        }
        Some(Place(Arc::clone(self)))
    }

    /// Where the copies go.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The share of requests that are copied, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The longest content that is copied, and the longest answer that is read.
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// How long a copy may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The fields that a copy does not have.
    pub fn remove(&self) -> &[HeaderName] {
        &self.remove
    }

    /// What is compared, where anything is.
    pub fn compare(&self) -> Option<&Compare> {
        self.compare.as_ref()
    }

    /// What is counted.
    pub fn meters(&self) -> &MirrorMeters {
        &self.meters
    }

    /// Whether a difference may be told now, and how many have not been told since the last one.
    pub fn may_tell(&self) -> Option<u64> {
        let now = clock::now();
        let last = self.told.load(Relaxed);
        let due = last == 0 || now >= last + PAUSE;
        if due && self.told.compare_exchange(last, now.max(1), Relaxed, Relaxed).is_ok() {
            return Some(self.untold.swap(0, Relaxed));
        }
        self.untold.fetch_add(1, Relaxed);
        None
    }
}

impl Place {
    /// The mirror that it is of.
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, AcqRel);
    }
}
