//! The server under test: this very binary in a process of its own, told what to do at its admin socket.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use admin::{Outcome as Came, Reloaded, Upgraded};
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::Folder;
use crate::{
    cli::{ColorWhen, Global},
    client::Client,
    commands::stop::until_gone,
    exit::Failure,
};

/// How long the server may take to start, and an order to be carried out.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(10);

/// The processes that serve, one after the other.
pub struct Server {
    client: Client,
    child: Child,
    pids: Vec<u32>,
    folder: PathBuf,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Footprint {
    /// Its id.
    pub pid: u32,
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
}

impl Server {
    /// Starts it on the configuration of `folder` and waits until it answers.
    pub fn start(folder: &Folder) -> Result<Self, Failure> {
        let log = File::create(folder.file("maitred.log"))?;
        let run = folder.file("run");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("-c").arg(folder.file("maitred.toml")).current_dir(folder.path());
        command.env("RUNTIME_DIRECTORY", &run).env("STATE_DIRECTORY", folder.file("state"));
        command.env_remove("MAITRED_CONFIG").env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        let global = Global {
            config: None,
            admin: Some(format!("unix:{}", run.join("admin.sock").display())),
            json: false,
            quiet: true,
            verbose: 0,
            color: ColorWhen::Never,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::find(&global) {
                Ok(client) if client.status["phase"] == "ready" => {
                    let pids = vec![child.id()];
                    return Ok(Self { client, child, pids, folder: folder.path().to_owned() });
                }
                Err(failure) if child.try_wait()?.is_some() || Instant::now() > deadline => {
                    let _ = child.kill();
                    return Err(failure);
                }
                _ => sleep(LOOK),
            }
        }
    }

    /// Where a listener can be reached.
    pub fn address(&self, listener: &str) -> Result<SocketAddr, Failure> {
        let listeners = self.client.status["listeners"].as_array();
        let found = listeners.into_iter().flatten().find(|found| found["name"] == listener);
        let address = found.and_then(|found| found["addresses"][0].as_str()).and_then(|url| url.split_once("://"));
        let authority = address.map(|(_, authority)| authority.trim_end_matches('/').replace("localhost", "127.0.0.1"));
        let address = authority.and_then(|authority| authority.parse().ok());
        address.ok_or_else(|| Failure::new(format!("the server does not say where its listener {listener} is")))
    }

    /// The number of the configuration in force.
    pub fn generation(&self) -> Option<Value> {
        self.client.again().map(|status| status["generation"]["id"].clone())
    }

    /// Applies the file. Says what came of it.
    pub fn reload(&self) -> Result<Came, Failure> {
        let reply = self.client.order("POST", "/api/v1/reload", &json!({}), PATIENCE)?;
        let reloaded: Reloaded = serde_json::from_value(reply.body.clone()).map_err(|_| reply.refusal())?;
        Ok(reloaded.outcome)
    }

    /// Has the next process take over.
    pub fn upgrade(&mut self) -> Result<(), Failure> {
        let reply = self.client.order("POST", "/api/v1/upgrade", &json!({}), PATIENCE)?.accepted()?;
        let upgraded: Upgraded = serde_json::from_value(reply).map_err(|error| Failure::new(error.to_string()))?;
        self.pids.push(upgraded.pid);
        Ok(())
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.pids.last().copied().unwrap_or_default()
    }

    /// What the process that serves holds.
    pub fn footprint(&self) -> io::Result<Footprint> {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|line| {
            let kibibytes = line.split_whitespace().next()?.parse::<u64>().ok()?;
            Some(kibibytes * 1024)
        });
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Footprint { pid, descriptors, memory_bytes: resident.unwrap_or(0) })
    }

    /// Waits for the processes that have drained, ends the one that serves, and says when one does not end.
    pub fn end(mut self) -> Result<(), Failure> {
        let serving = self.pid();
        for pid in self.pids.iter().filter(|pid| **pid != serving) {
            until_gone(&self.client, *pid, || false)?;
        }
        self.client.order("POST", "/api/v1/stop", &json!({ "now": false }), PATIENCE)?.accepted()?;
        until_gone(&self.client, serving, || false)?;
        self.pids.clear();
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let folder = self.folder.to_string_lossy().into_owned();
        // Most have ended by themselves, and their ids may be those of others by now.
        let is_ours =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&folder));
        for pid in self.pids.drain(..).filter(is_ours) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}
