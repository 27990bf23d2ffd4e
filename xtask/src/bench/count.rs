//! Figures that are counted rather than timed, and so hardly differ from run to run: instructions, system calls.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Ground,
    load::h2load,
    meter,
    options::Measure,
    origin::Origin,
    peer::{Peer, Proxy},
    scenario::Scenario,
};
use crate::shell::{self, Failure, because};

/// Requests before anything is counted, which fill pools and caches.
const WARM_UP: u32 = 500;
/// Requests that are counted.
const REQUESTS: u32 = 2000;
/// How long strace may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one proxy takes for each request, in the unit of `measure`.
pub(crate) fn count(
    measure: Measure,
    peer: Peer,
    scenario: &Scenario,
    ground: &Ground,
    origin: &Origin,
) -> Result<f64, Failure> {
    match measure {
        Measure::Instructions => instructions(peer, scenario, ground, origin),
        Measure::Syscalls => syscalls(peer, scenario, ground, origin),
        Measure::Load => Err(Failure::new("load is timed, not counted")),
    }
}

/// User-space instructions for each request.
fn instructions(peer: Peer, scenario: &Scenario, ground: &Ground, origin: &Origin) -> Result<f64, Failure> {
    let file = ground.folder.join(format!("callgrind.{}", peer.name()));
    let out = format!("--callgrind-out-file={}", file.display());
    let under = ["valgrind", "--tool=callgrind", "--quiet", &out].map(str::to_owned);
    let proxy = Proxy::start(peer, scenario, ground, origin, &under)?;
    h2load::send(scenario, &proxy, WARM_UP, ground)?;
    dump(&proxy)?; // what the start has cost
    h2load::send(scenario, &proxy, REQUESTS, ground)?;
    dump(&proxy)?;
    let total = summary(&PathBuf::from(format!("{}.2", file.display())));
    proxy.server.stop();
    Ok(total? / f64::from(REQUESTS))
}

/// Has callgrind write down what it has counted since it last did.
fn dump(proxy: &Proxy) -> Result<(), Failure> {
    shell::output(Command::new("callgrind_control").args(["--dump", &proxy.server.pid().to_string()])).map(drop)
}

/// The total of a file that callgrind wrote.
fn summary(file: &Path) -> Result<f64, Failure> {
    let text = fs::read_to_string(file).map_err(because(format!("cannot read {}", file.display())))?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.ok_or_else(|| Failure::new(format!("{} has no total", file.display())))
}

/// System calls for each request.
fn syscalls(peer: Peer, scenario: &Scenario, ground: &Ground, origin: &Origin) -> Result<f64, Failure> {
    let proxy = Proxy::start(peer, scenario, ground, origin, &[])?;
    h2load::send(scenario, &proxy, WARM_UP, ground)?;
    let file = ground.folder.join("strace");
    let mut strace = attach(proxy.server.pid(), &file)?;
    h2load::send(scenario, &proxy, REQUESTS, ground)?;
    let _ = Command::new("kill").args(["-INT", &strace.id().to_string()]).status();
    strace.wait().map_err(because("cannot wait for strace"))?;
    let text = fs::read_to_string(&file).map_err(because("cannot read what strace wrote"))?;
    let calls = total_calls(&text).ok_or_else(|| Failure::new(format!("cannot read what strace wrote\n{text}")))?;
    Ok(calls / f64::from(REQUESTS))
}

/// Attaches to the tree below `root`, and returns once it is there.
fn attach(root: u32, file: &Path) -> Result<Child, Failure> {
    let mut command = Command::new("strace");
    let pids = meter::pids(root)?;
    command.args(["-f", "-c", "-o"]).arg(file);
    for pid in &pids {
        command.args(["-p", &pid.to_string()]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.map_err(because("cannot start strace"))?;
    let deadline = Instant::now() + PATIENCE;
    while !pids.iter().all(|pid| is_traced(*pid)) {
        if Instant::now() > deadline {
            return Err(Failure::new("strace does not attach; is ptrace allowed here?"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// Whether every thread of a process is traced.
fn is_traced(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    })
}

/// The calls in the last line of strace's table: `100.00    0.123456           1    123456      1234 total`.
fn total_calls(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// What is counted.
pub(crate) fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::Load => "",
        Measure::Instructions => "instructions/request",
        Measure::Syscalls => "system calls/request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- --------- ----------------\n 50.00    0.000100           1      2500           read\n------ ----------- ----------- --------- --------- ----------------\n100.00    0.000200           1     12750        10 total\n";
        assert_eq!(total_calls(text), Some(12750.0));
    }
}
