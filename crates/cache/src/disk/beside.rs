//! A head that is later than the one in a file, in a small file beside it. A 304 makes content good again that stays where it
//! is: nobody writes it once more, however large it is.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Disk, file, head,
    index::{Entry, Name},
};
use crate::{freshness::Millis, key::Key, lock, stored::Stored};

/// What the name of such a file ends with; before that it is the one of the file that it stands beside.
pub(super) const ENDING: &str = "head";

/// How long all heads wait after one could not be written: a disk that is full refuses the others as well.
const PAUSE: Duration = Duration::from_secs(1);

/// A later head than the one in the file.
pub(super) struct Beside {
    /// What it says, until that is written.
    record: Mutex<Option<Arc<[u8]>>>,
    /// What it takes of the disk, and at first of memory.
    pub(super) size: u64,
    /// The thread that writes has yet to look at it. Changes while the shelf does not.
    is_ordered: AtomicBool,
    has_failed: AtomicBool,
}

impl Beside {
    fn new(record: Vec<u8>) -> Self {
        let size = head::length(record.len(), 0);
        Self { record: Mutex::new(Some(record.into())), is_ordered: AtomicBool::new(true), ..Self::written(size) }
    }

    /// One that is on disk already.
    pub(super) fn written(size: u64) -> Self {
        Self { record: Mutex::default(), size, is_ordered: AtomicBool::new(false), has_failed: AtomicBool::new(false) }
    }

    /// What it says, where that is not written yet.
    pub(super) fn waiting(&self) -> Option<Arc<[u8]>> {
        lock(&self.record).clone()
    }

    /// Says whether it was to be written already.
    pub(super) fn order(&self) -> bool {
        self.is_ordered.swap(true, Ordering::Relaxed)
    }

    /// Somebody sees to it, or to one that takes its place. Says whether it was to be written.
    pub(super) fn take_order(&self) -> bool {
        self.is_ordered.swap(false, Ordering::Relaxed)
    }
}

impl Disk {
    /// An answer whose content is in a file was found good again: it is found with its later head from now on, which the thread
    /// that writes puts beside the file. What is gone from the disk by now stays so. Says whether it is so.
    pub(super) fn renew(&self, key: &Key, stored: &Stored, name: Name) -> bool {
        if self.is_closed() || name.hash != key.hash() {
            return false;
        }
        let is_void = |entry: &Entry| stored.is_overtaken() || self.is_void(entry);
        let is_found = self.index.renew(name, stored, Beside::new(stored.record(key)), is_void);
        if is_found {
            self.wake();
        }
        is_found
    }

    /// Writes the latest head of a file, where it is still to be written. The file is there as long as it is in the index: who
    /// removes it is the thread that calls this. Says whether it is to be tried again.
    fn write_beside(&self, name: Name) -> bool {
        let Some(entry) = self.index.ordered(name) else { return false };
        let Some(beside) = &entry.beside else { return false };
        let Some(record) = beside.waiting() else { return false };
        let new = self.folder.join("new").join(format!("{:016x}", self.next_number()));
        let outdated = entry.outdated.load(Ordering::Relaxed);
        let error = match write(&new, &record, outdated).and_then(|()| fs::rename(&new, self.beside(name))) {
            Ok(()) => {
                lock(&beside.record).take();
                self.index.weigh_anew(name.hash);
                return false;
            }
            Err(error) => error,
        };
        let _ = fs::remove_file(&new);
        if !beside.has_failed.swap(true, Ordering::Relaxed) {
            self.drops(&error);
        }
        if self.is_closed() {
            // Nobody tries again, and the head that is there is not to come back in the place of this one.
            self.tell_unless_gone(self.unlink(name));
            return false;
        }
        self.index.order(name)
    }
}

/// Whose heads are to be written.
#[derive(Default)]
pub(super) struct Heads {
    waiting: VecDeque<Name>,
    not_before: Option<Instant>,
}

impl Heads {
    pub(super) fn add(&mut self, name: Name) {
        self.waiting.push_back(name);
    }

    /// Writes those that wait, one after the other, until one of them cannot be written. That one has its turn after all others
    /// then, and none of them before some time has passed.
    pub(super) fn write(&mut self, disk: &Disk) {
        if !disk.is_closed() && self.not_before.is_some_and(|moment| Instant::now() < moment) {
            return;
        }
        self.not_before = None;
        while let Some(name) = self.waiting.pop_front() {
            if disk.write_beside(name) {
                self.waiting.push_back(name);
                self.not_before = Some(Instant::now() + PAUSE);
                return;
            }
        }
    }
}

fn write(path: &Path, record: &[u8], outdated: Millis) -> io::Result<()> {
    file::create(path)?.write_all(&head::written(record, 0, &[], outdated))
}
