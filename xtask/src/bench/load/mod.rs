//! One turn: load for some seconds, and what it cost the proxy.

mod crowd;
pub(crate) mod h2load;
mod s_time;
mod slow;
pub(crate) mod wrk;

use std::{fmt, process::Command, time::Duration};

use self::{crowd::Crowd, slow::SlowClients};
use crate::{
    bench::{
        Ground, meter,
        origin::{self, Origin},
        peer::{Peer, Proxy},
        scenario::{Habit, Policy, Scenario, Transport},
    },
    shell::{self, Failure},
};

/// What one turn measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Processor time of the proxy's process tree for each request, in microseconds.
    pub(crate) cpu: f64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// The median time to the end of an answer, in microseconds.
    pub(crate) p50: f64,
    /// The time that 99 of 100 answers stayed below, in microseconds.
    pub(crate) p99: f64,
    /// The most memory that the proxy's process tree has had so far, in MiB.
    pub(crate) peak: f64,
}

impl Turn {
    /// Worse than any measurement.
    pub(crate) const WORST: Turn =
        Turn { cpu: f64::INFINITY, rate: 0.0, p50: f64::INFINITY, p99: f64::INFINITY, peak: 0.0 };

    /// The better of each figure, since noise only adds; a peak only grows.
    pub(crate) fn better(&self, other: &Turn) -> Turn {
        Turn {
            cpu: self.cpu.min(other.cpu),
            rate: self.rate.max(other.rate),
            p50: self.p50.min(other.p50),
            p99: self.p99.min(other.p99),
            peak: self.peak.max(other.peak),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8.1} µs CPU {:>9.0} req/s   p50 {:>6.0} µs   p99 {:>6.0} µs",
            self.cpu, self.rate, self.p50, self.p99
        )
    }
}

/// What a load generator says of its run.
#[derive(Debug, PartialEq)]
struct Said {
    requests: u64,
    failed: u64,
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Loads the proxy for `seconds` and gives back what it cost.
pub(crate) fn turn(scenario: &Scenario, proxy: &Proxy, seconds: u32, ground: &Ground) -> Result<Turn, Failure> {
    let slow = if proxy.peer == Peer::Maitred { scenario.slow } else { 0 };
    let _beside = SlowClients::start(proxy.plain, slow)?;
    // What it costs to open them is not counted.
    let mut crowd = match scenario.habit {
        Habit::InTurn => Some(Crowd::open(scenario, proxy)?),
        Habit::Busy | Habit::Idle => None,
    };
    let before = meter::cpu_micros(proxy.server.pid())?;
    let said = match (&mut crowd, scenario.transport) {
        (Some(crowd), _) => crowd.ask(Duration::from_secs(seconds.into()))?,
        (None, Transport::H2) => h2load::load(scenario, proxy, seconds, ground)?,
        (None, Transport::TlsResumed) => s_time::load(proxy, seconds)?,
        (None, _) => wrk::load(scenario, proxy, seconds, ground)?,
    };
    let cpu = meter::cpu_micros(proxy.server.pid())? - before;
    if said.failed > 0 || said.requests == 0 {
        let name = proxy.peer.name();
        return Err(Failure::new(format!(
            "{name}: {} of {} requests failed in `{}`",
            said.failed, said.requests, scenario.name
        )));
    }
    let peak = meter::peak(proxy.server.pid())?;
    Ok(Turn { cpu: cpu / said.requests as f64, rate: said.rate, p50: said.p50, p99: said.p99, peak })
}

fn url(scenario: &Scenario, proxy: &Proxy) -> String {
    match &proxy.presenter {
        Some(presenter) => format!("http://127.0.0.1:{}{}", presenter.port, scenario.path),
        None if scenario.transport.is_tls() => format!("https://localhost:{}{}", proxy.tls, scenario.path),
        None => format!("http://127.0.0.1:{}{}", proxy.plain, scenario.path),
    }
}

/// The words that make a generator send what the policy wants to see.
fn fields(scenario: &Scenario, ground: &Ground) -> Vec<String> {
    let field = ground.caller.field(scenario.policy);
    field.into_iter().flat_map(|field| ["-H".to_owned(), field]).collect()
}

/// A command on the core of the load.
fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &origin::CORE.to_string(), program]);
    command
}

/// Before anything is timed: the proxy answers what the origin answers, from its cache or compressed where that is what
/// is measured.
pub(crate) fn compare_answers(
    scenario: &Scenario,
    proxy: &Proxy,
    origin: &Origin,
    ground: &Ground,
) -> Result<(), Failure> {
    let port = origin.ports.first().copied().unwrap_or_default();
    let direct = fetch("1.1", &format!("http://127.0.0.1:{port}{}", scenario.path), &[])?;
    if scenario.transport == Transport::TlsResumed {
        return Ok(()); // nothing is asked for
    }
    let version = if scenario.transport == Transport::H2 { "2" } else { "1.1" };
    let ask = || fetch(version, &url(scenario, proxy), &fields(scenario, ground));
    let proxied = ask()?;
    let (name, path) = (proxy.peer.name(), scenario.path);
    if direct.body != proxied.body || direct.body.is_empty() {
        let (ours, theirs) = (proxied.body.len(), direct.body.len());
        return Err(Failure::new(format!(
            "{name} answers `{path}` with {ours} bytes that are not the origin's {theirs}"
        )));
    }
    match scenario.policy {
        Policy::Cache if ask()?.serial != proxied.serial => Err(Failure::new(format!("{name} does not keep `{path}`"))),
        Policy::Gzip | Policy::Workers if proxied.sent >= direct.sent / 2 => {
            Err(Failure::new(format!("{name} does not compress `{path}`")))
        }
        Policy::Gzip | Policy::Workers => {
            eprintln!("  {name:<8} sends {} bytes for {}", proxied.sent, direct.sent);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What curl got.
struct Fetched {
    body: Vec<u8>,
    /// How many bytes the body took on the wire.
    sent: u64,
    /// What the origin wrote into [`origin::SERIAL`].
    serial: String,
}

/// The answer, provided that it came with 200 over the HTTP version asked for.
fn fetch(version: &str, url: &str, fields: &[String]) -> Result<Fetched, Failure> {
    let limit = Duration::from_secs(10).as_secs().to_string();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", &limit, &format!("--http{version}")]);
    if fields.iter().any(|field| field.starts_with("Accept-Encoding")) {
        curl.arg("--compressed");
    }
    let told =
        format!("\n%{{http_code}} %{{http_version}} %{{size_download}} %header{{{}}}", origin::SERIAL.to_lowercase());
    let said = shell::output(curl.args(fields).args(["--write-out", &told, url]))?;
    let line = said.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let (body, verdict) = said.split_at(line);
    let verdict = String::from_utf8_lossy(verdict);
    let words: Vec<&str> = verdict.split_whitespace().collect();
    match words.as_slice() {
        ["200", spoken, sent, serial @ ..] if *spoken == version => {
            Ok(Fetched { body: body.to_vec(), sent: sent.parse().unwrap_or_default(), serial: serial.concat() })
        }
        _ => Err(Failure::new(format!("{url} answers `{}` instead of `200 {version}`", verdict.trim()))),
    }
}
