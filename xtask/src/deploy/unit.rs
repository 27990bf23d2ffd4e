//! The unit: systemd understands every line of it and finds it as closed as it says.

use std::{fs, path::Path, process::Command};

use super::package;
use crate::shell::{self, Failure, because};

/// Ten times the exposure that `systemd-analyze security` may find; docs/guides/systemd.md says what it is made of.
const EXPOSURE: &str = "20";

pub(super) fn check() -> Result<(), Failure> {
    let root = package::installed(&package::trial()?)?;
    neighbours(&root)?;
    let mut verify = analyze(&["verify", "--man=no"], &root);
    let said = shell::captured(&mut verify)?;
    // An unknown key is only a warning to systemd.
    if !said.status.success() || !said.text().is_empty() {
        return Err(Failure::new(format!("systemd does not take maitred.service\n{}", said.text())));
    }
    let mut security = analyze(&["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE], &root);
    shell::output(&mut security).map(drop)
}

fn analyze(words: &[&str], root: &Path) -> Command {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(words).arg(format!("--root={}", root.display())).arg("maitred.service");
    analyze
}

/// The units that ours stands beside are this machine's.
fn neighbours(root: &Path) -> Result<(), Failure> {
    let units = Path::new("/lib/systemd/system");
    let entries = fs::read_dir(units).map_err(because(format!("cannot read {}", units.display())))?;
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let wanted = path.extension().is_some_and(|kind| kind == "target" || kind == "slice" || kind == "socket");
        if wanted && path.is_file() {
            fs::copy(&path, root.join("lib/systemd/system").join(entry.file_name()))
                .map_err(because("cannot copy a unit"))?;
        }
    }
    Ok(())
}
