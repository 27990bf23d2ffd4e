//! `maitred upgrade`: the sockets to a new process, without dropping a connection.

use std::time::{Duration, Instant};

use admin::{Seconds, UpgradeOrder, Upgraded};
use serde_json::json;

use crate::{
    cli,
    cli::Global,
    client::Client,
    commands::stop::until_gone,
    exit::{Failure, Outcome},
    out,
    words::count,
};

/// How much longer than the new process the answer may take.
const SLACK: Duration = Duration::from_secs(30);

/// The first process of a container. It cannot end before the others do, and stays when it has drained.
const INIT: u32 = 1;

/// How long the new process may take to become ready, where nothing is said.
pub const TIMEOUT: document::Duration = document::Duration::seconds(60);

/// Hands the sockets over, and waits until the old process has ended.
pub fn run(global: &Global, upgrade: &cli::Upgrade) -> Outcome {
    let client = Client::find(global)?;
    let began = Instant::now();
    let binary = upgrade.binary.as_deref().map(|path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
    let order = UpgradeOrder { binary, timeout: Some(Seconds(upgrade.timeout.0.as_secs().max(1))) };
    let order = serde_json::to_value(order).unwrap_or_default();
    let reply = client.order("POST", "/api/v1/upgrade", &order, upgrade.timeout.0 + SLACK)?.accepted()?;
    let upgraded: Upgraded = serde_json::from_value(reply)
        .map_err(|error| Failure::new(format!("an answer that is not understood: {error}")))?;
    let line = |text: String, took: Duration| out::line(format!("{text:<68} {:.1} s", took.as_secs_f64()));
    let talks = !global.json && !global.quiet;
    if talks {
        let Upgraded { version, pid, sockets, took_ms, .. } = &upgraded;
        let sockets = count(*sockets, "socket");
        let text = format!("new {version} (pid {pid}) checked the file, took {sockets}, is ready");
        line(text, Duration::from_millis(*took_ms))?;
    }
    // The new process answers at the same addresses; the old one is known by its id alone.
    let Upgraded { old_version, old_pid, draining, .. } = &upgraded;
    let stays = *old_pid == INIT;
    if !stays {
        until_gone(&client, *old_pid, || false)?;
    }
    if talks {
        let draining = count(*draining, "connection");
        let end = if stays {
            format!("drains {draining}, stays as process 1")
        } else {
            format!("drained {draining}, exited")
        };
        line(format!("old {old_version} (pid {old_pid}) {end}"), began.elapsed())?;
    }
    if global.json {
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut told = json!(upgraded);
        told["drained_ms"] = took.into();
        return out::line(format!("{told:#}"));
    }
    Ok(())
}
