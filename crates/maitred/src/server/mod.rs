//! A running server: how it starts, what it is made of, and how it changes and ends.

mod changes;
mod desk;
mod generation;
mod origin;
mod probation;
mod reload;
mod running;
mod watch;

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use admin::{Admin, Phase};
use listen::{Inherited, Listeners};
use proxy::{Front, Options};
use snapshot::Live;
use telemetry::AccessLog;
use tokio::{runtime::Runtime, sync::watch as signal};

use self::{
    desk::{Desk, Told},
    generation::Generations,
    origin::Origin,
    running::Running,
    watch::Watch,
};
use crate::{
    banner,
    cli::{self, Global},
    exit::{Failure, Outcome},
    files, lifecycle, limits, logging, notify,
    prepare::{BUILD, Prepared, Ready, prepare},
    style::Style,
};

/// How long the start waits for the first answers of DNS; what is missing then is looked up further in the background.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);

/// Idle connections to upstreams that each worker may keep.
const POOL_SIZE: usize = 512;

/// What a front page says after the banner, given the URL of the first listener.
pub type Guide<'a> = &'a dyn Fn(&str) -> String;

/// Runs the file that is meant, or the first-run page where there is none.
pub fn run(global: &Global, run: &cli::Run) -> Outcome {
    match files::look(global) {
        Some(path) => start(global, Origin::file(path), run.watch, None),
        None if std::io::stderr().is_terminal() => run_text(global, "first run", FIRST_RUN, Some(&first_run)),
        None => files::find(global).map(|_| ()),
    }
}

/// Runs a configuration that is no file.
pub fn run_text(global: &Global, name: &str, text: &str, guide: Option<Guide<'_>>) -> Outcome {
    start(global, Origin::text(name, text), false, guide)
}

/// What runs where nobody has written anything yet: one page, and no admin port.
const FIRST_RUN: &str = r#"
listen = ":8080"
[admin]
address = []
[routes."/*"]
respond = { status = 200, body = "maitred is up. No configuration yet.\n\n    maitred init --to http://localhost:3000\n" }
"#;

fn first_run(_: &str) -> String {
    "\nmaitred is up. No configuration yet.\nmaitred init --to http://localhost:3000\n".to_owned()
}

