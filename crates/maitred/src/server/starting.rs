//! A server with a configuration without mistakes begins to serve.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use admin::{Admin, OrderedLevel, Phase};
use listen::{Inherited, Listener, Listeners, Listening};
use proxy::{Front, Options};
use snapshot::{Live, State};
use telemetry::Audit;
use tokio::sync::watch;

use super::{
    Origin,
    desk::{Desk, Told},
    generation::Generations,
    hand_over::program,
    open_first_log,
    plane::Plane,
    refused,
    running::Running,
    watch::Watch,
};
use crate::{
    banner,
    exit::Failure,
    files, lifecycle, logging, notify,
    prepare::BUILD,
    upgrade::{Facts, Handed, Sockets, Taken, Waiting},
};

/// How long the start waits for the first answers of DNS; what is missing then is looked up further in the background.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);

/// How long the start waits for the keys that tokens are checked with.
const FIRST_KEYS: Duration = Duration::from_secs(5);

/// Idle connections to upstreams that each worker may keep.
const POOL_SIZE: usize = 512;

/// A server about to start.
pub struct Starting {
    pub origin: Origin,
    pub watch: bool,
    pub loaded: config::Loaded,
    pub compiled: snapshot::Compiled,
    pub admin: admin::Settings,
    pub state: State,
    pub threads: usize,
}

impl Starting {
    /// Begins to serve, in the place of the process that `taken` is from.
    pub async fn start(self, mut taken: Option<Taken>, banner: &banner::Start<'_>) -> Result<Running, Failure> {
        let sockets = taken.as_mut().map(|taken| std::mem::take(&mut taken.sockets)).unwrap_or_default();
        let before = taken.as_ref().map(|taken| taken.facts.clone());
        let (mut running, told, unresolved) = match self.serve(sockets, before).await {
            Ok(serving) => serving,
            Err(failure) => {
                taken.inspect(|taken| taken.failed(&failure.message));
                return Err(failure);
            }
        };
        if let Some(taken) = taken {
            taken.ready(running.handed()?)?;
            // Until now they were the old process's, whatever became of this one.
            running.listeners.own_files();
            running.plane.own_files();
            running.before = taken.stay(running.state.clone())?;
        }
        running.waiting = Waiting::open();
        running.generations.keep_first();
        notify::ready();
        tokio::spawn(notify::keep_watchdog_quiet());
        banner.tell(&told, &unresolved);
        Ok(running)
    }

    /// Takes everything that it needs, and begins to accept.
    async fn serve(
        self,
        mut taken: Sockets,
        before: Option<Facts>,
    ) -> Result<(Running, banner::Told, Vec<Box<str>>), Failure> {
        let Self { origin, watch, loaded, mut compiled, admin: settings, state, threads } = self;
        // Before the first byte is accepted: a signal must never find the default behaviour.
        let signals = lifecycle::Signals::install()?;
        let logging = compiled.settings.logging;
        let log = open_first_log(&logging, &state, &loaded)?;
        let (by, last) = before.as_ref().map_or(("start", 0), |before| ("upgrade", before.generation));
        let generations = Generations::new(loaded, by, last + 1);
        compiled.snapshot.access_log.clone_from(&log);
        let audit = open_audit(&settings, &state).map_err(Failure::new)?;
        compiled.snapshot.audit.clone_from(&audit);
        compiled.snapshot.generation = generations.current().0.id;
        let (live, listeners) = (Arc::new(Live::new(compiled.snapshot)), Arc::new(Listeners::new()));
        let change = take_addresses(&listeners, compiled.listeners, &mut taken.listeners)?;
        let inherited = |address: &admin::Address| -> Option<OwnedFd> { taken.admin.remove(&address.to_string()) };
        let sockets = admin::bind(&settings, inherited).map_err(|error| Failure::new(error.to_string()))?;
        let latest = banner::Latest { grace_period: compiled.settings.grace_period, reload: None };
        let told = banner::Told {
            admin: banner::admin(&sockets),
            listeners: listeners.clone(),
            live: live.clone(),
            config: generations.current().1.files.first().map(|file| files::whole(file)),
            threads,
            latest: Arc::new(Mutex::new(latest)),
        };
        let admin = staff(audit, &told, &state);
        before.and_then(|before| before.log_level).inspect(|ordered| go_on_at(&admin, ordered));
        let plane = Plane::open(settings, sockets, admin.clone())?;
        let known = Told { history: generations.list(), in_force: generations.current().1 };
        let (desk, orders, stops) = Desk::new(known, origin.folder(), live.clone(), state.limits.clone());
        admin.attach(desk.clone());
        let (unresolved, ()) =
            tokio::join!(state.upstreams.first_resolution(FIRST_RESOLUTION), state.auth.prefetch(FIRST_KEYS));
        let options = Options { threads, pool_size: POOL_SIZE, general: wants_general() };
        let front = desk.open(Front::new(live.clone(), &options));
        let running = Running {
            watch: Watch::new(&origin, watch),
            program: program(),
            waiting: Waiting::none(),
            supervisor: taken.supervisor,
            before: None,
            told_to_end: None,
            late: Vec::new(),
            latest: told.latest.clone(),
            origin,
            live,
            state,
            listeners,
            front,
            log,
            logging,
            admin,
            plane,
            orders_held: None,
            ended: watch::channel(false).0,
            desk,
            orders,
            stops,
            signals,
            generations,
            probation: None,
        };
        running.listeners.apply(change, running.staff()).await;
        running.goes_live();
        Ok((running, told, unresolved))
    }
}

