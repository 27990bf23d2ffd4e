//! A file that grows while its answer is fetched, for content that memory is not to hold. It becomes an answer like all
//! others once it is whole; until then it has no name that anybody looks for.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use xxhash_rust::xxh3::{Xxh3, Xxh3Builder};

use super::{
    file::{BLOCK, STRIDE, torn},
    head,
};
use crate::{freshness::Millis, lock};

/// A file under another name than its own.
pub(crate) struct Growing {
    file: File,
    path: PathBuf,
    /// Where the content begins: what stands before it has its size from the start.
    begins: u64,
    length: u64,
    record: Vec<u8>,
    sums: Mutex<Sums>,
    /// Of all files that grow; given back at the end.
    room: Arc<AtomicU64>,
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

impl Growing {
    /// Begins a file for `length` bytes of content. `room` has that much more in it already.
    pub(super) fn begin(path: PathBuf, record: Vec<u8>, length: u64, room: Arc<AtomicU64>) -> io::Result<Self> {
        let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        if opened.is_err() {
            room.fetch_sub(length, Ordering::AcqRel);
        }
        let file = opened?;
        let sums = Sums { done: Vec::new(), current: hasher(0), filled: 0 };
        let begins = head::length(record.len(), length);
        Ok(Self { file, path, begins, length, record, sums: Mutex::new(sums), room })
    }

    /// Writes the next piece, which begins at `at`.
    pub(crate) async fn write(self: &Arc<Self>, at: u64, piece: Bytes) -> io::Result<()> {
        let this = self.clone();
        // Memory comes back to the thread that it is from: others would keep some of it, each.
        let writing = tokio::task::spawn_blocking(move || (this.write_now(at, &piece), piece));
        writing.await.map_or_else(|_| Err(io::ErrorKind::Other.into()), |(wrote, _piece)| wrote)
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
        let mut bytes = BytesMut::zeroed(size);
        let reading = tokio::task::spawn_blocking(move || {
            this.file.read_exact_at(&mut bytes, this.begins + at).ok()?;
            Some(bytes.freeze())
        });
        reading.await.ok().flatten().ok_or(Reason::Internal)
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
        self.room.fetch_sub(self.length, Ordering::AcqRel);
        // Where it has become an answer this name is gone already.
        let _ = fs::remove_file(&self.path);
    }
}
