//! Limits that several processes count together, in a real Redis that is stopped, killed and slow.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::future::join_all;
use testkit::{Answer, Authority, Gate, Origin, Proxy, Request, within};

use crate::setting::{BOTH, route};

/// A Redis of a test's own, on a socket in a folder of its own.
pub struct Redis {
    child: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = Self::spawn(&folder, &arguments);
        let redis = Self { child, folder, arguments };
        redis.ready().await;
        redis
    }

    fn spawn(folder: &tempfile::TempDir, arguments: &[String]) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(folder.path().join("redis.sock")).arg("--dir").arg(folder.path()).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    async fn ready(&self) {
        let listens = async {
            while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
                tokio::task::yield_now().await;
            }
        };
        within("redis to listen", listens).await;
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.child = Self::spawn(&self.folder, &self.arguments);
        self.ready().await;
    }

    /// What a command of `redis-cli` prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A configuration with one route that answers by itself, under a limit that is counted here.
    fn configuration(&self, limit: &str, timeout: &str) -> String {
        format!(
            "{BOTH}[redis]\nurl = \"unix:{}\"\ntimeout = \"{timeout}\"\n[routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = {{ {limit}, store = \"redis\" }}\n",
            self.socket().display()
        )
    }

    /// A proxy that has found this Redis, and has patience: on a busy machine 20 ms are soon over, and then each process
    /// counts by itself.
    async fn proxy(&self, limit: &str) -> Proxy {
        self.found_by(self.configuration(limit, "1s")).await
    }

    async fn found_by(&self, configuration: String) -> Proxy {
        let proxy = Proxy::start(configuration).await;
        proxy.printed("redis: connected to").await;
        proxy
    }
}

/// The statuses of `count` requests over `connections` connections.
pub async fn statuses(proxy: &Proxy, count: usize, connections: usize) -> Vec<u16> {
    let client = |number: usize| async move {
        let mut connection = proxy.connect().await;
        let mut statuses = Vec::new();
        for _ in 0..(count / connections + usize::from(number < count % connections)) {
            statuses.push(connection.fetch(Request::get("/")).await.status);
        }
        statuses
    };
    join_all((0..connections).map(client)).await.concat()
}

pub fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|own| **own == status).count()
}

#[tokio::test]
async fn two_processes_together_never_let_more_pass() {
    let redis = Redis::start().await;
    for (limit, days) in [
        ("requests = 100, window = \"1h\"", 7),
        ("rate = \"100/h\"", 7),
        ("requests = 100, window = \"1h\", burst = 100", 7),
        ("requests = 100, window = \"7d\", align = \"calendar\"", 7),
        ("requests = 100, window = \"1mo\", align = \"calendar\"", 31),
    ] {
        redis.cli(&["flushall"]);
        let (one, two) = tokio::join!(redis.proxy(limit), redis.proxy(limit));
        let (first, second) = tokio::join!(statuses(&one, 110, 16), statuses(&two, 110, 16));
        let all = [first, second].concat();
        assert_eq!((count(&all, 200), count(&all, 429)), (100, 120), "{limit}");
        let refused = one.get("/").await.expect_problem(429, "quota-exceeded");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=days * 86_400).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn who_waits_as_long_as_told_passes_under_a_shared_limit_too() {
    let redis = Redis::start().await;
    for limit in ["requests = 2, window = \"1500ms\"", "rate = \"2/s\", burst = 2"] {
        redis.cli(&["flushall"]);
        let proxy = redis.proxy(limit).await;
        assert_eq!(statuses(&proxy, 3, 1).await, [200, 200, 429], "{limit}");
        let refused = proxy.get("/").await.expect(429);
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        let told = Instant::now();
        within("the time to be over", async { while proxy.get("/").await.status == 429 {} }).await;
        assert!(told.elapsed() <= Duration::from_secs(wait + 1), "{:?} in place of {wait} s", told.elapsed());
    }
}

#[tokio::test]
async fn nobody_waits_or_fails_because_redis_is_stopped_killed_or_started_again() {
    let mut redis = Redis::start().await;
    let hasty = redis.configuration("requests = 1000, window = \"1h\", key = \"route\"", "20ms");
    let proxy = redis.found_by(hasty).await;
    assert_eq!(count(&statuses(&proxy, 50, 4).await, 200), 50);

    // It hangs: a few requests wait as long as they may, and then nobody does any more.
    redis.signal("STOP");
    let began = Instant::now();
    assert_eq!(count(&statuses(&proxy, 200, 1).await, 200), 200);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    proxy.printed("is away: it does not answer in time").await;
    redis.signal("CONT");
    let told = || async { proxy.admin("/api/v1/status").await.expect(200).json()["redis"].clone() };
    within("redis to be back", async { while told().await["up"] != true {} }).await;

    redis.kill();
    assert_eq!(count(&statuses(&proxy, 200, 16).await, 200), 200);
    assert_eq!(told().await["up"], false);
    assert!(proxy.command(["status"]).await.expect(0).stdout.contains("away: "));
    assert!(proxy.metric("limit_total", &[("result", "store_error")]).await > 0.0);
    redis.restart().await;
    within("redis to be asked again", async {
        while redis.cli(&["keys", "*"]).trim().is_empty() {
            proxy.get("/").await.expect(200);
        }
    })
    .await;

    // Under load, over and over.
    let restarting = async {
        for _ in 0..3 {
            redis.kill();
            redis.restart().await;
        }
    };
    let (all, ()) = tokio::join!(statuses(&proxy, 300, 8), restarting);
    assert_eq!(count(&all, 200), 300);
}

/// How long the slowest of many requests took, of those that ask Redis and of those beside them that do not.
async fn slowest(proxy: &Proxy, over: &std::sync::atomic::AtomicBool) -> [Duration; 2] {
    let client = |_| async {
        let (mut connection, mut slowest) = (proxy.connect().await, [Duration::ZERO; 2]);
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            for (path, slowest) in ["/shared", "/own"].into_iter().zip(&mut slowest) {
                let began = Instant::now();
                connection.fetch(Request::get(path)).await.expect(200);
                *slowest = began.elapsed().max(*slowest);
            }
        }
        slowest
    };
    let all = join_all((0..8).map(client)).await;
    [0, 1].map(|index| all.iter().map(|slowest| slowest[index]).max().unwrap())
}

