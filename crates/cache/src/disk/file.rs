//! One answer in one file: what it says of itself, then its content, and sums over all of it.
//!
//! A file is written under another name and renamed once it is whole. Every block has a sum, the head has one over the
//! sums, and nothing is given before its sum was right: what a crash or a disk has torn is never taken for an answer.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{head, index::Name, slots::in_slot};
use crate::{
    content::Content,
    freshness::Millis,
    key::{Key, Sealed},
    room::Place,
    stored::Stored,
    wire::{In, Out},
};

/// What a file of ours begins with. The last character counts the ways of writing them.
pub(super) const MAGIC: &[u8; 8] = b"maitred3";

/// Content has a sum for each so many bytes.
pub(super) const BLOCK: usize = 64 * 1024;

/// How many blocks are read at once.
pub(super) const STRIDE: usize = 4;

/// What stands before the record: the magic, since when it is outdated and that again, two lengths and a sum.
pub(super) const FIXED: usize = 48;

/// Where it stands since when it is outdated. It is written later than the rest, so it is not part of the sum.
const OUTDATED: u64 = 8;

/// The largest record that is believed.
const MOST_RECORD: u64 = 1 << 20;

/// How long a reader waits for the disk, and a fetch before it goes on without.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Content in a file that is open.
#[derive(Debug)]
pub(crate) struct Resting {
    name: Name,
    file: File,
    /// Where it begins in the file.
    begins: u64,
    length: u64,
    sums: Box<[u64]>,
    slots: Arc<Semaphore>,
    /// Told why something in it could not be read.
    broken: Broken,
}

/// Who wants to know why a file could not be read.
pub(crate) struct Broken(pub(crate) Box<dyn Fn(&io::Error) + Send + Sync>);

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Broken")
    }
}

/// What a file says of itself.
pub(super) struct Opened {
    file: File,
    pub(super) key: Sealed,
    pub(super) stored: Stored,
    pub(super) length: u64,
    pub(super) begins: u64,
    sums: Box<[u64]>,
}

/// Writes an answer to `path`, which must not exist. Gives the size of the file.
pub(super) fn write(path: &Path, key: &Key, stored: &Stored, content: &[u8]) -> io::Result<u64> {
    let sums: Vec<u64> = content.chunks(BLOCK).enumerate().map(|(number, block)| sum(number, block)).collect();
    let head = head::written(&stored.record(key), content.len() as u64, &sums, stored.outdated());
    let mut file = create(path)?;
    file.write_all(&head)?;
    file.write_all(content)?;
    Ok((head.len() + content.len()) as u64)
}

/// A file that was not there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Says in a file that its answer is outdated.
pub(super) fn outdate(path: &Path, when: Millis) -> io::Result<()> {
    let mut out = Out::default();
    out.number(when);
    out.number(!when);
    OpenOptions::new().write(true).open(path)?.write_all_at(&out.0, OUTDATED)
}

/// Reads what a file says of itself. Its content is read later.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut fixed = [0; FIXED];
    file.read_exact_at(&mut fixed, 0)?;
    let mut from = In(&fixed);
    if from.take(MAGIC.len()) != Some(MAGIC) {
        return Err(torn());
    }
    let mut number = || from.number().ok_or_else(torn);
    let (outdated, again, record, length, told) = (number()?, number()?, number()?, number()?, number()?);
    let blocks = length.div_ceil(BLOCK as u64);
    let rest = record.saturating_add(blocks.saturating_mul(8));
    let begins = (FIXED as u64).saturating_add(rest);
    if record > MOST_RECORD || begins.saturating_add(length) != size {
        return Err(torn());
    }
    let mut summed = fixed[24..40].to_vec();
    let rest = usize::try_from(rest).map_err(|_| torn())?;
    summed.resize(16 + rest, 0);
    file.read_exact_at(&mut summed[16..], FIXED as u64)?;
    if xxh3_64(&summed) != told {
        return Err(torn());
    }
    let (text, sums) = summed[16..].split_at(record as usize);
    let (key, stored) = Stored::read(text, Content::whole(Bytes::new())).ok_or_else(torn)?;
    if outdated == !again {
        stored.outdate(outdated);
    }
    let mut sums = In(sums);
    let sums = std::iter::from_fn(|| sums.number()).collect();
    Ok(Opened { file, key, stored, length, begins, sums })
}

