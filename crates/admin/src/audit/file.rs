//! The file of the audit log, written by a thread of its own.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel},
    thread,
    time::Duration,
};

/// How many lines may wait to be written.
const WAITING: usize = 1024;

/// Who may read it: its owner and its group.
const MODE: u32 = 0o640;

/// The file of the audit log. What was given to it is written before the last handle is gone, or the process ends.
#[derive(Debug)]
pub struct AuditFile(SyncSender<Order>);

/// What the writer is told.
enum Order {
    Write(String),
    Reopen,
    Tell(Sender<()>),
}

impl AuditFile {
    /// Opens the file, to append to it, and starts its writer.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(WAITING);
        let writer = Writer { file: open(path)?, path: path.to_owned() };
        thread::Builder::new().name("audit-log".to_owned()).spawn(move || writer.run(&waiting))?;
        Ok(Self(orders))
    }

    /// Hands a line over. Waits for nobody: a line for which there is no room is complained about, and lost.
    pub(super) fn write(&self, line: String) {
        if let Err(TrySendError::Full(Order::Write(line)) | TrySendError::Disconnected(Order::Write(line))) =
            self.0.try_send(Order::Write(line))
        {
            log::error!("the audit log cannot be written as fast as it is told: {line}");
        }
    }

    /// Asks for the file to be opened anew under its name.
    pub(super) fn reopen(&self) {
        // With so many lines waiting it will be asked for again.
        let _ = self.0.try_send(Order::Reopen);
    }

    /// Waits until everything told so far is written, at most for `deadline`. Says whether it is.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let (done, written) = channel();
        self.0.try_send(Order::Tell(done)).is_ok() && written.recv_timeout(deadline).is_ok()
    }
}

struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(line) => self.write(&line),
                Order::Reopen => match open(&self.path) {
                    Ok(file) => self.file = file,
                    Err(error) => {
                        log::error!("the audit log `{}` cannot be opened again: {error}", self.path.display());
                    }
                },
                // Whoever asked may have lost patience.
                Order::Tell(done) => drop(done.send(())),
            }
        }
    }

    /// One write for each line, so that lines of two processes that append do not mix; on disk before the next.
    fn write(&mut self, line: &str) {
        let written = self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        // A pipe or a device cannot be synced, and need not be.
        match written {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                log::error!("the audit log `{}` cannot be written: {error}: {line}", self.path.display());
            }
            _ => {}
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}
