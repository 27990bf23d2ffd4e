//! The server's one task: it takes orders and signals, one after the other, until it is told to end.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use admin::{Admin, OrdersHeld, Outcome as Came, Phase, ReloadOrder, Reloaded, UpgradeOrder, Who};
use listen::{Listener, Listeners, Mode, Staff};
use proxy::Front;
use snapshot::{Live, State};
use stream::Relay;
use telemetry::AccessLog;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    Origin,
    desk::{Desk, Order, Told},
    generation::Generations,
    heir::{Change, Heir},
    plane::Plane,
    probation::Probation,
    reload::By,
    watch::Watch,
};
use crate::{
    banner::{Latest, lock},
    exit::Failure,
    lifecycle::{self, Signal, Signals},
    notify,
    upgrade::{Channel, Orphans, Waiting, hand_on, nothing_lives_on},
};

/// Everything that a running server is made of.
pub struct Running {
    pub origin: Origin,
    pub live: Arc<Live>,
    pub state: State,
    pub listeners: Arc<Listeners>,
    pub front: Arc<Front>,
    pub log: Option<Arc<AccessLog>>,
    pub logging: telemetry::Settings,
    pub latest: Arc<Mutex<Latest>>,
    pub admin: Arc<Admin>,
    pub plane: Plane,
    /// Since a successor was told how things stand, which serves by now.
    pub orders_held: Option<OrdersHeld>,
    /// Becomes true when the process ends.
    pub ended: watch::Sender<bool>,
    pub desk: Arc<Desk>,
    pub orders: mpsc::Receiver<Order>,
    /// Orders to end, at once where they say so.
    pub stops: mpsc::Receiver<bool>,
    pub signals: Signals,
    pub generations: Generations,
    pub probation: Option<Probation>,
    pub watch: Watch,
    /// The program that this process was started from.
    pub program: PathBuf,
    /// Who waits to take over.
    pub waiting: Waiting,
    /// The way to the first process of the container, where that is another one.
    pub supervisor: Option<Channel>,
    /// The way to the process of before, where it wants to know that this one leaves.
    pub before: Option<Channel>,
    /// What was asked for by signals while an upgrade was under way.
    pub late: Vec<Signal>,
    /// The end that was asked for while something else was going on.
    pub told_to_end: Option<End>,
}

/// What the task turns to next.
enum Turn {
    Order(Order),
    Stop(bool),
    Signal(Signal),
    FilesChanged,
    ProbationFailed(String),
}

impl End {
    /// What an order to end means, which may be to end at once.
    pub fn of(now: bool) -> Self {
        if now { Self::Now } else { Self::Drain }
    }
}

/// What is left of the server at its end.
pub enum Ended {
    Whole,
    /// The process was the first of its container, and stays for as long as `main` serves.
    Supervises {
        main: u32,
        channel: Channel,
        signals: Signals,
    },
}

/// How the server ends.
pub enum End {
    /// When it has drained.
    Drain,
    /// When it has drained; another process serves.
    HandedOver(Box<Heir>),
    /// At once.
    Now,
}

impl Running {
    /// Serves until told to end, and ends. Connections that are still open then are cut with the runtime.
    pub async fn run(mut self) -> Result<Ended, Failure> {
        let mut orphans = Orphans::of(is_first());
        loop {
            let turn = tokio::select! {
                Some(order) = self.orders.recv() => Turn::Order(order),
                Some(now) = self.stops.recv() => Turn::Stop(now),
                signal = self.signals.next() => Turn::Signal(signal),
                () = self.watch.changed() => Turn::FilesChanged,
                why = failing(&mut self.probation, &self.state) => Turn::ProbationFailed(why),
                () = self.waiting.admit() => continue,
                () = orphans.take_in() => continue,
            };
            match self.turn(turn).await.or_else(|| self.told_to_end.take()) {
                None => {}
                Some(End::Drain) => return self.end().await,
                Some(End::HandedOver(heir)) => return self.follow(*heir).await,
                Some(End::Now) => {
                    self.take_leave();
                    self.plane.close().await;
                    return Ok(Ended::Whole);
                }
            }
        }
    }

