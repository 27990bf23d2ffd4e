//! The results, as a Markdown table for people and as JSON for programs.

use std::fmt::Write;

use crate::bench::{counts::Counts, idle, load::Turn, options::Options, peer::Peer, scenario::Scenario};

/// All results of one run.
#[derive(Debug)]
pub(crate) struct Table {
    /// One row a scenario and proxy.
    pub(crate) rows: Vec<Row>,
    /// What idle connections take.
    pub(crate) idle: Counts,
    versions: Vec<String>,
    rounds: u32,
    seconds: u32,
}

/// One proxy's result in one scenario.
#[derive(Debug)]
pub(crate) struct Row {
    scenario: &'static str,
    proxy: &'static str,
    best: Turn,
    cpu_ratio: Option<f64>,
    rate_ratio: Option<f64>,
}

impl Row {
    /// The rows of one scenario, with ratios to the best peer in it: the peer that takes the least CPU, and the peer
    /// that answers most requests a second.
    pub(crate) fn all(scenario: &Scenario, results: &[(Peer, Turn)]) -> Vec<Row> {
        let peers = || results.iter().filter(|(peer, _)| *peer != Peer::Maitred).map(|(_, turn)| turn);
        let cpu = peers().map(|turn| turn.cpu).min_by(f64::total_cmp);
        let rate = peers().map(|turn| turn.rate).max_by(f64::total_cmp);
        let row = |(peer, best): &(Peer, Turn)| Row {
            scenario: scenario.name,
            proxy: peer.name(),
            best: *best,
            cpu_ratio: cpu.map(|cpu| best.cpu / cpu),
            rate_ratio: rate.map(|rate| best.rate / rate),
        };
        results.iter().map(row).collect()
    }
}

impl Table {
    /// An empty table for a run.
    pub(crate) fn new(options: &Options, versions: Vec<String>) -> Self {
        let idle = Counts::new(idle::UNIT);
        Self { rows: Vec::new(), idle, versions, rounds: options.rounds, seconds: options.seconds }
    }

    /// Markdown that is readable in a terminal as well.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("rounds: {}, of {} s each; the best of each figure\n\n", self.rounds, self.seconds);
        for version in &self.versions {
            let _ = writeln!(text, "* {version}");
        }
        if !self.rows.is_empty() {
            self.write_rows(&mut text);
        }
        if !self.idle.rows.is_empty() {
            let _ = write!(text, "\n{}", self.idle.markdown());
        }
        text
    }

    fn write_rows(&self, text: &mut String) {
        text.push_str(
            "\n| scenario  | proxy    | CPU µs/request | ÷ best peer | requests/s | ÷ best peer |  p50 µs |  p99 µs | peak MiB |\n",
        );
        text.push_str(
            "|-----------|----------|---------------:|------------:|-----------:|------------:|--------:|--------:|---------:|\n",
        );
        for row in &self.rows {
            let Row { scenario, proxy, best, cpu_ratio, rate_ratio } = row;
            let (cpu_ratio, rate_ratio) = (ratio(*cpu_ratio), ratio(*rate_ratio));
            let _ = writeln!(
                text,
                "| {scenario:<9} | {proxy:<8} | {:>14.1} | {cpu_ratio:>11} | {:>10.0} | {rate_ratio:>11} | {:>7} | {:>7} | {:>8.1} |",
                best.cpu,
                best.rate,
                micros(best.p50),
                micros(best.p99),
                best.peak
            );
        }
    }

    /// One document.
    pub(crate) fn json(&self) -> String {
        let versions: Vec<String> = self.versions.iter().map(|version| format!("{version:?}")).collect();
        let results: Vec<String> = self.rows.iter().map(json_row).collect();
        format!(
            "{{\"rounds\":{},\"seconds\":{},\"versions\":[{}],\"results\":[\n{}\n],\"idle\":{}}}",
            self.rounds,
            self.seconds,
            versions.join(","),
            results.join(",\n"),
            self.idle.json()
        )
    }
}

fn json_row(row: &Row) -> String {
    let number = |ratio: Option<f64>| ratio.map_or("null".to_owned(), |ratio| format!("{ratio:.3}"));
    format!(
        "{{\"scenario\":\"{}\",\"proxy\":\"{}\",\"cpu_us_per_request\":{:.2},\"cpu_ratio\":{},\
         \"requests_per_second\":{:.0},\"rate_ratio\":{},\"p50_us\":{},\"p99_us\":{},\"peak_mib\":{:.1}}}",
        row.scenario,
        row.proxy,
        row.best.cpu,
        number(row.cpu_ratio),
        row.best.rate,
        number(row.rate_ratio),
        number(Some(row.best.p50).filter(|time| time.is_finite())),
        number(Some(row.best.p99).filter(|time| time.is_finite())),
        row.best.peak
    )
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// A latency; those who load without asking for anything measure none.
fn micros(time: f64) -> String {
    if time.is_finite() { format!("{time:.0}") } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_best_peer_of_each_figure() {
        let turn = |cpu, rate| Turn { cpu, rate, p50: 1.0, p99: 2.0, peak: 3.0 };
        let results =
            [(Peer::Maitred, turn(30.0, 50.0)), (Peer::Nginx, turn(20.0, 100.0)), (Peer::Haproxy, turn(15.0, 80.0))];
        let rows = Row::all(&Scenario::ALL[0], &results);
        assert_eq!((rows[0].cpu_ratio, rows[0].rate_ratio), (Some(2.0), Some(0.5)));
        assert_eq!((rows[2].cpu_ratio, rows[2].rate_ratio), (Some(1.0), Some(0.8)));
    }
}
