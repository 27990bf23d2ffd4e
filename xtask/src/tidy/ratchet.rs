//! Exceptions from the limits, which may shrink but never grow.

use std::{collections::BTreeMap, fs};

use crate::{
    shell::{self, Failure, because},
    tidy::{Breach, sizes::Excess},
};

/// One line an exception: `LINES WHAT`.
const FILE: &str = "xtask/ratchet.txt";

/// What is too long and not excused, and what no longer needs its excuse.
pub(crate) fn compare(measured: &[Excess]) -> Result<Vec<Breach>, Failure> {
    let mut excused = read()?;
    let mut breaches = Vec::new();
    for excess in measured {
        let (lines, limit) = (excess.lines, excess.limit);
        match excused.remove(&excess.what) {
            None => breaches
                .push(Breach::new(&excess.place, format!("has {lines} lines, and {limit} is the limit: split it"))),
            Some(before) if lines > before => {
                breaches.push(Breach::new(
                    &excess.place,
                    format!("has grown from {before} to {lines} lines: an exception only shrinks"),
                ));
            }
            Some(before) if lines < before => {
                breaches.push(Breach::new(&excess.place, format!("has shrunk from {before} to {lines} lines: {HOLD}")));
            }
            Some(_) => {}
        }
    }
    breaches
        .extend(excused.into_keys().map(|what| Breach::new(FILE, format!("`{what}` is within its limit now: {HOLD}"))));
    Ok(breaches)
}

const HOLD: &str = "hold what was won with `cargo xtask tidy --ratchet`";

/// Writes the ratchet file anew, with every exception as small as it has become. Adds none.
pub(crate) fn tighten(measured: &[Excess]) -> Result<(), Failure> {
    let excused = read()?;
    let mut lines: Vec<String> = HEADER.lines().map(str::to_owned).collect();
    for excess in measured {
        if let Some(before) = excused.get(&excess.what) {
            lines.push(format!("{} {}", excess.lines.min(*before), excess.what));
        }
    }
    fs::write(shell::root().join(FILE), lines.join("\n") + "\n").map_err(because(format!("cannot write {FILE}")))
}

const HEADER: &str = "\
# Files over 500 lines and functions over 70, each with the lines that it has. `cargo xtask tidy` fails when one grows,
# and when one has shrunk and this file does not say so yet (`cargo xtask tidy --ratchet`). Add none: split instead.";

fn read() -> Result<BTreeMap<String, usize>, Failure> {
    let text = fs::read_to_string(shell::root().join(FILE)).map_err(because(format!("cannot read {FILE}")))?;
    let entries = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.map(entry).collect()
}

fn entry(line: &str) -> Result<(String, usize), Failure> {
    let parsed = line.split_once(' ').and_then(|(lines, what)| Some((what.to_owned(), lines.parse().ok()?)));
    parsed.ok_or_else(|| Failure::new(format!("{FILE}: cannot read `{line}`")))
}
