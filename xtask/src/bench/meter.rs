//! Processor time of a process with all its children, from `/proc`.

use std::{collections::BTreeMap, fs};

use crate::shell::{Failure, because};

/// Linux counts in hundredths of a second here, on every machine (`USER_HZ`).
const MICROS_PER_TICK: f64 = 10_000.0;

/// Microseconds of user and system time that the tree below `root` has used so far.
pub(crate) fn cpu_micros(root: u32) -> Result<f64, Failure> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").map_err(because("cannot read /proc"))? {
        let name = entry.map_err(because("cannot read /proc"))?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between the two calls.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        processes.extend(parse(&stat).map(|(parent, ticks)| (pid, (parent, ticks))));
    }
    let in_tree = |pid: &u32| {
        let mut next = *pid;
        while next != root {
            match processes.get(&next) {
                Some((parent, _)) if *parent != 0 => next = *parent,
                _ => return false,
            }
        }
        true
    };
    if !processes.contains_key(&root) {
        return Err(Failure::new(format!("process {root} has ended")));
    }
    let ticks: u64 = processes.iter().filter(|(pid, _)| in_tree(pid)).map(|(_, (_, ticks))| ticks).sum();
    Ok(ticks as f64 * MICROS_PER_TICK)
}

/// The parent and the ticks from one `stat` line. The name in parentheses may hold anything, so it is skipped from behind.
fn parse(stat: &str) -> Option<(u32, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, ticks(11)? + ticks(12)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(parse(stat), Some((7, 200)));
    }

    #[test]
    fn our_own_time_can_be_read() {
        assert!(cpu_micros(std::process::id()).is_ok());
    }
}
