//! Calls of cargo that several commands share, so that they share what was built as well.

use std::{path::PathBuf, process::Command};

use crate::shell::{self, Failure};

/// What cargo tells us of our own package. Build scripts watch these variables (ring's does), so a cargo that inherits
/// them builds half of the tree anew, and so does the next one that a person starts without them.
const OF_OUR_PACKAGE: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The cargo that runs us, in the workspace's folder, as if it were started by hand.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(shell::root());
    for (name, _) in std::env::vars_os() {
        if OF_OUR_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from)
}

/// Builds the binaries and the tests in one go. Built apart, they would differ in the features of shared
/// dependencies, and those would be compiled twice.
pub(crate) fn build_everything() -> Result<(), Failure> {
    shell::run(command().args(["build", "--workspace", "--bins", "--tests"]))
}

/// Builds the release of the proxy and says where it is.
pub(crate) fn build_release() -> Result<PathBuf, Failure> {
    shell::run(command().args(["build", "--release", "--package", "maitred"]))?;
    Ok(target().join("release/maitred"))
}

/// Builds the release of the proxy for `host` with one more flag of the compiler's, and says where it is. With the target
/// named, the flag is not for build scripts and macros, which run during the build.
pub(crate) fn build_release_for(host: &str, flag: &str) -> Result<PathBuf, Failure> {
    let words = ["build", "--release", "--locked", "--package", "maitred", "--target", host];
    shell::run(command().args(words).env("CARGO_ENCODED_RUSTFLAGS", flags_with(flag)))?;
    Ok(target().join(host).join("release/maitred"))
}

/// The flags that whoever calls us wants, and `flag`.
fn flags_with(flag: &str) -> String {
    let encoded = std::env::var("CARGO_ENCODED_RUSTFLAGS").ok();
    let plain =
        || std::env::var("RUSTFLAGS").ok().map(|flags| flags.split_whitespace().collect::<Vec<_>>().join(SEPARATOR));
    encoded
        .or_else(plain)
        .filter(|flags| !flags.is_empty())
        .map_or_else(|| flag.to_owned(), |flags| [&flags, flag].join(SEPARATOR))
}

/// What stands between the flags in `CARGO_ENCODED_RUSTFLAGS`, so that they may have spaces.
const SEPARATOR: &str = "\u{1f}";

/// The binary that [`build_everything`] makes.
pub(crate) fn debug_binary() -> PathBuf {
    target().join("debug/maitred")
}
