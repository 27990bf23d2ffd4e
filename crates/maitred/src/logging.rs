//! The process log: stderr, by env_logger.

use crate::cli::Global;

/// Starts logging at `level`, unless the command line asks for more or less. `RUST_LOG` is not read: the file and the
/// command line say it all.
pub fn start(level: &str, global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => level,
        (_, 1) => "debug",
        (_, _) => "trace",
    };
    let style = match global.color {
        crate::cli::ColorWhen::Auto => env_logger::WriteStyle::Auto,
        crate::cli::ColorWhen::Always => env_logger::WriteStyle::Always,
        crate::cli::ColorWhen::Never => env_logger::WriteStyle::Never,
    };
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&own_words(level)).write_style(style).format_timestamp_millis();
    // A second start in one process happens in tests only.
    let _ = builder.try_init();
}

/// Pingora and its libraries speak to their developers; they are heard from debug on, and when something is wrong.
fn own_words(level: &str) -> String {
    let plain = matches!(level, "info" | "warn" | "error" | "off");
    if plain {
        format!(
            "{level},pingora_core=off,pingora_proxy=off,h2=off,rustls=off,hickory_resolver=off,hickory_proto=off,hickory_net=off"
        )
    } else {
        level.to_owned()
    }
}