fn start(global: &Global, origin: Origin, watch: bool, guide: Option<Guide<'_>>) -> Outcome {
    let began = Instant::now();
    let style = Style::of(global.color, &std::io::stderr());
    let prepared = prepare(origin.load());
    eprint!("{}", prepared.render(style.is_on()));
    let Prepared { state, ready, loaded, .. } = prepared;
    let Some(Ready { compiled, admin }) = ready else {
        return Err(Failure::invalid("the configuration is not valid; nothing was started"));
    };
    logging::start(&compiled.settings.logging.level, global);
    limits::raise_open_files();
    let threads = compiled.settings.threads.unwrap_or_else(cores);
    let runtime = runtime(threads)?;
    let file = loaded.document.files().next().unwrap_or("").to_owned();
    let banner = banner::Start { global, style, file: &file, began, guide };
    let starting = Starting { origin, watch, loaded, compiled, admin, state, threads };
    let outcome = runtime.block_on(async { starting.start(&banner).await?.run().await });
    // Whatever is still under way has had its grace period.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// A server about to start, with a configuration without mistakes.
struct Starting {
    origin: Origin,
    watch: bool,
    loaded: config::Loaded,
    compiled: snapshot::Compiled,
    admin: admin::Settings,
    state: snapshot::State,
    threads: usize,
}

impl Starting {
    /// Takes everything that it needs, and begins to serve.
    async fn start(self, banner: &banner::Start<'_>) -> Result<Running, Failure> {
        let Self { origin, watch, loaded, mut compiled, admin, state, threads } = self;
        // Before the first byte is accepted: a signal must never find the default behaviour.
        let signals = lifecycle::Signals::install()?;
        let logging = compiled.settings.logging;
        let log = open_first_log(&logging, &state, &loaded)?;
        let generations = Generations::new(loaded, "start", 1);
        compiled.snapshot.access_log.clone_from(&log);
        compiled.snapshot.generation = generations.current().0.id;
        let live = Arc::new(Live::new(compiled.snapshot));
        let listeners = Arc::new(Listeners::new());
        let change = listeners.prepare(compiled.listeners, &mut Inherited::default()).map_err(refused)?;
        let sockets = admin::bind(&admin, |_| None).map_err(|error| Failure::new(error.to_string()))?;
        let latest = banner::Latest { grace_period: compiled.settings.grace_period, reload: None };
        let told = banner::Told {
            admin: banner::admin(&sockets),
            listeners: listeners.clone(),
            live: live.clone(),
            config: generations.current().1.files.first().map(|file| files::whole(file)),
            threads,
            latest: Arc::new(Mutex::new(latest)),
        };
        let (admin, stop_admin) = serve_admin(sockets, &told, &state);
        let (history, in_force) = (generations.list(), generations.current().1);
        let (desk, orders) = Desk::new(Told { history, in_force }, origin.folder());
        admin.attach(desk.clone());
        let unresolved = state.upstreams.first_resolution(FIRST_RESOLUTION).await;

        let front = Arc::new(Front::new(live.clone(), &Options { threads, pool_size: POOL_SIZE }));
        let running = Running {
            watch: Watch::new(&origin, watch),
            origin,
            live,
            state,
            listeners,
            front,
            log,
            logging,
            latest: told.latest.clone(),
            admin,
            stop_admin,
            desk,
            orders,
            signals,
            generations,
            probation: None,
        };
        running.listeners.apply(change, running.staff()).await;
        running.watch_certificates();
        running.goes_live();
        notify::ready();
        banner.tell(&told, &unresolved);
        Ok(running)
    }
}

impl Running {
    fn goes_live(&self) {
        self.live.load().upstreams.values().for_each(|upstream| upstream.goes_live());
        self.state.metrics.config_loaded();
        self.admin.set_phase(Phase::Ready);
    }

    fn watch_certificates(&self) {
        let listeners = Arc::clone(&self.listeners);
        let ended = self.stop_admin.subscribe();
        tokio::spawn(listen::watch_certificates(move || listeners.all(), self.state.metrics.clone(), ended));
    }
}

/// Begins to answer on the admin sockets.
fn serve_admin(
    sockets: Vec<admin::Socket>,
    told: &banner::Told,
    state: &snapshot::State,
) -> (Arc<Admin>, signal::Sender<bool>) {
    let (stop, stopped) = signal::channel(false);
    let admin = Arc::new(Admin::new(state.metrics.clone(), BUILD, told.status()));
    tokio::spawn(admin::serve(sockets, admin.clone(), stopped));
    (admin, stop)
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(16)
        .thread_name("maitred-worker")
        .enable_all()
        .build()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn refused(error: listen::BindError) -> Failure {
    let mut message = error.to_string();
    for line in error.help() {
        message.push_str(&format!("\nhint: {line}"));
    }
    Failure::new(message)
}

/// Opens the access log, where there is to be one; `None` when it cannot be opened, which is reported.
fn open_log(
    logging: &telemetry::Settings,
    state: &snapshot::State,
    report: &mut document::Report,
) -> Option<Option<Arc<AccessLog>>> {
    let Some(policy) = logging.access.clone() else { return Some(None) };
    let at = document::At::root().key("logging").key("access");
    AccessLog::open(policy, &state.metrics, &at, report).map(|log| Some(Arc::new(log)))
}

fn open_first_log(
    logging: &telemetry::Settings,
    state: &snapshot::State,
    loaded: &config::Loaded,
) -> Result<Option<Arc<AccessLog>>, Failure> {
    let mut report = document::Report::new();
    open_log(logging, state, &mut report).ok_or_else(|| Failure::invalid(loaded.document.render(&report, false)))
}
