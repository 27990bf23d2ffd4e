//! What a process finds that had this folder before: every file is looked at, in the background.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Disk, file,
    index::{Entry, Name},
};

/// Takes in all files that say of themselves that they are whole; their content is checked when it is read. The others, and
/// those of another way of writing, are removed.
pub(super) fn load(disk: &Arc<Disk>) {
    let (mut taken, mut removed) = (0_u64, 0_u64);
    for folder in children(&disk.folder.join("objects")) {
        for path in children(&folder) {
            if disk.is_closed() {
                return;
            }
            if take_in(disk, &path) {
                taken += 1;
            } else {
                let _ = fs::remove_file(&path);
                removed += 1;
            }
        }
    }
    disk.is_loaded.store(true, Ordering::Release);
    disk.wake();
    if taken + removed > 0 {
        log::info!("cache: found {taken} answers in {}, and {removed} that are of no use", disk.folder.display());
    }
}

fn take_in(disk: &Arc<Disk>, path: &Path) -> bool {
    let Some(name) = Name::of(path) else { return false };
    let Ok(opened) = file::open(path) else { return false };
    if opened.key.hash() != name.hash {
        return false;
    }
    let Ok(size) = fs::metadata(path).map(|file| file.len()) else { return false };
    opened.stored.outdate(disk.ledger.outdated(opened.stored.label(), opened.stored.freshness().asked()));
    let entry = Entry::of(name, &opened.stored, opened.length, size);
    disk.index.add(entry, |entry| disk.is_void(entry));
    true
}

fn children(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}
