//! A successor is started.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{Channel, take::CHANNEL};

/// A new process that was started to take over, and the way to talk to it.
pub struct Successor {
    child: Child,
}

/// Starts `binary` as this process was started, to take over.
pub fn spawn(binary: &Path) -> io::Result<(Successor, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--upgrade") {
        arguments.push("--upgrade".into());
    }
    let child = Command::new(binary)
        .args(arguments)
        .env(CHANNEL, "stdin")
        // The watchdog's notices are to come from whoever is the main process.
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::from(theirs.into_fd()))
        .spawn()?;
    Ok((Successor { child }, ours))
}

impl Successor {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it, since nothing became of it.
    pub fn give_up(mut self) -> Option<i32> {
        let ended = self.child.try_wait().ok().flatten();
        if ended.is_none() {
            // It may end by itself at this moment, which is as good.
            let _ = self.child.kill();
        }
        ended.or_else(|| self.child.wait().ok()).and_then(|status| status.code())
    }
}
