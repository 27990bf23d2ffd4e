//! What a process finds that had this folder before: every file is looked at, in the background.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Disk,
    beside::{Beside, ENDING},
    file::{self, is_torn, torn},
    index::{Entry, Name},
};

/// How long it waits before it tries again what could not be read, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// How soon it sees that the tier is closed.
const TICK: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Default)]
struct Found {
    taken: u64,
    removed: u64,
    /// What could not be read, which says nothing of what it is.
    left: u64,
}

/// Takes in all files that say of themselves that they are whole; their content is checked when it is read. The others, and
/// those of another way of writing, are removed. As long as there is anything that could not be looked at, what was purged is
/// remembered for its sake.
pub(super) fn load(disk: &Arc<Disk>) {
    let (mut pause, longest) = PAUSES;
    loop {
        let Some(Found { taken, removed, left }) = look(disk) else { return };
        if taken + removed + left > 0 {
            let folder = disk.folder.display();
            log::info!(
                "cache: found {taken} answers in {folder}, {removed} that are of no use, and {left} that cannot be read"
            );
        }
        if left == 0 {
            break;
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if disk.is_closed() {
                return;
            }
            std::thread::sleep(TICK);
        }
        pause = (pause * 2).min(longest);
    }
    disk.is_loaded.store(true, Ordering::Release);
    disk.wake();
}

/// Looks at all files; `None` where the tier is closed before that is done. What is in the index already stays as it is.
fn look(disk: &Arc<Disk>) -> Option<Found> {
    let mut found = Found::default();
    for folder in children(&disk.folder.join("objects"), &mut found) {
        for path in children(&folder, &mut found) {
            if disk.is_closed() {
                return None;
            }
            if is_beside(&path) {
                continue;
            }
            match take_in(disk, &path) {
                Ok(()) => found.taken += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if is_torn(error.kind()) => {
                    let _ = fs::remove_file(&path);
                    let _ = fs::remove_file(path.with_extension(ENDING));
                    found.removed += 1;
                }
                Err(error) => {
                    disk.complain("read from", &error);
                    found.left += 1;
                }
            }
        }
    }
    Some(found)
}

/// What stands beside a file comes with it, and is of no use alone.
fn is_beside(path: &Path) -> bool {
    let is_so = path.extension().is_some_and(|ending| ending == ENDING);
    if is_so && !path.with_extension("").exists() {
        let _ = fs::remove_file(path);
    }
    is_so
}

fn take_in(disk: &Arc<Disk>, path: &Path) -> io::Result<()> {
    let entry = read(path)?;
    entry.outdated.fetch_max(disk.ledger.outdated(&entry.label, entry.asked), Ordering::Relaxed);
    disk.index.add(entry, |entry| disk.is_void(entry));
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
        Err(error) => Err(error),
    }
}

fn children(folder: &Path, found: &mut Found) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.unwrap_or_else(|_| {
        found.left += 1;
        Vec::new()
    })
}
