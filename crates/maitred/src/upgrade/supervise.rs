//! The first process of a container stays when it has handed over: the container ends with it.

use std::{io, time::Duration};

use rustix::process::{Pid, Signal as Send, WaitOptions, kill_process, wait};
use tokio::{
    signal::unix::{Signal as Ended, SignalKind, signal},
    sync::mpsc,
    task::spawn_blocking,
};

use super::{Channel, Message};
use crate::{
    exit::{Failure, Outcome},
    lifecycle::{Signal, Signals},
};

/// How often ended processes are looked for, should a signal be lost.
const LOOK: Duration = Duration::from_secs(5);

/// The exit code of a process that a signal ended, as shells have it: this and the signal's number.
const BY_SIGNAL: i32 = 128;

/// Hands signals on to whoever serves, takes in the ends of processes whose parents are gone, and ends as the process
/// that serves does. `main` is the one that serves now, and `channel` tells of those after it.
pub async fn supervise(mut main: u32, channel: Channel, signals: &mut Signals) -> Outcome {
    let mut ended = signal(SignalKind::child())?;
    let (tell, mut told) = mpsc::channel(1);
    spawn_blocking(move || {
        while let Ok((message, _)) = channel.receive(None) {
            if let Message::Main { pid } = message
                && tell.blocking_send(pid).is_err()
            {
                return;
            }
        }
    });
    loop {
        if let Some(code) = reap(main)? {
            let outcome = u8::try_from(code).unwrap_or(u8::MAX);
            return if code == 0 { Ok(()) } else { Err(Failure { code: outcome, message: String::new() }) };
        }
        tokio::select! {
            Some(pid) = told.recv() => main = pid,
            signal = signals.next() => hand_on(signal, main),
            _ = ended.recv() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Processes that the first process of a container has to take in when they end, for as long as it serves and has not
/// started a successor: those whose parents are gone.
pub struct Orphans(Option<Ended>);

impl Orphans {
    /// Those of this process, which is the first one or not.
    pub fn of(is_first: bool) -> Self {
        Self(if is_first { signal(SignalKind::child()).ok() } else { None })
    }

    /// Takes in who has ended, for ever.
    pub async fn take_in(&mut self) {
        let Self(Some(ended)) = self else { return std::future::pending().await };
        loop {
            // There is nobody whose end would mean anything.
            if let Err(error) = reap(std::process::id()) {
                log::debug!("processes that have ended are not taken in: {error}");
            }
            tokio::select! {
                _ = ended.recv() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// Takes in whoever has ended; the exit code of the one that served, if it is among them.
fn reap(main: u32) -> io::Result<Option<i32>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid().unsigned_abs() == main => {
                let by_signal = status.terminating_signal().map(|signal| BY_SIGNAL + signal);
                return Ok(status.exit_status().or(by_signal).or(Some(1)));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok(None),
            // No child is left: the one that served was not ours, and is gone.
            Err(rustix::io::Errno::CHILD) => return Ok(Some(0)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a signal that came here to the process that serves.
pub fn hand_on(signal: Signal, main: u32) {
    let signal = match signal {
        Signal::Terminate(_) => Send::TERM,
        Signal::Reload => Send::HUP,
        Signal::HandOver => Send::QUIT,
        Signal::Reopen => Send::USR1,
        Signal::Upgrade => Send::USR2,
    };
    let pid = i32::try_from(main).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        log::warn!("{signal:?} cannot be handed on to {main}: {error}");
    }
}
