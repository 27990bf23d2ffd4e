//! HTTP/1.1 load by wrk.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use super::{Said, fields, pinned, url};
use crate::{
    bench::{
        Ground,
        peer::Proxy,
        scenario::{Scenario, Transport},
    },
    shell::{self, Failure, because},
};

/// What wrk is told to send where a request brings a body.
const UPLOAD: &str = "wrk.method = \"POST\"\nwrk.body = string.rep(\"a\", 1048576)\n";

pub(super) fn load(scenario: &Scenario, proxy: &Proxy, seconds: u32, ground: &Ground) -> Result<Said, Failure> {
    let mut wrk = pinned("wrk");
    wrk.args(["-t1", "--latency", &format!("-c{}", scenario.connections), &format!("-d{seconds}s")]);
    wrk.args(fields(scenario, ground));
    if matches!(scenario.transport, Transport::PlainClose | Transport::TlsClose) {
        wrk.args(["-H", "Connection: close"]);
    }
    if scenario.uploads {
        let script = ground.folder.join("upload.lua");
        fs::write(&script, UPLOAD).map_err(because("cannot write wrk's script"))?;
        wrk.arg("-s").arg(script);
    }
    run(wrk.arg(url(scenario, proxy)))
}

/// A wrk that asks once on each of a scenario's connections, one every two milliseconds, and then leaves them open and idle,
/// until dropped.
pub(crate) struct Idle(Child);

impl Idle {
    /// Starts it.
    pub(crate) fn start(scenario: &Scenario, proxy: &Proxy, ground: &Ground) -> Result<Self, Failure> {
        let connections = scenario.connections;
        let script = ground.folder.join("idle.lua");
        let text = format!(
            "asked = 0\nfunction delay()\n  asked = asked + 1\n  if asked <= {connections} then return 2 * asked end\n  return 3600000\nend\n"
        );
        fs::write(&script, text).map_err(because("cannot write wrk's script"))?;
        let mut wrk = pinned("wrk");
        wrk.args(["-t1", &format!("-c{connections}"), "-d60s", "-s"]).arg(script).arg(url(scenario, proxy));
        wrk.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self).map_err(because("cannot start wrk"))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs wrk and reads what it says.
pub(super) fn run(wrk: &mut Command) -> Result<Said, Failure> {
    let said = shell::output(wrk)?;
    let text = String::from_utf8_lossy(&said);
    parse(&text).ok_or_else(|| Failure::new(format!("cannot read what wrk said\n{text}")))
}

fn parse(text: &str) -> Option<Said> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://127.0.0.1:80/\n  1 threads and 32 connections\n  Latency Distribution\n     50%  812.00us\n     75%    1.00ms\n     90%    1.10ms\n     99%    1.25ms\n  38012 requests in 1.00s, 5.50MB read\nRequests/sec:  37998.20\nTransfer/sec:      5.49MB\n";

    #[test]
    fn wrk_is_read() {
        let said = parse(WRK).unwrap();
        assert_eq!(said, Said { requests: 38012, failed: 0, rate: 37998.2, p50: 812.0, p99: 1250.0 });
    }

    #[test]
    fn errors_that_wrk_saw_count_as_failures() {
        let text =
            format!("{WRK}  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 5\n");
        assert_eq!(parse(&text).unwrap().failed, 9);
    }
}
