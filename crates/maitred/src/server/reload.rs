//! A reload is a transaction: everything is looked at and taken before anything changes, and then it all changes.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use admin::{Outcome, ReloadOrder, Reloaded};
use config::Loaded;
use document::{At, Code, Diagnostic, Report};
use listen::{BindError, Inherited, Listener};
use serde_json::Value;
use snapshot::Compiled;
use telemetry::AccessLog;
use tokio::task::spawn_blocking;

use super::{
    changes::Difference, desk::json_of, open_log, probation::Probation, running::Running, starting::open_audit,
};
use crate::{
    banner::lock,
    logging, notify,
    prepare::{Prepared, Ready, prepare_on},
};

/// How long a reload waits for the addresses of hosts that are new.
const WARM: Duration = Duration::from_secs(2);

/// What has a configuration put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// `maitred reload`, or the admin API.
    Reload,
    Rollback,
    /// The end of a trial that nobody has confirmed.
    Abort,
    /// The signal HUP.
    Hangup,
    /// Files that have changed.
    Watch,
}

/// Why nothing was changed.
pub(super) struct Refusal {
    report: String,
    diagnostics: Vec<Value>,
}

/// What a configuration needs of the system, taken and not yet in use.
struct Taken {
    sockets: listen::Change,
    plane: Option<Vec<admin::Socket>>,
    /// The file of the audit log, where it is to be another one or none.
    audit: Option<Option<telemetry::Audit>>,
    log: Option<Arc<AccessLog>>,
}

impl Running {
    /// Applies the configuration file as it is now.
    pub(super) async fn reload(&mut self, order: &ReloadOrder, by: By) -> Reloaded {
        notify::reloading();
        let began = Instant::now();
        // Before the files are read: what changes from here on is seen as a change.
        self.watch.follow().await;
        let origin = self.origin.clone();
        let reloaded = match spawn_blocking(move || origin.load()).await {
            Ok(loaded) => self.apply(loaded, order, by, began).await,
            Err(error) => self.refuse(Refusal::new(format!("the configuration could not be loaded: {error}")), began),
        };
        notify::ready();
        reloaded
    }

    /// Puts a configuration in force, or says why not.
    pub(super) async fn apply(&mut self, loaded: Loaded, order: &ReloadOrder, by: By, began: Instant) -> Reloaded {
        match self.transact(loaded, order, by, began).await {
            Ok(reloaded) => reloaded,
            Err(refusal) => self.refuse(refusal, began),
        }
    }

    async fn transact(
        &mut self,
        loaded: Loaded,
        order: &ReloadOrder,
        by: By,
        began: Instant,
    ) -> Result<Reloaded, Refusal> {
        let ordered = Probation::ordered(order).map_err(Refusal::new)?;
        let scratch = self.state.scratch();
        let judged = spawn_blocking(move || prepare_on(loaded, scratch)).await;
        let Prepared { loaded, report, ready, .. } = judged.map_err(|error| Refusal::new(error.to_string()))?;
        let Some(ready) = ready else { return Err(Refusal::of(&loaded, &report)) };
        let taken = self.take(&loaded, &ready)?;
        let (current, in_force) = self.generations.current();
        let differs = Difference::between(&in_force, &loaded);
        let mut reloaded = Reloaded {
            outcome: Outcome::DryRun,
            generation: current,
            took_ms: 0,
            changes: differs.summary(),
            waiting: Difference::between(self.generations.started(), &loaded).waiting(),
            on_trial: self.on_trial(),
            report: loaded.document.render(&report, false),
            diagnostics: json_of(&loaded.document, &report),
        };
        if !order.dry_run {
            let is_another = !differs.is_none();
            self.put_in_force(loaded, ready, taken, by, is_another).await?;
            self.go_on_trial(ordered, in_force, by, is_another);
            reloaded.on_trial = self.on_trial();
            reloaded.generation = self.generations.current().0;
            reloaded.outcome = match (reloaded.waiting.is_empty(), reloaded.changes.is_empty()) {
                (false, _) => Outcome::NeedsUpgrade,
                (true, true) => Outcome::Unchanged,
                (true, false) => Outcome::Applied,
            };
        }
        reloaded.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.say(&reloaded, by);
        Ok(reloaded)
    }

