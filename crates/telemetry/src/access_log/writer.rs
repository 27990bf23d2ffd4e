//! The thread that writes the access log, in batches.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::FileTypeExt},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Output,
    ring::{Batch, Ring},
};

/// After a batch the writer lets lines gather for this long, so that a busy server wakes it a hundred times a second
/// and not once per line.
const GATHER: Duration = Duration::from_millis(10);

/// How long to wait for a descriptor that others have made non-blocking.
const RETRY: Duration = Duration::from_millis(5);

/// How often a log that cannot be written is complained about.
const COMPLAIN: Duration = Duration::from_secs(60);

/// An open log.
pub(super) struct Sink {
    output: Output,
    file: File,
    /// Whether the last write ended within a line.
    torn: bool,
    complained: Option<Instant>,
}

impl Sink {
    /// Opens `output`.
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        let file = match output {
            Output::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            Output::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            Output::File(path) => open_file(path)?,
        };
        Ok(Self { output: output.clone(), file, torn: false, complained: None })
    }

    /// Opens the file again under its name; keeps the old one when that fails.
    fn reopen(&mut self) {
        let Output::File(path) = &self.output else { return };
        match open_file(path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
            }
            Err(error) => log::error!("the access log `{}` cannot be opened again: {error}", path.display()),
        }
    }

    /// Writes `bytes`, which are whole lines. Says how many lines could not be written.
    fn write(&mut self, bytes: &[u8], lines: u64) -> u64 {
        match self.write_all(bytes) {
            Ok(()) => {
                if self.complained.take().is_some() {
                    log::info!("the access log can be written again");
                }
                0
            }
            Err((written, error)) => {
                self.complain(&error);
                let told = bytes[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.torn = written > 0 && bytes[written - 1] != b'\n';
                lines.saturating_sub(told)
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            log::error!("the access log cannot be written: {error}");
            self.complained = Some(Instant::now());
        }
    }
}

/// Opens a file to append to. A named pipe is opened for reading as well, because opening it only for writing would
/// wait for a reader.
fn open_file(path: &Path) -> io::Result<File> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    let mut options = OpenOptions::new();
    if is_pipe { options.read(true).write(true) } else { options.append(true).create(true) }.open(path)
}

/// Starts the thread that takes lines from `ring` until it is closed.
pub(super) fn start(sink: Sink, ring: Arc<Ring>) -> io::Result<()> {
    let shared = Arc::clone(&ring);
    let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || run(sink, &shared))?;
    ring.attach(thread.thread().clone());
    Ok(())
}

fn run(mut sink: Sink, ring: &Ring) {
    ring.attach(thread::current());
    let mut batch = Batch::default();
    loop {
        ring.wait();
        let last = ring.is_closed();
        let flush = ring.flush_wanted();
        if ring.take_reopen() {
            sink.reopen();
        }
        ring.take(&mut batch);
        if batch.lines() > 0 {
            let lost = sink.write(&batch.bytes, batch.lines());
            ring.drop_lines(lost);
        }
        ring.flush_done(flush);
        if last {
            return;
        }
        if !ring.is_urgent() {
            thread::park_timeout(GATHER);
        }
    }
}
