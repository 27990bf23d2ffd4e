//! Real tools: curl and whatever else a scripted run needs.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::within_limit;

/// What curl did.
#[derive(Debug, Clone)]
pub struct Curl {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Curl {
    /// Fails the test unless curl ended well; gives its output as text.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "curl failed: {}", self.stderr);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs curl, silent but for its errors, and waits for at most two minutes.
pub async fn curl<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Curl {
    let mut command = tool("curl", "curl");
    command.args(["--silent", "--show-error"]).args(arguments);
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within_limit(Duration::from_secs(120), "curl to end", running).await.unwrap();
    Curl {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command that runs the tool `name`; fails the test, naming the package to install, when it is missing.
pub fn tool(name: &str, package: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    let Some(file) = found else {
        panic!("`{name}` is missing: install the package `{package}` (`cargo xtask test` does)");
    };
    let mut command = Command::new(file);
    command.kill_on_drop(true);
    command
}
