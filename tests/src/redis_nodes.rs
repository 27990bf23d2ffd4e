//! Shared limits in a Redis of several nodes, and on lease.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use testkit::{Address, Proxy, Request, within};

use crate::{
    setting::BOTH,
    shared_limits::{Redis, count, statuses},
    shared_resets,
};

/// One Redis of several, at a port of its own.
struct Node {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Starts one with these lines in its file.
    async fn start(lines: &str, sentinel: bool) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), Address::refusing().port());
        let file = folder.path().join("redis.conf");
        let place = folder.path().display();
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\ndir {place}\n{lines}\n")).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        if sentinel {
            command.arg("--sentinel");
        }
        let node = Self { child: command.spawn().unwrap(), port, folder };
        within("a node to listen", async {
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        node
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(arguments).current_dir(self.folder.path());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    async fn until(&self, arguments: &[&str], says: &str) {
        within(says, async {
            while !self.cli(arguments).contains(says) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

const PLAIN: &str = "save \"\"\nappendonly no";

async fn cluster() -> Vec<Node> {
    let lines = || {
        let bus = Address::refusing().port();
        format!("{PLAIN}\ncluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000")
    };
    let nodes = join_all((0..3).map(|_| async { Node::start(&lines(), false).await })).await;
    let places: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let create = ["--cluster", "create", &places[0], &places[1], &places[2], "--cluster-yes"];
    let said = nodes[0].cli(&create);
    assert!(said.contains("All 16384 slots covered"), "{said}");
    for node in &nodes {
        node.until(&["cluster", "info"], "cluster_state:ok").await;
    }
    nodes
}

fn configuration(redis: &str, limits: &str) -> String {
    format!(
        "{BOTH}[redis]\n{redis}\ntimeout = \"1s\"\n[routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = {limits}\n"
    )
}

async fn found(text: String) -> Proxy {
    let proxy = Proxy::start(text).await;
    proxy.printed("redis: connected to").await;
    proxy
}

#[tokio::test]
async fn two_processes_count_together_in_a_cluster() {
    let mut nodes = cluster().await;
    let redis = format!(
        "cluster = true\nurl = [\"redis://127.0.0.1:{}\", \"redis://127.0.0.1:{}\"]",
        nodes[0].port, nodes[1].port
    );
    let limits = "[{ requests = 30, window = \"1h\", key = \"header:X-Who\", store = \"redis\" }, \
                  { requests = 200, window = \"1h\", key = \"route\", store = \"redis\" }]";
    let (one, two) = tokio::join!(found(configuration(&redis, limits)), found(configuration(&redis, limits)));
    let of = |proxy: &Proxy, who: String, times: usize| {
        let address = proxy.address().clone();
        async move {
            let mut connection = testkit::Connection::to(&address).await;
            let mut passed = 0;
            for _ in 0..times {
                passed += usize::from(connection.fetch(Request::get("/").header("X-Who", &who)).await.status == 200);
            }
            passed
        }
    };
    // Six clients want 40 each from each process, and have 30 of both; all together have 200. What the first limit refuses
    // is not charged to the second, although the two are on different nodes.
    let all = (0..6).flat_map(|who| [&one, &two].map(|proxy| of(proxy, format!("w{who}"), 40)));
    assert_eq!(join_all(all).await.into_iter().sum::<usize>(), 180);
    within("what was refused to be given back", async {
        let mut more = 0;
        while more < 20 {
            more += of(&one, format!("x{more}"), 1).await;
        }
    })
    .await;
    assert_eq!(of(&two, "y".into(), 3).await, 0);
    let keys: Vec<usize> = nodes.iter().map(|node| node.cli(&["keys", "*"]).lines().count()).collect();
    assert!(keys.iter().filter(|keys| **keys > 0).count() >= 2, "{keys:?}");

    // Without one of its nodes a cluster is away, and nobody waits for it.
    nodes[2].kill();
    nodes[0].until(&["cluster", "info"], "cluster_state:fail").await;
    within("the cluster to be missed", async {
        while one.admin("/api/v1/status").await.json()["redis"]["up"] != false {
            one.get("/").await;
        }
    })
    .await;
    let began = std::time::Instant::now();
    assert_eq!(count(&statuses(&two, 30, 3).await, 503), 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_key_is_forgiven_on_whichever_nodes_it_is_counted() {
    let nodes = cluster().await;
    let redis = format!("cluster = true\nurl = \"redis://127.0.0.1:{}\"", nodes[0].port);
    // Two rules, and so two keys, which are seldom on the same node.
    let limit = "{ requests = 2, window = \"1h\", burst = 2, key = \"header:X-Key\", store = \"redis\" }";
    let (one, two) = tokio::join!(shared_resets::found(&redis, limit), shared_resets::found(&redis, limit));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(shared_resets::asks(&one, key).await, [200, 200, 429]);
        shared_resets::forgive(&two, "app", key).await.expect(200);
        assert_eq!(shared_resets::asks(&one, key).await, [200, 200, 429]);
    }
}

#[tokio::test]
async fn who_is_refused_in_a_cluster_is_told_when_all_limits_would_let_pass() {
    let nodes = cluster().await;
    let redis = format!("cluster = true\nurl = \"redis://127.0.0.1:{}\"", nodes[0].port);
    let limit = |window: &str| format!("{{ requests = 1, window = \"{window}\", key = \"route\", store = \"redis\" }}");
    let proxy = found(configuration(&redis, &format!("[{}, {}, {}]", limit("1m"), limit("1h"), limit("2m")))).await;
    proxy.get("/").await.expect(200);
    let refused = proxy.get("/").await.expect_problem(429, "quota-exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 120, "{wait}");
    assert_eq!(refused.json()["violated-policies"], serde_json::json!(["app-1", "app-2", "app-3"]));
}

#[tokio::test]
async fn who_is_refused_in_a_cluster_stays_so_when_a_node_hangs_that_is_asked_afterwards() {
    let nodes = cluster().await;
    let redis = format!("cluster = true\nurl = \"redis://127.0.0.1:{}\"", nodes[0].port);
    let limit = |requests: u32| {
        format!(
            "{{ requests = {requests}, window = \"1h\", key = \"route\", store = \"redis\", when_store_is_down = \"deny\" }}"
        )
    };
    let limits = [1, 90, 90, 90, 90].map(limit).join(", ");
    let proxy = found(configuration(&redis, &format!("[{limits}]"))).await;
    proxy.get("/").await.expect(200);
    let keys: Vec<String> = nodes.iter().map(|node| node.cli(&["keys", "*"])).collect();
    let first = keys.iter().position(|keys| keys.contains("app-1:")).expect("a node that has the first limit");
    let other = (0..nodes.len()).find(|node| *node != first && !keys[*node].trim().is_empty()).expect("another node");
    // They answer whoever asks how they are, and run no script: the one for long, the other until it refuses.
    nodes[other].cli(&["client", "pause", "60000", "write"]);
    nodes[first].cli(&["client", "pause", "300", "write"]);
    proxy.get("/").await.expect_problem(429, "quota-exceeded");
}

#[tokio::test]
async fn when_the_primary_dies_the_one_that_sentinels_name_goes_on() {
    let mut primary = Node::start(PLAIN, false).await;
    let replica =
        Node::start(&format!("{PLAIN}\nreplicaof 127.0.0.1 {}\nrepl-diskless-sync-delay 0", primary.port), false).await;
    replica.until(&["info", "replication"], "master_link_status:up").await;
    let watch = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000",
        primary.port
    );
    let sentinel = Node::start(&watch, true).await;
    sentinel.until(&["sentinel", "replicas", "main"], &replica.port.to_string()).await;
    let redis = format!("sentinel = \"main\"\nurl = \"redis://127.0.0.1:{}\"", sentinel.port);
    let limit = "{ requests = 20, window = \"1h\", store = \"redis\" }";
    let (one, two) = tokio::join!(found(configuration(&redis, limit)), found(configuration(&redis, limit)));
    assert_eq!(count(&statuses(&one, 6, 2).await, 200), 6);
    assert_eq!(count(&statuses(&two, 6, 2).await, 200), 6);
    replica.until(&["keys", "*"], "maitred:limit:app").await;

    primary.kill();
    assert_eq!(count(&statuses(&one, 2, 1).await, 200), 2);
    replica.until(&["info", "replication"], "role:master").await;
    for proxy in [&one, &two] {
        within("the new primary to be found", async {
            while proxy.admin("/api/v1/status").await.json()["redis"]["up"] != true {}
        })
        .await;
    }
    let calls = || replica.cli(&["info", "commandstats"]).contains("cmdstat_evalsha");
    within("the new primary to be asked", async {
        while !calls() {
            two.get("/").await;
        }
    })
    .await;
    let both = [statuses(&one, 20, 2).await, statuses(&two, 20, 2).await].concat();
    // Twelve had passed, and two that only one of them knows of, and those that asked for the new primary.
    assert!(count(&both, 200) <= 8, "{both:?}");
}

#[tokio::test]
async fn what_is_on_lease_asks_redis_seldom_and_never_lets_more_pass() {
    let redis = Redis::start().await;
    for limit in [
        "requests = 1000, window = \"1h\"",
        "rate = \"1000/h\"",
        "requests = 1000, window = \"7d\", align = \"calendar\"",
    ] {
        redis.cli(&["flushall"]);
        redis.cli(&["config", "resetstat"]);
        let url = format!("url = \"unix:{}\"", redis.socket().display());
        let limit = format!("{{ {limit}, key = \"route\", store = \"redis\", lease = 50 }}");
        let (one, two) = tokio::join!(found(configuration(&url, &limit)), found(configuration(&url, &limit)));
        let (first, second) = tokio::join!(statuses(&one, 1100, 8), statuses(&two, 1100, 8));
        let all = [first, second].concat();
        assert_eq!((count(&all, 200), count(&all, 429)), (1000, 1200), "{limit}");
        let stats = redis.cli(&["info", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        let calls: usize = calls.unwrap().split(',').next().unwrap().parse().unwrap();
        println!("{limit}: {calls} questions");
        assert!(calls < 500, "{calls} questions for 2200 requests");
        let refused = one.get("/").await.expect_problem(429, "quota-exceeded");
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
}

#[tokio::test]
async fn who_asks_seldom_is_counted_exactly_although_there_are_leases() {
    let redis = Redis::start().await;
    let url = format!("url = \"unix:{}\"", redis.socket().display());
    let limit = "{ requests = 3, window = \"1h\", key = \"header:X-Who\", store = \"redis\", lease = 100 }";
    let (one, two) = tokio::join!(found(configuration(&url, limit)), found(configuration(&url, limit)));
    let ask = |proxy: &Proxy, who: &str| {
        let (address, request) = (proxy.address().clone(), Request::get("/").header("X-Who", who));
        async move { testkit::Connection::to(&address).await.fetch(request).await.status }
    };
    assert_eq!((ask(&one, "a").await, ask(&two, "a").await), (200, 200));
    let third = [ask(&one, "a").await, ask(&two, "a").await];
    assert_eq!(count(&third, 200), 1, "{third:?}");
}

#[tokio::test]
async fn addresses_of_redis_that_make_no_sense_are_refused() {
    for (redis, complaint) in [
        ("url = [\"redis://a:1\", \"redis://b:1\"]", "several addresses of one Redis"),
        ("url = \"redis://a:1\"\ncluster = true\nsentinel = \"main\"", "`cluster` and `sentinel` do not go together"),
        ("url = \"redis://a:1\"\nsentinel_password = \"x\"", "`sentinel_password` without `sentinel`"),
        ("url = \"unix:/redis.sock\"\ncluster = true", "Redis cannot be connected to like this"),
        ("url = []", "`redis` does not say where it is"),
    ] {
        let limit = "{ requests = 3, window = \"1h\", store = \"redis\" }";
        let refused = Proxy::with(configuration(redis, limit)).refused().await.expect(3);
        assert!(refused.stderr.contains(complaint), "{complaint} in {}", refused.stderr);
    }
}
