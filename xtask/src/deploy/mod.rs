//! `cargo xtask deploy`: what lies in deploy/ is what systemd, dpkg, Docker, Kubernetes and Prometheus take.

mod boot;
mod chart;
mod image;
mod metrics;
mod package;
mod tools;
mod unit;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cargo, packages, pgo,
    shell::{self, Failure, Times, because},
};

/// What can be checked apart, in the order of the price.
const PARTS: &[Part] = &[
    Part { name: "metrics", check: metrics::check },
    Part { name: "image", check: image::check },
    Part { name: "chart", check: chart::check },
    Part { name: "package", check: package::check },
    Part { name: "unit", check: unit::check },
    Part { name: "container", check: boot::container },
    Part { name: "boot", check: boot::check },
];

struct Part {
    name: &'static str,
    check: fn() -> Result<(), Failure>,
}

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let named = |part: &&Part| words.is_empty() || words.iter().any(|word| word == part.name);
    let parts: Vec<&Part> = PARTS.iter().filter(named).collect();
    if parts.len() < words.len() {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        return Err(Failure::usage(format!("the parts of deploy/ are {}", names.join(", "))));
    }
    packages::ensure(&[packages::BUILD, packages::DEPLOY])?;
    let mut times = Times::default();
    let result = steps(&parts, &mut times);
    times.print();
    result
}

fn steps(parts: &[&Part], times: &mut Times) -> Result<(), Failure> {
    times.step("tools", tools::ensure)?;
    times.step("build", cargo::build_everything)?;
    for part in parts {
        eprintln!("\n-- {}", part.name);
        times.step(part.name, part.check)?;
    }
    Ok(())
}

/// `cargo xtask package`: the Debian package of the release, with a profile where nothing else is said.
pub(crate) fn package(words: &[String]) -> Result<(), Failure> {
    let build = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => pgo::build,
        ["--no-pgo"] => cargo::build_release,
        _ => return Err(Failure::usage("`package` takes `--no-pgo` or nothing")),
    };
    packages::ensure(&[packages::BUILD, packages::DEPLOY])?;
    tools::ensure_cargo_deb()?;
    let binary = build()?;
    let made = package::assemble(&binary, package::Kind::Release)?;
    println!("{}", made.display());
    Ok(())
}

/// An empty folder of this name below `target/deploy`.
fn scratch(name: &str) -> Result<PathBuf, Failure> {
    let folder = cargo::target().join("deploy").join(name);
    shell::empty(&folder)?;
    Ok(folder)
}

/// `maitred check` takes the configuration `text`. What it reads from the file system of a container or of a server is
/// put below `folder`.
fn check_configuration(text: &str, place: &str, folder: &Path) -> Result<(), Failure> {
    let write =
        |file: &Path, text: &str| fs::write(file, text).map_err(because(format!("cannot write {}", file.display())));
    let mut text = text.to_owned();
    for (there, here, content) in [
        ("/run/secrets/admin_token", "token", "0123456789abcdef0123"),
        ("/run/secrets/maitred/token", "token", "0123456789abcdef0123"),
    ] {
        write(&folder.join(here), content)?;
        text = text.replace(there, &folder.join(here).display().to_string());
    }
    if text.contains("/etc/tls/") {
        certificate(folder)?;
        text = text.replace("/etc/tls", &folder.display().to_string());
    }
    let file = folder.join("checked.toml");
    write(&file, &text)?;
    let mut check = Command::new(cargo::debug_binary());
    check.args(["check", "--strict", "--offline", "--color", "never", "--config"]).arg(&file);
    let said = shell::captured(&mut check)?;
    match said.status.success() {
        true => Ok(()),
        false => Err(Failure::new(format!("`maitred check --strict` does not take {place}\n{}", said.text()))),
    }
}

/// `tls.crt` and `tls.key` in `folder`.
fn certificate(folder: &Path) -> Result<(), Failure> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365"]);
    openssl.args(["-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com", "-keyout"]);
    openssl.arg(folder.join("tls.key")).arg("-out").arg(folder.join("tls.crt"));
    shell::output(&mut openssl).map(drop)
}
