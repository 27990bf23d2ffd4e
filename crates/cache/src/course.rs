//! What is under way into the cache, and what became known meanwhile. An answer that was asked for before a later one is not to
//! take its place, nor to be there where the later one is not kept: whichever tier it is about to reach.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    freshness::Millis,
    key::{Key, Selecting, selecting},
    lock,
    stored::Stored,
};

/// In how many parts they are kept, each with a lock of its own.
const PARTS: usize = 16;

/// How many later answers are remembered under one key for the sake of those whose head has not come. Those for the same
/// requests come again; beyond these the oldest is forgotten.
const LATER: usize = 64;

/// All that is under way, by a number for its key. Two keys with one number keep each other's older answers out, which are then
/// fetched once more.
#[derive(Default)]
pub(crate) struct Courses {
    parts: [Mutex<HashMap<u64, Lane>>; PARTS],
    next: AtomicU64,
}

/// The way of one answer into the cache, from before it is asked for until each tier has it. Whoever carries it on holds it.
pub struct Course {
    courses: Arc<Courses>,
    key: Key,
    place: u64,
    number: u64,
}

/// What is under way under one key.
#[derive(Default)]
struct Lane {
    /// With the answers whose head is there.
    under_way: SmallVec<[(u64, Option<Arc<Stored>>); 2]>,
    /// What those without one have to be told when it comes.
    later: Vec<Later>,
}

/// An answer that came: what was asked for before `until` for such requests is older.
struct Later {
    until: Millis,
    request: Marks,
}

/// The fields of a request, without their words: a number for each name, and one for its value.
#[derive(PartialEq, Eq)]
struct Marks(Box<[(u64, u64)]>);

impl Courses {
    /// Something under this key is about to be asked for.
    pub(crate) fn begin(self: &Arc<Self>, key: &Key) -> Arc<Course> {
        let mut hasher = DefaultHasher::new();
        Hash::hash(key, &mut hasher);
        let (place, number) = (hasher.finish(), self.next.fetch_add(1, Ordering::Relaxed));
        lock(self.part(place)).entry(place).or_default().under_way.push((number, None));
        Arc::new(Course { courses: self.clone(), key: key.clone(), place, number })
    }

    fn part(&self, place: u64) -> &Mutex<HashMap<u64, Lane>> {
        // It has as many as there are remainders.
        &self.parts[place as usize % PARTS]
    }
}

impl Course {
    /// What it is kept under.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The head of the answer is there, and it is to be kept.
    pub fn bring(&self, stored: &Arc<Stored>) {
        let mut lanes = lock(self.courses.part(self.place));
        let Some(lane) = lanes.get_mut(&self.place) else { return };
        if lane.later.iter().any(|later| later.means(stored)) {
            stored.overtake();
        }
        if let Some((_, brought)) = lane.under_way.iter_mut().find(|(number, _)| *number == self.number) {
            *brought = Some(stored.clone());
        }
    }

    /// There is an answer to this request: whatever else is under way for such requests and was asked for before `until` is
    /// older. Who looks for it after this, and does not find what another thread is adding, can rely on that thread to look
    /// whether it was overtaken.
    pub(crate) fn overtake(&self, until: Millis, request: &HeaderMap) {
        let mut lanes = lock(self.courses.part(self.place));
        let Some(lane) = lanes.get_mut(&self.place) else { return };
        let (mut any_is_awaited, asking) = (false, Selecting::of(request));
        for (number, brought) in &lane.under_way {
            match brought {
                _ if *number == self.number => {}
                Some(other) if other.freshness().asked() < until && other.answers(&asking) => other.overtake(),
                Some(_) => {}
                None => any_is_awaited = true,
            }
        }
        if any_is_awaited {
            lane.note(Later { until, request: Marks::of(request) });
        }
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        let mut lanes = lock(self.courses.part(self.place));
        let Some(lane) = lanes.get_mut(&self.place) else { return };
        lane.under_way.retain(|(number, _)| *number != self.number);
        if lane.under_way.is_empty() {
            lanes.remove(&self.place);
        }
    }
}

impl Lane {
    fn note(&mut self, later: Later) {
        if let Some(known) = self.later.iter_mut().find(|known| known.request == later.request) {
            known.until = known.until.max(later.until);
            return;
        }
        if self.later.len() == LATER {
            self.later.remove(0);
        }
        self.later.push(later);
    }
}

impl Later {
    /// Whether this answer is older, and for such a request.
    fn means(&self, stored: &Stored) -> bool {
        let is_for = || {
            let authorized = self.request.value(&header::AUTHORIZATION).is_some();
            let mut selecting = stored.selecting().iter();
            (!authorized || stored.for_authorized())
                && selecting.all(|(name, value)| self.request.value(name) == value.as_deref().map(xxh3_64))
        };
        stored.freshness().asked() < self.until && is_for()
    }
}

impl Marks {
    fn of(request: &HeaderMap) -> Self {
        let mark = |name: &HeaderName| Some((mark_of(name), xxh3_64(&selecting(request, name)?)));
        Self(request.keys().filter_map(mark).collect())
    }

    fn value(&self, name: &HeaderName) -> Option<u64> {
        let name = mark_of(name);
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

fn mark_of(name: &HeaderName) -> u64 {
    xxh3_64(name.as_str().as_bytes())
}

#[cfg(test)]
mod tests;
