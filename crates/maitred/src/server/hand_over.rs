//! The running server's part in an upgrade.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use admin::{UpgradeOrder, Upgraded, Who};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    Origin,
    heir::Heir,
    reload::By,
    running::{End, Running},
};
use crate::{
    lifecycle::Signal,
    notify,
    prepare::BUILD,
    upgrade::{Channel, Facts, Gift, Handed, Message, Pace, Successor, Waiting, give, hand_on, spawn},
};

/// How long a new process may take to become ready, where nothing is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program that runs here, whatever lies in its place by now.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Why nobody was handed over to, and what was to be handed over, where it is left.
struct Missed {
    why: String,
    gift: Option<Gift>,
}

impl From<String> for Missed {
    fn from(why: String) -> Self {
        Self { why, gift: None }
    }
}

/// What a successor that serves has said.
struct Told {
    version: String,
    pid: u32,
    taken: Vec<Handed>,
}

/// The program that this process was started from, which may be another file by now.
pub fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("maitred"));
    let text = path.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from)
}

impl Running {
    /// Starts a new process and hands over to it. When this succeeds, this process accepts no more.
    pub(super) async fn upgrade(&mut self, order: &UpgradeOrder) -> Result<(Upgraded, Heir), String> {
        if matches!(self.origin, Origin::Text { .. }) {
            return Err("only `maitred run` with a configuration file can be upgraded".into());
        }
        let held = self.admin.hold_orders().await;
        // Before anything is started: a successor that can get nothing would only have to be ended again.
        let gift = self.offer()?;
        let binary = order.binary.clone().unwrap_or_else(|| self.program.clone());
        let (successor, channel) = start(&binary)?;
        log::info!("upgrade: started {} (pid {})", binary.display(), successor.pid());
        let limit = order.timeout.map_or(PATIENCE, Duration::from);
        let result = self.hand_over(channel, gift, limit, Some(successor)).await;
        self.orders_held = result.is_ok().then_some(held);
        result.inspect_err(|why| log::error!("upgrade: {why}; still serving"))
    }

    /// Hands over to the process that waits.
    pub(super) async fn hand_over_to_waiting(&mut self) -> Option<Heir> {
        let held = self.admin.hold_orders().await;
        let gift = match self.offer() {
            Ok(gift) => gift,
            Err(why) => {
                log::error!("QUIT: {why}; still serving");
                return None;
            }
        };
        let Some(channel) = self.waiting.take() else {
            log::warn!("QUIT: no new process waits for the sockets; still serving");
            return None;
        };
        match self.hand_over(channel, gift, PATIENCE, None).await {
            Ok((_, heir)) => {
                self.orders_held = Some(held);
                Some(heir)
            }
            Err(why) => {
                log::error!("QUIT: {why}; still serving");
                None
            }
        }
    }

    /// What a successor would get, where there may be one now.
    fn offer(&self) -> Result<Gift, String> {
        if self.probation.is_some() {
            return Err("the configuration is on trial: `maitred confirm` or `maitred rollback` first".into());
        }
        self.gift().map_err(|error| format!("the sockets cannot be handed over: {error}"))
    }