#[tokio::test]
async fn no_request_waits_more_than_20_ms_whatever_becomes_of_redis() {
    let mut redis = Redis::start().await;
    let own =
        "[routes.own]\npath = \"/own\"\nrespond = { body = \"x\" }\nlimit = { requests = 1000000, window = \"1h\" }\n";
    let text = redis.configuration("requests = 1000000, window = \"1h\"", "20ms") + own;
    let proxy = redis.found_by(text).await;
    let is_up = async |up: bool| {
        within("redis to be told of", async {
            while proxy.admin("/api/v1/status").await.expect(200).json()["redis"]["up"] != up {}
        })
        .await;
    };
    let over = std::sync::atomic::AtomicBool::new(false);
    let trouble = async {
        for _ in 0..3 {
            // Slow for a while, but not for so long that nobody would notice.
            redis.cli(&["client", "pause", "300"]);
            is_up(false).await;
            is_up(true).await;
            redis.signal("STOP");
            is_up(false).await;
            redis.signal("CONT");
            is_up(true).await;
            redis.kill();
            is_up(false).await;
            redis.restart().await;
            is_up(true).await;
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let ([shared, beside], ()) = tokio::join!(slowest(&proxy, &over), trouble);
    // What this machine makes of any request at the moment, twice: on its way there and when its time is up.
    let allowed = Duration::from_millis(20) + 2 * beside.max(Duration::from_millis(5));
    println!("slowest: {shared:?} with Redis, {beside:?} without");
    assert!(shared <= allowed, "{shared:?}, and {beside:?} without Redis");
    assert!(proxy.metric("limit_total", &[("result", "store_error")]).await > 0.0);
}

#[tokio::test]
async fn while_redis_is_away_a_process_goes_on_with_what_it_has_seen() {
    let mut redis = Redis::start().await;
    let proxy = redis.proxy("requests = 20, window = \"1h\"").await;
    assert_eq!(count(&statuses(&proxy, 15, 1).await, 200), 15);
    redis.kill();
    assert_eq!(count(&statuses(&proxy, 15, 1).await, 200), 5);
}

#[tokio::test]
async fn a_limit_says_what_happens_while_redis_is_away() {
    let mut redis = Redis::start().await;
    for (down, status) in [("deny", 503), ("allow", 200), ("local", 429)] {
        let proxy = redis.proxy(&format!("requests = 1, window = \"1h\", when_store_is_down = \"{down}\"")).await;
        redis.kill();
        within("redis to be missed", async {
            while proxy.metric("limit_total", &[("result", "store_error")]).await == 0.0 {
                proxy.get("/").await;
            }
        })
        .await;
        proxy.get("/").await;
        let answer = proxy.get("/").await.expect(status);
        assert_eq!(answer.reason().as_deref() == Some("limit_store_down"), status == 503);
        redis.restart().await;
    }
}

#[tokio::test]
async fn what_is_given_back_is_given_back_in_redis() {
    let redis = Redis::start().await;
    let origin = Origin::start(|seen| Answer::status(if seen.target == "/wrong" { 401 } else { 200 })).await;
    let limit = "limit = { requests = 3, window = \"1h\", count = \"failures\", store = \"redis\" }";
    let url = format!("[redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n", redis.socket().display());
    let proxy = Proxy::start(format!("{BOTH}{url}{}", route(&origin, limit))).await;
    proxy.printed("redis: connected to").await;
    let left = async || proxy.get("/right").await.expect(200).header("ratelimit").unwrap_or_default().to_owned();
    // A Redis that does not know the script yet is told it first.
    left().await;
    within("the first to be forgiven", async { while !left().await.contains("r=2") {} }).await;
    for _ in 0..100 {
        // It is back before the client can ask again.
        let left = left().await;
        assert!(left.contains("r=2"), "{left}");
    }
    for status in [401, 401, 401, 429] {
        proxy.get("/wrong").await.expect(status);
    }
    assert_eq!(origin.requests().iter().filter(|seen| seen.target == "/wrong").count(), 3);
}

#[tokio::test]
async fn a_request_that_goes_well_takes_no_failure_of_another_along() {
    let redis = Redis::start().await;
    let gate = Gate::new();
    let slow = gate.clone();
    let origin = Origin::start(move |seen| match &*seen.target {
        "/slow" => Answer::text("well").after(&slow),
        _ => Answer::status(401),
    })
    .await;
    let limit = "limit = { requests = 2, window = \"4s\", count = \"failures\", store = \"redis\" }";
    let url = format!("[redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n", redis.socket().display());
    let proxy = Proxy::start(format!("{BOTH}{url}{}", route(&origin, limit))).await;
    proxy.printed("redis: connected to").await;
    let later = async {
        gate.reached().await;
        let charged = tokio::time::Instant::now();
        tokio::time::sleep_until(charged + Duration::from_millis(2500)).await;
        proxy.get("/wrong").await.expect(401);
        gate.open();
        charged
    };
    let (well, charged) = tokio::join!(proxy.get("/slow"), later);
    well.expect(200);
    // The charge of the one that went well would be over, and that of the other one is not.
    tokio::time::sleep_until(charged + Duration::from_millis(4100)).await;
    for status in [401, 429] {
        proxy.get("/wrong").await.expect(status);
    }
}

#[tokio::test]
async fn a_wrong_redis_is_one_mistake_and_not_two() {
    let limit = "[routes.app]\npath = \"/*\"\nrespond = { body = \"x\" }\nlimit = { requests = 5, window = \"1h\", store = \"redis\" }\n";
    let wrong = Proxy::with(format!("{BOTH}[redis]\nurl = \"nowhere\"\n{limit}")).refused().await.expect(3);
    assert!(wrong.stderr.contains("this is no address of a Redis"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("there is no `[redis]`"), "{}", wrong.stderr);
    let none = Proxy::with(format!("{BOTH}{limit}")).refused().await.expect(3);
    assert!(none.stderr.contains("there is no `[redis]`"), "{}", none.stderr);
}

#[tokio::test]
async fn redis_learns_no_secrets() {
    let redis = Redis::start().await;
    let proxy = redis.proxy("requests = 5, window = \"1h\", key = \"header:X-Api-Key\"").await;
    proxy.fetch(Request::get("/").header("X-Api-Key", "open-sesame")).await.expect(200);
    proxy.get("/").await.expect(200);
    let keys = redis.cli(&["keys", "*"]);
    assert!(
        keys.contains("maitred:limit:app:window:#") && keys.contains("maitred:limit:app:window:127.0.0.1"),
        "{keys}"
    );
    assert!(!keys.contains("sesame"), "{keys}");
}

#[tokio::test]
async fn redis_is_reached_with_a_password_over_tls() {
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"]);
    let port = testkit::Address::refusing().to_string().rsplit(':').next().unwrap().to_owned();
    let path = |path: &std::path::Path| path.display().to_string();
    let (cert, key) = (path(&certificate.cert_file), path(&certificate.key_file));
    let redis = Redis::with(&[
        "--tls-port",
        &port,
        "--bind",
        "127.0.0.1",
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "hush",
    ])
    .await;
    let text = |password: &str| {
        format!(
            "{BOTH}[redis]\nurl = \"rediss://localhost:{port}\"\npassword = \"${{SECRET:-{password}}}\"\nca = \"{}\"\n\
             [routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = {{ requests = 5, window = \"1h\", store = \"redis\" }}\n",
            path(&authority.file())
        )
    };
    let proxy = Proxy::start(text("hush")).await;
    proxy.printed("redis: connected to").await;
    proxy.get("/").await.expect(200);
    // On a busy machine Redis may take longer than a request waits for it.
    within("a request to be counted there", async {
        while !redis.cli(&["-a", "hush", "keys", "*"]).contains("maitred:limit:app") {
            proxy.get("/").await;
        }
    })
    .await;
    let stranger = Proxy::start(text("wrong")).await;
    let line = stranger.printed("is away:").await;
    assert!(!line.contains("wrong"), "{line}");
    stranger.get("/").await.expect(200);
}
