//! An admin listener on loopback and on a unix socket, and a server behind it that only remembers what it was told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use document::Secret;
use maitred_admin::{
    Address, Admin, Backend, BackendOrder, Certificate, Checked, Control, Explain, Generation, Levels, LimitReading,
    Listener, Outcome, Reload, ReloadOrder, Reloaded, Settings, Source, Status, UpgradeOrder, Upgraded, Upstream, bind,
    serve,
};
use serde_json::{Value, json};
use telemetry::{Build, Metrics};
use tokio::sync::watch;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The token of listeners that have one.
pub(crate) const TOKEN: &str = "0123456789abcdef";

/// A running admin listener.
pub(crate) struct Running {
    pub(crate) admin: Arc<Admin>,
    pub(crate) server: Arc<Server>,
    metrics: Arc<Metrics>,
    pub(crate) tcp: std::net::SocketAddr,
    pub(crate) unix: std::path::PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
    folder: tempfile::TempDir,
}

/// A server that remembers what it was told, and says what it was asked to say.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) told: Mutex<Vec<String>>,
    generation: Mutex<u64>,
}

impl Server {
    fn hear(&self, what: impl Into<String>) {
        self.told.lock().unwrap().push(what.into());
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn generation(&self) -> Generation {
        let id = *self.generation.lock().unwrap() + 1;
        Generation { id, sha: format!("3f9c1{id}"), since: "2026-11-21T14:02:11Z".into(), by: "reload".into() }
    }

    fn reloaded(&self, outcome: Outcome) -> Reloaded {
        if outcome == Outcome::Applied {
            *self.generation.lock().unwrap() += 1;
        }
        Reloaded {
            outcome,
            generation: self.generation(),
            took_ms: 4,
            changes: vec!["+1 route (invoices)".into()],
            waiting: Vec::new(),
            on_trial: None,
            report: "error[E0201]: no".into(),
            diagnostics: vec![json!({ "code": "E0201" })],
        }
    }
}

#[async_trait]
impl Control for Server {
    async fn reload(&self, order: ReloadOrder) -> Reloaded {
        self.hear(format!("reload {order:?}"));
        match (order.abort_if.as_deref(), order.dry_run) {
            (Some("refuse"), _) => self.reloaded(Outcome::Refused),
            (_, true) => self.reloaded(Outcome::DryRun),
            _ => self.reloaded(Outcome::Applied),
        }
    }

    async fn confirm(&self) -> Result<Generation, String> {
        self.hear("confirm");
        Err("nothing is on trial".into())
    }

    async fn rollback(&self, to: Option<u64>) -> Reloaded {
        self.hear(format!("rollback {to:?}"));
        self.reloaded(Outcome::Applied)
    }

    async fn upgrade(&self, order: UpgradeOrder) -> Result<Upgraded, String> {
        self.hear(format!("upgrade {order:?}"));
        Err("the new process did not become ready within 1 s".into())
    }

    async fn stop(&self, now: bool) {
        self.hear(format!("stop {now}"));
    }

    fn order_backend(&self, upstream: &str, backend: &str, order: BackendOrder) -> bool {
        self.hear(format!("order {upstream} {backend} {order:?}"));
        upstream == "users" && backend == "u:80"
    }

    fn history(&self) -> Vec<Generation> {
        vec![self.generation()]
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { path: "/etc/maitred/maitred.toml".into(), text: "listen = \":8080\"\n".into() }]
    }

    fn effective(&self) -> Value {
        json!({ "routes": { "users": { "path": "/users/*", "auth": null } }, "upstreams": {} })
    }

    fn check(&self, text: &str) -> Checked {
        self.hear("check");
        let valid = !text.contains("wrong");
        Checked { valid, report: String::new(), diagnostics: Vec::new() }
    }

    fn other_secrets(&self, sealed: &maitred_admin::Sealed) -> Result<Vec<String>, String> {
        if sealed.salt.is_empty() { Err("no salt".into()) } else { Ok(sealed.secrets.keys().cloned().collect()) }
    }

    fn explain(&self, request: Explain) -> Result<Value, String> {
        if request.url.starts_with('/') { Ok(json!({ "route": "users" })) } else { Err("that is no URL".into()) }
    }

    fn cache(&self) -> maitred_admin::CacheReading {
        maitred_admin::CacheReading { capacity: 4096, bytes: 1024, entries: 2, evictions: 1, ..Default::default() }
    }

    async fn purge(&self, purge: &maitred_admin::Purge) -> Result<maitred_admin::Purged, String> {
        self.hear(format!("purge {purge:?}"));
        if purge.all { Ok(maitred_admin::Purged { purged: 2 }) } else { Err("all or nothing".into()) }
    }

    async fn warm(&self, order: maitred_admin::Warm) -> Result<maitred_admin::Warmed, String> {
        self.hear(format!("warm {:?}", order.urls));
        if order.urls.is_empty() { Err("nothing is asked for".into()) } else { Ok(maitred_admin::Warmed::default()) }
    }
}

/// The process log of that server.
struct Voice(Arc<Server>);

impl Levels for Voice {
    fn current(&self) -> String {
        let levels = |told: &String| told.strip_prefix("level ").map(str::to_owned);
        self.0.heard().iter().rev().find_map(levels).unwrap_or_else(|| "info".into())
    }

