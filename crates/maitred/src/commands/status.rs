//! `maitred status`: a running server on one screen.

use serde_json::Value;

use crate::{
    cli::Global,
    client::Client,
    exit::{FAILED, Failure, Outcome},
    out,
    style::Style,
    words::{ago, clock, span},
};

/// Prints what the server says of itself; with `--quiet` only the exit code tells, for health checks of containers.
pub fn run(global: &Global) -> Outcome {
    let quiet = |failure: Failure| if global.quiet { Failure { message: String::new(), ..failure } } else { failure };
    let client = Client::find(global).map_err(quiet)?;
    let status = &client.status;
    if global.quiet {
        return match status["phase"].as_str() {
            Some("ready") => Ok(()),
            _ => Err(Failure { code: FAILED, message: String::new() }),
        };
    }
    if global.json {
        return out::line(format!("{status:#}"));
    }
    out::text(&screen(status, Style::of(global.color, &std::io::stdout())))
}

fn screen(status: &Value, style: Style) -> String {
    let text = |key: &str| status[key].as_str().unwrap_or("-");
    let number = |key: &str| status[key].as_u64().unwrap_or(0);
    let phase = match text("phase") {
        "ready" => style.good("ready"),
        other => style.warning(other),
    };
    let name = style.bold(&format!("maitred {}", text("version")));
    let up = span(number("uptime_seconds"));
    let mut lines = vec![format!("{name}   {phase}   up {up}   pid {}", number("pid"))];
    let mut line = |name: &str, what: String| lines.push(format!("  {name:<10} {what}"));
    let generation = &status["generation"];
    let current = match generation["id"].as_u64() {
        None => String::new(),
        Some(id) => {
            let (sha, since) = (generation["sha"].as_str().unwrap_or("-"), generation["since"].as_str().unwrap_or(""));
            format!("   generation {id} (sha {sha}) since {}", clock(since))
        }
    };
    line("config", format!("{}{current}", text("config")));
    let reload = &status["last_reload"];
    if let Some(time) = reload["time"].as_str() {
        let applied = reload["applied"] == true;
        let word = if applied { style.good("applied") } else { style.error("refused") };
        line("reload", format!("{word} at {} ({} ago)", clock(time), ago(time)));
    }
    let rates = &status["rates"];
    line(
        "requests",
        format!(
            "{:.0}/s   {:.1} % errors   {} in flight   {} in all",
            rates["requests_per_second"].as_f64().unwrap_or(0.0),
            100.0 * rates["server_error_share"].as_f64().unwrap_or(0.0),
            number("in_flight"),
            number("requests_total"),
        ),
    );
    for listener in list(&status["listeners"]) {
        line(listener["name"].as_str().unwrap_or("-"), strings(&listener["addresses"]).join("  "));
    }
    for upstream in list(&status["upstreams"]) {
        line(upstream["name"].as_str().unwrap_or("-"), backends(list(&upstream["backends"]), style));
    }
    if status["cache"].is_object() {
        line("cache", cache(&status["cache"]));
    }
    if let [_, ..] = list(&status["limits"]) {
        line("limits", limits(list(&status["limits"]), style));
    }
    if let Some(up) = status["redis"]["up"].as_bool() {
        let why = status["redis"]["error"].as_str().unwrap_or("it was not reached yet");
        line("redis", if up { "up".to_owned() } else { style.warning(&format!("away: {why}")) });
    }
    lines.join("\n") + "\n"
}

/// `4   fair-use refuses 3   steady refuses 1`.
fn limits(limits: &[Value], style: Style) -> String {
    let mut text = limits.len().to_string();
    for limit in limits {
        let (name, limited) = (limit["name"].as_str().unwrap_or("-"), limit["limited"].as_u64().unwrap_or(0));
        if limited > 0 {
            text.push_str(&format!("   {name} {}", style.warning(&format!("refuses {limited}"))));
        }
    }
    text
}

