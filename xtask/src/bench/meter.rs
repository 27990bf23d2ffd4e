//! Processor time and memory of a process with all its children, from `/proc`.

use std::{collections::BTreeMap, fs, io::ErrorKind};

use crate::shell::{Failure, because};

/// Linux counts in hundredths of a second here, on every machine (`USER_HZ`).
const MICROS_PER_TICK: f64 = 10_000.0;

/// Sums a field of `/proc/PID/FILE`, in KiB, over the tree below `root`.
fn memory(root: u32, file: &str, field: &str) -> Result<f64, Failure> {
    let mut sum = 0;
    for pid in pids(root)? {
        let path = format!("/proc/{pid}/{file}");
        // A process may end between the two calls.
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => continue,
            text => text.map_err(because(format!("cannot read {path}")))?,
        };
        sum += kib(&text, field);
    }
    Ok(sum as f64)
}

/// The number of one line: `Pss:    309 kB`.
fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_default()
}

/// The most memory that the tree below `root` has had, in MiB: the sum of the peaks of its processes.
pub(crate) fn peak(root: u32) -> Result<f64, Failure> {
    Ok(memory(root, "status", "VmHWM:")? / 1024.0)
}

/// The memory that the tree below `root` has now, in KiB. What several of its processes share counts once (PSS).
pub(crate) fn proportional(root: u32) -> Result<f64, Failure> {
    memory(root, "smaps_rollup", "Pss:")
}

/// Microseconds of user and system time that the tree below `root` has used so far.
pub(crate) fn cpu_micros(root: u32) -> Result<f64, Failure> {
    Ok(tree(root)?.values().sum::<u64>() as f64 * MICROS_PER_TICK)
}

/// The processes of the tree below `root`.
pub(crate) fn pids(root: u32) -> Result<Vec<u32>, Failure> {
    Ok(tree(root)?.into_keys().collect())
}

/// How many connections there are to a port of the loopback address.
pub(crate) fn connections(port: u16) -> Result<usize, Failure> {
    let text = fs::read_to_string("/proc/net/tcp").map_err(because("cannot read /proc/net/tcp"))?;
    let local = format!(":{port:04X}");
    // sl local_address rem_address st …; 01 is established
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|address| address.ends_with(&local)) && words.nth(1) == Some("01")
    };
    Ok(text.lines().filter(is_one).count())
}

/// The processes of the tree below `root` with the ticks that each has used.
fn tree(root: u32) -> Result<BTreeMap<u32, u64>, Failure> {
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
    Ok(processes.iter().filter(|(pid, _)| in_tree(pid)).map(|(pid, (_, ticks))| (*pid, *ticks)).collect())
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
    fn our_own_time_and_memory_can_be_read() {
        let own = std::process::id();
        assert!(cpu_micros(own).is_ok());
        let (now, peak) = (proportional(own).unwrap(), peak(own).unwrap() * 1024.0);
        assert!(0.0 < now && now <= peak, "{now} KiB of {peak}");
    }

    #[test]
    fn a_field_of_memory_is_not_another_that_begins_like_it() {
        let text = "Rss:                1772 kB\nPss_Dirty:           116 kB\nPss:                 309 kB\n";
        assert_eq!((kib(text, "Pss:"), kib(text, "Swap:")), (309, 0));
    }
}
