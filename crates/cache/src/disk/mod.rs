//! The tier on disk: a file for each answer, which outlives the process. Nothing here makes a request wait for a disk for
//! long: files are read by threads for what blocks, a bounded number at once, and written by a thread of its own.

mod beside;
mod file;
mod gone;
mod growing;
mod head;
mod index;
mod journal;
mod load;
mod slots;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use http::{HeaderMap, header::AUTHORIZATION};
use tokio::{sync::Semaphore, time::timeout};

pub(crate) use self::{file::Resting, growing::Growing, index::Coming};
use self::{
    file::{Broken, Opened},
    gone::Gone,
    index::{Chores, Entry, Index, Name},
    writer::Job,
};
use crate::{
    compile::{DiskSettings, SHARE},
    course::Course,
    freshness::{self, Millis},
    key::{Key, Selecting},
    ledger::{Ledger, Purge},
    lock,
    room::{Place, Room},
    stored::Stored,
    zone::Reading,
};

/// How many files are read at the same time.
const READERS: usize = 32;

/// How many files are written, or read, as they grow.
const GROWERS: usize = 16;

/// How long a request waits for an answer on disk before it asks the origin.
const PATIENCE: Duration = Duration::from_millis(500);

/// Content up to this size is taken into memory when it is asked for.
const SMALL: u64 = 256 * 1024;

/// Content up to this size is written again with each head: two files for it would take longer to write and to read than one.
const SMALLEST: u64 = file::BLOCK as u64;

/// What is not good for so long is not worth a file.
const WORTH: Millis = 60_000;

/// What waits to be written may take such a share of the memory.
const WAITING: u64 = 16;

/// How many answers wait to be written at most.
const MOST_WAITING: usize = 1024;

/// The tier on disk.
pub(crate) struct Disk {
    path: PathBuf,
    capacity: AtomicU64,
    /// Where everything is, in a folder that says how it is written.
    folder: PathBuf,
    ledger: Arc<Ledger>,
    /// What is taken into memory has a place there.
    room: Arc<Room>,
    index: Index,
    chores: Arc<Chores>,
    /// To the thread that writes; `None` once it is to end.
    jobs: Mutex<Option<SyncSender<Job>>>,
    /// How many bytes wait to be written, and how many may.
    waiting: AtomicU64,
    most_waiting: AtomicU64,
    /// How much content is being written as it is fetched.
    growing: Arc<AtomicU64>,
    slots: Arc<Semaphore>,
    growers: Arc<Semaphore>,
    is_open: AtomicBool,
    is_loaded: AtomicBool,
    is_closed: AtomicBool,
    ended: (Mutex<bool>, Condvar),
    number: AtomicU64,
    dropped: AtomicU64,
    broken: AtomicU64,
    /// How often something could not be read or written.
    failed: AtomicU64,
    changed: Mutex<BTreeSet<usize>>,
    gone: Gone,
    /// Purges that files may still be there of.
    purges: Mutex<VecDeque<Purge>>,
}

impl Disk {
    /// Opens the tier: in the background, as soon as no other process has it. `memory` is what the tier in memory may hold.
    pub(crate) fn open(
        settings: &DiskSettings,
        memory: u64,
        ledger: Arc<Ledger>,
        room: Arc<Room>,
    ) -> io::Result<Arc<Self>> {
        let chores = Arc::new(Chores::default());
        let (jobs, taken) = sync_channel(MOST_WAITING);
        let disk = Arc::new(Self {
            folder: settings.path.join("v1"),
            ledger,
            room,
            index: Index::new(settings.size, chores.clone()),
            path: settings.path.clone(),
            capacity: AtomicU64::new(settings.size),
            chores,
            jobs: Mutex::new(Some(jobs)),
            waiting: AtomicU64::new(0),
            most_waiting: AtomicU64::new(memory / WAITING),
            growing: Arc::default(),
            slots: Arc::new(Semaphore::new(READERS)),
            growers: Arc::new(Semaphore::new(GROWERS)),
            is_open: AtomicBool::new(false),
            is_loaded: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            ended: (Mutex::new(false), Condvar::new()),
            number: AtomicU64::new(freshness::now() << 20),
            dropped: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            changed: Mutex::default(),
            gone: Gone::default(),
            purges: Mutex::default(),
        });
        let own = disk.clone();
        std::thread::Builder::new().name("cache-disk".into()).spawn(move || writer::work(&own, &taken))?;
        Ok(disk)
    }

