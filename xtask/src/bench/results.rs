//! `bench/results.md`: the newest table, with what one has to know to read it.

use std::{fs, process::Command};

use crate::{
    bench::table::Table,
    shell::{self, Failure, because},
};

const FILE: &str = "bench/results.md";

/// Replaces the file by the table of this run.
pub(crate) fn write(table: &Table) -> Result<(), Failure> {
    let text = format!(
        "# Results\n\nWritten by `cargo xtask bench --save`; [README.md](README.md) says what is measured and how. Only the \
         ratios mean\nsomething elsewhere: they compare proxies within this one run.\n\n* {}, commit {}\n* {}, Linux \
         {}\n* {}",
        first_line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        first_line(Command::new("git").current_dir(shell::root()).args(["rev-parse", "--short", "HEAD"])),
        processor(),
        first_line(Command::new("uname").arg("-r")),
        table.markdown()
    );
    fs::write(shell::root().join(FILE), text).map_err(because(format!("cannot write {FILE}")))
}

fn first_line(command: &mut Command) -> String {
    let output = shell::output(command).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}
