//! Signals, and what they mean.

use std::io;

use tokio::signal::unix::{self, SignalKind, signal};

/// The exit code of a process that was interrupted twice.
pub const INTERRUPTED: u8 = 130;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM, INT: drain and end. Which of them it was.
    Terminate(&'static str),
    /// HUP: apply the configuration file as it is now.
    Reload,
    /// QUIT: hand the sockets to a process that waits for them.
    HandOver,
    /// USR1: open log files anew.
    Reopen,
    /// USR2: start the binary that is on disk now and hand over to it.
    Upgrade,
}

/// Every signal that means something.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    reopen: unix::Signal,
    upgrade: unix::Signal,
}

impl Signals {
    /// Takes the signals over; until then they kill.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate("TERM"),
            _ = self.interrupt.recv() => Signal::Terminate("INT"),
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.quit.recv() => Signal::HandOver,
            _ = self.reopen.recv() => Signal::Reopen,
            _ = self.upgrade.recv() => Signal::Upgrade,
        }
    }
}
