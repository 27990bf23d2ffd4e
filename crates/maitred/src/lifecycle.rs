//! Signals, and the orderly end.

use std::{io, time::Duration};

use listen::Listeners;
use proxy::Front;
use telemetry::AccessLog;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::timeout,
};

use crate::exit::{Failure, Outcome};

/// The exit code of a process that was interrupted twice.
const INTERRUPTED: u8 = 130;

/// Every signal that means something.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    reopen: Signal,
    upgrade: Signal,
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

    /// Waits for TERM or the first INT, and does what the others ask for meanwhile.
    pub async fn wait(&mut self, log: Option<&AccessLog>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reopen.recv() => {
                    if let Some(log) = log {
                        log.reopen();
                    }
                    log::info!("log files opened anew");
                }
                _ = self.hangup.recv() => {
                    log::warn!("HUP: this release cannot reload; the configuration of the start is still served");
                }
                _ = self.quit.recv() => log::warn!("QUIT: no new process waits for the sockets; still serving"),
                _ = self.upgrade.recv() => log::warn!("USR2: this release cannot upgrade in place; still serving"),
            }
        }
    }

    async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }
}

/// Stops accepting, lets requests under way end, and returns as soon as the last one has, or after `grace`.
pub async fn drain(
    listeners: &Listeners,
    front: &Front,
    stop: &watch::Sender<bool>,
    grace: Duration,
    signals: &mut Signals,
) -> Outcome {
    // First of all answers say that their connection ends; whoever connects meanwhile is still served.
    front.stop().await;
    listeners.close_all().await;
    let _ = stop.send(true);
    let open = listeners.live();
    if open > 0 {
        log::info!("draining {open} connections, for at most {grace:?}");
    }
    tokio::select! {
        drained = timeout(grace, listeners.idle()) => {
            if drained.is_err() {
                log::warn!("{} connections were cut after the grace period of {grace:?}", listeners.live());
            }
            Ok(())
        }
        () = signals.interrupted() => Err(Failure { code: INTERRUPTED, message: String::new() }),
    }
}
