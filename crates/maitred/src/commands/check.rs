//! `maitred check`: everything that is wrong, at once.

use std::time::Duration;

use document::{At, Code, Diagnostic, Level};
use serde_json::json;

use crate::{
    cli,
    cli::Global,
    exit::{Failure, Outcome},
    files, out,
    prepare::{Prepared, prepare},
    style::Style,
};

/// How long name servers may take.
const RESOLUTION: Duration = Duration::from_secs(3);

/// Checks the file as `run` would, and starts nothing.
pub fn run(global: &Global, check: &cli::Check) -> Outcome {
    let mut prepared = prepare(config::load(&files::find(global)?));
    if !check.offline {
        resolve(&mut prepared)?;
    }
    // As shown: a mistake that many routes inherit is one mistake.
    let shown = prepared.loaded.document.sorted(&prepared.report);
    let errors = shown.iter().filter(|diagnostic| diagnostic.level() == Level::Error).count();
    let warnings = shown.len() - errors;
    let style = Style::of(global.color, &std::io::stdout());
    if global.json {
        let lines = prepared.loaded.document.render_json(&prepared.report);
        let trials = prepared.trials.as_ref().map(|told| {
            json!({ "tests": { "passed": told.passed, "failed": told.failed }, "coverage": told.coverage.json() })
        });
        let lines = lines.into_iter().chain(trials.map(|trials| trials.to_string()));
        out::text(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
    } else {
        if !global.quiet {
            out::line(format!("{}   {}", prepared.files(), prepared.summary()))?;
        }
        out::text(&prepared.render(style.is_on()))?;
        if let Some(told) = prepared.trials.as_ref().filter(|_| !global.quiet) {
            let failed = match told.failed {
                0 => String::new(),
                some => format!(", {}", style.error(&format!("{some} failed"))),
            };
            out::line(format!("tests: {} passed{failed}   {}", told.passed, told.coverage.text()))?;
        }
    }
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    if errors > 0 {
        return Err(Failure::invalid(if global.json { String::new() } else { count(errors, "error") }));
    }
    if check.strict && warnings > 0 {
        return Err(Failure::invalid(if global.json { String::new() } else { count(warnings, "warning") }));
    }
    if global.json || global.quiet {
        return Ok(());
    }
    match warnings {
        0 => out::line(style.good("ok")),
        some => out::line(format!("{} with {}", style.good("ok"), count(some, "warning"))),
    }
}

/// Asks for the addresses of every backend's host, and warns of those that have none.
fn resolve(prepared: &mut Prepared) -> Outcome {
    let Some(ready) = &prepared.ready else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(prepared.state.upstreams.look_up(RESOLUTION));
    for (name, upstream) in &ready.compiled.snapshot.upstreams {
        let at = At::root().key("upstreams").key(name).key("backends");
        for (index, backend) in upstream.backends().enumerate().filter(|(_, backend)| !backend.is_resolved()) {
            let message = format!("the host of `{}` has no address", backend.label());
            prepared.report.push(Diagnostic::new(Code::W0702, message).label(at.index(index), "not found by DNS"));
        }
    }
    Ok(())
}