    fn set(&self, level: Option<&str>) -> Result<(), String> {
        if level == Some("loud") {
            return Err("`loud` is not a log level".into());
        }
        self.0.hear(format!("level {}", level.unwrap_or("info")));
        Ok(())
    }
}

fn status() -> Status {
    Status {
        config: Some("/etc/maitred/maitred.toml".into()),
        grace_seconds: 30,
        threads: 2,
        last_reload: Some(Reload { time: SystemTime::UNIX_EPOCH, applied: true }),
        cache: None,
        redis: None,
        limits: vec![LimitReading { name: "fair-use".into(), limited: 3 }],
        listeners: vec![Listener {
            name: "http".into(),
            addresses: vec!["127.0.0.1:8080".into()],
            certificates: vec![Certificate::new(vec!["example.com".into()], "/etc/site.pem".into(), 4_102_444_800)],
        }],
        upstreams: vec![Upstream {
            name: "users".into(),
            backends: vec![Backend {
                address: "u:80".into(),
                resolved: vec!["10.0.0.1:80".into()],
                weight: 3,
                state: "up".into(),
                trouble: None,
                in_flight: 0,
            }],
            waiting: 0,
            concurrency_limit: None,
        }],
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/") && self.head.contains("json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    pub(crate) fn with(token: Option<&str>) -> Self {
        let running = Self::new(token);
        running.admin.attach(running.server.clone());
        running
    }

    /// Nobody is there yet who could be told what to do.
    pub(crate) fn unattached() -> Self {
        Self::new(None)
    }

    fn new(token: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unix = folder.path().join("admin.sock");
        let addresses = vec![Address::Tcp("127.0.0.1:0".parse().unwrap()), Address::Unix(unix.clone())];
        let settings =
            Settings { addresses, token: token.map(Secret::new), assumed: false, run_socket: false, audit: None };
        let sockets = bind(&settings, |_| None).unwrap();
        let Address::Tcp(tcp) = *sockets[0].address() else { panic!("not TCP") };
        let build = Build { version: "1.2.3", revision: "abc", rustc: "1.90", tls: "rustls" };
        let server = Arc::new(Server::default());
        let metrics = Arc::new(Metrics::new(&build));
        let admin = Admin::new(metrics.clone(), build, status);
        let file = folder.path().join("audit.jsonl");
        let audit = telemetry::Audit::open(&file, Default::default(), metrics.audit_dropped()).unwrap();
        let admin = Arc::new(admin.with_levels(Voice(server.clone())));
        admin.write_audit_to(Some(audit));
        let (stop, stopped) = watch::channel(false);
        let served = Arc::clone(&admin);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(sockets, served, stopped)).unwrap();
        });
        Self { admin, server, metrics, tcp, unix, stop, thread: Some(thread), folder }
    }

    /// The metrics that the admin listener shows.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the audit log says by now.
    pub(crate) fn audited(&self) -> Vec<Value> {
        assert!(self.admin.flush(DEADLINE));
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Says that all is over.
    pub(crate) fn stop(&self) {
        self.stop.send(true).unwrap();
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends `request` and reads until the server closes.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let text = self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let Answered { status, head, body } = answered(&text);
        (status, head, body)
    }

    pub(crate) fn json(&self, path: &str) -> (u16, Value) {
        let (status, head, body) = self.ask("GET", path);
        (status, Answered { status, head, body }.json())
    }

    /// Sends a request over TCP, with these fields.
    pub(crate) fn over_tcp(&self, request: &str, fields: &[&str], body: &str) -> Answered {
        answered(&self.raw(&written(request, fields, body)))
    }

    /// Sends a request over the unix socket, with these fields.
    pub(crate) fn over_unix(&self, request: &str, fields: &[&str], body: &str) -> Answered {
        let mut stream = self.connect_unix();
        stream.write_all(written(request, fields, body).as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        answered(&text)
    }

    /// Sends an order in JSON over the unix socket.
    pub(crate) fn order(&self, path: &str, order: &Value) -> Answered {
        self.over_unix(&format!("POST {path}"), &["Content-Type: application/json"], &order.to_string())
    }

    pub(crate) fn connect_unix(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.unix).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Follows an event stream: its lines one after another, from the answer's head on.
    pub(crate) fn follow(&self, path: &str, fields: &[&str]) -> impl Iterator<Item = String> + use<> {
        let mut stream = self.connect_unix();
        let mut all = vec!["Accept: text/event-stream"];
        all.extend(fields);
        stream.write_all(written(&format!("GET {path}"), &all, "").as_bytes()).unwrap();
        BufReader::new(stream).lines().map_while(Result::ok)
    }
}

fn written(request: &str, fields: &[&str], body: &str) -> String {
    let mut text = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for field in fields {
        text.push_str(&format!("{field}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}

fn answered(text: &str) -> Answered {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    Answered { status: head[9..12].parse().unwrap(), head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        let joined = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || joined.is_some_and(|joined| joined.is_ok()));
        assert!(thread::panicking() || !self.unix.exists(), "the socket's file goes with it");
    }
}
