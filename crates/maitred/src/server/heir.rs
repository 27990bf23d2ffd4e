//! The process that took over, watched for as long as this one drains.

use std::{
    io,
    os::fd::AsFd,
    process::ExitStatus,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    lifecycle::INTERRUPTED,
    upgrade::{Channel, Gift, Message, Successor},
};

/// How often it is looked for, should a signal be lost.
const LOOK: Duration = Duration::from_secs(1);

/// A process that took over. What it was given is kept, so that its sockets stay open should it fail.
pub struct Heir {
    pid: u32,
    channel: Channel,
    gift: Gift,
    /// The process, where this one has started it: of others nobody says how they have ended.
    child: Option<Successor>,
}

impl Heir {
    pub fn new(pid: u32, channel: Channel, gift: Gift, child: Option<Successor>) -> Self {
        Self { pid, channel, gift, child }
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The way to those that will serve after it.
    pub fn into_channel(mut self) -> Channel {
        self.hear();
        self.channel
    }

    /// Waits until it has failed, and says how it ended. One that was told to end has not failed, and neither has one
    /// that had handed over before.
    pub async fn failed(&mut self) -> String {
        match self.ended().await {
            Ok(status) if is_failure(status) && !self.hear() => format!("has failed ({status})"),
            _ => std::future::pending().await,
        }
    }

    async fn ended(&mut self) -> io::Result<ExitStatus> {
        let mut ended = signal(SignalKind::child())?;
        loop {
            match &mut self.child {
                None => std::future::pending().await,
                Some(child) => {
                    if let Some(status) = child.ended()? {
                        return Ok(status);
                    }
                }
            }
            tokio::select! {
                _ = ended.recv() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Hears who serves now; whether that is another than the one that was started here.
    fn hear(&mut self) -> bool {
        let before = self.pid;
        while let Ok((Message::Main { pid }, _)) = self.channel.receive(Some(Instant::now())) {
            self.pid = pid;
        }
        self.pid != before
    }

    /// What it was given, for another one, without the sockets that it has closed; and what is left of itself.
    pub fn take_back(mut self) -> (Gift, Self) {
        self.child = None;
        let mut sockets = std::mem::take(&mut self.gift.sockets);
        sockets.retain(|(_, fd)| rustix::net::sockopt::socket_acceptconn(fd.as_fd()).unwrap_or(false));
        (Gift { sockets, counters: self.gift.counters.clone(), facts: self.gift.facts.clone() }, self)
    }
}

fn is_failure(status: ExitStatus) -> bool {
    !status.success() && status.code() != Some(INTERRUPTED.into())
}
