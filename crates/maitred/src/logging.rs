//! The process log: stderr, by env_logger, at a level that may change while the process runs.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use admin::Admin;
use arc_swap::ArcSwap;
use env_filter::Filter;
use log::{Log, Metadata, Record};

use crate::cli::{ColorWhen, Global};

/// The log of this process, once it was started.
static PROCESS: OnceLock<Process> = OnceLock::new();

struct Process {
    writer: env_logger::Logger,
    /// Where what maitred says of itself is an event too.
    admin: OnceLock<Weak<Admin>>,
    filter: ArcSwap<Filter>,
    levels: Mutex<Levels>,
}

/// Which level holds: the one ordered for the time being, else the command line's, else the configuration's.
#[derive(Debug, Clone)]
struct Levels {
    configured: String,
    /// `--quiet` or `--verbose`.
    given: Option<&'static str>,
    ordered: Option<String>,
}

/// The level of the process log, as the admin listener changes it.
#[derive(Debug, Clone, Copy)]
pub struct Level;

impl Log for Process {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.load().matches(record) {
            self.writer.log(record);
            self.tell(record);
        }
    }

    fn flush(&self) {
        self.writer.flush();
    }
}

/// Starts logging at `level`, unless the command line asks for more or less. `RUST_LOG` is not read: the file and the
/// command line say it all.
pub fn start(level: &str, global: &Global) {
    let given = match (global.quiet, global.verbose) {
        (true, _) => Some("error"),
        (_, 0) => None,
        (_, 1) => Some("debug"),
        (_, _) => Some("trace"),
    };
    let style = match global.color {
        ColorWhen::Auto => env_logger::WriteStyle::Auto,
        ColorWhen::Always => env_logger::WriteStyle::Always,
        ColorWhen::Never => env_logger::WriteStyle::Never,
    };
    let mut builder = env_logger::Builder::new();
    // What is heard is decided before the writer is asked.
    let builder = builder.filter_level(log::LevelFilter::Trace).write_style(style).format_timestamp_millis();
    let levels = Levels { configured: level.to_owned(), given, ordered: None };
    let process = PROCESS.get_or_init(|| Process {
        writer: builder.build(),
        admin: OnceLock::new(),
        filter: ArcSwap::from_pointee(env_filter::Builder::new().build()),
        levels: Mutex::new(levels),
    });
    // A second start in one process happens in tests only.
    let _ = log::set_logger(process);
    process.apply(&process.lock());
}

/// Makes an event of whatever is said from now on of what changes: the messages of maitred's own parts down to `info`.
pub fn tell_events(admin: &Arc<Admin>) {
    if let Some(process) = PROCESS.get() {
        // A second server in one process happens in tests only.
        let _ = process.admin.set(Arc::downgrade(admin));
    }
}

/// Says that another configuration with this level is in force.
pub fn configure(level: &str) {
    if let Some(process) = PROCESS.get() {
        let mut levels = process.lock();
        level.clone_into(&mut levels.configured);
        process.apply(&levels);
    }
}

impl Process {
    fn tell(&self, record: &Record<'_>) {
        // What was done is an event of its own, and knows more.
        if record.level() <= log::Level::Info
            && record.target().starts_with("maitred")
            && let Some(admin) = self.admin.get().and_then(Weak::upgrade)
        {
            admin.events().tell(&record.level().as_str().to_ascii_lowercase(), record.args().to_string());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, levels: &Levels) {
        let filter = env_filter::Builder::new().parse(&own_words(levels.current())).build();
        log::set_max_level(filter.filter());
        self.filter.store(filter.into());
    }
}

impl Levels {
    fn current(&self) -> &str {
        self.ordered.as_deref().or(self.given).unwrap_or(&self.configured)
    }
}

impl admin::Levels for Level {
    fn current(&self) -> String {
        PROCESS.get().map(|process| process.lock().current().to_owned()).unwrap_or_default()
    }

    fn set(&self, level: Option<&str>) -> Result<(), String> {
        if let Some(level) = level {
            telemetry::check_level(level)?;
        }
        let Some(process) = PROCESS.get() else { return Err("nothing is logged yet".to_owned()) };
        let mut levels = process.lock();
        levels.ordered = level.map(str::to_owned);
        process.apply(&levels);
        Ok(())
    }
}

/// Pingora and its libraries speak to their developers; they are heard from debug on, and when something is wrong. What
/// was changed, and by whom, is heard unless it is asked for in other words.
fn own_words(level: &str) -> String {
    let plain = matches!(level, "info" | "warn" | "error" | "off");
    let audit = if matches!(level, "info" | "warn") { ",audit=info" } else { "" };
    if plain {
        format!(
            "{level}{audit},pingora_core=off,pingora_proxy=off,h2=off,rustls=off,hickory_resolver=off,hickory_proto=off,hickory_net=off"
        )
    } else {
        level.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ordered_goes_before_the_command_line_and_that_before_the_file() {
        let mut levels = Levels { configured: "warn".into(), given: None, ordered: None };
        assert_eq!(levels.current(), "warn");
        levels.given = Some("debug");
        assert_eq!(levels.current(), "debug");
        levels.ordered = Some("trace".into());
        assert_eq!(levels.current(), "trace");
    }

    #[test]
    fn who_changed_what_is_heard_at_warn_too() {
        let heard = |level: &str, target: &str| {
            let filter = env_filter::Builder::new().parse(&own_words(level)).build();
            filter.enabled(&Metadata::builder().level(log::Level::Info).target(target).build())
        };
        assert!(heard("warn", "audit") && heard("info", "audit") && !heard("warn", "maitred_proxy"));
        assert!(!heard("error", "audit") && !heard("info,audit=off", "audit"));
        assert!(heard("info", "maitred_proxy") && !heard("info", "h2") && heard("debug", "h2"));
    }
}
