//! `cargo xtask pgo`: the release, built twice. The first build counts which way it goes under the bench's load, and the
//! second one is laid out by those counts (profile-guided optimisation, docs/adr/0052).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bench, cargo, packages,
    shell::{self, Failure, Times, because},
};

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    if !words.is_empty() {
        return Err(Failure::usage("`pgo` takes nothing"));
    }
    println!("{}", build()?.display());
    Ok(())
}

/// Builds the release with a profile, and says where it is.
pub(crate) fn build() -> Result<PathBuf, Failure> {
    // Not after a build of minutes.
    bench::ensure_cores()?;
    packages::ensure(&[packages::BUILD, packages::BENCH])?;
    let mut times = Times::default();
    let result = steps(&mut times);
    times.print();
    result
}

fn steps(times: &mut Times) -> Result<PathBuf, Failure> {
    let compiler = Compiler::ask()?;
    let merge = times.step("llvm-profdata", || compiler.profdata())?;
    let folder = cargo::target().join("pgo");
    let (counts, profile) = (folder.join("counts"), folder.join("maitred.profdata"));
    shell::empty(&counts)?;
    let counting = format!("-Cprofile-generate={}", counts.display());
    let counting = times.step("build that counts", || cargo::build_release_for(&compiler.host, &counting))?;
    times.step("load", || bench::exercise(&counting))?;
    times.step("profile", || shell::run(Command::new(&merge).args(["merge", "-o"]).arg(&profile).arg(&counts)))?;
    let profiled = format!("-Cprofile-use={}", profile.display());
    let profiled = times.step("build with the profile", || cargo::build_release_for(&compiler.host, &profiled))?;
    let binary = folder.join("maitred");
    fs::copy(profiled, &binary).map_err(because(format!("cannot write {}", binary.display())))?;
    Ok(binary)
}

/// The compiler that cargo uses here.
struct Compiler {
    /// What it compiles for where nothing is said.
    host: String,
    /// Where it has what belongs to it.
    sysroot: PathBuf,
}

impl Compiler {
    fn ask() -> Result<Self, Failure> {
        let said = |words: &[&str]| {
            let said = shell::output(Command::new("rustc").current_dir(shell::root()).args(words))?;
            Ok(String::from_utf8_lossy(&said).trim().to_owned())
        };
        let host =
            host(&said(&["--version", "--verbose"])?).ok_or_else(|| Failure::new("rustc does not say its host"))?;
        Ok(Self { host, sysroot: said(&["--print", "sysroot"])?.into() })
    }

    /// The program that merges profiles. It has to be of the very LLVM that the compiler is made of: formats change.
    fn profdata(&self) -> Result<PathBuf, Failure> {
        let program = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        if program.is_file() {
            return Ok(program);
        }
        let mut add = Command::new("rustup");
        let added = shell::run(add.current_dir(shell::root()).args(["component", "add", "llvm-tools"]));
        match added {
            Ok(()) if program.is_file() => Ok(program),
            _ => Err(missing(&program)),
        }
    }
}

fn missing(program: &Path) -> Failure {
    Failure::new(format!(
        "a build with a profile needs {}, which comes with `rustup component add llvm-tools`; \
         `cargo build --release --package maitred` does without",
        program.display()
    ))
}

/// The line `host: …` of what rustc says of itself.
fn host(said: &str) -> Option<String> {
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_where_rustc_says_it() {
        let said =
            "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: aarch64-unknown-linux-gnu\nrelease: 1.95.0";
        assert_eq!(host(said).as_deref(), Some("aarch64-unknown-linux-gnu"));
        assert_eq!(host("rustc 1.95.0"), None);
        assert_eq!(Compiler::ask().unwrap().sysroot.join("lib").try_exists().ok(), Some(true));
    }
}
