//! `maitred reload`, and what follows one: `confirm`, `rollback`, `history`.

use std::time::Duration;

use admin::{Generation, Outcome as Came, ReloadOrder, Reloaded, Seconds};
use serde_json::Value;

use crate::{
    cli,
    cli::Global,
    client::Client,
    commands::upgrade,
    exit::{Failure, Outcome},
    out,
    style::Style,
    words::{clock, count},
};

/// How long a reload may take: new upstreams are resolved within it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Applies the file to the running server.
pub fn reload(global: &Global, reload: &cli::Reload) -> Outcome {
    let order = ReloadOrder {
        dry_run: reload.dry_run,
        confirm: reload.confirm.map(|time| Seconds(time.0.as_secs().max(1))),
        abort_if: reload.abort_if.clone(),
    };
    let client = Client::find(global)?;
    let order = serde_json::to_value(order).unwrap_or_default();
    let reloaded = ordered(&client, "/api/v1/reload", &order)?;
    tell(global, &reloaded)?;
    if reload.upgrade_if_needed && reloaded.outcome == Came::NeedsUpgrade {
        return upgrade::run(global, &cli::Upgrade { binary: None, timeout: upgrade::TIMEOUT });
    }
    if let (Some(left), false) = (reloaded.on_trial, reload.dry_run) {
        let left = document::Duration(left.into());
        note(global, &format!("on trial: goes back by itself in {left}\nhint: `maitred confirm` keeps it"));
    }
    Ok(())
}

/// Keeps the configuration that is on trial.
pub fn confirm(global: &Global) -> Outcome {
    let confirmed = Client::find(global)?.order("POST", "/api/v1/confirm", &Value::Null, PATIENCE)?.accepted()?;
    if global.json {
        return out::line(format!("{confirmed:#}"));
    }
    out::line(format!("confirmed: generation {} (sha {}) stays", confirmed["id"], plain(&confirmed["sha"])))
}

/// Goes back to a generation of the history.
pub fn rollback(global: &Global, to: Option<u64>) -> Outcome {
    let to = to.map_or_else(|| "previous".to_owned(), |id| id.to_string());
    let path = format!("/api/v1/config/rollback/{to}");
    tell(global, &ordered(&Client::find(global)?, &path, &Value::Null)?)
}

/// Lists the generations that are kept.
pub fn history(global: &Global) -> Outcome {
    let generations: Vec<Generation> = Client::find(global)?.get("/api/v1/config/history")?;
    if global.json {
        return out::line(serde_json::to_string_pretty(&generations).unwrap_or_default());
    }
    let line = |(index, one): (usize, &Generation)| {
        let mark = if index == 0 { "→" } else { " " };
        format!("{mark} {:>4}  {:<8}  {:<19}  {}\n", one.id, one.sha, clock(&one.since), one.by)
    };
    out::text(&generations.iter().enumerate().map(line).collect::<String>())
}

/// Sends an order whose answer, refused or not, says what came of it.
fn ordered(client: &Client, path: &str, order: &Value) -> Result<Reloaded, Failure> {
    let reply = client.order("POST", path, order, PATIENCE)?;
    match serde_json::from_value(reply.body.clone()) {
        Ok(reloaded) => Ok(reloaded),
        Err(_) => Err(reply.refusal()),
    }
}

/// Says what came of it; a refusal is the command's failure.
fn tell(global: &Global, reloaded: &Reloaded) -> Outcome {
    let refused = reloaded.outcome == Came::Refused;
    if global.json {
        out::line(serde_json::to_string_pretty(reloaded).unwrap_or_default())?;
        return if refused { Err(Failure::new("")) } else { Ok(()) };
    }
    let style = Style::of(global.color, &std::io::stderr());
    eprint!("{}", reloaded.report);
    if refused {
        let Generation { sha, since, .. } = &reloaded.generation;
        let still = format!("still serving the configuration of {} (sha {sha})", clock(since));
        eprintln!("{}: {still}", style.error("refused"));
        return Err(Failure::new(""));
    }
    out::line(headline(reloaded, Style::of(global.color, &std::io::stdout())))?;
    if !reloaded.waiting.is_empty() {
        let settings: Vec<String> = reloaded.waiting.iter().map(|setting| format!("`{setting}`")).collect();
        let wait = if settings.len() == 1 { "waits" } else { "wait" };
        let changes = count(settings.len(), "change");
        note(
            global,
            &format!(
                "{changes} {wait} for an upgrade: {}\nhint: run `maitred upgrade` — no connection will be dropped",
                settings.join(", ")
            ),
        );
    }
    Ok(())
}

/// `applied in 4 ms   +1 route (invoices)`.
fn headline(reloaded: &Reloaded, style: Style) -> String {
    let first = match reloaded.outcome {
        Came::Applied | Came::NeedsUpgrade => format!("{} in {} ms", style.good("applied"), reloaded.took_ms),
        Came::Unchanged => "unchanged".to_owned(),
        Came::DryRun => "would apply".to_owned(),
        Came::Refused => "refused".to_owned(),
    };
    std::iter::once(first).chain(reloaded.changes.iter().cloned()).collect::<Vec<_>>().join("   ")
}

/// A remark for people, which `--quiet` leaves out.
fn note(global: &Global, text: &str) {
    if !global.quiet && !global.json {
        eprintln!("{text}");
    }
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reloaded(outcome: Came) -> Reloaded {
        Reloaded {
            outcome,
            generation: Generation {
                id: 7,
                sha: "3f9c1a".into(),
                since: "2026-11-21T14:02:11Z".into(),
                by: "reload".into(),
            },
            took_ms: 4,
            changes: vec!["+1 route (invoices)".into(), "0 connections closed".into()],
            waiting: Vec::new(),
            on_trial: None,
            report: String::new(),
            diagnostics: Vec::new(),
        }
    }

    #[test]
    fn what_changed_stands_on_one_line() {
        let style = Style::of(cli::ColorWhen::Never, &std::io::stdout());
        let line = |outcome| headline(&reloaded(outcome), style);
        assert_eq!(line(Came::Applied), "applied in 4 ms   +1 route (invoices)   0 connections closed");
        assert_eq!(line(Came::DryRun), "would apply   +1 route (invoices)   0 connections closed");
    }
}
