//! What has to be known of changes and purges after a crash: files that they mean may still lie there.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    freshness::{self, Millis},
    ledger::{Ledger, PLACES, Purge},
    purge::Selector,
    wire::{In, Out},
};

/// A clock that was wrong by more is not believed.
const DAY: Millis = 24 * 60 * 60 * 1000;

/// The purges that are not carried out yet, in a file.
pub(super) fn save<'a>(folder: &Path, purges: impl IntoIterator<Item = &'a Purge>) -> io::Result<()> {
    let mut out = Out::default();
    purges.into_iter().for_each(|purge| purge.write(&mut out));
    let mut file = xxh3_64(&out.0).to_le_bytes().to_vec();
    file.extend_from_slice(&out.0);
    let (new, path) = (folder.join("purged.new"), folder.join("purged"));
    fs::write(&new, file)?;
    fs::rename(new, path)
}

/// The purges of before. A file that cannot be read purges all that is older than it.
pub(super) fn read(folder: &Path) -> Vec<Purge> {
    let path = folder.join("purged");
    let parsed = match fs::read(&path) {
        Ok(file) => parse(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
        Err(_) => None,
    };
    parsed.unwrap_or_else(|| vec![Purge { when: freshness::now(), soft: false, selector: Selector::All }])
}

fn parse(file: &[u8]) -> Option<Vec<Purge>> {
    let mut from = In(file);
    if from.number()? != xxh3_64(from.0) {
        return None;
    }
    let mut purges = Vec::new();
    while !from.0.is_empty() {
        purges.push(Purge::take(&mut from)?);
    }
    Some(purges)
}

/// The moments of changes, each in its place of a file.
pub(super) struct Changes(File);

impl Changes {
    /// Opens the file, and takes what it says into the ledger.
    pub(super) fn open(folder: &Path, ledger: &Ledger) -> io::Result<Self> {
        let path: PathBuf = folder.join("changed");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.set_len(PLACES as u64 * 8)?;
        let mut bytes = vec![0; PLACES * 8];
        file.read_exact_at(&mut bytes, 0)?;
        let latest = freshness::now() + DAY;
        let mut from = In(&bytes);
        for place in 0..PLACES {
            match from.number() {
                Some(when) if when > 0 && when < latest => ledger.change_place(place, when),
                _ => {}
            }
        }
        Ok(Self(file))
    }

    pub(super) fn note(&self, place: usize, when: Millis) -> io::Result<()> {
        self.0.write_all_at(&when.to_le_bytes(), place as u64 * 8)
    }
}