    /// Takes sockets and opens files. What was taken is given back when it is dropped.
    fn take(&self, loaded: &Loaded, ready: &Ready) -> Result<Taken, Refusal> {
        let listeners = &ready.compiled.listeners;
        let sockets = self
            .listeners
            .prepare(listeners.clone(), &mut Inherited::default())
            .map_err(|error| Refusal::taken(loaded, listeners, &error))?;
        let logging = &ready.compiled.settings.logging;
        let log = if logging.access == self.logging.access {
            self.log.clone()
        } else {
            let mut report = Report::new();
            open_log(logging, &self.state, &mut report).ok_or_else(|| Refusal::of(loaded, &report))?
        };
        let plane = self.plane.prepare(&ready.admin).map_err(|error| Refusal::admin(loaded, &error))?;
        let other = ready.admin.audit != *self.plane.audit();
        let audit = other.then(|| self.other_audit(&ready.admin)).transpose().map_err(Refusal::new)?;
        Ok(Taken { sockets, plane, audit, log })
    }

    /// The audit log of other settings: the file that is open goes on with its chain.
    fn other_audit(&self, settings: &admin::Settings) -> Result<Option<telemetry::Audit>, String> {
        match (&settings.audit, self.plane.audit(), self.admin.audit_log()) {
            (Some((path, attempts)), Some((open, _)), Some(log)) if path == open => Ok(Some(log.with(*attempts))),
            _ => open_audit(settings, &self.state),
        }
    }

    /// What was judged is compiled once more, now for good. Once clients can connect to the new sockets nothing fails.
    async fn put_in_force(
        &mut self,
        loaded: Loaded,
        ready: Ready,
        taken: Taken,
        by: By,
        is_another: bool,
    ) -> Result<(), Refusal> {
        // The judge's copy counted on meters of its own, so that a configuration that is refused leaves no trace.
        let (admin, listeners) = (ready.admin, ready.compiled.listeners.clone());
        drop(ready.compiled);
        let state = self.state.clone();
        let compiled = spawn_blocking(move || {
            let mut report = Report::new();
            let compiled = loaded.config.as_ref().and_then(|config| snapshot::compile(config, &state, &mut report));
            (compiled, loaded, report)
        });
        let (compiled, loaded, report) = compiled.await.map_err(|error| Refusal::new(error.to_string()))?;
        // A certificate may have been taken away between the two.
        let Some(compiled) = compiled else { return Err(Refusal::of(&loaded, &report)) };
        tokio::join!(self.state.upstreams.first_resolution(WARM), self.state.auth.prefetch(WARM));
        // As late as can be: connections that these take from those of before are not to wait, nor to be lost.
        let listening =
            self.listeners.listen(taken.sockets).map_err(|error| Refusal::taken(&loaded, &listeners, &error))?;
        if is_another {
            self.generations.push(Arc::new(loaded), by.as_str());
        }
        if let Some(audit) = taken.audit {
            self.admin.write_audit_to(audit);
        }
        self.publish(compiled, taken.log);
        self.listeners.apply(listening, self.staff()).await;
        if let Some(sockets) = taken.plane
            && let Err(error) = self.plane.exchange(admin, sockets, self.admin.clone())
        {
            log::error!("the admin plane stays where it is: {error}");
        }
        self.tell();
        Ok(())
    }

