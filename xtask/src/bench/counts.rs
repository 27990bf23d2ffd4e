//! The table of what was counted, and what of it is written down to be compared with later.

use std::{fmt::Write, fs};

use crate::{
    bench::{peer::Peer, scenario::Scenario},
    shell::{self, Failure, because},
};

/// Where our own instructions for each request are written down.
const FILE: &str = "bench/instructions.txt";
/// How much more than that is no regression: the counts of two runs differ by less.
const TOLERANCE: f64 = 1.03;

/// Everything that was counted in one run.
#[derive(Debug)]
pub(crate) struct Counts {
    /// What is counted.
    unit: &'static str,
    /// One row a scenario and proxy.
    pub(crate) rows: Vec<Count>,
}

/// One proxy's count in one scenario.
#[derive(Debug)]
pub(crate) struct Count {
    scenario: &'static str,
    peer: Peer,
    value: f64,
    ratio: Option<f64>,
}

impl Count {
    /// The rows of one scenario, with ratios to the best of the others.
    pub(crate) fn all(scenario: &Scenario, results: &[(Peer, f64)]) -> Vec<Count> {
        let others = results.iter().filter(|(peer, _)| *peer != Peer::Maitred).map(|(_, value)| *value);
        let best = others.min_by(f64::total_cmp);
        let row = |(peer, value): &(Peer, f64)| Count {
            scenario: scenario.name,
            peer: *peer,
            value: *value,
            ratio: best.map(|best| value / best),
        };
        results.iter().map(row).collect()
    }
}

impl Counts {
    /// Nothing counted yet.
    pub(crate) fn new(unit: &'static str) -> Self {
        Self { unit, rows: Vec::new() }
    }

    /// Markdown that is readable in a terminal as well.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| scenario  | proxy    | {:>20} | ÷ best other |\n", self.unit);
        text.push_str("|-----------|----------|---------------------:|-------------:|\n");
        for Count { scenario, peer, value, ratio } in &self.rows {
            let ratio = ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let _ = writeln!(text, "| {scenario:<9} | {:<8} | {value:>20.1} | {ratio:>12} |", peer.name());
        }
        text
    }

    /// One document.
    pub(crate) fn json(&self) -> String {
        let row = |row: &Count| {
            let ratio = row.ratio.map_or("null".to_owned(), |ratio| format!("{ratio:.3}"));
            let (scenario, proxy) = (row.scenario, row.peer.name());
            format!(
                "{{\"scenario\":\"{scenario}\",\"proxy\":\"{proxy}\",\"value\":{:.2},\"ratio\":{ratio}}}",
                row.value
            )
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("{{\"unit\":\"{}\",\"results\":[\n{}\n]}}", self.unit, rows.join(",\n"))
    }

    fn ours(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.rows.iter().filter(|row| row.peer == Peer::Maitred).map(|row| (row.scenario, row.value))
    }

    /// Writes our own counts down.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let mut text = "# User-space instructions of maitred for each request, as callgrind counts them. Written by\n\
                        # `cargo xtask bench --instructions --peers none --save`; CI counts four of them, and fails where one grows by 3 %.\n"
            .to_owned();
        for (scenario, value) in self.ours() {
            let _ = writeln!(text, "{scenario} {value:.0}");
        }
        fs::write(shell::root().join(FILE), text).map_err(because(format!("cannot write {FILE}")))
    }

    /// Fails where a count is larger than the one written down.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let text = fs::read_to_string(shell::root().join(FILE)).map_err(because(format!("cannot read {FILE}")))?;
        let complaints: Vec<String> = self.ours().filter_map(|(name, value)| complaint(&text, name, value)).collect();
        if complaints.is_empty() { Ok(()) } else { Err(Failure::new(complaints.join("\n"))) }
    }
}

/// What is wrong with a count, given what is written down.
fn complaint(written: &str, scenario: &str, value: f64) -> Option<String> {
    let known = written.lines().find_map(|line| line.strip_prefix(scenario)?.strip_prefix(' ')?.parse::<f64>().ok());
    match known {
        Some(known) if value <= known * TOLERANCE => None,
        Some(known) => Some(format!(
            "`{scenario}` takes {value:.0} instructions a request, {:.1} % more than the {known:.0} of {FILE}: find out \
             why, or write the new figure down with `--save` and say in the commit message what it pays for",
            100.0 * (value / known - 1.0)
        )),
        None => Some(format!("{FILE} has no figure for `{scenario}`; `--save` writes one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_what_is_written_down_is_complained_about() {
        let written = "# comment\ntiny 1000\ntls 2000\n";
        assert_eq!(complaint(written, "tiny", 1029.0), None);
        assert_eq!(complaint(written, "tiny", 500.0), None);
        assert!(complaint(written, "tiny", 1031.0).unwrap().contains("3.1 % more"));
        assert!(complaint(written, "h2", 1.0).unwrap().contains("no figure"));
    }

    #[test]
    fn ratios_are_to_the_best_of_the_others() {
        let rows = Count::all(&Scenario::ALL[0], &[(Peer::Maitred, 30.0), (Peer::Nginx, 20.0), (Peer::Haproxy, 15.0)]);
        assert_eq!(rows[0].ratio, Some(2.0));
    }
}
