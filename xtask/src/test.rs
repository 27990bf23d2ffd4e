//! `cargo xtask test`: everything that has to hold.

use crate::{
    cargo, packages,
    shell::{self, Failure, Times},
};

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    packages::ensure(&[packages::BUILD, packages::TEST])?;
    let mut times = Times::default();
    let result = steps(words, &mut times);
    times.print();
    result
}

fn steps(words: &[String], times: &mut Times) -> Result<(), Failure> {
    times.step("build", cargo::build_everything)?;
    if !has_nextest() {
        return times.step("tests", || cargo_test(&[], words));
    }
    // nextest runs every test in a process of its own but cannot run documentation tests. Those go first, so that the
    // runner's closing lines are the last thing printed.
    if words.is_empty() {
        times.step("documentation tests", || cargo_test(&["--doc"], &[]))?;
    }
    times.step("tests", || shell::run(cargo::command().args(["nextest", "run", "--workspace"]).args(words)))
}

fn cargo_test(kind: &[&str], words: &[String]) -> Result<(), Failure> {
    shell::run(cargo::command().args(["test", "--workspace"]).args(kind).args(words))
}

fn has_nextest() -> bool {
    shell::succeeds(cargo::command().args(["nextest", "--version"]))
}
