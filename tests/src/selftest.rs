//! The product's own test of itself, and tools that nobody here wrote, while a server is reloaded and upgraded.

use std::{path::Path, time::Duration};

use testkit::{Answer, Authority, Certificate, Connection, Origin, Proxy, Request, binary, tool, within, within_limit};
use tokio::process::Command;

use crate::setting::{BOTH, route};

/// Long enough for a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

async fn printed(command: &mut Command) -> String {
    let output = within_limit(LIMIT, "a tool to end", command.kill_on_drop(true).output()).await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{text}");
    text
}

/// Reloads and upgrades at even distances over about `seconds`, with a route and a listener that come and go.
async fn change(proxy: &mut Proxy, origin: &Origin, reloads: usize, upgrades: usize, seconds: u64) {
    let text = |number: usize| {
        let extra = if number.is_multiple_of(2) { "" } else { "[listeners.more]\naddress = \"127.0.0.1:0\"\n" };
        format!(
            "{BOTH}{extra}{}[routes.\"/number\"]\nrespond = {{ body = \"{number}\" }}\n",
            route(origin, "max_body = false")
        )
    };
    let mut beat = tokio::time::interval(Duration::from_millis(1000 * seconds / (reloads + upgrades) as u64));
    let mut upgraded = 0;
    for number in 0..reloads {
        beat.tick().await;
        proxy.configure(text(number));
        proxy.command(["reload"]).await.expect(0);
        assert_eq!(proxy.get("/number").await.expect(200).text(), number.to_string());
        if upgraded < upgrades * (number + 1) / reloads {
            beat.tick().await;
            proxy.upgrade(&[]).await;
            upgraded += 1;
        }
    }
}

