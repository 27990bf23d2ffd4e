//! From a configuration as written to one that is ready to run: the same way for `run`, `check` and `explain`.

use std::sync::Arc;

use config::Loaded;
use document::{At, Report};
use snapshot::{Compiled, State};
use telemetry::{Build, Metrics};

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
}

/// What to run.
pub struct Ready {
    /// Routes, upstreams, listeners, settings.
    pub compiled: Compiled,
    /// The admin listener's side.
    pub admin: admin::Settings,
}

/// Compiles what was loaded. Changes nothing, opens nothing, asks nobody.
pub fn prepare(mut loaded: Loaded) -> Prepared {
    let mut report = std::mem::take(&mut loaded.report);
    let state = State::new(Arc::new(Metrics::new(&BUILD)));
    let ready = loaded.config.as_ref().and_then(|config| {
        let admin = admin::compile(&config.admin, &At::root().key("admin"), &mut report);
        let compiled = snapshot::compile(config, &state, &mut report);
        Some(Ready { admin: admin?, compiled: compiled? })
    });
    let ready = ready.filter(|_| !report.has_errors());
    Prepared { loaded, report, ready, state }
}

impl Prepared {
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
