//! Quotas on disk, so that a process that is killed goes on where it was.
//!
//! Every charge is a record at the end of one file, written before the request goes on: what the system has taken is safe
//! from the end of the process, be it as hard as it may. The file is written anew when it has grown.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{clock::unix, counters::Hashed};

/// What the file begins with; the secret of the hashes follows.
const MAGIC: &[u8; 8] = b"maitredq";

/// The bytes of a head, and of a record: key, end of the period, how much is used.
const HEAD: usize = 24;
const RECORD: usize = 28;

/// What is said to be used of a key that was forgiven: what was written before it does not count.
pub(crate) const FORGIVEN: u32 = u32::MAX;

/// The file is written anew when it has grown by so much.
const GROWTH: usize = 4 << 20;

/// How long a process that was taken over from may have requests under way.
const OVERLAP: Duration = Duration::from_secs(3600);

/// Longer than any process that was taken over from.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Where quotas are written down.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    path: Option<PathBuf>,
    file: Option<File>,
    /// How much was written since it was last written anew.
    grown: usize,
    /// Until when another process may write as well, so that the file has to stay the one that it is.
    shared: Option<Instant>,
    /// Why quotas are not kept, until it was said.
    why: Option<String>,
}

/// What a file says: the secret, and what each key has used until when.
pub(crate) type Said = ([u8; 16], HashMap<Hashed, (u64, u32)>);

impl Ledger {
    /// Writes to this file from now on, and says what is in it; `None` where there is none yet.
    ///
    /// # Errors
    ///
    /// When there is one, and it cannot be read or is something else.
    pub(crate) fn open(&self, path: &Path, shared: bool) -> io::Result<Option<Said>> {
        let said = read(path)?;
        let mut book = self.lock();
        book.path = Some(path.to_owned());
        book.shared = shared.then(|| Instant::now() + OVERLAP);
        if let Some((secret, records)) = said.as_ref().filter(|_| !shared) {
            book.file = Some(write(path, secret, records)?);
        }
        Ok(said)
    }

    /// Writes nothing, for this reason.
    pub(crate) fn close(&self, why: String) {
        *self.lock() = Book { why: Some(why), ..Book::default() };
    }

    /// Another process takes over: it may write to the file as well.
    pub(crate) fn share(&self) {
        self.lock().shared = Some(Instant::now() + FOREVER);
    }

    /// Writes down what a key has used of a period.
    pub(crate) fn book(&self, secret: impl FnOnce() -> [u8; 16], key: Hashed, end: u64, used: u32) {
        let mut book = self.lock();
        if let Some(path) = book.path.clone()
            && let Err(error) = book.write(&path, secret, key, end, used)
        {
            // A file that has failed once has a gap, and would say something wrong from now on.
            *book = Book { why: Some(format!("{}: {error}", path.display())), ..Book::default() };
        }
        if let Some(why) = book.why.take() {
            log::error!("quotas are not kept, and begin anew with the next start: {why}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn write(
        &mut self,
        path: &Path,
        secret: impl FnOnce() -> [u8; 16],
        key: Hashed,
        end: u64,
        used: u32,
    ) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(if path.exists() { append(path)? } else { write(path, &secret(), &HashMap::new())? });
        }
        if self.grown > GROWTH && self.shared.is_none_or(|until| until < Instant::now()) {
            // A file that cannot be read any more is one that somebody has put there.
            if let Some((secret, records)) = read(path)? {
                self.file = Some(write(path, &secret, &records)?);
            }
            self.grown = 0;
        }
        if let Some(file) = &mut self.file {
            file.write_all(&record(key, end, used))?;
            self.grown += RECORD;
        }
        Ok(())
    }
}

fn record(key: Hashed, end: u64, used: u32) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..16].copy_from_slice(&key.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&end.to_le_bytes());
    bytes[24..].copy_from_slice(&used.to_le_bytes());
    bytes
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).mode(0o600).open(path)
}

