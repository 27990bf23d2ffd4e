//! What is known of the files without opening them: bounded in bytes on disk, and in what it takes of memory itself.

use std::{
    cmp::Reverse,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
    },
};

use http::{HeaderMap, HeaderName};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::beside::Beside;
use crate::{
    freshness::Millis,
    key::Selecting,
    lock,
    stored::{Label, Stored},
};

/// How many answers there are under one key for different values of what they vary by.
const VARIANTS: usize = 32;

/// File systems give space by the page.
const PAGE: u64 = 4096;

/// What is known of files may take such a share of what they may take themselves.
const SHARE: u64 = 64;

/// What a file costs of memory beside all that has a length.
const FIXED: u64 = 320;

/// What is kept, by the hash of its key. What is asked for often stays.
pub(super) struct Index {
    shelves: Cache<u128, Arc<Shelf>, ByBytes, DefaultHashBuilder, Doom>,
    /// Changing a shelf is two steps.
    changing: Mutex<()>,
    chores: Arc<Chores>,
}

/// The files under one key, the latest first.
pub(super) struct Shelf {
    entries: Vec<Arc<Entry>>,
    /// What they weighed when they were put here: what has to stay the same for as long as they are.
    weight: u64,
    /// Another one takes its place. `quick_cache` tells of that as it does of an eviction.
    is_replaced: AtomicBool,
}

impl Shelf {
    fn new(entries: Vec<Arc<Entry>>) -> Arc<Self> {
        let weight = entries.iter().map(|entry| entry.weight()).sum();
        Arc::new(Self { entries, weight, is_replaced: AtomicBool::new(false) })
    }

    fn named(&self, name: Name) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

/// One file.
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) asked: Millis,
    pub(super) length: u64,
    /// What it takes of the disk by itself.
    size: u64,
    pub(super) label: Arc<Label>,
    selecting: Box<[(HeaderName, Option<Vec<u8>>)]>,
    for_authorized: bool,
    pub(super) outdated: AtomicU64,
    /// A later head than its own, which is the one that counts.
    pub(super) beside: Option<Beside>,
    asks: Arc<Asks>,
}

/// What is known of those who ask for a file, whichever head it has.
#[derive(Default)]
struct Asks {
    count: AtomicU32,
    /// One of them takes its content into memory.
    is_coming: AtomicBool,
}

/// Content is on its way into memory for one who asks: the others read it where it is meanwhile, and not into memory of their own.
pub(crate) struct Coming(Arc<Asks>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.is_coming.store(false, Ordering::Release);
    }
}

/// What a file is called: its key, and a number that no other file ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) hash: u128,
    pub(super) number: u64,
}

/// Something to be done to a file, by the thread that writes.
pub(super) enum Chore {
    Unlink(Name),
    Outdate(Name, Millis),
    /// Write its latest head.
    Head(Name),
    /// Close what was written as it came, and take away the name that it had meanwhile.
    Discard(Arc<File>, PathBuf),
}

/// What is to be done, and how many answers were let go to make room. There are never more chores of a kind than files.
#[derive(Default)]
pub(super) struct Chores {
    waiting: Mutex<Vec<Chore>>,
    /// Nobody sees to them any more.
    have_ended: AtomicBool,
    evictions: AtomicU64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<u128, Arc<Shelf>> for ByBytes {
    fn weight(&self, _: &u128, shelf: &Arc<Shelf>) -> u64 {
        shelf.weight
    }
}

#[derive(Clone)]
struct Doom(Arc<Chores>);

impl Lifecycle<u128, Arc<Shelf>> for Doom {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: u128, shelf: Arc<Shelf>) {
        if shelf.is_replaced.load(Ordering::Relaxed) {
            return;
        }
        self.0.evictions.fetch_add(1, Ordering::Relaxed);
        shelf.entries.iter().for_each(|entry| self.0.add(Chore::Unlink(entry.name)));
    }
}

