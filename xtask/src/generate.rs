//! `cargo xtask generate`: the pages and files that are derived from the code, and whether they are fresh.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cargo,
    shell::{self, Failure, because},
    source,
};

/// Folders that hold derived files only: what the binary no longer writes there is a leftover.
const DERIVED_FOLDERS: &[&str] = &["docs/reference/errors"];

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let check = match words {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(Failure::usage("`generate` takes nothing but `--check`")),
    };
    cargo::build_everything()?;
    let fresh = cargo::target().join("generate");
    let written = write_into(&fresh)?;
    let leftovers = leftovers(&written)?;
    if check { compare(&fresh, &written, &leftovers) } else { copy(&fresh, &written, &leftovers) }
}

/// Lets the binary write everything into an empty folder laid out like the project; gives back the relative paths.
fn write_into(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(because(format!("cannot empty {}", folder.display())))?;
    }
    fs::create_dir_all(folder).map_err(because(format!("cannot make {}", folder.display())))?;
    shell::output(Command::new(cargo::debug_binary()).arg("internal-docs").arg(folder))?;
    let written = source::files_below(folder)?;
    if written.is_empty() {
        return Err(Failure::new("`maitred internal-docs` wrote nothing"));
    }
    Ok(written)
}

fn leftovers(written: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut leftovers = Vec::new();
    for folder in DERIVED_FOLDERS {
        let there = source::files_below(&shell::root().join(folder))?;
        leftovers.extend(there.into_iter().map(|file| Path::new(folder).join(file)).filter(|f| !written.contains(f)));
    }
    Ok(leftovers)
}

fn compare(fresh: &Path, written: &[PathBuf], leftovers: &[PathBuf]) -> Result<(), Failure> {
    let differs = |file: &&PathBuf| fs::read(fresh.join(file)).ok() != fs::read(shell::root().join(file)).ok();
    let mut stale = 0;
    for file in written.iter().filter(differs) {
        eprintln!("stale: {}", file.display());
        stale += 1;
    }
    for file in leftovers {
        eprintln!("left over: {}", file.display());
        stale += 1;
    }
    match stale {
        0 => {
            eprintln!("{} derived files are fresh", written.len());
            Ok(())
        }
        1 => Err(Failure::new("a derived file is stale; run `cargo xtask generate` and commit what it writes")),
        n => Err(Failure::new(format!(
            "{n} derived files are stale; run `cargo xtask generate` and commit what it writes"
        ))),
    }
}

fn copy(fresh: &Path, written: &[PathBuf], leftovers: &[PathBuf]) -> Result<(), Failure> {
    for file in written {
        let to = shell::root().join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(because(format!("cannot make {}", folder.display())))?;
        }
        fs::copy(fresh.join(file), &to).map_err(because(format!("cannot write {}", to.display())))?;
    }
    for file in leftovers {
        fs::remove_file(shell::root().join(file)).map_err(because(format!("cannot remove {}", file.display())))?;
        eprintln!("removed {}", file.display());
    }
    eprintln!("wrote {} derived files", written.len());
    Ok(())
}