/// What the file says of periods that have not ended. A record that was cut off is the last one, and is passed over.
fn read(path: &Path) -> io::Result<Option<Said>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.read_to_end(&mut bytes)?,
    };
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "it is no file of quotas");
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(strange)?;
    if !head.starts_with(MAGIC) {
        return Err(strange());
    }
    let mut secret = [0; 16];
    secret.copy_from_slice(&head[MAGIC.len()..]);
    let (now, mut records) = (unix(), HashMap::new());
    for bytes in rest.chunks_exact(RECORD) {
        let (Some((key, rest)), Some(used)) = (bytes.split_first_chunk::<16>(), bytes.last_chunk::<4>()) else { break };
        let Some((end, _)) = rest.split_first_chunk::<8>() else { break };
        let (key, end, used) = (Hashed(u128::from_le_bytes(*key)), u64::from_le_bytes(*end), u32::from_le_bytes(*used));
        if end > now && used == FORGIVEN {
            records.insert(key, (end, 0));
        } else if end > now {
            // Of two processes that write, the one that has seen more is right. Of another period, the later record is: the
            // period of a quota may have been made shorter.
            let kept = records.entry(key).or_insert((end, used));
            *kept = if kept.0 == end { (*kept).max((end, used)) } else { (end, used) };
        }
    }
    Ok(Some((secret, records)))
}

/// Writes the file anew beside the old one, and puts it in its place.
fn write(path: &Path, secret: &[u8; 16], records: &HashMap<Hashed, (u64, u32)>) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut bytes = Vec::with_capacity(HEAD + records.len() * RECORD);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(secret);
    for (key, (end, used)) in records {
        bytes.extend_from_slice(&record(*key, *end, *used));
    }
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    append(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgiven_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quotas");
        let (ledger, end) = (Ledger::default(), unix() + 1_000);
        ledger.open(&path, false).unwrap();
        for used in [7, 1_000, FORGIVEN, 1] {
            ledger.book(|| [7; 16], Hashed(1), end, used);
        }
        ledger.book(|| [7; 16], Hashed(2), end, FORGIVEN);
        let (_, records) = Ledger::default().open(&path, false).unwrap().unwrap();
        assert_eq!((records[&Hashed(1)], records[&Hashed(2)]), ((end, 1), (end, 0)));
    }

    #[test]
    fn a_quota_whose_period_was_made_shorter_is_the_one_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quotas");
        let (ledger, end) = (Ledger::default(), unix() + 1_000);
        ledger.open(&path, false).unwrap();
        for (end, used) in [(end + 80_000, 700), (end, 3), (end, 2)] {
            ledger.book(|| [7; 16], Hashed(1), end, used);
        }
        let (_, records) = Ledger::default().open(&path, false).unwrap().unwrap();
        assert_eq!(records[&Hashed(1)], (end, 3));
        // It was written anew by that, and says the same.
        let (_, records) = Ledger::default().open(&path, false).unwrap().unwrap();
        assert_eq!(records[&Hashed(1)], (end, 3));
    }

    #[test]
    fn what_was_written_is_read_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quotas");
        let (ledger, end) = (Ledger::default(), unix() + 1_000);
        assert_eq!(ledger.open(&path, false).unwrap(), None);
        for used in 0..400_000 {
            ledger.book(|| [7; 16], Hashed(1), end, used);
        }
        ledger.book(|| [7; 16], Hashed(2), end, 5);
        ledger.book(|| [7; 16], Hashed(3), 1, 5);
        assert!(fs::metadata(&path).unwrap().len() < 2 * GROWTH as u64);
        // As if the process had been killed in the middle of a record.
        append(&path).unwrap().write_all(&[1, 2, 3]).unwrap();
        let (secret, records) = Ledger::default().open(&path, false).unwrap().unwrap();
        assert_eq!((secret, records.len()), ([7; 16], 2));
        assert_eq!((records[&Hashed(1)], records[&Hashed(2)]), ((end, 399_999), (end, 5)));
        fs::write(&path, "something else, and longer than a head").unwrap();
        assert!(Ledger::default().open(&path, false).is_err());
    }
}
