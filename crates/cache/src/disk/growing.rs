//! A file that grows while its answer is fetched, for content that memory is not to hold. It becomes an answer like all
//! others once it is whole; until then it has no name that anybody looks for.
//!
//! A disk that does not answer keeps nobody waiting for long: the answer goes on without it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::{Xxh3, Xxh3Builder};

use super::{
    Disk,
    file::{BLOCK, PATIENCE, STRIDE, torn},
    head,
    index::{Chores, Entry, Name},
    slots::in_slot,
};
use crate::{compile::SHARE, course::Course, freshness::Millis, key::Key, lock, stored::Stored};

/// A file under another name than its own.
pub(crate) struct Growing {
    file: Arc<File>,
    path: PathBuf,
    /// Where the content begins: what stands before it has its size from the start.
    begins: u64,
    length: u64,
    record: Vec<u8>,
    sums: Mutex<Sums>,
    slots: Arc<Semaphore>,
    /// Told when it is done with.
    chores: Arc<Chores>,
    _space: Space,
}

/// What one of them takes of what all files that grow may have; given back at the end.
struct Space {
    of: Arc<AtomicU64>,
    length: u64,
}

impl Space {
    /// `None` where there is no room for so many of them.
    fn take(of: &Arc<AtomicU64>, length: u64, most: u64) -> Option<Self> {
        let space = Self { of: of.clone(), length };
        (of.fetch_add(length, Ordering::AcqRel) + length <= most).then_some(space)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.of.fetch_sub(self.length, Ordering::AcqRel);
    }
}

/// The sums of what was written so far.
struct Sums {
    done: Vec<u64>,
    /// The block under way, and how much of it there is.
    current: Box<Xxh3>,
    filled: usize,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growing").field("path", &self.path).finish_non_exhaustive()
    }
}

fn hasher(block: usize) -> Box<Xxh3> {
    Box::new(Xxh3Builder::new().with_seed(block as u64).build())
}

impl Disk {
    /// Begins a file for an answer of which nothing has come yet. `None` where there is no room for so many of them, or the disk
    /// does not answer in time.
    pub(crate) async fn begin(self: &Arc<Self>, key: &Key, stored: &Stored, length: u64) -> Option<Arc<Growing>> {
        if !self.takes(stored) {
            return None;
        }
        let Some(space) = Space::take(&self.growing, length, self.capacity.load(Ordering::Relaxed) / SHARE) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let path = self.folder.join("new").join(format!("{:016x}", self.next_number()));
        let (disk, record) = (self.clone(), stored.record(key));
        let begin = move || move || Growing::begin(&disk, path, record, space);
        let begun = in_slot(&self.growers, PATIENCE, begin).await;
        match begun.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
            Ok(growing) => Some(Arc::new(growing)),
            Err(error) => {
                self.drops(&error);
                None
            }
        }
    }

    /// The file is whole: from here on it is found. Where that takes long it is found later, or not at all.
    pub(crate) async fn adopt(self: &Arc<Self>, course: &Arc<Course>, stored: &Arc<Stored>, growing: Arc<Growing>) {
        let (disk, way, answer) = (self.clone(), course.clone(), stored.clone());
        // For as long as it is under way it is to be found by what is later.
        let adopt = move || move || disk.adopt_now(&way, &answer, &growing);
        if in_slot(&self.growers, PATIENCE, adopt).await.is_none() {
            self.drops(&io::ErrorKind::TimedOut.into());
            self.let_go_of_older(course.key(), stored);
        }
    }

    fn adopt_now(&self, course: &Course, stored: &Stored, growing: &Growing) {
        if self.is_closed() {
            return;
        }
        let name = Name { hash: course.key().hash(), number: self.next_number() };
        let shelf = DirBuilder::new().recursive(true).mode(0o700).create(self.shelf(name.hash));
        match shelf.and_then(|()| growing.seal(&self.file(name), stored.outdated())) {
            Ok(written) => {
                let length = stored.content().length().unwrap_or(0);
                let is_void = |entry: &Entry| stored.is_overtaken() || self.is_void(entry);
                self.index.add(Entry::of(name, stored, length, written), is_void);
                self.wake();
            }
            Err(error) => {
                self.drops(&error);
                self.let_go_of_older(course.key(), stored);
            }
        }
    }
}

impl Growing {
    /// Begins a file for as much content as there is space for.
    fn begin(disk: &Disk, path: PathBuf, record: Vec<u8>, space: Space) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let sums = Sums { done: Vec::new(), current: hasher(0), filled: 0 };
        let length = space.length;
        Ok(Self {
            file: Arc::new(file),
            path,
            begins: head::length(record.len(), length),
            length,
            record,
            sums: Mutex::new(sums),
            slots: disk.growers.clone(),
            chores: disk.chores.clone(),
            _space: space,
        })
    }

    /// Writes the next piece, which begins at `at`. Where it takes too long nothing is to be written after it.
    pub(crate) async fn write(self: &Arc<Self>, at: u64, piece: Bytes) -> io::Result<()> {
        let this = self.clone();
        // Memory comes back to the thread that it is from: others would keep some of it, each.
        let begin = move || move || (this.write_now(at, &piece), piece);
        let written = in_slot(&self.slots, PATIENCE, begin).await;
        written.map_or_else(|| Err(io::ErrorKind::TimedOut.into()), |(wrote, _piece)| wrote)
    }

    fn write_now(&self, at: u64, piece: &[u8]) -> io::Result<()> {
        self.file.write_all_at(piece, self.begins + at)?;
        let mut sums = lock(&self.sums);
        let mut rest = piece;
        while !rest.is_empty() {
            let (own, next) = rest.split_at(rest.len().min(BLOCK - sums.filled));
            sums.current.update(own);
            sums.filled += own.len();
            if sums.filled == BLOCK {
                sums.close();
            }
            rest = next;
        }
        Ok(())
    }

    /// What stands from `at` on, up to `to`, but not more than a stride: it was written a moment ago, by ourselves.
    pub(crate) async fn read(self: &Arc<Self>, at: u64, to: u64) -> Result<Bytes, Reason> {
        let this = self.clone();
        let size = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX).min(STRIDE * BLOCK);
        let begin = move || {
            let mut bytes = BytesMut::zeroed(size);
            move || {
                this.file.read_exact_at(&mut bytes, this.begins + at).ok()?;
                Some(bytes.freeze())
            }
        };
        in_slot(&self.slots, PATIENCE, begin).await.flatten().ok_or(Reason::Internal)
    }

    /// Makes it the whole file `to`, and says how large it is.
    pub(super) fn seal(&self, to: &Path, outdated: Millis) -> io::Result<u64> {
        let mut sums = lock(&self.sums);
        if sums.filled > 0 {
            sums.close();
        }
        if sums.done.len() as u64 != self.length.div_ceil(BLOCK as u64) {
            return Err(torn());
        }
        let head = head::written(&self.record, self.length, &sums.done, outdated);
        self.file.write_all_at(&head, 0)?;
        fs::rename(&self.path, to)?;
        Ok(self.begins + self.length)
    }
}

impl Sums {
    fn close(&mut self) {
        let sum = self.current.digest();
        self.done.push(sum);
        (self.current, self.filled) = (hasher(self.done.len()), 0);
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // Where it has become an answer this name is gone already.
        self.chores.discard(&self.file, &self.path);
    }
}
