//! What a process finds that had this folder before: every file is looked at, in the background.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Disk,
    beside::{Beside, ENDING},
    file::{self, is_torn, torn},
    index::{Chore, Entry, Name},
};

/// How long it waits before it tries again what could not be read, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// How often in a row it looks at what cannot be read, which takes more than eight minutes.
const LOOKS: u32 = 10;

/// How soon it sees that the tier is closed.
const TICK: Duration = Duration::from_millis(100);

/// What the name of a folder ends with that nobody could look into.
const ASIDE: &str = "unreadable";

/// What came of it.
#[derive(Default)]
pub(super) struct Found {
    taken: u64,
    removed: u64,
    /// What could not be read, which says nothing of what it is: the marks of the paths.
    pub(super) left: HashSet<u64>,
    /// What could not be read and is not there any more.
    pub(super) given_up: u64,
}

/// Takes in all files that say of themselves that they are whole; their content is checked when it is read. The others, and
/// those of another way of writing, are removed, and so is in the end what cannot be read. As long as there is anything that
/// could not be looked at, what was purged is remembered for its sake.
pub(super) fn load(disk: &Arc<Disk>) {
    let (mut pause, longest) = PAUSES;
    // How often in a row what cannot be read was tried.
    let mut tries: HashMap<u64, u32> = HashMap::new();
    loop {
        // A process that can open no file at all says nothing of those that it cannot open.
        let can_open = File::open(disk.folder.join("lock")).is_ok();
        let gives_up = |path: &Path| can_open && tries.get(&mark(path)).is_some_and(|tries| tries + 1 >= LOOKS);
        let Some(found) = look(disk, gives_up) else { return };
        found.tell(&disk.folder);
        if found.left.is_empty() {
            break;
        }
        tries = found.left.iter().map(|mark| (*mark, tries.get(mark).map_or(1, |tries| tries + 1))).collect();
        let is_hopeless = can_open && tries.values().all(|tries| *tries >= LOOKS);
        if is_hopeless {
            log::warn!(
                "cache: {} files or folders in {} can neither be read nor taken away: what is purged is remembered for their \
                 sake until the next start",
                found.left.len(),
                disk.folder.display()
            );
        }
        if is_hopeless || !wait(disk, pause) {
            return;
        }
        pause = (pause * 2).min(longest);
    }
    disk.is_loaded.store(true, Ordering::Release);
    disk.wake();
}

/// Whether the tier is still open after that.
fn wait(disk: &Disk, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        if disk.is_closed() {
            return false;
        }
        std::thread::sleep(TICK);
    }
    true
}

impl Found {
    fn tell(&self, folder: &Path) {
        let (Self { taken, removed, left, given_up }, folder) = (self, folder.display());
        let left = left.len();
        if taken + removed > 0 || left > 0 {
            log::info!(
                "cache: found {taken} answers in {folder}, {removed} that are of no use, and {left} that cannot be read"
            );
        }
        if *given_up > 0 {
            log::warn!(
                "cache: {given_up} files or folders in {folder} could not be read, however often they were tried: files are \
                 removed, and folders renamed to end in .{ASIDE}"
            );
        }
    }
}

/// Looks at all files; `None` where the tier is closed before that is done. What is in the index already stays as it is. What
/// cannot be read is left as it is, or not to be found any more where it is to be given up.
pub(super) fn look(disk: &Arc<Disk>, gives_up: impl Fn(&Path) -> bool) -> Option<Found> {
    let mut found = Found::default();
    let objects = disk.folder.join("objects");
    for folder in children(&objects).unwrap_or_else(|error| found.leave(disk, &objects, &error)) {
        if !is_shelf(&folder) {
            continue;
        }
        let files = children(&folder).unwrap_or_else(|error| {
            let aside = folder.with_extension(format!("{:016x}.{ASIDE}", disk.next_number()));
            found.unread(disk, &folder, &error, gives_up(&folder).then_some(|| fs::rename(&folder, aside)))
        });
        for path in files {
            if disk.is_closed() {
                return None;
            }
            if is_beside(&path) || Name::of(&path).is_some_and(|name| disk.index.has(name)) {
                continue;
            }
            match take_in(disk, &path) {
                Ok(()) => found.taken += 1,
                Err(error) if is_nothing(error.kind()) => {}
                Err(error) if is_torn(error.kind()) => {
                    let _ = remove(&path);
                    found.removed += 1;
                }
                Err(error) => drop(found.unread(disk, &path, &error, gives_up(&path).then_some(|| remove(&path)))),
            }
        }
    }
    Some(found)
}