    fn publish(&mut self, compiled: Compiled, log: Option<Arc<AccessLog>>) {
        let Compiled { mut snapshot, settings, listeners, .. } = compiled;
        snapshot.access_log.clone_from(&log);
        snapshot.audit = self.admin.audit_log();
        snapshot.generation = self.generations.current().0.id;
        self.state.metrics.generation(snapshot.generation);
        self.live.publish(snapshot);
        let snapshot = self.live.load();
        snapshot.goes_live(&self.state);
        let routes = snapshot.routes.iter().map(|route| &*route.name);
        let listeners = listeners.iter().map(|listener| &*listener.name);
        let upstreams = snapshot.upstreams.keys().map(String::as_str);
        let limits = snapshot.routes.iter().flat_map(|route| route.limits.iter()).map(|limit| &**limit.name());
        let policies = snapshot.routes.iter().flat_map(|route| route.auth.policies()).map(|policy| &**policy.name());
        self.state.metrics.retain(listeners, routes, upstreams, limits, policies);
        self.log = log;
        logging::configure(&settings.logging.level);
        self.logging = settings.logging;
        lock(&self.latest).grace_period = settings.grace_period;
    }

    fn say(&self, reloaded: &Reloaded, by: By) {
        if reloaded.outcome == Outcome::DryRun {
            return;
        }
        self.came(true);
        let Reloaded { generation, took_ms, changes, waiting, .. } = reloaded;
        let changes = if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("   ") };
        log::info!("{by}: generation {} applied in {took_ms} ms: {changes}", generation.id);
        self.admin.events().tell("config", format!("generation {} is in force: {changes}", generation.id));
        if !waiting.is_empty() {
            log::warn!("{by}: {} waits for an upgrade", waiting.join(", "));
        }
    }

    fn came(&self, applied: bool) {
        self.state.metrics.config_reloaded(applied);
        lock(&self.latest).reload = Some(admin::Reload { time: SystemTime::now(), applied });
    }

    pub(super) fn refuse(&self, refusal: Refusal, began: Instant) -> Reloaded {
        self.came(false);
        self.admin.events().tell("config", format!("refused: {}", refusal.report.lines().next().unwrap_or_default()));
        Reloaded {
            outcome: Outcome::Refused,
            generation: self.generations.current().0,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            changes: Vec::new(),
            waiting: Vec::new(),
            on_trial: self.on_trial(),
            report: refusal.report,
            diagnostics: refusal.diagnostics,
        }
    }
}

impl By {
    /// Its name, in the log and in the history.
    const fn as_str(self) -> &'static str {
        match self {
            By::Reload => "reload",
            By::Rollback => "rollback",
            By::Abort => "abort",
            By::Hangup => "HUP",
            By::Watch => "watch",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Refusal {
    pub(super) fn new(message: String) -> Self {
        Self { report: format!("error: {message}\n"), diagnostics: Vec::new() }
    }

    fn of(loaded: &Loaded, report: &Report) -> Self {
        Self { report: loaded.document.render(report, false), diagnostics: json_of(&loaded.document, report) }
    }

    /// An address of the admin plane that cannot be had.
    fn admin(loaded: &Loaded, error: &admin::BindError) -> Self {
        let mut report = Report::new();
        let at = At::root().key("admin").key("address");
        report.push(Diagnostic::new(Code::E0604, error.to_string()).label(at, "this address"));
        Self::of(loaded, &report)
    }

    /// An address that cannot be had, at its place in the file.
    fn taken(loaded: &Loaded, listeners: &[Arc<Listener>], error: &BindError) -> Self {
        let mut report = Report::new();
        let place = listeners.iter().find_map(|listener| {
            let index = listener.addresses.iter().position(|address| *address == error.address)?;
            Some(At::root().key("listeners").key(&*listener.name).key("address").index(index))
        });
        let mut diagnostic =
            Diagnostic::new(Code::E0604, error.to_string()).label(place.unwrap_or(At::root()), "this address");
        for line in error.help() {
            diagnostic = diagnostic.help(line);
        }
        report.push(diagnostic);
        Self::of(loaded, &report)
    }
}
