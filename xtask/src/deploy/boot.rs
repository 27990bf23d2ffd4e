//! What runs as it will at the user's: the package and its service under a systemd of our own, installed, reloaded,
//! upgraded under load, killed and removed; and the binary as process 1 of a container.

use std::{fs, path::Path, process::Command};

use super::{package, scratch};
use crate::{
    cargo,
    shell::{self, Failure, because},
};

/// How a script says that this machine cannot do it.
const CANNOT: i32 = 75;

/// The package under systemd.
pub(super) fn check() -> Result<(), Failure> {
    if !shell::is_root() {
        eprintln!("not checked: a systemd of our own needs root");
        return Ok(());
    }
    let (folder, made) = (scratch("boot")?, package::trial()?);
    for revision in 1..=3 {
        package::revise(&made, revision, &folder)?;
    }
    let scenario = shell::root().join("xtask/deploy/scenario.sh");
    fs::copy(scenario, folder.join("scenario.sh")).map_err(because("cannot copy the scenario"))?;
    let said = shell::captured(script("boot.sh").arg(&folder))?;
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    verdict(&said, &log)
}

/// The binary in a container.
pub(super) fn container() -> Result<(), Failure> {
    if !shell::is_root() {
        eprintln!("not checked: a container of our own needs root");
        return Ok(());
    }
    let folder = scratch("container")?;
    let mut container = script("container.sh");
    container.arg(&folder).arg(cargo::debug_binary()).arg(shell::root().join("deploy/docker/maitred.toml"));
    let said = shell::captured(&mut container)?;
    verdict(&said, &said.text())
}

fn script(name: &str) -> Command {
    let mut script = Command::new("sh");
    script.arg(Path::new("xtask/deploy").join(name)).current_dir(shell::root());
    script
}

/// A script ends well with `-- done`; else everything that it said is worth reading.
fn verdict(said: &shell::Said, log: &str) -> Result<(), Failure> {
    if said.status.code() == Some(CANNOT) {
        eprintln!("not checked: {}", said.text());
        return Ok(());
    }
    if said.status.success() && log.trim_end().ends_with("-- done") {
        log.lines().filter(|line| line.starts_with("-- ")).for_each(|line| eprintln!("{line}"));
        return Ok(());
    }
    let log = if log == said.text() { "" } else { log };
    Err(Failure::new(format!("the scenario failed ({})\n{}\n{log}", said.status, said.text())))
}
