//! One turn: load for some seconds, and what it cost the proxy.

use std::{fmt, fs, path::Path, process::Command, time::Duration};

use crate::{
    bench::{
        Ground, meter,
        origin::{self, Origin},
        peer::Proxy,
        scenario::{Scenario, Transport},
    },
    shell::{self, Failure, because},
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
}

impl Turn {
    /// Worse than any measurement.
    pub(crate) const WORST: Turn = Turn { cpu: f64::INFINITY, rate: 0.0, p50: f64::INFINITY, p99: f64::INFINITY };

    /// The better of each figure: noise only adds.
    pub(crate) fn better(&self, other: &Turn) -> Turn {
        Turn {
            cpu: self.cpu.min(other.cpu),
            rate: self.rate.max(other.rate),
            p50: self.p50.min(other.p50),
            p99: self.p99.min(other.p99),
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
    let before = meter::cpu_micros(proxy.server.pid())?;
    let said = match scenario.transport {
        Transport::H2 => h2load(scenario, proxy, seconds, ground)?,
        Transport::Plain | Transport::PlainClose | Transport::Tls => wrk(scenario, proxy, seconds)?,
    };
    let cpu = meter::cpu_micros(proxy.server.pid())? - before;
    if said.failed > 0 || said.requests == 0 {
        let name = proxy.peer.name();
        return Err(Failure::new(format!(
            "{name}: {} of {} requests failed in `{}`",
            said.failed, said.requests, scenario.name
        )));
    }
    Ok(Turn { cpu: cpu / said.requests as f64, rate: said.rate, p50: said.p50, p99: said.p99 })
}

fn url(scenario: &Scenario, proxy: &Proxy) -> String {
    match scenario.transport.is_tls() {
        true => format!("https://localhost:{}{}", proxy.tls, scenario.path),
        false => format!("http://127.0.0.1:{}{}", proxy.plain, scenario.path),
    }
}

/// A command on the core of the load.
fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &origin::CORE.to_string(), program]);
    command
}

fn wrk(scenario: &Scenario, proxy: &Proxy, seconds: u32) -> Result<Said, Failure> {
    let mut wrk = pinned("wrk");
    wrk.args(["-t1", "--latency", &format!("-c{}", scenario.connections), &format!("-d{seconds}s")]);
    if scenario.transport == Transport::PlainClose {
        wrk.args(["-H", "Connection: close"]);
    }
    let said = shell::output(wrk.arg(url(scenario, proxy)))?;
    let text = String::from_utf8_lossy(&said);
    parse_wrk(&text).ok_or_else(|| Failure::new(format!("cannot read what wrk said\n{text}")))
}

fn parse_wrk(text: &str) -> Option<Said> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0.parse().ok()?;
    let statuses = after("Non-2xx or 3xx responses:").map_or(Some(0), |n| n.parse::<u64>().ok())?;
    let sockets = after("Socket errors:").unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    let sockets: u64 = sockets.filter_map(|n| n.parse::<u64>().ok()).sum();
    Some(Said {
        requests,
        failed: statuses + sockets,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50: micros(after("50%")?)?,
        p99: micros(after("99%")?)?,
    })
}

/// A time as wrk writes it: `812.00us`, `1.04ms`, `2.00s`.
fn micros(text: &str) -> Option<f64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()].parse().ok()?;
    match unit {
        "us" => Some(number),
        "ms" => Some(number * 1e3),
        "s" => Some(number * 1e6),
        "m" => Some(number * 6e7),
        _ => None,
    }
}

fn h2load(scenario: &Scenario, proxy: &Proxy, seconds: u32, ground: &Ground) -> Result<Said, Failure> {
    let log = ground.folder.join("h2load.log");
    let _ = fs::remove_file(&log); // h2load appends
    let mut h2load = pinned("h2load");
    h2load.args(["-t1", "-m10", "-c", &scenario.connections.to_string(), "-D", &seconds.to_string()]);
    h2load.arg(format!("--log-file={}", log.display()));
    let said = shell::output(h2load.arg(url(scenario, proxy)))?;
    let text = String::from_utf8_lossy(&said);
    let times = response_times(&log)?;
    parse_h2load(&text, &times).ok_or_else(|| Failure::new(format!("cannot read what h2load said\n{text}")))
}

