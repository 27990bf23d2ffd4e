//! A running server: sockets, engine, admin, and its end.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use admin::{Admin, Phase};
use listen::{Bound, Listeners};
use parking_lot::Mutex;
use pingora_core::server::Fds;
use proxy::{Front, Options};
use snapshot::{Live, State};
use telemetry::AccessLog;
use tokio::{runtime::Runtime, sync::watch};

use crate::{
    banner,
    cli::Global,
    exit::{Failure, Outcome},
    files, lifecycle, limits, logging,
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
pub fn run(global: &Global) -> Outcome {
    match files::look(global) {
        Some(path) => run_prepared(global, prepare(config::load(&path)), None),
        None if std::io::stderr().is_terminal() => run_text(global, "first run", FIRST_RUN, Some(&first_run)),
        None => files::find(global).map(|_| ()),
    }
}

/// Runs a configuration that is no file.
pub fn run_text(global: &Global, name: &str, text: &str, guide: Option<Guide<'_>>) -> Outcome {
    run_prepared(global, prepare(config::load_text(name, text, Path::new("."))), guide)
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

fn run_prepared(global: &Global, prepared: Prepared, guide: Option<Guide<'_>>) -> Outcome {
    let began = Instant::now();
    let style = Style::of(global.color, &std::io::stderr());
    eprint!("{}", prepared.render(style.is_on()));
    let Prepared { state, ready, loaded, .. } = prepared;
    let Some(Ready { mut compiled, admin }) = ready else {
        return Err(Failure::invalid("the configuration is not valid; nothing was started"));
    };
    logging::start(&compiled.settings.logging.level, global);
    limits::raise_open_files();
    compiled.snapshot.access_log = open_log(&compiled.settings.logging, &state, &loaded)?;
    let threads = compiled.settings.threads.unwrap_or_else(cores);
    let bound = bind(&compiled.listeners)?;
    let admin_sockets = admin::bind(&admin, |_| None).map_err(|error| Failure::new(error.to_string()))?;
    let server = Server {
        log: compiled.snapshot.access_log.clone(),
        live: Arc::new(Live::new(compiled.snapshot)),
        state,
        threads,
        grace_period: compiled.settings.grace_period,
        config: loaded.files.first().map(|file| files::whole(file)),
    };
    let runtime = runtime(threads)?;
    let start = banner::Start { global, style, file: loaded.document.files().next().unwrap_or(""), began, guide };
    let outcome = runtime.block_on(server.serve(bound, admin_sockets, &start));
    // Whatever is still under way has had its grace period.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// Everything that a running server is made of but its sockets.
struct Server {
    live: Arc<Live>,
    state: State,
    log: Option<Arc<AccessLog>>,
    threads: usize,
    grace_period: Duration,
    config: Option<String>,
}

impl Server {
    async fn serve(self, bound: Vec<Bound>, admin_sockets: Vec<admin::Socket>, start: &banner::Start<'_>) -> Outcome {
        // Before the first byte is accepted: a signal must never find the default behaviour.
        let mut signals = lifecycle::Signals::install()?;
        let (stop, shutdown) = watch::channel(false);
        let (stop_admin, admin_shutdown) = watch::channel(false);
        let told = banner::Told::of(&bound, &admin_sockets, &self.live.load());
        let fixed =
            banner::Fixed { config: self.config.clone(), grace_period: self.grace_period, threads: self.threads };
        let admin = Arc::new(Admin::new(self.state.metrics.clone(), BUILD, told.status(fixed, &self.live)));
        tokio::spawn(admin::serve(admin_sockets, admin.clone(), admin_shutdown));
        let unresolved = self.state.upstreams.first_resolution(FIRST_RESOLUTION).await;

        let front = Front::new(self.live.clone(), &Options { threads: self.threads, pool_size: POOL_SIZE });
        let listening = shutdown.clone();
        let listeners = Listeners::new(shutdown, Some(Arc::new(Mutex::new(Fds::new()))));
        let served: Vec<_> = bound.iter().map(|bound| bound.listener().clone()).collect();
        let followed = listen::watch_certificates(move || served.clone(), self.state.metrics.clone(), listening);
        tokio::spawn(followed);
        for bound in bound {
            let listener = bound.listener().clone();
            let meters = self.state.metrics.listener(&listener.name);
            listeners.open(bound, front.serving(&listener), meters)?;
        }
        self.go_live();
        admin.set_phase(Phase::Ready);
        start.tell(&told, &unresolved, self.threads);

        signals.wait(self.log.as_deref()).await;
        admin.set_phase(Phase::Draining);
        let drained = lifecycle::drain(&listeners, &front, &stop, self.grace_period, &mut signals).await;
        let _ = stop_admin.send(true);
        if let Some(log) = &self.log {
            log.flush(Duration::from_secs(2));
        }
        let _ = std::io::stderr().flush();
        drained
    }

    fn go_live(&self) {
        let snapshot = self.live.load();
        snapshot.upstreams.values().for_each(|upstream| upstream.goes_live());
        self.state.metrics.config_loaded();
    }
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

fn bind(listeners: &[Arc<listen::Listener>]) -> Result<Vec<Bound>, Failure> {
    listeners.iter().map(|listener| listen::bind(listener.clone()).map_err(refused)).collect()
}

fn refused(error: listen::BindError) -> Failure {
    let mut message = error.to_string();
    for line in error.help() {
        message.push_str(&format!("\nhint: {line}"));
    }
    Failure::new(message)
}

fn open_log(
    logging: &telemetry::Settings,
    state: &State,
    loaded: &config::Loaded,
) -> Result<Option<Arc<AccessLog>>, Failure> {
    let Some(policy) = logging.access.clone() else { return Ok(None) };
    let mut report = document::Report::new();
    let at = document::At::root().key("logging").key("access");
    match AccessLog::open(policy, &state.metrics, &at, &mut report) {
        Some(log) => Ok(Some(Arc::new(log))),
        None => Err(Failure::invalid(loaded.document.render(&report, false))),
    }
}
