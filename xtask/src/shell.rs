//! Running other programs, and saying how long they took.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Why a command of ours ends badly: the sentence, and the exit code it deserves.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    code: u8,
}

impl Failure {
    /// The operation failed.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code: 1 }
    }

    /// The command line is wrong.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code: 2 }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Says what failed and why, for errors of the operating system.
pub(crate) fn because<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(format!("{what}: {error}"))
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// The program `name`, wherever Debian puts it: also in the folders that only root's PATH has.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(beside).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs `command` with our output, after printing it; fails with the command in the sentence.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = describe(command);
    eprintln!("$ {line}");
    let status = command.stdin(Stdio::null()).status().map_err(because(format!("cannot run `{line}`")))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{line}` failed ({status})"))) }
}

/// Runs `command` without its output and says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs `command` and gives back what it printed to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let said = captured(command)?;
    if said.status.success() {
        return Ok(said.stdout);
    }
    Err(Failure::new(format!("`{}` failed ({})\n{}", describe(command), said.status, said.text())))
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Said {
    /// How it ended.
    pub(crate) status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Said {
    /// Everything that it printed.
    pub(crate) fn text(&self) -> String {
        let (stderr, stdout) = (String::from_utf8_lossy(&self.stderr), String::from_utf8_lossy(&self.stdout));
        format!("{stderr}{stdout}").trim_end().to_owned()
    }
}

/// Runs `command` and gives back how it ended, whichever way.
pub(crate) fn captured(command: &mut Command) -> Result<Said, Failure> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(because(format!("cannot run `{}`", describe(command))))?;
    Ok(Said { status: output.status, stdout: output.stdout, stderr: output.stderr })
}

/// Whether we run as root.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_ascii() == b"0")
}

/// Makes `folder` and leaves nothing in it.
pub(crate) fn empty(folder: &Path) -> Result<(), Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(because(format!("cannot empty {}", folder.display())))?;
    }
    fs::create_dir_all(folder).map_err(because(format!("cannot make {}", folder.display())))
}

/// The command as a person would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// How long each of several steps took.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<(&'static str, Duration)>);

impl Times {
    /// Does a step and remembers how long it took, also when it fails.
    pub(crate) fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let result = work();
        self.0.push((name, start.elapsed()));
        result
    }

    /// Prints one line a step.
    pub(crate) fn print(&self) {
        for (name, time) in &self.0 {
            eprintln!("{:>8.1} s  {name}", time.as_secs_f64());
        }
    }
}
