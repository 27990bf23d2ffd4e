//! From a configuration as written to one that is ready to run: the same way for `run`, `check` and `explain`.

use std::sync::Arc;

use config::Loaded;
use document::{At, Report};
use snapshot::{Compiled, State};
use telemetry::{Build, Metrics};

use crate::trials::{self, Stage};

/// What this build is made of.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("MAITRED_REVISION") {
        Some(revision) => revision,
        None => "-",
    },
    rustc: env!("CARGO_PKG_RUST_VERSION"),
    tls: "rustls aws-lc",
};

/// A configuration with everything that is to be said of it.
pub struct Prepared {
    /// The files, and the configuration as written.
    pub loaded: Loaded,
    /// Everything that is wrong, from all stages.
    pub report: Report,
    /// What to run; `None` where anything is wrong.
    pub ready: Option<Ready>,
    /// What outlives it.
    pub state: State,
    /// What came of the tests written in it; `None` where there are none, or where they could not be run.
    pub trials: Option<trials::Told>,
}

/// What to run.
pub struct Ready {
    /// Routes, upstreams, listeners, settings.
    pub compiled: Compiled,
    /// The admin listener's side.
    pub admin: admin::Settings,
}

/// Compiles what was loaded and runs the tests that are written in it: only what passes them is ready. Changes nothing,
/// opens nothing, asks nobody.
pub fn prepare(loaded: Loaded) -> Prepared {
    prepare_on(loaded, State::new(Arc::new(Metrics::new(&BUILD))))
}

/// As [`prepare`], with what a running server has learnt.
pub fn prepare_on(loaded: Loaded, state: State) -> Prepared {
    let mut prepared = compile_on(loaded, state);
    prepared.try_out();
    prepared
}

/// Compiles what was loaded, and leaves its tests alone: whoever looks for the reason of a failure needs what failed.
pub fn compile(loaded: Loaded) -> Prepared {
    compile_on(loaded, State::new(Arc::new(Metrics::new(&BUILD))))
}

fn compile_on(mut loaded: Loaded, state: State) -> Prepared {
    let mut report = std::mem::take(&mut loaded.report);
    let ready = loaded.config.as_ref().and_then(|config| {
        let admin = admin::compile(&config.admin, &At::root().key("admin"), &mut report);
        let compiled = snapshot::compile(config, &state, &mut report);
        Some(Ready { admin: admin?, compiled: compiled? })
    });
    let ready = ready.filter(|_| !report.has_errors());
    Prepared { loaded, report, ready, state, trials: None }
}

impl Prepared {
    fn try_out(&mut self) {
        let Some(config) = self.loaded.config.as_ref().filter(|config| !config.tests.is_empty()) else { return };
        let trials = trials::compile(config, &mut self.report);
        let Some(Ready { compiled, admin }) = self.ready.take() else { return };
        let snapshot = Arc::new(compiled.snapshot);
        let stage = Stage { config, snapshot: &snapshot, listeners: &compiled.listeners };
        self.trials = Some(stage.run(&trials, &mut self.report));
        // The tests are done, and nobody else has had it.
        let snapshot = Arc::into_inner(snapshot).filter(|_| !self.report.has_errors());
        self.ready = snapshot.map(|snapshot| Ready { compiled: Compiled { snapshot, ..compiled }, admin });
    }

    /// The report as people read it; empty where nothing is to be said.
    pub fn render(&self, color: bool) -> String {
        self.loaded.document.render(&self.report, color)
    }

    /// `2 listeners  6 routes  6 upstreams`.
    pub fn summary(&self) -> String {
        let Some(config) = &self.loaded.config else { return String::new() };
        let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
        let parts = [
            count(config.listeners.len(), "listener"),
            count(config.routes.len(), "route"),
            count(config.upstreams.len(), "upstream"),
        ];
        parts.join("  ")
    }

    /// `maitred.toml + 2 includes`.
    pub fn files(&self) -> String {
        let mut files = self.loaded.document.files();
        let first = files.next().unwrap_or("maitred.toml").to_owned();
        match files.count() {
            0 => first,
            1 => format!("{first} + 1 include"),
            more => format!("{first} + {more} includes"),
        }
    }
}
