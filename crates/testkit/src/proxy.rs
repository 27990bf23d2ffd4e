//! The real binary on free ports, with its output collected.

mod output;
mod starter;

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use serde_json::Value;
use tokio::process::{Child, Command};

use self::output::Output;
pub use self::starter::{Spawned, Starter};
use crate::{Address, Connection, Fields, H2, Request, Response, Stream, WebSocket, websocket, within};

/// The binary under test: `$MAITRED_BIN`, else `target/debug/maitred` of this workspace.
pub fn binary() -> PathBuf {
    let file = match std::env::var_os("MAITRED_BIN") {
        Some(file) => PathBuf::from(file),
        None => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            target.unwrap_or_else(|| workspace.join("target")).join("debug/maitred")
        }
    };
    assert!(file.is_file(), "{} does not exist: build it with `cargo build -p maitred`", file.display());
    file
}

/// The folder for sockets below the folder of the configuration, so that no two proxies of parallel tests meet.
const RUN_FOLDER: &str = "run";

/// The folder for what outlives the process, likewise.
const STATE_FOLDER: &str = "state";

/// The binary about to run in `folder`, with nothing of the environment that would lead it elsewhere.
fn command(folder: &Path) -> Command {
    command_of(&binary(), folder)
}

fn command_of(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_remove("MAITRED_CONFIG").env("RUNTIME_DIRECTORY", folder.join(RUN_FOLDER));
    command.env("STATE_DIRECTORY", folder.join(STATE_FOLDER));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command of the binary in `folder` and waits for its end.
pub async fn maitred<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Exit {
    let mut command = command(folder);
    command.args(arguments);
    let output = within("maitred to end", command.output()).await.unwrap();
    Exit {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// How the process ended, and all that it printed.
#[derive(Debug, Clone)]
pub struct Exit {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Exit {
    /// Fails the test when the exit code is another one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// A running maitred. Killed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    folder: Arc<tempfile::TempDir>,
    listeners: BTreeMap<String, Address>,
    first: String,
    output: Output,
    successors: Successors,
}

/// The processes that have taken over, the last one last. Killed when dropped.
#[derive(Debug, Default)]
struct Successors(Vec<u32>);

impl Drop for Successors {
    fn drop(&mut self) {
        for pid in &self.0 {
            // Most have ended by themselves.
            let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Proxy {
    /// A proxy with this configuration. Where the text has no listener it gets one, and where it has no `[admin]` it
    /// gets that, both on free loopback ports.
    pub fn with(configuration: impl AsRef<str>) -> Starter {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        write(folder.path(), configuration.as_ref());
        Starter::of(folder)
    }

    /// Starts a proxy with this configuration (see [`Proxy::with`]) and waits until it is ready.
    pub async fn start(configuration: impl AsRef<str>) -> Self {
        Self::with(configuration).start().await
    }

    /// Another process with the same configuration in the same folder.
    pub fn beside(&self) -> Starter {
        Starter::of(self.folder.clone())
    }

    /// The address of the first listener of the banner.
    pub fn address(&self) -> &Address {
        self.listener(&self.first)
    }

    /// The address of the listener `name`.
    #[track_caller]
    pub fn listener(&self, name: &str) -> &Address {
        self.listeners.get(name).unwrap_or_else(|| panic!("no listener {name} in the banner: {:?}", self.listeners))
    }

    /// The URL of `path` at the first listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The folder that the configuration lies in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The unix socket of the admin plane, which is there whatever the configuration says.
    pub fn admin_socket(&self) -> Address {
        Address::Unix(self.folder.path().join(RUN_FOLDER).join("admin.sock"))
    }

    /// Runs a command of the binary against this proxy, such as `["status", "--json"]`, and waits for its end.
    pub async fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Exit {
        maitred(self.folder.path(), arguments).await
    }

    /// A new HTTP/1 connection to the first listener.
    pub async fn connect(&self) -> Connection {
        Connection::to(self.address()).await
    }

    /// A new connection to the first listener, without a protocol.
    pub async fn stream(&self) -> Stream {
        self.address().connect().await
    }

    /// A new HTTP/2 connection with prior knowledge to the first listener.
    pub async fn h2c(&self) -> H2 {
        H2::over(self.stream().await, &self.address().to_string()).await
    }

    /// A WebSocket for `path` through the first listener.
    pub async fn websocket(&self, path: &str) -> WebSocket {
        websocket(self.stream().await, &self.address().to_string(), path).await
    }

    /// Sends a request on a connection of its own.
    pub async fn fetch(&self, request: Request) -> Response {
        self.connect().await.fetch(request).await
    }

    /// Gets `target` on a connection of its own.
    pub async fn get(&self, target: &str) -> Response {
        self.fetch(Request::get(target)).await
    }

    /// Sends these bytes on a connection of their own and gives everything that comes back until it closes.
    pub async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut connection = self.connect().await;
        connection.send(bytes).await;
        String::from_utf8_lossy(&connection.rest().await).into_owned()
    }

    /// Gets `target` from the admin address.
    pub async fn admin(&self, target: &str) -> Response {
        Connection::to(self.listener("admin")).await.fetch(Request::get(target)).await
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.expect(200).text()
    }

    /// The sum of all samples of the metric `name` (with the prefix `maitred_` left out) that have these labels.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.metrics().await;
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, labelled) = series.split_once('{').unwrap_or((series, ""));
            let named = metric.strip_prefix("maitred_") == Some(name);
            let matching = labels.iter().all(|(key, value)| labelled.contains(&format!("{key}=\"{value}\"")));
            (named && matching).then(|| value.parse::<f64>().ok())?
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).sum()
    }

    /// Waits until [`metric`](Proxy::metric) is at least `value`.
    pub async fn until_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let reached = self.until_sum(name, labels, |sum| sum >= value);
        within(format!("{name} {labels:?} to reach {value}"), reached).await;
    }

    /// Waits until [`metric`](Proxy::metric) is `value`.
    pub async fn until_metric_is(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let reached = self.until_sum(name, labels, |sum| sum == value);
        within(format!("{name} {labels:?} to be {value}"), reached).await;
    }

    async fn until_sum(&self, name: &str, labels: &[(&str, &str)], is_meant: impl Fn(f64) -> bool) {
        while !is_meant(self.metric(name, labels).await) {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for `count` lines of the access log and gives them all.
    pub async fn access_log(&self, count: usize) -> Vec<Value> {
        self.output.until_log(count).await
    }

    /// Waits for the access log's line of the first request whose path is `path`.
    pub async fn logged(&self, path: &str) -> Value {
        self.output.until_logged(&format!("a line for {path}"), |line| line["path"] == path).await
    }

    /// Waits for a line of the access log with this reason.
    pub async fn logged_error(&self, reason: &str) -> Value {
        self.output.until_logged(&format!("a line with the error {reason}"), |line| line["error"] == reason).await
    }

    /// Waits for a line of standard output or error that `text` is part of.
    pub async fn printed(&self, text: &str) -> String {
        let what = format!("maitred to print {text:?}");
        self.output.until(&what, |lines| lines.iter().any(|line| line.contains(text))).await;
        self.output.lines().into_iter().find(|line| line.contains(text)).unwrap_or_default()
    }

    /// Everything printed so far, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines()
    }

    /// The id of the process that serves.
    pub fn pid(&self) -> u32 {
        self.successors.0.last().copied().unwrap_or_else(|| self.child.id().expect("maitred is running"))
    }

    /// Upgrades it to `binary`, or to the one that it runs, and gives what the command said; the process that was there
    /// before is gone then.
    pub async fn upgrade(&mut self, arguments: &[&str]) -> Value {
        let told = self.command(["--json", "upgrade"].iter().chain(arguments).copied()).await.expect(0);
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        self.succeeded_by(told["pid"].as_u64().unwrap() as u32);
        told
    }

    /// Says that another process serves now.
    pub fn succeeded_by(&mut self, pid: u32) {
        self.successors.0.push(pid);
    }

    /// The resident memory in bytes.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that there ever was, in bytes.
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How many file descriptors the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(kill.await.unwrap().success(), "cannot send {name}");
    }

    /// Kills the process that was started, at this very moment.
    pub fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// Writes another configuration in the place of the one that it was started with (see [`Proxy::with`]).
    pub fn configure(&self, configuration: impl AsRef<str>) {
        write(self.folder.path(), configuration.as_ref());
    }

    /// Writes another configuration and has it applied by signal; gives the line of the log that says what came of it.
    pub async fn hang_up(&self, configuration: impl AsRef<str>) -> String {
        let about = |line: &&String| line.contains(" HUP: ") && !line.contains(" audit] ");
        let said = |lines: &[String]| lines.iter().filter(about).count();
        let before = said(&self.output.lines());
        self.configure(configuration);
        self.signal("HUP").await;
        self.output.until("the reload to be told of", |lines| said(lines) > before).await;
        self.output.lines().iter().filter(about).nth(before).cloned().unwrap_or_default()
    }

    /// Ends it, and gives what starts it again in the same folder.
    pub async fn stop(self) -> Starter {
        let folder = Arc::clone(&self.folder);
        self.signal("TERM").await;
        self.wait().await.expect(0);
        Starter::of(folder)
    }

    /// Waits for the process to end.
    pub async fn wait(mut self) -> Exit {
        let status = within("maitred to end", self.child.wait()).await.unwrap();
        self.output.exit(status).await
    }

    /// Waits until nobody accepts connections at the first listener any more.
    pub async fn until_refusing(&self) {
        let refused = async {
            while self.address().try_connect().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within("the listener to close", refused).await;
    }
}

/// Writes the configuration file, with a listener and an admin address on free loopback ports where it has none.
fn write(folder: &Path, text: &str) {
    let mut whole = String::new();
    if !text.contains("listen") {
        whole.push_str("listen = \"127.0.0.1:0\"\n");
    }
    whole.push_str(text);
    if !text.contains("[admin]") {
        whole.push_str("\n[admin]\naddress = \"127.0.0.1:0\"\n");
    }
    let (file, beside) = (folder.join("maitred.toml"), folder.join("maitred.toml.new"));
    std::fs::write(&beside, whole).unwrap();
    std::fs::rename(beside, file).unwrap();
}

/// Reads `  name   http://127.0.0.1:41231   …` off the banner.
fn banner(line: &str) -> Option<(String, Address)> {
    let mut words = line.strip_prefix("  ")?.split_whitespace();
    let name = words.next()?.to_owned();
    let place = words.next()?;
    if let Some(path) = place.strip_prefix("unix:") {
        return Some((name, Address::Unix(path.trim_start_matches("//").into())));
    }
    let (_, authority) = place.split_once("://")?;
    let authority = authority.split('/').next()?.replace("localhost", "127.0.0.1");
    Some((name, Address::Tcp(authority.parse().ok()?)))
}

/// Whether the fields that every answer of ours carries are there; used by several subjects.
impl Response {
    /// The id that maitred gave the request.
    pub fn request_id(&self) -> Option<&str> {
        let fields: &Fields = &self.headers;
        fields.get("x-request-id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_is_read() {
        let address = |text: &str| Address::Tcp(text.parse().unwrap());
        let http = banner("  http    http://127.0.0.1:41231     2 routes");
        assert_eq!(http, Some(("http".into(), address("127.0.0.1:41231"))));
        let local = banner("  admin   http://localhost:9911     dashboard, API, /metrics");
        assert_eq!(local, Some(("admin".into(), address("127.0.0.1:9911"))));
        assert_eq!(banner("  app     unix:/run/app.sock"), Some(("app".into(), Address::Unix("/run/app.sock".into()))));
        assert_eq!(banner("maitred 0.1.0   maitred.toml   8 threads"), None);
    }
}