    async fn turn(&mut self, turn: Turn) -> Option<End> {
        match turn {
            Turn::Order(order) => return self.obey(order).await,
            Turn::Stop(now) => return Some(End::of(now)),
            Turn::Signal(Signal::Terminate(name)) => {
                let generation = self.generations.current().0.id;
                self.record(Who::Signal(name.into()), "stop", "done", generation);
                return Some(End::Drain);
            }
            Turn::Signal(Signal::Reopen) => {
                self.reopen();
            }
            Turn::Signal(Signal::Reload) => self.reload_by(By::Hangup, Who::Signal("HUP".into())).await,
            Turn::Signal(Signal::HandOver) => {
                let after = self.hand_over_to_waiting().await;
                return self.upgraded_by("QUIT", after);
            }
            Turn::Signal(Signal::Upgrade) => {
                let upgraded = self.upgrade(&UpgradeOrder::default()).await;
                return self.upgraded_by("USR2", upgraded.ok().map(|(_, after)| after));
            }
            Turn::FilesChanged => self.reload_by(By::Watch, Who::Itself).await,
            Turn::ProbationFailed(why) => {
                let before = self.generations.current().0.id;
                self.abort(&why).await;
                self.record(Who::Itself, "abort", "done", before);
            }
        }
        None
    }

    async fn obey(&mut self, order: Order) -> Option<End> {
        // Whoever asked may have gone meanwhile; what was asked for is done all the same.
        match order {
            Order::Reload(order, reply) => drop(reply.send(self.reload(&order, By::Reload).await)),
            Order::Confirm(reply) => drop(reply.send(self.confirm())),
            Order::Rollback(to, reply) => drop(reply.send(self.rollback(to).await)),
            Order::Upgrade(order, reply) => match self.upgrade(&order).await {
                Ok((upgraded, heir)) => {
                    drop(reply.send(Ok(upgraded)));
                    return Some(End::HandedOver(Box::new(heir)));
                }
                Err(why) => drop(reply.send(Err(why))),
            },
        }
        None
    }

    /// A reload that nobody waits for: its outcome goes to the log.
    pub(super) async fn reload_by(&mut self, by: By, who: Who) {
        let before = self.generations.current().0.id;
        let Reloaded { outcome, report, generation, .. } = self.reload(&ReloadOrder::default(), by).await;
        if outcome == Came::Refused {
            log::error!("{by}: the configuration was refused; generation {} is still served\n{report}", generation.id);
        }
        self.record(who, "reload", outcome.as_str(), before);
    }

    /// What came of an upgrade that a signal asked for.
    fn upgraded_by(&self, signal: &str, after: Option<Heir>) -> Option<End> {
        let outcome = if after.is_some() { "done" } else { "failed" };
        self.record(Who::Signal(signal.into()), "upgrade", outcome, self.generations.current().0.id);
        after.map(Box::new).map(End::HandedOver)
    }

    /// Writes down what was not ordered through the admin plane, which does so itself.
    pub(super) fn record(&self, who: Who, what: &str, outcome: &str, before: u64) {
        self.admin.record(who, what, serde_json::Value::Null, outcome, Some(before));
    }

    /// Says at the desk what is in force.
    pub(super) fn tell(&self) {
        let (_, in_force) = self.generations.current();
        self.desk.tell(Told { history: self.generations.list(), in_force });
    }

    /// Who serves the connections of a listener.
    pub(super) fn staff(&self) -> impl Fn(&Arc<Listener>) -> Staff + use<> {
        let (front, metrics) = (Arc::clone(&self.front), Arc::clone(&self.state.metrics));
        let relay = Arc::new(Relay::new(Arc::clone(&self.live)));
        move |listener| Staff {
            serve: match &listener.mode {
                Mode::Http => front.serving(listener),
                Mode::Stream(_) => relay.clone(),
            },
            meters: metrics.listener(&listener.name),
        }
    }

    /// Opens log files anew.
    pub(super) fn reopen(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        self.admin.reopen();
        log::info!("log files opened anew");
    }

    /// Stops accepting and ends as soon as it has drained.
    async fn end(self) -> Result<Ended, Failure> {
        self.take_leave();
        self.admin.set_phase(Phase::Draining);
        notify::stopping();
        // First of all answers say that their connection ends; whoever connects meanwhile is still served.
        self.front.stop().await;
        self.listeners.retire_all();
        self.listeners.close_all().await;
        self.drain(None).await?;
        Ok(Ended::Whole)
    }