impl Found {
    fn leave(&mut self, disk: &Disk, path: &Path, error: &io::Error) -> Vec<PathBuf> {
        disk.complain("read from", error);
        self.left.insert(mark(path));
        Vec::new()
    }

    /// Something cannot be read, and is to be done away with, where it is time for that. Gives what is known to be in it.
    fn unread(
        &mut self,
        disk: &Disk,
        path: &Path,
        error: &io::Error,
        give_up: Option<impl FnOnce() -> io::Result<()>>,
    ) -> Vec<PathBuf> {
        match give_up.filter(|_| !is_for_want(error)).map(|give_up| give_up()) {
            Some(Ok(())) => self.given_up += 1,
            Some(Err(error)) if is_nothing(error.kind()) => {}
            _ => return self.leave(disk, path, error),
        }
        Vec::new()
    }
}

/// A path as it is remembered: there may be very many.
fn mark(path: &Path) -> u64 {
    xxh3_64(path.as_os_str().as_encoded_bytes())
}

/// Whether it is the process, or the system, that could not, and not the file that cannot be read.
fn is_for_want(error: &io::Error) -> bool {
    let is_full = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
    is_full || error.kind() == io::ErrorKind::OutOfMemory
}

/// Whether there is nothing that could be read. Strangers and folders among the files are none of ours.
fn is_nothing(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

/// Whether files are looked for in it: two digits are its name.
fn is_shelf(folder: &Path) -> bool {
    let name = folder.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit)
}

/// Removes a file with what stands beside it.
fn remove(path: &Path) -> io::Result<()> {
    let removed = fs::remove_file(path);
    let _ = fs::remove_file(path.with_extension(ENDING));
    removed
}

/// What stands beside a file comes with it, and is of no use alone.
fn is_beside(path: &Path) -> bool {
    let is_so = path.extension().is_some_and(|ending| ending == ENDING);
    // Of a file that nobody can look at it is not known whether it is there.
    if is_so && matches!(path.with_extension("").try_exists(), Ok(false)) {
        let _ = fs::remove_file(path);
    }
    is_so
}

fn take_in(disk: &Arc<Disk>, path: &Path) -> io::Result<()> {
    let entry = read(path)?;
    let (name, outdated) = (entry.name, disk.ledger.outdated(&entry.label, entry.asked));
    let says_less = entry.outdated.fetch_max(outdated, Ordering::Relaxed) < outdated;
    disk.index.add(entry, |entry| disk.is_void(entry));
    if says_less {
        // What the purge knows is forgotten once all files are looked at.
        disk.chores.add(Chore::Outdate(name, outdated));
    }
    Ok(())
}

/// What a file says of itself, and the head beside it where there is one.
fn read(path: &Path) -> io::Result<Entry> {
    let name = Name::of(path).ok_or_else(torn)?;
    let opened = file::open(path)?;
    if opened.key.hash() != name.hash {
        return Err(torn());
    }
    let own = Entry::of(name, &opened.stored, opened.length, opened.begins + opened.length);
    match file::open(&path.with_extension(ENDING)) {
        Ok(head) => {
            let beside = Beside::written(head.begins);
            Ok(own.renewed(&opened.headed(head)?.stored, beside))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own),
        // What stands there is no head.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(torn()),
        Err(error) => Err(error),
    }
}

/// What lies in a folder; nothing where there is none.
fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match listed {
        Err(error) if is_nothing(error.kind()) => Ok(Vec::new()),
        listed => listed,
    }
}
