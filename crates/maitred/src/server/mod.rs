//! A running server: how it starts, what it is made of, and how it changes and ends.

mod api_keys;
mod changes;
mod desk;
mod follow;
mod generation;
mod hand_over;
mod heir;
mod limits;
mod origin;
mod plane;
mod probation;
mod reload;
mod running;
mod starting;
mod warm;
mod watch;

use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use snapshot::{Live, State};
use telemetry::{AccessLog, Metrics};
use tokio::runtime::Runtime;

use self::{origin::Origin, running::Ended, starting::Starting};
use crate::{
    banner,
    cli::{self, Global},
    exit::{Failure, Outcome},
    files, history,
    lifecycle::Signals,
    logging,
    prepare::{BUILD, Prepared, Ready, prepare_on},
    style::Style,
    upgrade::{self, Channel, Taken, supervise},
};

/// How long tasks may take to notice that they are cut.
const CUT: Duration = Duration::from_millis(100);

/// How long lines of the access log may take to be written at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// What a front page says after the banner, given the URL of the first listener.
pub type Guide<'a> = &'a dyn Fn(&str) -> String;

/// Runs the file that is meant, or the first-run page where there is none.
pub fn run(global: &Global, run: &cli::Run) -> Outcome {
    match files::look(global) {
        Some(path) => start(global, Origin::file(path), run, None),
        None if std::io::stderr().is_terminal() => run_text(global, "first run", FIRST_RUN, Some(&first_run)),
        None => files::find(global).map(|_| ()),
    }
}

/// Runs a configuration that is no file.
pub fn run_text(global: &Global, name: &str, text: &str, guide: Option<Guide<'_>>) -> Outcome {
    start(global, Origin::text(name, text), &cli::Run::default(), guide)
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

/// How long answers that wait to be written to disk may take at the end.
const WRITING: Duration = Duration::from_secs(2);

/// How many threads may do what blocks: more than all that wait for one disk, or two, so that a disk which does not answer keeps
/// nothing else from being done. They are made as they are needed, and end a while after.
const BLOCKING: usize = 256;

fn start(global: &Global, origin: Origin, run: &cli::Run, guide: Option<Guide<'_>>) -> Outcome {
    let began = Instant::now();
    let style = Style::of(global.color, &std::io::stderr());
    let taken = if run.upgrade { Some(take(style)?) } else { None };
    let state = State::new(Arc::new(Metrics::new(&BUILD)));
    if let Some(taken) = &taken {
        remember(taken, &state);
    }
    keep_quotas(&origin, &state, taken.is_some());
    let prepared = prepare_on(origin.load(), state);
    eprint!("{}", prepared.render(style.is_on()));
    let report = prepared.render(false);
    let Prepared { state, ready, loaded, .. } = prepared;
    let Some(Ready { compiled, admin }) = ready else {
        taken.inspect(|taken| taken.failed(&report));
        return Err(Failure::invalid("the configuration is not valid; nothing was started"));
    };
    logging::start(&compiled.settings.logging.level, global);
    crate::limits::raise_open_files();
    let threads = compiled.settings.threads.unwrap_or_else(cores);
    let runtime = runtime(threads)?;
    let file = loaded.document.files().next().unwrap_or("").to_owned();
    let banner = banner::Start { global, style, file: &file, began, guide };
    let starting = Starting { origin, watch: run.watch, loaded, compiled, admin, state, threads };
    let running = runtime.block_on(starting.start(taken, &banner))?;
    let (live, cache) = (Arc::clone(&running.live), Arc::clone(&running.state.cache));
    let ended = runtime.block_on(running.run());
    cut(runtime, &live);
    cache.finish(WRITING);
    match ended? {
        Ended::Whole => Ok(()),
        Ended::Supervises { main, channel, signals } => stay(main, channel, signals),
    }
}

/// Ends what is still under way, which has had its grace period, and writes down what that has to tell.
fn cut(runtime: Runtime, live: &Live) {
    runtime.shutdown_timeout(CUT);
    if let Some(log) = &live.load().access_log {
        log.flush(FLUSH);
    }
    if let Some(audit) = &live.load().audit
        && !audit.flush(FLUSH)
    {
        log::error!("the last lines of the audit log are not written");
    }
}

/// Waits, with nothing left of the server, for those who look to the first process of the container. A signal that comes
/// between the two runtimes is not lost: the process keeps it for the next one that looks.
fn stay(main: u32, channel: Channel, mut signals: Signals) -> Outcome {
    let waits = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    waits.block_on(supervise(main, channel, &mut signals))
}

/// Takes the sockets of the running process over.
fn take(style: Style) -> Result<Taken, Failure> {
    upgrade::take().map_err(|error| {
        let hint = style.bold("hint");
        Failure::new(format!(
            "there is no running maitred to take over from: {error}\n{hint}: run it without --upgrade"
        ))
    })
}

/// Goes on with what the old process has learnt.
fn remember(taken: &Taken, state: &State) {
    let keys = BASE64_STANDARD.decode(&taken.facts.ticket_keys).unwrap_or_default();
    if let Err(error) = state.ticket_keys.import(&keys) {
        log::warn!("TLS sessions of before are not resumed: {error}");
    }
    if let Ok(key) = BASE64_STANDARD.decode(&taken.facts.sticky_key) {
        state.upstreams.keep_sticky_key(&key);
    }
    state.upstreams.keep_concurrency(taken.facts.concurrency.clone());
    taken.kept.iter().for_each(|(name, bytes)| upgrade::go_on_with(state, name, bytes));
}

/// Goes on with the quotas of before. That they cannot be kept is said when there is one.
fn keep_quotas(origin: &Origin, state: &State, takes_over: bool) {
    let Origin::File(path) = origin else { return };
    match history::state_folder("limits", path) {
        Ok(folder) => state.limits.keep_quotas(&folder.join("quotas"), takes_over),
        Err(why) => state.limits.forget_quotas(why),
    }
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING)
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
    state: &State,
    report: &mut document::Report,
) -> Option<Option<Arc<AccessLog>>> {
    let Some(policy) = logging.access.clone() else { return Some(None) };
    let at = document::At::root().key("logging").key("access");
    AccessLog::open(policy, &state.metrics, &at, report).map(|log| Some(Arc::new(log)))
}

fn open_first_log(
    logging: &telemetry::Settings,
    state: &State,
    loaded: &config::Loaded,
) -> Result<Option<Arc<AccessLog>>, Failure> {
    let mut report = document::Report::new();
    open_log(logging, state, &mut report).ok_or_else(|| Failure::invalid(loaded.document.render(&report, false)))
}
