//! HTTP/2 load, and requests in a number known before, by h2load.

use std::{fs, path::Path};

use super::{Said, fields, pinned, url};
use crate::{
    bench::{
        Ground,
        peer::Proxy,
        scenario::{Scenario, Transport},
    },
    shell::{self, Failure, because},
};

pub(super) fn load(scenario: &Scenario, proxy: &Proxy, seconds: u32, ground: &Ground) -> Result<Said, Failure> {
    let log = ground.folder.join("h2load.log");
    let _ = fs::remove_file(&log); // h2load appends
    let mut h2load = pinned("h2load");
    h2load.args(["-t1", "-m10", "-c", &scenario.connections.to_string(), "-D", &seconds.to_string()]);
    h2load.arg(format!("--log-file={}", log.display()));
    let said = shell::output(h2load.arg(url(scenario, proxy)))?;
    let text = String::from_utf8_lossy(&said);
    let times = response_times(&log)?;
    parse(&text, &times).ok_or_else(|| Failure::new(format!("cannot read what h2load said\n{text}")))
}

/// The microseconds of every answer, sorted; h2load itself prints no percentiles. A line is `start status micros`.
fn response_times(log: &Path) -> Result<Vec<f64>, Failure> {
    let text = fs::read_to_string(log).map_err(because("cannot read h2load's log"))?;
    let mut times: Vec<f64> = text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn parse(text: &str, times: &[f64]) -> Option<Said> {
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

/// Sends so many requests one after the other, on one connection.
pub(crate) fn send(scenario: &Scenario, proxy: &Proxy, requests: u32, ground: &Ground) -> Result<(), Failure> {
    let mut h2load = pinned("h2load");
    h2load.args(["-t1", "-c1", "-m1", "-n", &requests.to_string()]);
    h2load.args(fields(scenario, ground));
    if scenario.transport != Transport::H2 {
        h2load.arg("--h1");
    }
    let said = shell::output(h2load.arg(url(scenario, proxy)))?;
    let text = String::from_utf8_lossy(&said);
    let all = format!(" {requests} succeeded, 0 failed, 0 errored");
    let well = text.lines().any(|line| line.starts_with("requests:") && line.contains(&all));
    if well { Ok(()) } else { Err(Failure::new(format!("not every request came back well\n{text}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2load_is_read_with_percentiles_from_its_log() {
        let text = "finished in 1.00s, 1200.00 req/s, 100KB/s\nrequests: 1200 total, 1300 started, 1200 done, 1200 succeeded, 0 failed, 0 errored, 0 timeout\n";
        let times: Vec<f64> = (1..=100).map(f64::from).collect();
        let said = parse(text, &times).unwrap();
        assert_eq!(said, Said { requests: 1200, failed: 0, rate: 1200.0, p50: 50.0, p99: 99.0 });
    }
}
