//! What a process prints, line by line, for tests to wait on.

use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
    sync::watch,
    task::JoinHandle,
};

use super::Exit;
use crate::{LIMIT, within};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Stdout,
    Stderr,
}

#[derive(Debug, Default)]
struct Lines {
    all: Mutex<Vec<(From, String)>>,
    changed: watch::Sender<u64>,
}

/// The collected output of one process.
#[derive(Debug)]
pub(super) struct Output {
    lines: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

impl Output {
    /// Starts to read both outputs of `child`.
    pub(super) fn collect(child: &mut Child) -> Self {
        let lines = Arc::new(Lines::default());
        let stdout = tokio::spawn(read(child.stdout.take().unwrap(), From::Stdout, lines.clone()));
        let stderr = tokio::spawn(read(child.stderr.take().unwrap(), From::Stderr, lines.clone()));
        Self { lines, readers: vec![stdout, stderr] }
    }

    /// All lines so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.all.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
    }

    fn log(&self) -> Vec<Value> {
        let lines = self.lines.all.lock().unwrap();
        let stdout = lines.iter().filter(|(from, line)| *from == From::Stdout && line.starts_with('{'));
        stdout.filter_map(|(_, line)| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until `condition` holds for the lines; fails the test, showing all of them, when the process ends before.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&[String]) -> bool) {
        let mut changed = self.lines.changed.subscribe();
        let met = async {
            loop {
                changed.borrow_and_update();
                if condition(&self.lines()) {
                    return true;
                }
                if self.readers.iter().all(JoinHandle::is_finished) {
                    return condition(&self.lines());
                }
                let _ = tokio::time::timeout(std::time::Duration::from_millis(200), changed.changed()).await;
            }
        };
        let met = tokio::time::timeout(LIMIT, met).await;
        assert_eq!(met, Ok(true), "waited in vain for {what}; it printed:\n{}", self.lines().join("\n"));
    }

    /// Waits for `count` lines of the access log.
    pub(super) async fn until_log(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} lines of the access log");
        self.until(&what, |_| self.log().len() >= count).await;
        self.log()
    }

    /// Waits for a line of the access log that `condition` holds for.
    pub(super) async fn until_logged(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        self.until(what, |_| self.log().iter().any(&condition)).await;
        self.log().into_iter().find(|line| condition(line)).unwrap_or_default()
    }

    /// What is known once the process has ended.
    pub(super) async fn exit(self, status: ExitStatus) -> Exit {
        for reader in self.readers {
            let _ = within("the output's end", reader).await;
        }
        let lines = self.lines.all.lock().unwrap();
        let of = |wanted: From| {
            lines.iter().filter(|(from, _)| *from == wanted).map(|(_, line)| format!("{line}\n")).collect()
        };
        Exit { code: status.code(), signal: status.signal(), stdout: of(From::Stdout), stderr: of(From::Stderr) }
    }
}

async fn read(source: impl AsyncRead + Unpin, from: From, lines: Arc<Lines>) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
        lines.all.lock().unwrap().push((from, text));
        lines.changed.send_modify(|n| *n += 1);
        line.clear();
    }
    lines.changed.send_modify(|n| *n += 1);
}