impl Running {
    fn goes_live(&self) {
        let listeners = Arc::clone(&self.listeners);
        let ended = self.ended.subscribe();
        tokio::spawn(listen::watch_certificates(move || listeners.all(), self.state.metrics.clone(), ended));
        tokio::spawn(super::follow::follow(self.state.clone(), self.admin.clone(), self.ended.subscribe()));
        self.live.load().goes_live(&self.state);
        self.state.metrics.config_loaded();
        self.state.metrics.generation(self.generations.current().0.id);
        self.admin.set_phase(Phase::Ready);
    }

    /// Every socket that it has, as a successor says what it has taken.
    fn handed(&self) -> io::Result<Vec<Handed>> {
        let places = self.listeners.copies()?.into_iter().map(|(place, _)| Handed::Listener(place.as_str().into()));
        let admin = self.plane.shared().iter().map(|shared| Handed::Admin(shared.written().to_string()));
        Ok(places.chain(admin).collect())
    }
}

/// Takes every address that is listened on. Whoever connects while the rest is made ready waits.
fn take_addresses(
    listeners: &Listeners,
    wanted: Vec<Arc<Listener>>,
    inherited: &mut Inherited,
) -> Result<Listening, Failure> {
    listeners.prepare(wanted, inherited).and_then(|change| listeners.listen(change)).map_err(refused)
}

/// Goes on with the level of the log that the process before was told.
fn go_on_at(admin: &Arc<Admin>, ordered: &OrderedLevel) {
    if !admin.go_on_at(ordered) {
        log::warn!("the level of the process log that was ordered is none to this release");
    }
}

/// What answers on the admin sockets.
fn staff(audit: Option<Audit>, told: &banner::Told, state: &State) -> Arc<Admin> {
    let admin = Arc::new(Admin::new(state.metrics.clone(), BUILD, told.status()).with_levels(logging::Level));
    admin.write_audit_to(audit);
    logging::tell_events(&admin);
    admin
}

/// Opens the file of the audit log, where there is to be one. Without it nothing starts or changes: what is not written
/// down is not known later.
pub(super) fn open_audit(admin: &admin::Settings, state: &State) -> Result<Option<Audit>, String> {
    let Some((path, attempts)) = &admin.audit else { return Ok(None) };
    let refused = |error| format!("the audit log `{}` cannot be opened: {error}", path.display());
    Audit::open(path, *attempts, state.metrics.audit_dropped()).map(Some).map_err(refused)
}

/// Whether the environment asks for Pingora's general engine where the one for HTTP/1 would do: the tests go through both.
fn wants_general() -> bool {
    std::env::var_os("MAITRED_ENGINE").is_some_and(|engine| engine == "general")
}