async fn house() -> (Origin, Proxy) {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/large" => Answer::generated(256 << 20),
        _ => Answer::text("x"),
    })
    .await;
    let proxy = Proxy::start(format!("[logging]\naccess = false\n{BOTH}{}", route(&origin, "max_body = false"))).await;
    (origin, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_finds_nothing_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["--json", "selftest", "reload", "--reloads", "5", "--upgrades", "2", "--seconds", "4"]);
    // What is slow here is the machine, with a debug build and other tests on it.
    command.args(["--p99-ratio", "1000"]).current_dir(folder.path()).env("TMPDIR", folder.path());
    let told: serde_json::Value = serde_json::from_str(&printed(&mut command).await).unwrap();
    assert_eq!(told["held"], true, "{told:#}");
    assert_eq!([&told["reloads"], &told["upgrades"], &told["refused_reloads"]], [5, 2, 1]);
    let kinds = told["load"].as_array().unwrap();
    assert_eq!(kinds.len(), 10);
    for kind in kinds {
        assert!(kind["done"].as_u64().unwrap() > 50, "{kind}");
        for fault in ["failed", "reset", "refused", "truncated"] {
            assert_eq!(kind[fault], 0, "{kind}");
        }
    }
    assert_ne!(told["processes"][0]["pid"], told["processes"][1]["pid"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrk_meets_no_error_meanwhile() {
    let (origin, mut proxy) = house().await;
    let mut wrk = tool("wrk", "wrk");
    wrk.args(["-t2", "-c16", "-d10s", &proxy.url("/")]);
    let (told, ()) = tokio::join!(printed(&mut wrk), change(&mut proxy, &origin, 10, 3, 8));
    println!("{told}");
    assert!(told.contains("Requests/sec") && !told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_meets_no_error_meanwhile() {
    let (origin, mut proxy) = house().await;
    let url = proxy.url("/");
    let url = url.as_str();
    // Told that its connection ends, it opens another one over HTTP/1, and stops over HTTP/2: run after run, then.
    let load = async |arguments: [&str; 2], time: &str| {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut h2load = tool("h2load", "nghttp2-client");
        h2load.args(["-c", "4", "-D", time]).args(arguments).arg("--log-file").arg(log.path()).arg(url);
        let told = printed(&mut h2load).await;
        let count = |of: &str| {
            let number = told.split(of).next().and_then(|text| text.rsplit(' ').next()?.parse::<usize>().ok());
            number.unwrap_or_else(|| panic!("{told}"))
        };
        let unsent = unsent(&std::fs::read_to_string(log.path()).unwrap());
        let lost = [count(" failed,"), count(" errored,"), count(" timeout")];
        assert_eq!(lost, [unsent, unsent, 0], "{told}");
        count(" succeeded")
    };
    let http2 = async {
        let mut succeeded = 0;
        for _ in 0..10 {
            succeeded += load(["-m", "10"], "1").await;
        }
        succeeded
    };
    let (http1, http2, ()) = tokio::join!(load(["--h1", "-m1"], "10"), http2, change(&mut proxy, &origin, 10, 3, 8));
    println!("{http1} requests over HTTP/1, {http2} over HTTP/2");
    assert!(http1 > 100 && http2 > 100, "{http1} {http2}");
}

/// How many requests h2load counts as failed that it has never sent: it had them ready when a GOAWAY arrived. Every other
/// one in its log has an answer of 200. A line is the time when the request was sent, its status, and how long it took.
fn unsent(log: &str) -> usize {
    let failed = log.lines().filter(|line| line.split('\t').nth(1) != Some("200"));
    failed.inspect(|line| assert!(line.starts_with("0\t-1\t"), "a request was lost: {line}")).count()
}

/// curl downloads 256 MiB at 32 MiB/s while the server is changed under it, and uploads as much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_loses_no_byte_meanwhile() {
    let (origin, mut proxy) = house().await;
    let folder = tempfile::tempdir().unwrap();
    let mut down = tool("curl", "curl");
    let file = folder.path().join("down");
    down.args(["-sS", "-f", "--limit-rate", "32M", "-w", "%{size_download}", "-o"]).arg(&file).arg(proxy.url("/large"));
    let script = format!("head -c {} /dev/zero | curl -sS -f --limit-rate 32M -T - {}", 256 << 20, proxy.url("/up"));
    let mut up = Command::new("bash");
    up.args(["-c", &script]);
    let (down, up, ()) = tokio::join!(printed(&mut down), printed(&mut up), change(&mut proxy, &origin, 6, 2, 5));
    assert_eq!(down, (256 << 20).to_string());
    assert!(is_whole(&file), "other bytes than were sent");
    assert_eq!(up, "x");
    let seen = origin.requests();
    let upload = seen.iter().find(|seen| seen.target == "/up").unwrap();
    assert!(upload.body.complete && upload.body.length == 256 << 20, "{} bytes", upload.body.length);
}

/// Whether a file is what an origin generates.
fn is_whole(file: &Path) -> bool {
    const STEP: usize = 32 << 10;
    let bytes = std::fs::read(file).unwrap();
    let mut parts = bytes.chunks(STEP).enumerate();
    parts.all(|(number, part)| part == testkit::pattern((number * STEP) as u64, part.len() as u64))
}

/// How far the resident memory may rise over a thousand reloads: two kilobytes for each. Listeners' counters that were
/// never forgotten took ten.
const GROWTH: u64 = 2 << 20;

/// A configuration of which half is new each time: names, listeners with and without TLS, hosts to look up, certificates.
fn changing(origin: &Origin, number: usize, files: &Certificate) -> String {
    let Certificate { cert_file, key_file, .. } = files;
    let mut text = format!("[logging]\naccess = false\n{BOTH}{}", route(origin, ""));
    let listener = format!("[listeners.l{number}]\naddress = \"127.0.0.1:0\"\n");
    match number % 3 {
        0 => {}
        1 => text.push_str(&listener),
        _ => text.push_str(&format!("{listener}tls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n")),
    }
    let port = origin.port();
    text.push_str(&format!(
        "[upstreams.u{number}]\nbackends = [\"http://127.0.0.1:{port}\", \"http://localhost:{port}\"]\npool = {{ idle = \"2s\" }}\n\
         [routes.r{number}]\npath = \"/r{number}/*\"\nupstream = \"u{number}\"\n"
    ));
    text
}

#[tokio::test]
async fn a_thousand_reloads_leak_neither_descriptors_nor_memory() {
    let (origin, authority) = (Origin::text("x").await, Authority::new());
    let certificate = authority.issue(&["localhost"]);
    let proxy = Proxy::start(changing(&origin, 0, &certificate)).await;
    let mut kept = proxy.connect().await;
    let mut reload = async |number: usize| {
        proxy.configure(changing(&origin, number, &certificate));
        let order = Request::new("POST", "/api/v1/reload").header("Content-Type", "application/json").body("{}");
        let told = Connection::to(&proxy.admin_socket()).await.fetch(order).await.expect(200).json();
        assert_eq!(told["outcome"], "applied", "{told:#}");
        // What is new is used, and what was there is as it was.
        proxy.get(&format!("/r{number}/")).await.expect(200);
        kept.fetch(Request::get("/")).await.expect(200);
    };
    // The first ones fill what is bounded: the history, pools, the allocator's caches.
    for number in 1..=200 {
        reload(number).await;
    }
    let descriptors = proxy.descriptors();
    // The allocator keeps some megabytes for a thread that has just begun to help; what leaks, leaks every time.
    let mut rises = Vec::new();
    for turn in 0..3 {
        let memory = proxy.rss();
        for number in 1..=1000 {
            reload(200 + turn * 1000 + number).await;
        }
        rises.push(proxy.rss().saturating_sub(memory) >> 10);
        if rises[turn] < GROWTH >> 10 {
            break;
        }
    }
    assert!(rises.iter().any(|rise| *rise < GROWTH >> 10), "memory rose by {rises:?} KiB, a thousand reloads each");
    // Connections of the last reloads may still be about to close.
    within("descriptors to be closed", async {
        while proxy.descriptors() > descriptors + 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
