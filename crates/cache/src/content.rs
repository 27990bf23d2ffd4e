//! The content of an answer: it grows while it is fetched, and many may read it meanwhile.

mod reader;
mod readers;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use smallvec::SmallVec;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

pub use self::reader::Reader;
use self::readers::{Readers, WINDOW};
use crate::{
    disk::{Growing, Resting},
    lock,
    room::{Place, Room},
    stored::compact,
};

/// In how many codings content is kept at most, beside its own.
const CODINGS: usize = 3;

/// The content of one answer.
#[derive(Debug)]
pub struct Content {
    state: Mutex<State>,
    /// Something has come, the end is known, or a reader has moved or gone.
    changed: Notify,
    /// The length that the head tells.
    length: Option<u64>,
    /// All of it, once it is whole and kept in memory. Whoever reads it from then on needs no lock that all its readers share.
    whole: OnceLock<Bytes>,
    /// Where it is, where it is not in memory.
    resting: Option<Arc<Resting>>,
    /// Where it is written as it comes, where memory is not to hold it.
    growing: OnceLock<Arc<Growing>>,
    /// The number of a file that has it as well, where it is in memory; 0 where there is none.
    lies_in: AtomicU64,
    /// The same in other codings, so that what is asked for often is encoded once.
    encoded: Mutex<Encoded>,
}

