//! The thread that writes the audit log. Several processes may append to one file: the chain goes through all of them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::Receiver,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::{Link, Order, now};

/// Who may read it: its owner and its group.
const MODE: u32 = 0o640;

/// How many lines are written at once, and on disk before the next.
const BATCH: usize = 512;

/// How much is looked at from the end of a file to find its last line; more where that is longer.
const TAIL: u64 = 64 * 1024;

/// How often a file that cannot be written is complained about.
const COMPLAIN: Duration = Duration::from_secs(10);

struct Writer {
    path: PathBuf,
    file: File,
    /// The last line, as far as this process knows, and where it ended. `None` where the file has to be asked.
    end: Link,
    length: Option<u64>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    complained: Option<Instant>,
}

pub(super) fn start(
    path: &Path,
    orders: Receiver<Order>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
) -> io::Result<()> {
    let file = open(path)?;
    let end = Link::default();
    let writer = Writer { path: path.to_owned(), file, end, length: None, waiting, lost, complained: None };
    thread::Builder::new().name("audit-log".to_owned()).spawn(move || writer.run(&orders))?;
    Ok(())
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let (mut batch, mut told) = (Vec::new(), Vec::<std::sync::mpsc::Sender<()>>::new());
        while let Ok(first) = orders.recv() {
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write(line) => {
                        self.waiting.fetch_sub(1, Relaxed);
                        batch.push(line);
                    }
                    Order::Reopen => {
                        self.write(&mut batch);
                        self.reopen();
                    }
                    Order::Tell(done) => told.push(done),
                }
                next = if batch.len() < BATCH { orders.try_recv().ok() } else { None };
            }
            self.write(&mut batch);
            // Whoever asked may have lost patience.
            for done in told.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn reopen(&mut self) {
        // Another process may have written the last line of the file that was moved away.
        let _ = self.catch_up();
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.length = None;
                // Whoever opens it next, another process perhaps, finds the chain in it.
                if self.end.seq > 0 && self.file.metadata().is_ok_and(|found| found.is_file() && found.len() == 0) {
                    self.write(&mut vec![format!("{{\"time\":\"{}\",\"kind\":\"opened\"}}", now())]);
                }
            }
            Err(error) => log::error!("the audit log `{}` cannot be opened again: {error}", self.path.display()),
        }
    }

    fn write(&mut self, batch: &mut Vec<String>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len();
        // Another process may be writing: a successor, or the one before. What cannot be locked is no file.
        let locked = flock(&self.file, FlockOperation::LockExclusive).is_ok();
        let before = self.end.clone();
        let lost = self.lost.swap(0, Relaxed);
        if let Err(error) = self.append(batch, lost) {
            self.end = before;
            self.length = None;
            self.lost.fetch_add(lost + count as u64, Relaxed);
            self.complain(&error, batch);
        }
        if locked {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
        batch.clear();
    }

    fn append(&mut self, batch: &[String], mut lost: u64) -> io::Result<()> {
        let mut text = self.catch_up()?;
        for line in batch {
            text.push_str(&self.end.seal(line, std::mem::take(&mut lost)));
        }
        self.file.write_all(text.as_bytes())?;
        self.length = self.length.map(|length| length + text.len() as u64);
        match self.file.sync_data() {
            // A pipe or a device cannot be synced, and need not be.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
            _ => Ok(()),
        }
    }

    /// Finds the end of the chain where somebody else has written since. What has to be written first, so that a line that
    /// was not ended stands by itself.
    fn catch_up(&mut self) -> io::Result<String> {
        let found = self.file.metadata()?;
        if !found.is_file() || self.length == Some(found.len()) {
            return Ok(String::new());
        }
        self.length = Some(found.len());
        if found.len() == 0 {
            // A file that was made anew goes on with the chain of the one that was moved away.
            return Ok(String::new());
        }
        let (end, whole) = last(&mut self.file, found.len())?;
        self.end = end.unwrap_or_default();
        Ok(if whole { String::new() } else { "\n".to_owned() })
    }

    fn complain(&mut self, error: &io::Error, lines: &[String]) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            let path = self.path.display();
            let line = lines.first().map_or("", |line| line);
            log::error!("the audit log `{path}` cannot be written: {error}: {} lines, such as {line}", lines.len());
            self.complained = Some(Instant::now());
        }
    }
}

/// The last link of a file of `length` bytes, and whether the file ends with a whole line.
fn last(file: &mut File, length: u64) -> io::Result<(Option<Link>, bool)> {
    let mut window = TAIL;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        Read::take(&mut *file, length - start).read_to_end(&mut tail)?;
        let text = String::from_utf8_lossy(&tail);
        let found = text.lines().rev().find_map(Link::of).map(|(link, _)| link);
        if found.is_some() || start == 0 {
            return Ok((found, tail.ends_with(b"\n")));
        }
        window = window.saturating_mul(8);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
}
