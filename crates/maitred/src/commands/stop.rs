//! `maitred stop` and `maitred drain`: the end, and what one does before it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cli::Global,
    client::{Client, PATIENCE},
    exit::{Failure, Outcome},
    out,
    words::count,
};

/// How often one looks whether the process is still there.
const LOOK: Duration = Duration::from_millis(20);

/// How much longer than its grace period a process may take to end.
const SLACK: Duration = Duration::from_secs(15);

/// Ends the running server and waits until it has ended.
pub fn stop(global: &Global, now: bool) -> Outcome {
    let client = Client::find(global)?;
    let began = Instant::now();
    let stopping = client.order("POST", "/api/v1/stop", &json!({ "now": now }), PATIENCE)?.accepted()?;
    let in_flight = stopping["in_flight"].as_u64().unwrap_or(0);
    if in_flight > 0 && !now && !global.quiet && !global.json {
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        eprintln!("draining {}, for at most {} s", count(in_flight, "request"), client.grace().as_secs());
    }
    let pid = client.pid();
    until_gone(&client, pid, || client.again().is_some_and(|status| status["pid"] == pid))?;
    if global.json {
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        return out::line(json!({ "pid": pid, "took_ms": took }).to_string());
    }
    if global.quiet { Ok(()) } else { out::line(format!("stopped in {:.1} s", began.elapsed().as_secs_f64())) }
}

/// Waits until the process is gone, which answers as long as `answers` says so.
pub fn until_gone(client: &Client, pid: u32, answers: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + client.grace() + SLACK;
    while answers() || (client.is_local() && is_alive(pid)) {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("process {pid} is still there")));
        }
        sleep(LOOK);
    }
    Ok(())
}

/// Whether there is such a process; one that is not ours is there too.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process that has ended and waits for its parent to ask is as good as gone.
    let ended = |pid: rustix::process::Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH) && !ended(pid))
}

/// Lets load balancers look elsewhere, or come back.
pub fn drain(global: &Global, undo: bool) -> Outcome {
    let drained = Client::find(global)?.order("POST", "/api/v1/drain", &json!({ "undo": undo }), PATIENCE)?;
    let drained: Value = drained.accepted()?;
    if global.json {
        return out::line(drained.to_string());
    }
    let word = drained["status"].as_str().unwrap_or("-");
    out::line(format!("/ready says `{word}`; requests are served as before"))
}
