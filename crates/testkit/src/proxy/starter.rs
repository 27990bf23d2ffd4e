//! A process that is about to start, and one that was started and may not serve yet.

use std::{collections::BTreeMap, path::Path, process::Stdio, sync::Arc};

use tokio::process::Child;

use super::{Exit, Proxy, Successors, banner, binary, command, command_of, output::Output};
use crate::within;

/// A proxy that is about to start.
#[derive(Debug)]
pub struct Starter {
    folder: Arc<tempfile::TempDir>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    is_first: bool,
}

impl Starter {
    pub(super) fn of(folder: Arc<tempfile::TempDir>) -> Self {
        Self { folder, arguments: Vec::new(), environment: Vec::new(), is_first: false }
    }

    /// Writes another file beside the configuration.
    pub fn file(self, name: &str, content: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Adds a command-line argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Makes it the first process of a container, as far as it can tell: it has a namespace of processes of its own.
    pub fn first_process(mut self) -> Self {
        self.is_first = true;
        self
    }

    /// The folder that the configuration lies in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn spawn(&self) -> Child {
        let alone = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut command = match self.is_first {
            true => command_of(Path::new("unshare"), self.folder.path()),
            false => command(self.folder.path()),
        };
        if self.is_first {
            command.args(alone).arg(binary());
        }
        command.args(["run", "-c", "maitred.toml"]).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Starts it and waits until it is ready; fails the test with all that it printed otherwise.
    pub async fn start(self) -> Proxy {
        self.spawned().ready().await
    }

    /// Starts it and waits for nothing.
    pub fn spawned(self) -> Spawned {
        let mut child = self.spawn();
        let output = Output::collect(&mut child);
        Spawned { child, folder: self.folder, output }
    }

    /// Starts it and waits for it to give up.
    pub async fn refused(self) -> Exit {
        within("maitred to refuse to start", self.spawned().wait()).await
    }
}

/// A process that was started. Killed when it is dropped.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    folder: Arc<tempfile::TempDir>,
    output: Output,
}

impl Spawned {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("maitred is running")
    }

    /// Waits for it to end.
    pub async fn wait(mut self) -> Exit {
        let status = within("maitred to end", self.child.wait()).await.unwrap();
        self.output.exit(status).await
    }

    /// Waits until it serves; fails the test with all that it printed otherwise.
    pub async fn ready(self) -> Proxy {
        let Self { child, folder, output } = self;
        let ready = output.until("maitred to be ready", |lines| lines.iter().any(|line| line.starts_with("ready in")));
        ready.await;
        let mut listeners = BTreeMap::new();
        let mut first = None;
        for (name, address) in output.lines().iter().filter_map(|line| banner(line)) {
            if name != "admin" {
                first.get_or_insert_with(|| name.clone());
            }
            listeners.insert(name, address);
        }
        let first = first.unwrap_or_else(|| panic!("no listener in the banner: {:?}", output.lines()));
        Proxy { child, folder, listeners, first, output, successors: Successors::default() }
    }
}
