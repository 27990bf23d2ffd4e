//! `cargo xtask demo`: from a fresh clone to a running proxy.

use std::process::Command;

use crate::{
    cargo, packages,
    shell::{self, Failure},
};

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    packages::ensure(&[packages::BUILD])?;
    eprintln!("building the release; the first time takes several minutes");
    let binary = cargo::build_release()?;
    let mut demo = Command::new(binary);
    demo.arg("demo").args(words);
    eprintln!("$ {}", shell::describe(&demo));
    let status = demo.status().map_err(shell::because("cannot start the demo"))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("the demo ended with {status}"))) }
}
