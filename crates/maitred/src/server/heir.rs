//! The process that took over, watched for as long as this one drains.

use std::{
    os::fd::{AsFd, OwnedFd},
    process::ExitStatus,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    lifecycle::{INTERRUPTED, Signal},
    upgrade::{Channel, Gift, Handed, Message, Served, Successor, Telling, hand_on},
};

/// How often it is looked for, and told what lives on here.
const LOOK: Duration = Duration::from_millis(100);

/// How long the old process waits before it tries again to put another one in the place of one that has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How many times as long as it takes to say what lives on is waited before it is said again.
const REST: u32 = 20;

/// A process that took over. What it was given is kept, so that its sockets stay open should it fail.
pub struct Heir {
    pid: u32,
    channel: Channel,
    gift: Gift,
    /// The process, where this one has started it: of others nobody says how they have ended.
    child: Option<Successor>,
    /// Whether it keeps its end of the channel for as long as it lives.
    stays: bool,
    telling: Telling,
    /// Whether its end would be no failure: it was told to end, or has handed over.
    may_go: bool,
    /// When to try again to put another one in its place, where it has failed and so has that.
    again: Option<Instant>,
}

/// What became of it.
pub enum Change {
    /// Another process serves in its place.
    Moved,
    /// It has failed, and how.
    Failed(String),
}

impl Heir {
    pub fn new(served: Served, channel: Channel, gift: Gift, child: Option<Successor>) -> Self {
        let Served { pid, stays, telling, .. } = served;
        Self { pid, channel, gift, child, stays, telling, may_go: false, again: None }
    }

    /// The process that was the last to say that it serves.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process that serves now.
    pub fn latest(&mut self) -> u32 {
        self.hear();
        self.pid
    }

    /// The way to those that will serve after it.
    pub fn into_channel(self) -> Channel {
        self.channel
    }

    /// Tells it what requests hold here, until it has failed or handed over. One that was told to end has not failed, and
    /// neither has one that had handed over before.
    pub async fn changed(&mut self) -> Change {
        let mut ended = signal(SignalKind::child()).ok();
        if let Some(again) = self.again {
            sleep_until(again).await;
            return Change::Failed("has failed, and so has what was to take its place".into());
        }
        loop {
            let began = Instant::now();
            self.telling.again(&self.channel, &self.gift.state);
            let pause = LOOK.max(began.elapsed() * REST);
            if self.hear() {
                return Change::Moved;
            }
            if let Some(how) = self.how_it_failed() {
                return Change::Failed(how);
            }
            tokio::select! {
                Some(()) = async { ended.as_mut()?.recv().await } => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn how_it_failed(&mut self) -> Option<String> {
        let how = match &mut self.child {
            Some(child) => match child.ended() {
                Ok(Some(status)) if is_failure(status) => format!("has failed ({status})"),
                _ => return None,
            },
            None if self.stays && !self.channel.is_heard() => "is gone without a word".to_owned(),
            None => return None,
        };
        // It says so before it ends.
        self.hear();
        (!self.may_go).then_some(how)
    }

    /// Hears what it has to say; whether another one serves.
    fn hear(&mut self) -> bool {
        let before = self.pid;
        for message in self.channel.news() {
            match message {
                Message::Main { pid } => self.pid = pid,
                Message::Leaves => self.may_go = true,
                _ => {}
            }
        }
        self.may_go |= self.pid != before;
        self.pid != before
    }

    /// Says that no request is under way here any more.
    pub fn say_nothing_is_left(&mut self) {
        self.telling.nothing(&self.channel, &self.gift.state);
    }

    /// What it was given, for another one, without the sockets that it has closed; and what is left of itself.
    pub fn take_back(mut self) -> (Gift, Self) {
        (self.child, self.may_go, self.again) = (None, true, None);
        let mut sockets = std::mem::take(&mut self.gift.sockets);
        let is_open = |fd: &OwnedFd| rustix::net::sockopt::socket_acceptconn(fd.as_fd()).unwrap_or(false);
        // The way to the first process of the container listens to nobody.
        sockets.retain(|(handed, fd)| *handed == Handed::Supervisor || is_open(fd));
        (Gift { sockets, state: self.gift.state.clone(), facts: self.gift.facts.clone() }, self)
    }

    /// Nobody has taken its place so far. What it was given waits for the next attempt.
    pub fn keep(&mut self, gift: Gift) {
        self.gift = gift;
        self.again = Some(Instant::now() + PAUSE);
    }

    /// Tells it to end. Where it has failed, nobody is to take its place any more.
    pub fn tell_to_end(&mut self) {
        self.may_go = true;
        if self.again.take().is_some() {
            self.gift.sockets.clear();
        } else {
            hand_on(Signal::Terminate("TERM"), self.latest());
        }
    }

    /// Whether it has failed, and nobody has taken its place so far.
    pub fn is_missed(&self) -> bool {
        self.again.is_some()
    }
}

fn is_failure(status: ExitStatus) -> bool {
    !status.success() && status.code() != Some(INTERRUPTED.into())
}
