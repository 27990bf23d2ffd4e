//! The package and its service under a systemd of our own: installed, reloaded, upgraded under load, killed, removed.

use std::{fs, process::Command};

use super::{package, scratch};
use crate::shell::{self, Failure, because};

/// How boot.sh says that this machine cannot do it.
const CANNOT: i32 = 75;

pub(super) fn check() -> Result<(), Failure> {
    if !shell::is_root() {
        eprintln!("not checked: a systemd of our own needs root");
        return Ok(());
    }
    let (folder, made) = (scratch("boot")?, package::trial()?);
    for revision in 1..=3 {
        package::revise(&made, revision, &folder)?;
    }
    let scripts = shell::root().join("xtask/deploy");
    fs::copy(scripts.join("scenario.sh"), folder.join("scenario.sh")).map_err(because("cannot copy the scenario"))?;
    let said = shell::captured(Command::new("sh").arg(scripts.join("boot.sh")).arg(&folder))?;
    if said.status.code() == Some(CANNOT) {
        eprintln!("not checked: {}", said.text());
        return Ok(());
    }
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    if said.status.success() && log.ends_with("-- done\n") {
        log.lines().filter(|line| line.starts_with("-- ")).for_each(|line| eprintln!("{line}"));
        return Ok(());
    }
    Err(Failure::new(format!("the scenario failed ({})\n{}\n{log}", said.status, said.text())))
}
