//! The thread that writes the audit log. Several processes may append to one file: the chain goes through all of them, and
//! through the files that take its place. Whoever is first to leave a file that was moved away closes it with a line that
//! says so, and whoever finds that line goes to the new file as well: nothing follows it, so that the chain has one end. Whoever
//! begins a file looks first whether the chain has gone on without it, in a file that was moved away in turn.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
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

/// How often a file is exchanged for another one before lines are given up that could have been written.
const MOVES: usize = 8;

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
        match open(&self.path) {
            Ok(file) => {
                if self.is_moved() {
                    self.close();
                }
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

    /// Whether the file that is open has the log's name no more, be it another's or nobody's.
    fn is_moved(&self) -> bool {
        let Ok(open) = self.file.metadata() else { return false };
        let named = fs::metadata(&self.path).ok().map(|named| (named.dev(), named.ino()));
        open.is_file() && named != Some((open.dev(), open.ino()))
    }

    /// Writes the last line of a file that was moved away, unless another process has.
    fn close(&mut self) {
        match closed(&mut self.file) {
            Ok(Some(end)) => self.end = end,
            Ok(None) => {}
            Err(error) => log::error!("the audit log that was `{}` cannot be closed: {error}", self.path.display()),
        }
    }

    /// Does something while no other process writes to the file: a successor, or the one before. What cannot be locked is
    /// no file.
    fn locked<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let locked = flock(&self.file, FlockOperation::LockExclusive).is_ok();
        let done = act(self);
        if locked {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
        done
    }

    /// Follows the chain through files that came and went unseen by this process: another one has begun them and left them,
    /// or still writes to the last of them. Nothing follows in that one from here on.
    fn pass_over(&mut self) -> io::Result<()> {
        for _ in 0..MOVES {
            let Some(mut next) = next_of(&self.path, &self.end) else { break };
            let Some(end) = closed(&mut next)? else { break };
            self.end = end;
        }
        Ok(())
    }

    fn write(&mut self, batch: &mut Vec<String>) {
        if batch.is_empty() {
            return;
        }
        let before = self.end.clone();
        let lost = self.lost.swap(0, Relaxed);
        let written = (0..MOVES).find_map(|_| match self.locked(|writer| writer.append(batch, lost)) {
            Ok(true) => Some(Ok(())),
            Ok(false) => self.move_on().err().map(Err),
            Err(error) => Some(Err(error)),
        });
        let closed = || Err(io::Error::other("each file is closed as soon as it is opened"));
        if let Err(error) = written.unwrap_or_else(closed) {
            self.end = before;
            self.length = None;
            self.lost.fetch_add(lost + batch.len() as u64, Relaxed);
            self.complain(&error, batch);
        }
        batch.clear();
    }

    /// Goes to the file that has taken the place of one that another process has closed.
    fn move_on(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.length = None;
        Ok(())
    }

    /// Says whether the lines could be written: nothing follows the last line of a file that was moved away.
    fn append(&mut self, batch: &[String], mut lost: u64) -> io::Result<bool> {
        let (mut text, is_closed) = self.catch_up()?;
        if (is_closed || self.length == Some(0)) && self.is_moved() {
            return Ok(false);
        }
        if self.length == Some(0) && self.end.seq > 0 {
            self.pass_over()?;
        }
        for line in batch {
            text.push_str(&self.end.seal(line, std::mem::take(&mut lost)));
        }
        self.file.write_all(text.as_bytes())?;
        self.length = self.length.map(|length| length + text.len() as u64);
        match self.file.sync_data() {
            // A pipe or a device cannot be synced, and need not be.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
            _ => Ok(true),
        }
    }

    /// Finds the end of the chain where somebody else has written since. What has to be written first, so that a line that
    /// was not ended stands by itself; and whether the file is closed.
    fn catch_up(&mut self) -> io::Result<(String, bool)> {
        let found = self.file.metadata()?;
        if !found.is_file() || self.length == Some(found.len()) {
            return Ok((String::new(), false));
        }
        self.length = Some(found.len());
        if found.len() == 0 {
            // A file that was made anew goes on with the chain of the one that was moved away.
            return Ok((String::new(), false));
        }
        let (end, whole) = last(&mut self.file, found.len())?;
        let (end, is_closed) = end.unwrap_or_default();
        self.end = end;
        Ok((if whole { String::new() } else { "\n".to_owned() }, is_closed))
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

/// The end of a file that was moved away, which nothing follows from here on; `None` where nothing is in it.
fn closed(file: &mut File) -> io::Result<Option<Link>> {
    flock(&*file, FlockOperation::LockExclusive)?;
    let end = close(file);
    flock(&*file, FlockOperation::Unlock)?;
    end
}

/// Writes the last line of a file, unless it is there.
fn close(file: &mut File) -> io::Result<Option<Link>> {
    let length = file.metadata()?.len();
    let (Some((mut end, is_closed)), whole) = last(file, length)? else { return Ok(None) };
    if !is_closed {
        let line = end.seal(&format!("{{\"time\":\"{}\",\"kind\":\"closed\"}}", now()), 0);
        let before = if whole { "" } else { "\n" };
        file.write_all(format!("{before}{line}").as_bytes())?;
        file.sync_data()?;
    }
    Ok(Some(end))
}

/// The file beside `path` that begins where `end` is, should the log have been there and gone on.
fn next_of(path: &Path, end: &Link) -> Option<File> {
    let stem = path.file_stem()?.as_bytes();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = fs::read_dir(folder).ok()?.flatten();
    let named_so = beside.filter(|entry| entry.file_name().as_bytes().starts_with(stem) && entry.path() != path);
    let files = named_so.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let opened = files.filter_map(|entry| OpenOptions::new().read(true).append(true).open(entry.path()).ok());
    let next = opened.filter_map(|mut file| begins_at(&mut file, end).then_some(file));
    // A copy that somebody made is behind what it is a copy of.
    next.max_by_key(|file| file.metadata().map_or(0, |found| found.len()))
}

/// Whether the first line of the file follows this one.
fn begins_at(file: &mut File, end: &Link) -> bool {
    let mut first = String::new();
    let read = BufReader::new(Read::take(&mut *file, TAIL)).read_line(&mut first);
    read.is_ok() && Link::of(first.trim_end_matches('\n')).is_some_and(|(_, before)| before == end.hash)
}

/// The last link of a file of `length` bytes with whether it closes the file, and whether the file ends with a whole line.
fn last(file: &mut File, length: u64) -> io::Result<(Option<(Link, bool)>, bool)> {
    let mut window = TAIL;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        Read::take(&mut *file, length - start).read_to_end(&mut tail)?;
        let text = String::from_utf8_lossy(&tail);
        let closes = |line: &str| line.contains("\"kind\":\"closed\",\"prev\"");
        let found = text.lines().rev().find_map(|line| Some((Link::of(line)?.0, closes(line))));
        if found.is_some() || start == 0 {
            return Ok((found, tail.ends_with(b"\n")));
        }
        window = window.saturating_mul(8);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
}