/// The microseconds of every answer, sorted; h2load itself prints no percentiles. A line is `start status micros`.
fn response_times(log: &Path) -> Result<Vec<f64>, Failure> {
    let text = fs::read_to_string(log).map_err(because("cannot read h2load's log"))?;
    let mut times: Vec<f64> = text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn parse_h2load(text: &str, times: &[f64]) -> Option<Said> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    // requests: 1200 total, 1300 started, 1200 done, 1200 succeeded, 0 failed, 0 errored, 0 timeout
    let counts = line("requests:")?;
    let count =
        |word: &str| counts.split(',').find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok());
    // finished in 1.00s, 1200.00 req/s, 100KB/s
    let rate =
        line("finished in")?.split(',').find_map(|part| part.trim().strip_suffix("req/s")?.trim().parse().ok())?;
    let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied();
    let requests = count("succeeded")?;
    Some(Said { requests, failed: count("failed")? + count("errored")?, rate, p50: at(0.5)?, p99: at(0.99)? })
}

/// Before anything is timed: the proxy answers what the origin answers.
pub(crate) fn compare_answers(scenario: &Scenario, proxy: &Proxy, origin: &Origin) -> Result<(), Failure> {
    let port = origin.ports.first().copied().unwrap_or_default();
    let direct = fetch("1.1", &format!("http://127.0.0.1:{port}{}", scenario.path))?;
    let version = if scenario.transport == Transport::H2 { "2" } else { "1.1" };
    let proxied = fetch(version, &url(scenario, proxy))?;
    if direct == proxied && !direct.is_empty() {
        return Ok(());
    }
    let (name, ours, theirs) = (proxy.peer.name(), proxied.len(), direct.len());
    Err(Failure::new(format!(
        "{name} answers `{}` with {ours} bytes that are not the origin's {theirs}",
        scenario.path
    )))
}

/// The body, provided that it came with 200 over the HTTP version asked for.
fn fetch(version: &str, url: &str) -> Result<Vec<u8>, Failure> {
    let limit = Duration::from_secs(10).as_secs().to_string();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", &limit, &format!("--http{version}")]);
    let said = shell::output(curl.args(["--write-out", "\n%{http_code} %{http_version}", url]))?;
    let line = said.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let (body, verdict) = said.split_at(line);
    let verdict = String::from_utf8_lossy(verdict);
    match verdict.trim() == format!("200 {version}") {
        true => Ok(body.to_vec()),
        false => Err(Failure::new(format!("{url} answers `{}` instead of `200 {version}`", verdict.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://127.0.0.1:80/\n  1 threads and 32 connections\n  Latency Distribution\n     50%  812.00us\n     75%    1.00ms\n     90%    1.10ms\n     99%    1.25ms\n  38012 requests in 1.00s, 5.50MB read\nRequests/sec:  37998.20\nTransfer/sec:      5.49MB\n";

    #[test]
    fn wrk_is_read() {
        let said = parse_wrk(WRK).unwrap();
        assert_eq!(said, Said { requests: 38012, failed: 0, rate: 37998.2, p50: 812.0, p99: 1250.0 });
    }

    #[test]
    fn errors_that_wrk_saw_count_as_failures() {
        let text =
            format!("{WRK}  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 5\n");
        assert_eq!(parse_wrk(&text).unwrap().failed, 9);
    }

    #[test]
    fn h2load_is_read_with_percentiles_from_its_log() {
        let text = "finished in 1.00s, 1200.00 req/s, 100KB/s\nrequests: 1200 total, 1300 started, 1200 done, 1200 succeeded, 0 failed, 0 errored, 0 timeout\n";
        let times: Vec<f64> = (1..=100).map(f64::from).collect();
        let said = parse_h2load(text, &times).unwrap();
        assert_eq!(said, Said { requests: 1200, failed: 0, rate: 1200.0, p50: 50.0, p99: 99.0 });
    }
}