    /// Ends as soon as it has drained; the first process of a container stays for those who look to it.
    async fn follow(self, heir: Heir) -> Result<Ended, Failure> {
        // The successor answers to operators from here on; whoever waits for an answer still gets it.
        self.plane.leave();
        match self.drain(Some(heir)).await? {
            (Some(mut heir), signals) if is_first() => {
                let main = heir.latest();
                Ok(Ended::Supervises { main, channel: heir.into_channel(), signals })
            }
            _ => Ok(Ended::Whole),
        }
    }

    /// Lets requests under way end, and returns as soon as the last one has, or after the grace period. Should the one
    /// that took over fail meanwhile, this program is started again in its place.
    async fn drain(mut self, mut heir: Option<Heir>) -> Result<(Option<Heir>, Signals), Failure> {
        // All orders come too late now; who gave them is told so.
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
        // The one that takes over waits for its folder. Where there is none, the last requests have it too.
        if heir.is_some() {
            self.state.cache.close();
        }
        let grace = lock(&self.latest).grace_period;
        let until = Instant::now() + grace;
        let open = self.listeners.live();
        if open > 0 {
            log::info!("draining {open} connections, for at most {grace:?}");
        }
        let listeners = Arc::clone(&self.listeners);
        // The one that serves hears by this process of what lives on in the one before it.
        let relays = heir.is_some().then(|| self.state.clone());
        let outcome = loop {
            let missed = heir.as_ref().is_some_and(Heir::is_missed);
            let change = tokio::select! {
                drained = timeout_at(until, drained(&listeners, relays.as_ref(), missed)) => {
                    if drained.is_err() && listeners.live() > 0 {
                        log::warn!("{} connections were cut after the grace period of {grace:?}", listeners.live());
                    }
                    break Ok(());
                }
                signal = self.signals.next() => {
                    if interrupts(signal, heir.as_mut()) {
                        break Err(Failure { code: lifecycle::INTERRUPTED, message: String::new() });
                    }
                    continue;
                }
                Some(now) = self.stops.recv() => {
                    // Whoever asked means the one that serves.
                    heir.iter_mut().for_each(Heir::tell_to_end);
                    if now {
                        break Ok(());
                    }
                    continue;
                }
                change = changed(&mut heir) => change,
            };
            heir = match (change, heir) {
                (Change::Failed(how), Some(failed)) => Some(self.revive(failed, &how).await),
                (_, heir) => heir,
            };
            if matches!(self.told_to_end, Some(End::Now)) {
                break Ok(());
            }
        };
        heir.iter_mut().for_each(Heir::say_nothing_is_left);
        let _ = self.ended.send(true);
        self.plane.close().await;
        outcome.map(|()| (heir, self.signals))
    }
}

/// Whether this is the first process of a container, which ends with it.
fn is_first() -> bool {
    std::process::id() == 1
}

/// Ready when there is nothing left to do for anybody. While nobody serves, in the place of an heir that is `missed`, there
/// is that to be done.
async fn drained(listeners: &Listeners, relays: Option<&State>, missed: bool) {
    if missed {
        return std::future::pending().await;
    }
    listeners.idle().await;
    if let Some(state) = relays {
        nothing_lives_on(state).await;
    }
}

/// Ready when the process that took over has failed or handed over.
async fn changed(heir: &mut Option<Heir>) -> Change {
    match heir {
        Some(heir) => heir.changed().await,
        None => std::future::pending().await,
    }
}

/// Whether a signal ends the drain, which INT does. The first process of a container is sent all signals, whoever they are
/// meant for, and hands them on to who took over from it.
fn interrupts(signal: Signal, heir: Option<&mut Heir>) -> bool {
    match (signal, heir) {
        (Signal::Terminate(_), Some(heir)) if heir.is_missed() => heir.tell_to_end(),
        (signal, Some(heir)) if is_first() => hand_on(signal, heir.latest()),
        (Signal::Terminate("INT"), _) => return true,
        (other, _) => log::warn!("{other:?} comes too late: the process drains"),
    }
    false
}

/// Ready when the configuration on probation has failed, with the reason.
async fn failing(probation: &mut Option<Probation>, state: &State) -> String {
    match probation {
        Some(probation) => probation.failed(&state.metrics).await,
        None => std::future::pending().await,
    }
}
