//! The first process of a container stays when it has handed over: the container ends with it.

use std::{io, time::Duration};

use rustix::process::{Pid, Signal as Send, WaitOptions, kill_process, test_kill_process, wait};
use tokio::signal::unix::{Signal as Ended, SignalKind, signal};

use super::{Channel, Message};
use crate::{
    exit::{Failure, Outcome},
    lifecycle::{Signal, Signals},
};

/// How often ended processes are looked for, should a signal be lost.
const LOOK: Duration = Duration::from_secs(5);

/// The same while a signal waits for somebody to serve.
const SOON: Duration = Duration::from_millis(100);

/// The exit code of a process that a signal ended, as shells have it: this and the signal's number.
const BY_SIGNAL: i32 = 128;

/// Hands signals on to whoever serves, takes in the ends of processes whose parents are gone, and ends as the process
/// that serves does. `main` is the one that serves now, and `channel` tells of those after it.
pub async fn supervise(main: u32, channel: Channel, signals: &mut Signals) -> Outcome {
    let mut child = signal(SignalKind::child())?;
    let (mut serving, mut late) = (Serving { main, leaves: false }, Vec::new());
    loop {
        // In this order: whoever hands over says so before it ends.
        let ended = reap()?;
        serving.hear(&channel);
        let Serving { main, leaves } = serving;
        if let Some(code) = ended.iter().find(|(pid, _)| *pid == main).map(|(_, code)| *code) {
            let outcome = u8::try_from(code).unwrap_or(u8::MAX);
            return if code == 0 { Ok(()) } else { Err(Failure { code: outcome, message: String::new() }) };
        }
        if lives(main) {
            late.drain(..).for_each(|signal| hand_on(signal, main));
        } else if !channel.is_heard() {
            // Nobody is left who could start another one. Of one that is nobody's child here nobody says how it ended.
            let gone = || Failure::new(format!("process {main}, which served, is gone"));
            return if leaves { Ok(()) } else { Err(gone()) };
        }
        tokio::select! {
            // For whoever serves by then: another one may be about to.
            signal = signals.next() => late.push(signal),
            _ = child.recv() => {}
            () = tokio::time::sleep(if late.is_empty() { LOOK } else { SOON }) => {}
        }
    }
}

/// Who serves, as far as the first process has heard.
#[derive(Clone, Copy)]
struct Serving {
    main: u32,
    /// Whether it has said that it ends because it was told to.
    leaves: bool,
}

impl Serving {
    fn hear(&mut self, channel: &Channel) {
        for message in channel.news() {
            match message {
                Message::Main { pid } => *self = Self { main: pid, leaves: false },
                Message::Leaves => self.leaves = true,
                _ => {}
            }
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
            if let Err(error) = reap() {
                log::debug!("processes that have ended are not taken in: {error}");
            }
            tokio::select! {
                _ = ended.recv() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// Takes in whoever has ended: their ids, and their exit codes.
fn reap() -> io::Result<Vec<(u32, i32)>> {
    let mut ended = Vec::new();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let by_signal = status.terminating_signal().map(|signal| BY_SIGNAL + signal);
                ended.push((pid.as_raw_pid().unsigned_abs(), status.exit_status().or(by_signal).unwrap_or(1)));
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(ended),
            Err(error) => return Err(error.into()),
        }
    }
}

fn lives(process: u32) -> bool {
    process_of(process).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn process_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
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
    if let Some(pid) = process_of(main)
        && let Err(error) = kill_process(pid, signal)
    {
        log::warn!("{signal:?} cannot be handed on to {main}: {error}");
    }
}