impl Chores {
    pub(super) fn add(&self, chore: Chore) {
        lock(&self.waiting).push(chore);
    }

    /// The last of a file that was written as it came. Whoever lets go of it is not to wait for the disk.
    pub(super) fn discard(&self, file: &Arc<File>, path: &Path) {
        let mut waiting = lock(&self.waiting);
        if self.have_ended.load(Ordering::Relaxed) {
            drop(waiting);
            let _ = fs::remove_file(path);
            return;
        }
        waiting.push(Chore::Discard(file.clone(), path.to_owned()));
    }

    /// Those that are taken after this are the last.
    pub(super) fn end(&self) {
        let _waiting = lock(&self.waiting);
        self.have_ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Vec<Chore> {
        std::mem::take(&mut lock(&self.waiting))
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

impl Entry {
    pub(super) fn of(name: Name, stored: &Stored, length: u64, size: u64) -> Self {
        Self {
            name,
            asked: stored.freshness().asked(),
            length,
            size: size.next_multiple_of(PAGE),
            label: stored.label().clone(),
            selecting: stored.selecting().into(),
            for_authorized: stored.for_authorized(),
            outdated: AtomicU64::new(stored.outdated()),
            beside: None,
            asks: Arc::default(),
        }
    }

    /// The same file with a later head than its own.
    pub(super) fn renewed(&self, stored: &Stored, beside: Beside) -> Self {
        let own = Self::of(self.name, stored, self.length, self.size);
        Self { beside: Some(beside), asks: self.asks.clone(), ..own }
    }

    /// Somebody asks for it. Says whether anybody has before.
    pub(super) fn is_asked_again(&self) -> bool {
        self.asks.count.fetch_add(1, Ordering::Relaxed) > 0
    }

    /// Takes it upon itself to bring the content into memory; `None` where somebody does already.
    pub(super) fn comes(&self) -> Option<Coming> {
        (!self.asks.is_coming.swap(true, Ordering::AcqRel)).then(|| Coming(self.asks.clone()))
    }

    /// Whether it may answer this request, which has the same key.
    pub(super) fn answers(&self, request: &Selecting<'_>) -> bool {
        request.gets(&self.selecting, self.for_authorized)
    }

    /// Whether the answer is a later one for the same requests.
    pub(super) fn is_replaced_by(&self, stored: &Stored) -> bool {
        self.asked < stored.freshness().asked() && *self.selecting == *stored.selecting()
    }

    /// Files count for what they take of the disk, and for what is known of them: a later head until it is written.
    fn weight(&self) -> u64 {
        let values = self.selecting.iter().map(|(_, value)| 64 + value.as_ref().map_or(0, Vec::len) as u64);
        let record = self.beside.as_ref().filter(|beside| beside.waiting().is_some()).map_or(0, |beside| beside.size);
        let known = FIXED + self.label.weight() + values.sum::<u64>() + record;
        self.takes().max(known * SHARE)
    }

    /// What it takes of the disk with what stands beside it.
    fn takes(&self) -> u64 {
        self.size + self.beside.as_ref().map_or(0, |beside| beside.size.next_multiple_of(PAGE))
    }
}

impl Index {
    pub(super) fn new(capacity: u64, chores: Arc<Chores>) -> Self {
        let mut options = OptionsBuilder::new();
        options.shards(1).estimated_items_capacity(1024).weight_capacity(capacity);
        let doom = Doom(chores.clone());
        let hasher = DefaultHashBuilder::default();
        let shelves = match options.build() {
            Ok(options) => Cache::with_options(options, ByBytes, hasher, doom),
            Err(_) => Cache::with(1024, capacity, ByBytes, hasher, doom),
        };
        Self { shelves, changing: Mutex::default(), chores }
    }

    pub(super) fn resize(&self, capacity: u64) {
        self.shelves.set_capacity(capacity);
    }

    /// The file with the answer to a request.
    pub(super) fn find(&self, hash: u128, request: &HeaderMap) -> Option<Arc<Entry>> {
        let (shelf, request) = (self.shelves.get(&hash)?, Selecting::of(request));
        shelf.entries.iter().find(|entry| entry.answers(&request)).cloned()
    }

    /// Whether this file is among them.
    pub(super) fn has(&self, name: Name) -> bool {
        self.shelves.peek(&name.hash).is_some_and(|shelf| shelf.named(name).is_some())
    }

    /// Adds a file, unless there is a later one for the same requests, or `is_void` says that it counts no more.
    pub(super) fn add(&self, entry: Entry, is_void: impl Fn(&Entry) -> bool) {
        let entry = Arc::new(entry);
        self.insert(entry.clone(), &is_void);
        // Who lets go of it notes that first, and then looks whether it is here, without the lock.
        fence(Ordering::SeqCst);
        if is_void(&entry) {
            self.remove(Some(entry.name.hash), |other| other.name == entry.name);
        }
    }

    fn insert(&self, entry: Arc<Entry>, is_void: impl Fn(&Entry) -> bool) {
        let hash = entry.name.hash;
        let _changing = lock(&self.changing);
        if is_void(&entry) {
            self.chores.add(Chore::Unlink(entry.name));
            return;
        }
        let before = self.shelves.peek(&hash);
        if before.as_ref().is_some_and(|shelf| shelf.named(entry.name).is_some()) {
            return;
        }
        let mut entries = vec![entry];
        for other in before.iter().flat_map(|shelf| &shelf.entries) {
            let same = other.selecting == entries[0].selecting;
            if same && (other.asked, other.name.number) > (entries[0].asked, entries[0].name.number) {
                self.chores.add(Chore::Unlink(entries[0].name));
                return;
            }
            if same || entries.len() == VARIANTS {
                self.chores.add(Chore::Unlink(other.name));
            } else {
                entries.push(other.clone());
            }
        }
        // Files are found in any order after a start.
        entries.sort_by_key(|entry| Reverse((entry.asked, entry.name.number)));
        self.exchange(hash, before.as_deref(), entries);
    }

    /// A file has a later head: it is found with that from now on, and the head is to be written. Not where the file is gone,
    /// or a later one is there for the same requests, or `is_void` says that it counts no more. Says whether it is so.
    pub(super) fn renew(&self, name: Name, stored: &Stored, beside: Beside, is_void: impl Fn(&Entry) -> bool) -> bool {
        let Some(entry) = self.put_renewed(name, stored, beside, &is_void) else { return false };
        // As for a file that is added.
        fence(Ordering::SeqCst);
        if is_void(&entry) {
            self.remove(Some(name.hash), |other| other.name == name && other.asked <= entry.asked);
        }
        true
    }

    fn put_renewed(
        &self,
        name: Name,
        stored: &Stored,
        beside: Beside,
        is_void: impl Fn(&Entry) -> bool,
    ) -> Option<Arc<Entry>> {
        let _changing = lock(&self.changing);
        let shelf = self.shelves.peek(&name.hash)?;
        let old = shelf.named(name)?;
        let entry = Arc::new(old.renewed(stored, beside));
        let is_same = |other: &Entry| other.name == name || other.selecting == entry.selecting;
        if is_void(&entry) || shelf.entries.iter().any(|other| is_same(other) && other.asked > entry.asked) {
            return None;
        }
        let (older, mut entries): (Vec<_>, Vec<_>) = shelf.entries.iter().cloned().partition(|other| is_same(other));
        let gone = older.iter().filter(|other| other.name != name);
        gone.for_each(|other| self.chores.add(Chore::Unlink(other.name)));
        // Who is to write the head of before finds this one in its place.
        if !old.beside.as_ref().is_some_and(Beside::take_order) {
            self.chores.add(Chore::Head(name));
        }
        entries.push(entry.clone());
        entries.sort_by_key(|entry| Reverse((entry.asked, entry.name.number)));
        self.exchange(name.hash, Some(&shelf), entries);
        Some(entry)
    }

    /// The file whose head was to be written, as it is now. From here on somebody sees to that.
    pub(super) fn ordered(&self, name: Name) -> Option<Arc<Entry>> {
        let _changing = lock(&self.changing);
        let entry = self.shelves.peek(&name.hash)?.named(name)?.clone();
        entry.beside.as_ref()?.take_order().then_some(entry)
    }

    /// The head of a file could not be written, and is to be. Says whether it is: nobody else sees to it, and the file is there.
    pub(super) fn order(&self, name: Name) -> bool {
        let _changing = lock(&self.changing);
        let shelf = self.shelves.peek(&name.hash);
        let entry = shelf.as_ref().and_then(|shelf| shelf.named(name));
        entry.and_then(|entry| entry.beside.as_ref()).is_some_and(|beside| !beside.order())
    }

    /// The head of a file is written: it takes no memory any more.
    pub(super) fn weigh_anew(&self, hash: u128) {
        let _changing = lock(&self.changing);
        if let Some(shelf) = self.shelves.peek(&hash) {
            self.exchange(hash, Some(&shelf), shelf.entries.clone());
        }
    }

    fn exchange(&self, hash: u128, before: Option<&Shelf>, entries: Vec<Arc<Entry>>) {
        if let Some(before) = before {
            before.is_replaced.store(true, Ordering::Relaxed);
        }
        self.shelves.insert(hash, Shelf::new(entries));
    }

    /// Lets go of the files that are meant, of all keys or of one.
    pub(super) fn remove(&self, hash: Option<u128>, is_meant: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let Some(hash) = hash else {
            self.let_finish();
            return self.shelves.iter().flat_map(|(hash, shelf)| self.remove_of(hash, &shelf, &is_meant)).collect();
        };
        self.shelves.peek(&hash).map(|shelf| self.remove_of(hash, &shelf, &is_meant)).unwrap_or_default()
    }

    fn remove_of(&self, hash: u128, seen: &Shelf, is_meant: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        // Most often nothing is meant, which takes no lock that all share to be seen.
        if !seen.entries.iter().any(|entry| is_meant(entry)) {
            return Vec::new();
        }
        let _changing = lock(&self.changing);
        let Some(shelf) = self.shelves.peek(&hash) else { return Vec::new() };
        let (gone, left): (Vec<_>, Vec<_>) = shelf.entries.iter().cloned().partition(|entry| is_meant(entry));
        gone.iter().for_each(|entry| self.chores.add(Chore::Unlink(entry.name)));
        if left.is_empty() {
            self.shelves.remove(&hash);
        } else if !gone.is_empty() {
            self.exchange(hash, Some(&shelf), left);
        }
        gone
    }

    /// Who does not know yet what was purged a moment ago has changed by then what they were about to. All shelves are looked at
    /// without the lock: requests wait for that.
    fn let_finish(&self) {
        drop(lock(&self.changing));
    }

    /// Makes the files that are meant stale.
    pub(super) fn outdate(&self, when: Millis, is_meant: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        self.let_finish();
        let mut outdated = Vec::new();
        for (_, shelf) in self.shelves.iter() {
            for entry in shelf.entries.iter().filter(|entry| is_meant(entry)) {
                entry.outdated.fetch_max(when, Ordering::Relaxed);
                self.chores.add(Chore::Outdate(entry.name, when));
                outdated.push(entry.clone());
            }
        }
        outdated
    }

    /// How many keys, and how many bytes.
    pub(super) fn holds(&self) -> (u64, u64) {
        let size = |shelf: &Arc<Shelf>| shelf.entries.iter().map(|entry| entry.takes()).sum::<u64>();
        (self.shelves.len() as u64, self.shelves.iter().map(|(_, shelf)| size(&shelf)).sum())
    }
}
