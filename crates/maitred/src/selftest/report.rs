//! What the self-test tells: a line for each kind of load, what the server was put through, and the verdict.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    load::Load,
    operator::{SOON, Seen},
    server::Footprint,
    tally::{Fault, Tally},
};
use crate::{style::Style, words::count};

/// Times that differ by less are the same: so much a busy machine adds by itself.
const NOISE: Duration = Duration::from_millis(5);

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything is as it is to be.
    pub held: bool,
    reloads: usize,
    refused_reloads: usize,
    upgrades: usize,
    /// The longest time from an order to the first answer of the new configuration.
    slowest_seen_ms: f64,
    load: Vec<Kind>,
    /// The process that served before, and the one that serves after.
    processes: [Footprint; 2],
    complaints: Vec<String>,
}

/// What came of one kind of load.
#[derive(Debug, Serialize)]
struct Kind {
    kind: &'static str,
    done: u64,
    unit: &'static str,
    failed: u64,
    reset: u64,
    refused: u64,
    truncated: u64,
    /// Requests that the server said it did not process, and that were asked again.
    asked_again: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<[Times; 2]>,
}

/// The times of one phase, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Times {
    p50_ms: f64,
    p99_ms: f64,
}

impl Report {
    /// Looks at everything; `ratio` is how many times of before the 99th percentile may be.
    pub fn new(load: &Load, seen: Seen, processes: [Footprint; 2], ratio: f64) -> Self {
        let kinds: Vec<Kind> = load.tallies.iter().map(|tally| Kind::of(tally)).collect();
        let mut complaints = seen.complaints;
        for kind in &kinds {
            complaints.extend(kind.first_fault.iter().map(|fault| format!("{}: {fault}", kind.kind)));
            if kind.done == 0 {
                complaints.push(format!("{}: nothing was done", kind.kind));
            }
            if let Some([before, during]) = kind.times
                && during.p99_ms > (before.p99_ms * ratio).max(before.p99_ms + ms(NOISE))
            {
                let (before, during) = (before.p99_ms, during.p99_ms);
                complaints.push(format!("{}: the 99th percentile rose from {before:.1} to {during:.1} ms", kind.kind));
            }
        }
        Self {
            held: complaints.is_empty(),
            reloads: seen.reloads,
            refused_reloads: seen.refused_reloads,
            upgrades: seen.upgrades,
            slowest_seen_ms: ms(seen.slowest),
            load: kinds,
            processes,
            complaints,
        }
    }

    /// As people read it.
    pub fn screen(&self, style: Style) -> String {
        let mut text = format!(
            "{:<18} {:>18} {:>7} {:>6} {:>8} {:>10}   {:>13} {:>15}\n",
            "", "done", "failed", "reset", "refused", "truncated", "p50 / p99 ms", "while changing"
        );
        for kind in &self.load {
            let _ = writeln!(text, "{}", kind.line());
        }
        let [before, after] = self.processes;
        let _ = writeln!(
            text,
            "\n{}, {}, {} refused   a new configuration was seen after {:.0} ms at most (bound: {} ms)",
            count(self.reloads, "reload"),
            count(self.upgrades, "upgrade"),
            self.refused_reloads,
            self.slowest_seen_ms,
            SOON.as_millis(),
        );
        for Kind { kind, asked_again, .. } in self.load.iter().filter(|kind| kind.asked_again > 0) {
            let again = count(usize::try_from(*asked_again).unwrap_or(usize::MAX), "request");
            let _ =
                writeln!(text, "{kind}: {again} asked again, which the server said it did not process (RFC 9113, 8.7)");
        }
        for (when, process) in [("before", before), ("after", after)] {
            let Footprint { pid, descriptors, memory_bytes } = process;
            let _ = writeln!(text, "{when:<7} pid {pid:<8} {descriptors:>5} descriptors {:>6} KiB", memory_bytes >> 10);
        }
        for complaint in &self.complaints {
            let _ = writeln!(text, "{} {complaint}", style.error("✗"));
        }
        let verdict =
            if self.held { style.good("nothing was lost") } else { style.error("this is not as it should be") };
        text + &format!("{verdict}\n")
    }
}

impl Kind {
    fn of(tally: &Tally) -> Self {
        let [before, during] = tally.times();
        Self {
            kind: tally.kind,
            done: tally.done(),
            unit: tally.unit,
            failed: tally.faults(Fault::Failed),
            reset: tally.faults(Fault::Reset),
            refused: tally.faults(Fault::Refused),
            truncated: tally.faults(Fault::Truncated),
            asked_again: tally.asked_again(),
            first_fault: tally.first_fault(),
            times: Times::of(&before).zip(Times::of(&during)).map(|(before, during)| [before, during]),
        }
    }

    fn line(&self) -> String {
        let done = match self.unit {
            "bytes" => format!("{} MiB", self.done >> 20),
            unit => format!("{} {unit}", self.done),
        };
        let times = self.times.map_or(String::new(), |[before, during]| {
            let one = |times: Times| format!("{:.1} / {:.1}", times.p50_ms, times.p99_ms);
            format!("   {:>13} {:>15}", one(before), one(during))
        });
        let Self { kind, failed, reset, refused, truncated, .. } = self;
        format!("{kind:<18} {done:>18} {failed:>7} {reset:>6} {refused:>8} {truncated:>10}{times}")
    }
}

impl Times {
    fn of(sorted: &[Duration]) -> Option<Self> {
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1)));
        Some(Self { p50_ms: ms(*at(50)?), p99_ms: ms(*at(99)?) })
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
