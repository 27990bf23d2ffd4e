//! What is under way into the cache, and what became known meanwhile. An answer that was asked for before a later one is not to
//! take its place, nor to be there where the later one is not kept: whichever tier it is about to reach.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    freshness::{self, Millis},
    key::{Key, Selecting, selecting},
    lock,
    stored::Stored,
};

/// In how many parts they are kept, each with a lock of its own.
const PARTS: usize = 16;

/// How many later answers are remembered under one key for the sake of those whose head has not come. Beyond these the one is
/// forgotten whose like has not come for the longest time.
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
    began: Millis,
    /// Its head is there, so that its lane has it.
    is_brought: AtomicBool,
}

/// What is under way under one key.
#[derive(Default)]
struct Lane {
    /// How many there are. Of what is not kept there may be many, each of which comes and goes without a look at the others.
    under_way: usize,
    /// Those whose head is there, and which are to be kept.
    brought: SmallVec<[(u64, Arc<Stored>); 2]>,
    /// What the others have to be told when theirs comes.
    later: Vec<Later>,
}

/// An answer that came: what was asked for before `until` for such requests is older.
struct Later {
    until: Millis,
    /// The request had `Authorization`, and it is not known that the answer is for those without as well.
    is_private: bool,
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
        lock(self.part(place)).entry(place).or_default().under_way += 1;
        let (courses, key, began) = (self.clone(), key.clone(), freshness::now());
        Arc::new(Course { courses, key, place, number, began, is_brought: AtomicBool::new(false) })
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

    /// When it began.
    pub fn began(&self) -> Millis {
        self.began
    }

    /// The head of the answer is there, and it is to be kept.
    pub fn bring(&self, stored: &Arc<Stored>) {
        let selecting = Marks::that_select(stored);
        let mut lanes = lock(self.courses.part(self.place));
        let Some(lane) = lanes.get_mut(&self.place) else { return };
        if lane.later.iter().any(|later| later.means(stored, &selecting)) {
            stored.overtake();
        }
        let before = match self.is_brought.swap(true, Ordering::Relaxed) {
            true => lane.take(self.number),
            false => None,
        };
        lane.brought.push((self.number, stored.clone()));
        // What nobody else has is let go of without the lock.
        drop(lanes);
        drop(before);
    }

    /// There is an answer to this request: whatever else is under way for such requests and was asked for before `until` is
    /// older; where it is `kept`, so is what it takes the place of. Who looks for it after this, and does not find what another
    /// thread is adding, can rely on that thread to look whether it was overtaken.
    pub(crate) fn overtake(&self, until: Millis, request: &HeaderMap, kept: Option<&Stored>) {
        // Most often nobody else is under way. What begins after this is asked for later.
        let Some(any_is_awaited) = self.company() else { return };
        let later = any_is_awaited.then(|| Later::new(until, request, kept));
        let older: SmallVec<[Arc<Stored>; 2]> = {
            let mut lanes = lock(self.courses.part(self.place));
            let Some(lane) = lanes.get_mut(&self.place) else { return };
            later.into_iter().for_each(|later| lane.note(later));
            let others = lane.brought.iter().filter(|(number, _)| *number != self.number);
            others.filter(|(_, other)| other.freshness().asked() < until).map(|(_, other)| other.clone()).collect()
        };
        let asking = Selecting::of(request);
        let is_meant = |other: &Stored| other.answers(&asking) || kept.is_some_and(|kept| kept.replaces(other));
        older.iter().filter(|other| is_meant(other)).for_each(|other| other.overtake());
    }

    /// Whether anybody else is under way under the key, and then whether the head of any of them is awaited.
    fn company(&self) -> Option<bool> {
        let lanes = lock(self.courses.part(self.place));
        let lane = lanes.get(&self.place).filter(|lane| lane.under_way > 1)?;
        let own = usize::from(!self.is_brought.load(Ordering::Relaxed));
        Some(lane.under_way > lane.brought.len() + own)
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        let (mut ended, mut own) = (None, None);
        {
            let mut lanes = lock(self.courses.part(self.place));
            let Some(lane) = lanes.get_mut(&self.place) else { return };
            lane.under_way -= 1;
            if lane.under_way == 0 {
                ended = lanes.remove(&self.place);
            } else if *self.is_brought.get_mut() {
                own = lane.take(self.number);
            }
        }
        // What nobody else has is let go of without the lock.
        drop((ended, own));
    }
}

impl Lane {
    /// Takes out what was brought.
    fn take(&mut self, number: u64) -> Option<Arc<Stored>> {
        let place = self.brought.iter().position(|(brought, _)| *brought == number)?;
        Some(self.brought.swap_remove(place).1)
    }

    fn note(&mut self, mut later: Later) {
        if let Some(place) = self.later.iter().position(|known| known.is_like(&later)) {
            later.until = later.until.max(self.later.remove(place).until);
        } else if self.later.len() == LATER {
            self.later.remove(0);
        }
        self.later.push(later);
    }
}

impl Later {
    fn new(until: Millis, request: &HeaderMap, kept: Option<&Stored>) -> Self {
        // What is kept is given to everybody who asks like that, whatever was asked for before on their behalf.
        let is_private = kept.is_none() && request.contains_key(header::AUTHORIZATION);
        Self { until, is_private, request: Marks::of(request) }
    }

    /// Whether both are about the same requests.
    fn is_like(&self, other: &Self) -> bool {
        self.is_private == other.is_private && self.request == other.request
    }

    /// Whether this answer is older, and for such a request.
    fn means(&self, stored: &Stored, selecting: &[(u64, Option<u64>)]) -> bool {
        stored.freshness().asked() < self.until
            && (!self.is_private || stored.for_authorized())
            && selecting.iter().all(|(name, value)| self.request.value(*name) == *value)
    }
}

impl Marks {
    fn of(request: &HeaderMap) -> Self {
        let mark = |name: &HeaderName| Some((mark_of(name), xxh3_64(&selecting(request, name)?)));
        Self(request.keys().filter_map(mark).collect())
    }

    /// Those that a request has to have for this answer.
    fn that_select(stored: &Stored) -> SmallVec<[(u64, Option<u64>); 2]> {
        let mark = |(name, value): &(HeaderName, Option<Vec<u8>>)| (mark_of(name), value.as_deref().map(xxh3_64));
        stored.selecting().iter().map(mark).collect()
    }

    fn value(&self, name: u64) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

fn mark_of(name: &HeaderName) -> u64 {
    xxh3_64(name.as_str().as_bytes())
}

#[cfg(test)]
mod tests;