/// How content was encoded: by which algorithm, at which level.
pub type Coding = (&'static str, u32);

/// The same content in several codings; most have one besides.
type Encoded = SmallVec<[(Coding, Arc<Content>); 1]>;

#[derive(Debug)]
struct State {
    /// What is held, with the place where each piece begins.
    pieces: VecDeque<(u64, Bytes)>,
    /// How much has come.
    total: u64,
    /// How much of it is in the file that it is written to.
    written: u64,
    /// The most that is kept; `None` once it is not kept at all.
    keeps: Option<u64>,
    end: Option<Result<(), Reason>>,
    readers: Readers,
    /// Whether it is wanted though nobody reads it.
    wanted: bool,
    /// What it has of the memory that all answers share.
    place: Place,
}

impl Content {
    /// Content of which nothing has come. It is kept as long as it has no more than `most` bytes, and has a place for them.
    pub(crate) fn growing(length: Option<u64>, most: u64, place: Place) -> Arc<Self> {
        let state = State {
            pieces: VecDeque::new(),
            total: 0,
            written: 0,
            keeps: Some(most),
            end: None,
            readers: Readers::default(),
            wanted: false,
            place,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            length,
            whole: OnceLock::new(),
            resting: None,
            growing: OnceLock::new(),
            lies_in: AtomicU64::new(0),
            encoded: Mutex::default(),
        })
    }

    /// Content that is whole.
    pub(crate) fn whole(bytes: Bytes) -> Arc<Self> {
        Self::placed(bytes, Place::default())
    }

    /// Content that is whole and has its place already.
    pub(crate) fn placed(bytes: Bytes, place: Place) -> Arc<Self> {
        let content =
            Self::ended(bytes.len() as u64, Some(bytes.clone()).filter(|bytes| !bytes.is_empty()), None, place);
        Arc::new(Self { whole: bytes.into(), ..content })
    }

    /// Content that is whole, on disk.
    pub(crate) fn resting(file: Arc<Resting>) -> Arc<Self> {
        Arc::new(Self::ended(file.length(), None, Some(file), Place::default()))
    }

    fn ended(total: u64, piece: Option<Bytes>, resting: Option<Arc<Resting>>, place: Place) -> Self {
        let state = State {
            pieces: piece.map(|piece| (0, piece)).into_iter().collect(),
            total,
            written: 0,
            keeps: Some(total),
            end: Some(Ok(())),
            readers: Readers::default(),
            wanted: false,
            place,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            length: Some(total),
            whole: OnceLock::new(),
            resting,
            growing: OnceLock::new(),
            lies_in: AtomicU64::new(0),
            encoded: Mutex::default(),
        }
    }

    /// Where it is, where it is not in memory.
    pub(crate) fn file(&self) -> Option<&Arc<Resting>> {
        self.resting.as_ref()
    }

    /// From here on it is written to this file as it comes, and not held. To be called before anything has come.
    pub(crate) fn grow_in(&self, file: Arc<Growing>) {
        // Nobody calls it twice.
        let _ = self.growing.set(file);
    }

    /// The file that it was written to as it came.
    pub(crate) fn grows_in(&self) -> Option<&Arc<Growing>> {
        self.growing.get()
    }

    /// A file of this number has it as well.
    pub(crate) fn lies_in(&self, number: u64) {
        self.lies_in.store(number, Ordering::Relaxed);
    }

    /// The number of the last file that had it as well.
    pub(crate) fn lay_in(&self) -> Option<u64> {
        Some(self.lies_in.load(Ordering::Relaxed)).filter(|number| *number > 0)
    }

    /// It is kept in memory: what it takes of it is counted from here on, where it was not before.
    pub(crate) fn settle(&self, room: &Arc<Room>) {
        if self.is_in_memory() {
            let mut state = self.lock();
            let total = state.total;
            state.place.settle(room, total);
        }
    }

    /// Whether it is, or will be, in memory and nowhere else.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.resting.is_none() && self.growing.get().is_none()
    }

    /// All of it, where it is whole and in memory.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        let state = self.lock();
        let whole = state.end == Some(Ok(())) && state.keeps.is_some() && self.is_in_memory();
        whole.then(|| state.pieces.front().map(|(_, piece)| piece.clone()).unwrap_or_default())
    }

    /// The length, once it is known.
    pub fn length(&self) -> Option<u64> {
        match (self.whole.get(), self.length) {
            (Some(whole), _) => Some(whole.len() as u64),
            // What comes to its end without an error has the length that its head tells.
            (None, Some(length)) => Some(length),
            (None, None) => {
                let state = self.lock();
                matches!(state.end, Some(Ok(()))).then_some(state.total)
            }
        }
    }

    /// How much is held in memory.
    pub(crate) fn size(&self) -> u64 {
        let own = if self.is_in_memory() { compact::taken(self.lock().total) } else { 0 };
        own + lock(&self.encoded).iter().map(|(_, content)| content.size()).sum::<u64>()
    }

    /// The same in this coding, where it was encoded before.
    pub fn encoded(&self, coding: Coding) -> Option<Arc<Self>> {
        lock(&self.encoded).iter().find(|(known, _)| *known == coding).map(|(_, content)| content.clone())
    }

    /// Whether it is worth keeping it in other codings: it is kept, in memory, and nobody has yet.
    pub fn wants(&self, coding: Coding) -> bool {
        let kept = self.lock().keeps.is_some() && self.is_in_memory();
        let known = lock(&self.encoded);
        kept && known.len() < CODINGS && known.iter().all(|(known, _)| *known != coding)
    }

    pub(crate) fn keep_encoded(&self, coding: Coding, bytes: Bytes, room: &Arc<Room>) {
        if self.wants(coding) {
            let encoded = Self::whole(bytes);
            encoded.settle(room);
            lock(&self.encoded).push((coding, encoded));
        }
    }

    /// From here on nothing is kept but what readers still need.
    pub fn pass(&self) {
        self.lock().keeps = None;
    }

    /// Somebody was served who needs none of it: it is fetched to its end all the same, if it is kept.
    pub fn want(&self) {
        if self.whole.get().is_some() {
            return;
        }
        let mut state = self.lock();
        state.wanted = state.keeps.is_some();
    }

    /// The most that it comes to, as long as it is to be kept.
    pub(crate) fn most(&self) -> Option<u64> {
        let most = self.lock().keeps?;
        Some(self.length.unwrap_or(most))
    }

    /// Whether it is all there and kept.
    pub fn is_whole(&self) -> bool {
        let state = self.lock();
        state.end == Some(Ok(())) && state.keeps.is_some()
    }

    /// Whether it has come to its end, and is not kept all the same: there was more of it than may be kept.
    pub(crate) fn has_passed(&self) -> bool {
        let state = self.lock();
        state.end == Some(Ok(())) && state.keeps.is_none()
    }

    fn is_deserted(&self) -> bool {
        let state = self.lock();
        let wanted = state.wanted && state.keeps.is_some();
        !wanted && state.readers.is_empty()
    }

    /// A reader from the beginning; `None` where the beginning is not held any more, or the fetch has failed.
    pub fn reader(self: &Arc<Self>) -> Option<Reader> {
        self.part(0, None)
    }

    /// A reader of the bytes from `from` up to, but without, `to`.
    pub fn part(self: &Arc<Self>, from: u64, to: Option<u64>) -> Option<Reader> {
        if self.resting.is_some() || self.whole.get().is_some() {
            return Some(Reader::new(self, None, from, to));
        }
        let mut state = self.lock();
        let begins = state.pieces.front().map_or(state.total, |(start, _)| *start) == 0 || self.growing.get().is_some();
        // While nothing has come the first reader of what is only passed on is still in time.
        if !begins || matches!(state.end, Some(Err(_))) || (state.keeps.is_none() && state.total > 0) {
            return None;
        }
        let slot = state.readers.add(from);
        Some(Reader::new(self, Some(slot), from, to))
    }

    /// Takes what has come. Waits for the slowest reader where the content is not kept, and where others wait as well not for long.
    pub async fn push(&self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let start = {
            let mut state = self.lock();
            let (start, length) = (state.total, piece.len() as u64);
            state.total += length;
            let is_held = state.keeps.is_some() && self.growing.get().is_none();
            if state.keeps.is_some_and(|most| state.total > most) || is_held && !state.place.take(length) {
                state.keeps = None;
            }
            state.pieces.push_back((start, piece.clone()));
            start
        };
        self.changed.notify_waiters();
        if let Some(file) = self.growing.get() {
            self.write(file, start, piece).await;
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (patience, total) = {
                let mut state = self.lock();
                if state.has_room() {
                    return;
                }
                let total = state.total;
                (state.readers.patience(total), total)
            };
            let Some(longest) = patience else {
                changed.await;
                continue;
            };
            let began = Instant::now();
            // Whether anything has changed is seen in the next round.
            let _ = timeout(longest, changed).await;
            self.lock().readers.waited(began.elapsed(), total);
        }
    }

    /// Writes a piece to the file, and lets go of it. Where that fails it is not kept, and readers get what is still to come
    /// as it comes.
    async fn write(&self, file: &Arc<Growing>, start: u64, piece: Bytes) {
        if self.lock().keeps.is_none() {
            return;
        }
        let length = piece.len() as u64;
        let wrote = file.write(start, piece).await;
        let mut state = self.lock();
        match wrote {
            Ok(()) => {
                state.written = start + length;
                state.pieces.pop_front();
            }
            Err(error) => {
                log::warn!("cache: an answer is not kept on disk: {error}");
                state.keeps = None;
            }
        }
    }

    /// Takes what has come, in a test that has nobody to wait for.
    #[cfg(test)]
    pub(crate) fn put_now(&self, piece: Bytes) {
        let mut state = self.lock();
        let start = state.total;
        state.total += piece.len() as u64;
        state.pieces.push_back((start, piece));
    }

    /// Ends it: whole, or cut off. What is kept becomes one piece, as large as it says.
    pub fn finish(&self, how: Result<(), Reason>) {
        let whole = {
            let state = self.lock();
            (how.is_ok() && state.keeps.is_some() && self.growing.get().is_none())
                .then(|| state.pieces.iter().map(|(_, piece)| piece.clone()).collect())
        };
        let joined = whole.map(joined);
        let mut state = self.lock();
        let end = match how {
            Ok(()) if self.length.is_some_and(|length| length != state.total) => Err(Reason::UpstreamReset),
            how => how,
        };
        state.end = Some(end);
        if let Some(bytes) = joined {
            state.pieces = if bytes.is_empty() { Default::default() } else { [(0, bytes.clone())].into() };
            if end.is_ok() {
                // It ends once.
                let _ = self.whole.set(bytes);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Ready once nobody reads it.
    pub async fn deserted(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_deserted() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One piece of its own memory: what came may be a small part of a large buffer.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}

impl State {
    /// Lets go of what nobody needs, and says whether more may come.
    fn has_room(&mut self) -> bool {
        if self.keeps.is_some() {
            return true;
        }
        let slowest = self.readers.slowest().unwrap_or(self.total);
        while self.pieces.front().is_some_and(|(start, piece)| start + piece.len() as u64 <= slowest) {
            self.pieces.pop_front();
        }
        self.place.shrink(self.pieces.iter().map(|(_, piece)| piece.len() as u64).sum());
        self.total - slowest.min(self.total) < WINDOW
    }

    /// What is held from `at` on, up to `to`.
    fn piece(&self, at: u64, to: Option<u64>, most: usize) -> Option<Bytes> {
        let place = self.pieces.partition_point(|(start, piece)| start + piece.len() as u64 <= at);
        let (start, piece) = self.pieces.get(place)?;
        let from = usize::try_from(at.checked_sub(*start)?).ok()?;
        let left = to.map_or(most, |to| usize::try_from(to.saturating_sub(at)).unwrap_or(most));
        Some(piece.slice(from..piece.len().min(from + left.min(most))))
    }
}

#[cfg(test)]
mod tests;