/// `93.1 % hits   12.5MiB of 256MiB memory   2.1GiB of 10GiB disk`.
fn cache(cache: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (requests, hits) = (number(&cache["requests"]), number(&cache["hits"]));
    let mut text = match requests {
        0 => "not asked yet".to_owned(),
        _ => format!("{:.1} % hits", 100.0 * hits as f64 / requests as f64),
    };
    for tier in list(&cache["tiers"]) {
        let (name, capacity) = (tier["tier"].as_str().unwrap_or("-"), number(&tier["capacity"]));
        let share = if capacity == 0 {
            String::new()
        } else {
            format!("{:.1} of {} MiB ", number(&tier["bytes"]) as f64 / MIB, capacity / MIB as u64)
        };
        text.push_str(&format!("   {share}{name}"));
    }
    text
}

const MIB: f64 = 1024.0 * 1024.0;

/// `1/2 up   10.0.1.11:8080   10.0.1.12:8080 failing: it answered 503`.
fn backends(backends: &[Value], style: Style) -> String {
    let is_up = |backend: &&Value| matches!(backend["state"].as_str(), Some("up" | "starting"));
    let up = format!("{}/{} up", backends.iter().filter(is_up).count(), backends.len());
    let all = backends.iter().all(|backend| is_up(&backend));
    let mut text = if all { up } else { style.warning(&up) };
    for backend in backends {
        let (address, state) = (backend["address"].as_str().unwrap_or("-"), backend["state"].as_str().unwrap_or("-"));
        text.push_str(&format!("   {address}"));
        if state == "up" {
            continue;
        }
        let trouble = backend["trouble"].as_str().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        text.push_str(&format!(" {}", style.warning(&format!("{state}{trouble}"))));
    }
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_screen_has_what_one_looks_for_first() {
        let status = json!({
            "version": "0.3.2", "phase": "ready", "uptime_seconds": 11_520, "pid": 4711,
            "config": "/etc/maitred/maitred.toml", "requests_total": 5_678_901, "in_flight": 12,
            "generation": { "id": 7, "sha": "3f9c1a", "since": "2026-11-21T14:02:11Z", "by": "reload" },
            "rates": { "requests_per_second": 1234.4, "server_error_share": 0.002, "seconds": 10.0 },
            "last_reload": { "time": "2026-11-21T14:02:11Z", "applied": false },
            "listeners": [{ "name": "https", "addresses": ["https://localhost:443"] }],
            "upstreams": [{ "name": "users", "backends": [
                { "address": "u1:80", "resolved": ["10.0.0.1:80"], "weight": 1, "state": "up" },
                { "address": "u2:80", "resolved": [], "weight": 1, "state": "unresolved" },
                { "address": "u3:80", "weight": 1, "state": "failing", "trouble": "it answered 503" },
            ]}],
            "limits": [{ "name": "fair-use", "limited": 3 }, { "name": "steady", "limited": 0 }],
            "redis": { "up": false, "error": "connection refused" },
            "cache": { "requests": 8, "hits": 6, "tiers": [
                { "tier": "memory", "capacity": 134_217_728, "bytes": 1_572_864 }, { "tier": "redis", "capacity": 0 },
            ]},
        });
        let screen = screen(&status, Style::of(crate::cli::ColorWhen::Never, &std::io::stdout()));
        for told in [
            "maitred 0.3.2   ready   up 3h 12m   pid 4711",
            "/etc/maitred/maitred.toml   generation 7 (sha 3f9c1a)",
            "refused at ",
            "1234/s   0.2 % errors   12 in flight   5678901 in all",
            "https      https://localhost:443",
            "users      1/3 up   u1:80   u2:80 unresolved   u3:80 failing: it answered 503",
            "limits     2   fair-use refuses 3",
            "redis      away: connection refused",
            "cache      75.0 % hits   1.5 of 128 MiB memory   redis",
        ] {
            assert!(screen.contains(told), "{told} is missing in:\n{screen}");
        }
    }
}