    /// Whether it is in this folder.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        self.path == path
    }

    pub(crate) fn resize(&self, settings: &DiskSettings, memory: u64) {
        self.most_waiting.store(memory / WAITING, Ordering::Relaxed);
        if self.capacity.swap(settings.size, Ordering::Relaxed) != settings.size {
            self.index.resize(settings.size);
            self.wake();
        }
    }

    /// Nothing is found from here on, and nothing written but what waits already.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        lock(&self.jobs).take();
    }

    /// Waits until everything is written that was to be. To be called where waiting is allowed.
    pub(crate) fn wait(&self, longest: Duration) {
        let (ended, told) = &self.ended;
        // A poisoned lock means that the thread is gone.
        drop(told.wait_timeout_while(lock(ended), longest, |ended| !*ended));
    }

    /// The kept answer for a request. What is small, or asked for again, has its content in memory, where there is room for it
    /// and nobody else is about to take it there: whoever is holds what it is given beside it until it is done.
    pub(crate) async fn find(
        self: &Arc<Self>,
        key: &Key,
        request: &HeaderMap,
    ) -> Option<(Arc<Stored>, Option<Coming>)> {
        if self.is_closed() || !self.is_open.load(Ordering::Acquire) {
            return None;
        }
        let entry = self.index.find(key.hash(), request).filter(|entry| self.stands(entry))?;
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let again = entry.is_asked_again();
        let wanted = entry.length <= SMALL || again && self.fits_memory(entry.length);
        let coming = wanted.then(|| entry.comes()).flatten();
        let mut place = self.room.place();
        let place = (coming.is_some() && place.take(entry.length)).then_some(place);
        let (disk, key) = (self.clone(), key.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let stored = disk.read(&key, &entry, place);
            drop(slot);
            stored.map(|stored| (Arc::new(stored), coming))
        });
        timeout(PATIENCE, reading).await.ok()?.ok()?
    }

    /// Whether there is a file with an answer that counts.
    pub(crate) fn has(&self, key: &Key, request: &HeaderMap) -> bool {
        let entry = self.index.find(key.hash(), request);
        !self.is_closed() && entry.is_some_and(|entry| self.stands(&entry))
    }

    /// Whether what the index says of a file was not overtaken by a change, or by a purge that is still to come to the index.
    fn stands(&self, entry: &Entry) -> bool {
        let (label, asked) = (&entry.label, entry.asked);
        self.ledger.is_valid(label, asked) && !self.ledger.was_purged(label, asked, freshness::now())
    }

    fn read(self: &Arc<Self>, key: &Key, entry: &Entry, place: Option<Place>) -> Option<Stored> {
        let name = entry.name;
        let (disk, slots) = (Arc::downgrade(self), self.slots.clone());
        let broken = Broken(Box::new(move |error| {
            if let Some(disk) = disk.upgrade() {
                disk.unread(name, error);
            }
        }));
        let read = self.open_file(entry).and_then(|opened| {
            let right = opened.key == key.sealed();
            opened.into_stored(name, place, slots, broken).map(|stored| (stored, right))
        });
        match read {
            Ok((stored, true)) => {
                let asked = stored.freshness().asked();
                // It may have a later head than was known when it was looked for.
                if asked == entry.asked {
                    stored.outdate(entry.outdated.load(Ordering::Relaxed));
                }
                stored.outdate(self.ledger.outdated(stored.label(), asked));
                Some(stored)
            }
            // Two keys with one hash: the one that is not there is fetched each time.
            Ok((_, false)) => None,
            Err(error) => {
                self.unread(name, &error);
                None
            }
        }
    }

    /// A file could not be read. Let go is only what is not as it was written: too many files that are open, or a disk that
    /// does not answer, say nothing of it.
    fn unread(&self, name: Name, error: &io::Error) {
        match error.kind() {
            // It was let go meanwhile.
            io::ErrorKind::NotFound => drop(self.index.remove(Some(name.hash), |entry| entry.name == name)),
            kind if file::is_torn(kind) => self.lose(name),
            _ => self.complain("read from", error),
        }
    }

    /// A file with the head that counts.
    fn open_file(&self, entry: &Entry) -> io::Result<Opened> {
        let opened = file::open(&self.file(entry.name))?;
        let Some(beside) = &entry.beside else { return Ok(opened) };
        match beside.waiting() {
            Some(record) => opened.told(&record),
            None => opened.headed(file::open(&self.beside(entry.name))?),
        }
    }

    /// Whether memory takes content of this length.
    fn fits_memory(&self, length: u64) -> bool {
        length <= self.most_waiting.load(Ordering::Relaxed) * (WAITING / SHARE)
    }

    /// Whether an answer that memory does not take may be written as it is fetched.
    pub(crate) fn takes(&self, stored: &Stored) -> bool {
        let lasts = stored.freshness().does_for(freshness::now()) >= WORTH;
        lasts && !self.is_closed() && self.is_open.load(Ordering::Acquire)
    }

    /// Something could not be written.
    fn drops(&self, error: &io::Error) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.complain("write to", error);
    }

    /// Says what cannot be done, the more rarely the more often that is.
    fn complain(&self, what: &str, error: &io::Error) {
        if (self.failed.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
            log::warn!("cache: cannot {what} {}: {error}", self.path.display());
        }
    }

    /// A file is not as it was written.
    fn lose(&self, name: Name) {
        if !self.index.remove(Some(name.hash), |entry| entry.name == name).is_empty() {
            self.broken.fetch_add(1, Ordering::Relaxed);
            log::warn!("cache: {} is not what was written; it is let go", self.file(name).display());
            self.wake();
        }
    }

    /// Writes an answer some time soon, if it is worth it and there is room for it to wait. Content that is in a file stays there,
    /// whether memory has it as well or not.
    pub(crate) fn keep(&self, course: &Arc<Course>, stored: &Arc<Stored>) {
        let key = course.key();
        if let Some(file) = stored.content().file() {
            self.renew(key, stored, file.name());
            return;
        }
        if stored.freshness().does_for(freshness::now()) < WORTH || self.is_closed() {
            return self.let_go_of_older(key, stored);
        }
        let Some(content) = stored.content().bytes() else { return };
        let size = content.len() as u64;
        if size > SMALLEST
            && let Some(number) = stored.content().lay_in()
            && self.renew(key, stored, Name { hash: key.hash(), number })
        {
            return;
        }
        let before = self.waiting.fetch_add(size, Ordering::AcqRel);
        let fits = before == 0 || before + size <= self.most_waiting.load(Ordering::Relaxed);
        let job = Job::Keep { course: course.clone(), stored: stored.clone(), content };
        let taken = fits && lock(&self.jobs).as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        if !taken {
            self.waiting.fetch_sub(size, Ordering::AcqRel);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.let_go_of_older(key, stored);
        }
    }

    /// An answer is not written: what was written before for the same requests is not to come back in its place, once that
    /// one is gone from memory.
    fn let_go_of_older(&self, key: &Key, stored: &Stored) {
        self.note_gone(key, stored.freshness().asked());
        self.remove(key, |entry| entry.is_replaced_by(stored));
    }

    /// Lets go of what was asked for by then and would be given to this request.
    pub(crate) fn let_go_for(&self, key: &Key, asked: Millis, request: &HeaderMap) {
        // What was not looked at yet is most likely for everybody else.
        if !request.contains_key(AUTHORIZATION) {
            self.note_gone(key, asked + 1);
        }
        let request = Selecting::of(request);
        self.remove(key, |entry| entry.asked <= asked && entry.answers(&request));
    }

    /// What waits to be written, or grows, is told by its [`Course`], and for which requests it is.
    fn note_gone(&self, key: &Key, until: Millis) {
        if !self.is_loaded.load(Ordering::Acquire) {
            self.gone.note(key.hash(), until);
        }
    }

    fn remove(&self, key: &Key, is_meant: impl Fn(&Entry) -> bool) {
        if !self.index.remove(Some(key.hash()), is_meant).is_empty() {
            self.wake();
        }
    }

    /// Something was changed there.
    pub(crate) fn change(&self, place: usize) {
        if lock(&self.changed).insert(place) {
            self.wake();
        }
    }

    /// Lets go of what the purge means, or makes it stale. Gives what it was: the hash of its key, and when it was asked for.
    pub(crate) fn purge(&self, purge: &Purge) -> Vec<(u128, Millis)> {
        let mut waiting = lock(&self.purges);
        purge.wait_in(&mut waiting);
        // While another process has the folder, it is not ours to write in. The thread that gives it back waits for this.
        if self.is_open.load(Ordering::Acquire)
            && !self.is_closed()
            && let Err(error) = journal::save(&self.folder, waiting.iter())
        {
            log::error!("cache: the purge may be forgotten by a crash: {error}");
        }
        let is_meant = |entry: &Entry| purge.means(&entry.label, entry.asked);
        let meant = match purge.soft {
            true => self.index.outdate(purge.when, is_meant),
            false => self.index.remove(None, is_meant),
        };
        drop(waiting);
        self.wake();
        meant.iter().map(|entry| (entry.name.hash, entry.asked)).collect()
    }

    /// What it holds.
    pub(crate) fn reading(&self) -> Reading {
        let (entries, bytes) = self.index.holds();
        Reading {
            capacity: self.capacity.load(Ordering::Relaxed),
            bytes,
            entries,
            evictions: self.chores.evictions(),
            dropped: self.dropped.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// There is something to do for the thread that writes; where it has enough to do already, it will come to it.
    fn wake(&self) {
        if let Some(jobs) = &*lock(&self.jobs) {
            let _ = jobs.try_send(Job::Look);
        }
    }

    /// Whether what is known of a file that is about to be found says that it counts no more.
    fn is_void(&self, entry: &Entry) -> bool {
        self.gone.means(entry.name.hash, entry.asked) || !self.ledger.counts(&entry.label, entry.asked)
    }

    fn file(&self, name: Name) -> PathBuf {
        self.shelf(name.hash).join(format!("{:032x}-{:016x}", name.hash, name.number))
    }

    /// Where a later head of a file is.
    fn beside(&self, name: Name) -> PathBuf {
        self.file(name).with_extension(beside::ENDING)
    }

    /// Files are spread over 256 folders.
    fn shelf(&self, hash: u128) -> PathBuf {
        self.folder.join("objects").join(format!("{:02x}", hash >> 120))
    }

    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}

impl Name {
    /// Reads the name of a file.
    fn of(path: &Path) -> Option<Self> {
        let (hash, number) = path.file_name()?.to_str()?.split_once('-')?;
        let hash = u128::from_str_radix(hash, 16).ok().filter(|_| hash.len() == 32)?;
        let number = u64::from_str_radix(number, 16).ok().filter(|_| number.len() == 16)?;
        Some(Self { hash, number })
    }
}