impl Opened {
    /// The same content with the head that stands beside it.
    pub(super) fn headed(self, beside: Self) -> io::Result<Self> {
        self.with((beside.key, beside.stored))
    }

    /// The same content with the head that this [record](Stored::record) has.
    pub(super) fn told(self, record: &[u8]) -> io::Result<Self> {
        self.with(Stored::read(record, Content::whole(Bytes::new())).ok_or_else(torn)?)
    }

    fn with(self, (key, stored): (Sealed, Stored)) -> io::Result<Self> {
        if key == self.key { Ok(Self { stored, ..self }) } else { Err(torn()) }
    }

    /// The answer with its content in memory, where there is a place for it, or in the file, which is called that.
    pub(super) fn into_stored(
        self,
        name: Name,
        place: Option<Place>,
        slots: Arc<Semaphore>,
        broken: Broken,
    ) -> io::Result<Stored> {
        let Self { file, stored, length, begins, sums, .. } = self;
        let resting = Resting { name, file, begins, length, sums, slots, broken };
        let Some(place) = place else {
            return Ok(stored.with(Content::resting(Arc::new(resting))));
        };
        let bytes = resting.blocks(0, resting.sums.len())?;
        let content = Content::placed(bytes, place);
        content.lies_in(name.number);
        Ok(stored.with(content))
    }
}

impl Resting {
    pub(super) fn name(&self) -> Name {
        self.name
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What stands from `at` on, up to `to`, but not more than a stride.
    pub(crate) async fn read(self: &Arc<Self>, at: u64, to: u64) -> Result<Bytes, Reason> {
        let this = self.clone();
        let begin = || {
            // Memory comes from the thread that it goes back to: others would keep some of it, each.
            let blocks = usize::try_from(to.div_ceil(BLOCK as u64) - at / BLOCK as u64).unwrap_or(STRIDE).min(STRIDE);
            let room = BytesMut::zeroed(blocks * BLOCK);
            move || this.read_into(room, at, to).inspect_err(|error| (this.broken.0)(error)).ok()
        };
        in_slot(&self.slots, PATIENCE, begin).await.flatten().ok_or(Reason::Internal)
    }

    fn read_into(&self, room: BytesMut, at: u64, to: u64) -> io::Result<Bytes> {
        let first = usize::try_from(at / BLOCK as u64).map_err(|_| torn())?;
        let last = usize::try_from(to.div_ceil(BLOCK as u64)).map_err(|_| torn())?;
        let last = last.min(first + STRIDE);
        let blocks = self.blocks_into(room, first, last)?;
        let start = (first * BLOCK) as u64;
        let from = (at - start) as usize;
        let until = usize::try_from(to - start).unwrap_or(usize::MAX).min(blocks.len());
        if from >= until { Err(torn()) } else { Ok(blocks.slice(from..until)) }
    }

    /// Blocks `first` up to, but without, `last`, each as it was written.
    fn blocks(&self, first: usize, last: usize) -> io::Result<Bytes> {
        self.blocks_into(BytesMut::new(), first, last)
    }

    fn blocks_into(&self, mut bytes: BytesMut, first: usize, last: usize) -> io::Result<Bytes> {
        let start = (first * BLOCK) as u64;
        let end = self.length.min((last * BLOCK) as u64);
        let size = end.checked_sub(start).ok_or_else(torn)?;
        bytes.resize(usize::try_from(size).map_err(|_| torn())?, 0);
        self.file.read_exact_at(&mut bytes, self.begins + start)?;
        let sums = self.sums.get(first..last).ok_or_else(torn)?;
        let right = bytes.chunks(BLOCK).zip(sums).enumerate().all(|(n, (block, told))| sum(first + n, block) == *told);
        if right { Ok(bytes.freeze()) } else { Err(torn()) }
    }
}

/// A block that stands in another's place is not right either.
fn sum(number: usize, block: &[u8]) -> u64 {
    xxh3_64_with_seed(block, number as u64)
}

pub(super) fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not what was written")
}

/// Whether what could not be read is not what was written.
pub(super) fn is_torn(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