    async fn hand_over(
        &mut self,
        channel: Channel,
        gift: Gift,
        limit: Duration,
        successor: Option<Successor>,
    ) -> Result<(Upgraded, Heir), String> {
        let began = Instant::now();
        self.waiting.close();
        let (served, heir) = match self.give(channel, gift, limit, successor).await {
            Ok(given) => given,
            Err(Missed { why, .. }) => {
                self.waiting = Waiting::open();
                self.state.limits.tell_no_charges();
                self.state.cache.tell_no_news();
                // What nobody else was told to do.
                if std::mem::take(&mut self.late).contains(&Signal::Reload) {
                    self.reload_by(By::Hangup, Who::Signal("HUP".into())).await;
                }
                return Err(why);
            }
        };
        // It may have read the files before what they were changed to.
        std::mem::take(&mut self.late).into_iter().for_each(|signal| hand_on(signal, served.pid));
        let draining = self.leave(&served.taken).await;
        log::info!("upgrade: {} (pid {}) serves; draining {draining} connections", served.version, served.pid);
        let upgraded = Upgraded {
            version: served.version,
            pid: served.pid,
            sockets: served.taken.len(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            old_version: BUILD.version.into(),
            old_pid: std::process::id(),
            draining,
        };
        Ok((upgraded, heir))
    }

    /// Gives everything to a successor and waits until it serves.
    async fn give(
        &mut self,
        channel: Channel,
        gift: Gift,
        limit: Duration,
        mut successor: Option<Successor>,
    ) -> Result<(Told, Heir), Missed> {
        let deadline = Instant::now() + limit;
        let is_ours = successor.is_some();
        let line = channel.try_clone().map_err(|error| error.to_string())?;
        let talk = spawn_blocking(move || {
            let served = give(&channel, &gift, deadline);
            (served, channel, gift)
        });
        let (served, channel, gift) = self.hear_out(talk, &line, &mut successor).await?;
        match served {
            // It was ready at the very moment when the end was asked for.
            Ok(served) if self.told_to_end.is_some() => {
                if !is_ours {
                    hand_on(Signal::Terminate("TERM"), served.pid);
                }
                Err("the end was asked for meanwhile".to_owned().into())
            }
            Ok(served) => {
                notify::main_pid(served.pid);
                // Not by the new one, which might say it after this one has ended, as if nobody served any more.
                self.supervisor.as_ref().inspect(|supervisor| report_to(supervisor, served.pid));
                let told = Told { version: served.version.clone(), pid: served.pid, taken: served.taken.clone() };
                Ok((told, Heir::new(served, channel, gift, successor)))
            }
            Err(why) => {
                let code = successor.and_then(Successor::give_up).map(|code| format!(" (exit code {code})"));
                Err(Missed { why: format!("{why}{}", code.unwrap_or_default()), gift: Some(gift) })
            }
        }
    }

    /// Starts this very program again, with the sockets that the failed heir had. Where nothing comes of it, the heir that
    /// is returned is missed, unless the end was asked for meanwhile.
    pub(super) async fn revive(&mut self, heir: Heir, why: &str) -> Heir {
        log::error!("upgrade: the new process (pid {}) {why}; starting {} again", heir.pid(), BUILD.version);
        let (gift, mut failed) = heir.take_back();
        let given = match spawn(Path::new(THIS_PROGRAM)) {
            Ok((successor, channel)) => self.give(channel, gift, PATIENCE, Some(successor)).await,
            Err(error) => Err(Missed { why: format!("it cannot be started: {error}"), gift: Some(gift) }),
        };
        match given {
            Ok((served, heir)) => {
                log::info!("upgrade: {} (pid {}) serves", served.version, served.pid);
                heir
            }
            Err(Missed { why, gift }) => {
                log::error!("upgrade: {why}; nobody accepts connections");
                // Whatever is in its way, such as a file that only the failed program understands, may be mended.
                gift.filter(|_| self.told_to_end.is_none()).into_iter().for_each(|gift| failed.keep(gift));
                failed
            }
        }
    }

    /// Waits for the end of the talk. Whoever asks this process to end meanwhile means the successor as well.
    async fn hear_out<T>(
        &mut self,
        talk: JoinHandle<T>,
        line: &Channel,
        successor: &mut Option<Successor>,
    ) -> Result<T, String> {
        tokio::pin!(talk);
        loop {
            let end = tokio::select! {
                done = &mut talk => return done.map_err(|error| error.to_string()),
                Some(now) = self.stops.recv(), if self.told_to_end.is_none() => End::of(now),
                signal = self.signals.next(), if self.told_to_end.is_none() => match signal {
                    Signal::Terminate(name) => {
                        let generation = self.generations.current().0.id;
                        self.record(Who::Signal(name.into()), "stop", "done", generation);
                        End::Drain
                    }
                    Signal::HandOver | Signal::Upgrade => {
                        log::warn!("an upgrade is under way already");
                        continue;
                    }
                    other => {
                        self.put_off(other);
                        continue;
                    }
                },
            };
            self.told_to_end = Some(end);
            successor.take().map(Successor::give_up);
            // One that was started by hand gives up by itself when nobody talks to it.
            line.end();
        }
    }

    /// What is asked for during an upgrade is for whoever serves after it.
    fn put_off(&mut self, signal: Signal) {
        if signal == Signal::Reopen {
            self.reopen();
        } else {
            log::info!("{signal:?} has to wait: an upgrade is under way");
        }
        if !self.late.contains(&signal) {
            self.late.push(signal);
        }
    }

    /// Everything that a successor gets.
    fn gift(&self) -> std::io::Result<Gift> {
        let listeners = self.listeners.copies()?.into_iter();
        let mut sockets: Vec<_> =
            listeners.map(|(place, fd)| (Handed::Listener(place.as_str().to_owned()), fd)).collect();
        for shared in self.plane.shared() {
            let fd = std::os::fd::AsFd::as_fd(shared).try_clone_to_owned()?;
            sockets.push((Handed::Admin(shared.written().to_string()), fd));
        }
        let supervisor = self.supervisor.as_ref().filter(|supervisor| supervisor.is_heard());
        if let Some(supervisor) = supervisor {
            sockets.push((Handed::Supervisor, supervisor.try_clone()?.into_fd()));
        }
        let facts = Facts {
            generation: self.generations.current().0.id,
            ticket_keys: BASE64_STANDARD.encode(self.state.ticket_keys.export()),
            sticky_key: self.state.upstreams.sticky_key().map(|key| BASE64_STANDARD.encode(**key)).unwrap_or_default(),
            concurrency: self.state.upstreams.concurrency(),
            log_level: self.admin.ordered_level(),
            supervises: supervisor.is_none(),
            hears: true,
        };
        Ok(Gift { sockets, state: self.state.clone(), facts })
    }

    /// Says to the process of before, should it still drain, and to the first one of the container that this one ends
    /// because it was told to.
    pub(super) fn take_leave(&self) {
        for channel in [&self.before, &self.supervisor].into_iter().flatten() {
            // It has ended long ago, most likely.
            let _ = channel.send(&Message::Leaves, &[], Pace::Now);
        }
    }

    /// Leaves the sockets to the successor and asks every connection to end. Returns how many there are.
    async fn leave(&mut self, taken: &[Handed]) -> usize {
        self.front.stop().await;
        self.listeners.retire_all();
        for shared in self.plane.shared() {
            shared.keep_file(taken.contains(&Handed::Admin(shared.written().to_string())));
        }
        let places: HashSet<_> = taken.iter().filter_map(Handed::place).collect();
        self.listeners.hand_over(&places).await;
        self.listeners.live()
    }
}

/// Says to the process that watches over those after it who serves now. That one may have drained and ended meanwhile.
fn report_to(supervisor: &Channel, pid: u32) {
    if let Err(error) = supervisor.send(&Message::Main { pid }, &[], Pace::Now)
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        log::error!("the first process does not hear that {pid} serves: {error}");
    }
}

fn start(binary: &Path) -> Result<(Successor, Channel), String> {
    spawn(binary).map_err(|error| format!("{} cannot be started: {error}", binary.display()))
}
