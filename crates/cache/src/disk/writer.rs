//! The thread that writes: answers, what was purged and changed, and the end of files.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    Disk,
    beside::Heads,
    file,
    index::{Chore, Entry, Name},
    journal::{self, Changes},
    load,
};
use crate::{course::Course, freshness::Millis, key::Key, ledger, lock, stored::Stored};

/// How long it sleeps where nobody wakes it.
const TICK: Duration = Duration::from_millis(500);

/// What the thread is asked to do.
pub(super) enum Job {
    Keep {
        course: Arc<Course>,
        stored: Arc<Stored>,
        content: Bytes,
    },
    /// See what is to be done besides.
    Look,
}

/// What it has taken possession of.
struct Office {
    /// While it is held no other process uses the folder.
    _lock: File,
    changes: Changes,
}

/// Works until the tier is closed and nothing is left to be written.
pub(super) fn work(disk: &Arc<Disk>, jobs: &Receiver<Job>) {
    if let Some(office) = settle(disk) {
        let (loading, mut heads) = (disk.clone(), Heads::default());
        let loader = std::thread::Builder::new().name("cache-load".into()).spawn(move || load::load(&loading));
        loop {
            match jobs.recv_timeout(TICK) {
                Ok(job) => disk.carry_out(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            disk.see_to_the_rest(&office, &mut heads);
        }
        if let Ok(loader) = loader {
            let _ = loader.join();
        }
        disk.chores.end();
        disk.see_to_the_rest(&office, &mut heads);
    }
    let (ended, told) = &disk.ended;
    *lock(ended) = true;
    told.notify_all();
}

/// Takes possession of the folder, as soon as it can be had. `None` where the tier is closed before.
fn settle(disk: &Disk) -> Option<Office> {
    let mut said = String::new();
    loop {
        match take(disk) {
            Ok(office) => {
                disk.is_open.store(true, Ordering::Release);
                return Some(office);
            }
            Err(error) => {
                let error = error.to_string();
                if error != said {
                    log::warn!("cache: nothing is kept in {} yet: {error}", disk.path.display());
                    said = error;
                }
            }
        }
        if disk.is_closed() {
            return None;
        }
        std::thread::sleep(TICK);
    }
}

fn take(disk: &Disk) -> io::Result<Office> {
    let folder = &disk.folder;
    DirBuilder::new().recursive(true).mode(0o700).create(folder.join("objects"))?;
    let lock_file = File::create(folder.join("lock"))?;
    lock_file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another process uses it"),
        TryLockError::Error(error) => error,
    })?;
    // What was being written when a process ended is of no use.
    match fs::remove_dir_all(folder.join("new")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(folder.join("new"))?;
    let changes = Changes::open(folder, &disk.ledger)?;
    let mut purges = lock(&disk.purges);
    let before = journal::read(folder);
    before.iter().for_each(|purge| disk.ledger.note(purge.clone()));
    let mut all: VecDeque<_> = before.into_iter().chain(purges.iter().cloned()).collect();
    ledger::bound(&mut all);
    journal::save(folder, all.iter())?;
    *purges = all;
    Ok(Office { _lock: lock_file, changes })
}

impl Disk {
    fn carry_out(&self, job: Job) {
        let Job::Keep { course, stored, content } = job else { return };
        // What is not to be found any more need not be written.
        if !stored.is_overtaken() {
            self.write(course.key(), &stored, &content);
        }
        self.waiting.fetch_sub(content.len() as u64, Ordering::AcqRel);
    }

    fn write(&self, key: &Key, stored: &Stored, content: &[u8]) {
        let name = Name { hash: key.hash(), number: self.next_number() };
        match self.put(name, key, stored, content) {
            Ok(written) => {
                let length = content.len() as u64;
                let is_void = |entry: &Entry| stored.is_overtaken() || self.is_void(entry);
                self.index.add(Entry::of(name, stored, length, written), is_void);
                stored.content().lies_in(name.number);
            }
            Err(error) => {
                self.drops(&error);
                self.let_go_of_older(key, stored);
            }
        }
    }

    /// Under another name first, so that whatever has its name is whole.
    fn put(&self, name: Name, key: &Key, stored: &Stored, content: &[u8]) -> io::Result<u64> {
        let new = self.folder.join("new").join(format!("{:016x}", name.number));
        let put = file::write(&new, key, stored, content).and_then(|written| {
            let path = self.file(name);
            fs::rename(&new, &path).or_else(|_| {
                DirBuilder::new().recursive(true).mode(0o700).create(self.shelf(name.hash))?;
                fs::rename(&new, &path)
            })?;
            Ok(written)
        });
        if put.is_err() {
            let _ = fs::remove_file(&new);
        }
        put
    }

    fn see_to_the_rest(&self, office: &Office, heads: &mut Heads) {
        for place in std::mem::take(&mut *lock(&self.changed)) {
            if let Err(error) = office.changes.note(place, self.ledger.changed_at(place)) {
                log::error!("cache: a change may be forgotten by a crash: {error}");
            }
        }
        // Whatever the loader has found by then is among the chores.
        let is_loaded = self.is_loaded.load(Ordering::Acquire);
        // Purges wait for the lock with what they order already among the chores.
        let mut purges = lock(&self.purges);
        for chore in self.chores.take() {
            match chore {
                Chore::Unlink(name) => self.tell_unless_gone(self.unlink(name)),
                Chore::Outdate(name, when) => self.tell_unless_gone(self.outdate(name, when)),
                Chore::Head(name) => heads.add(name),
                Chore::Discard(file, path) => {
                    drop(file);
                    self.tell_unless_gone(fs::remove_file(path));
                }
            }
        }
        heads.write(self);
        if !purges.is_empty() && is_loaded {
            purges.clear();
            if let Err(error) = journal::save(&self.folder, purges.iter()) {
                log::warn!("cache: {}: {error}", self.folder.display());
            }
        }
    }

    /// Says what a chore has failed of. Where the file is gone there is nothing to be done.
    pub(super) fn tell_unless_gone(&self, done: io::Result<()>) {
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cache: {}: {error}", self.path.display());
            }
            _ => {}
        }
    }

    /// Removes a file with what stands beside it.
    pub(super) fn unlink(&self, name: Name) -> io::Result<()> {
        let removed = fs::remove_file(self.file(name));
        match fs::remove_file(self.beside(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => removed,
        }
    }

    /// Says of the head that counts that it is outdated, unless that is of an answer which was asked for later.
    fn outdate(&self, name: Name, when: Millis) -> io::Result<()> {
        let beside = self.beside(name);
        match file::open(&beside) {
            Ok(head) if head.stored.freshness().asked() > when => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => file::outdate(&self.file(name), when),
            _ => file::outdate(&beside, when),
        }
    }
}
