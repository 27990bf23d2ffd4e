//! The scripted run with real tools: nginx behind maitred, and curl, wrk, h2load, git and a WebSocket client before it.
//! A tool that is missing fails its test and names the Debian package that has it.

use std::{path::Path, time::Duration};

use testkit::{Address, Answer, Authority, Certificate, Cgi, Origin, Proxy, curl, tool, within, within_limit};
use tokio::process::{Child, Command};

use crate::setting::{BOTH, route};

/// nginx serving files of a folder of its own.
struct Nginx {
    address: std::net::SocketAddr,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Nginx {
    async fn start() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), Address::refusing());
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("index.html"), "<h1>hello from nginx</h1>\n").unwrap();
        std::fs::write(files.join("large"), testkit::pattern(0, 65_000).repeat(200)).unwrap();
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log /dev/null; worker_processes 1; user root;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f;\n\
             uwsgi_temp_path u; scgi_temp_path s; keepalive_requests 100000; types {{ text/html html; }}\n\
             server {{ listen {address}; root {}; }} }}\n",
            files.display()
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let mut command = tool("nginx", "nginx-light");
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "/dev/null"]).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let up = async {
            while Address::Tcp(address).try_connect().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        within("nginx to listen", up).await;
        Self { address, folder, _child: child }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join("files").join(name)).unwrap()
    }
}

/// nginx behind maitred, which speaks HTTP/1 and h2c on one port and TLS on another.
struct House {
    nginx: Nginx,
    proxy: Proxy,
    authority: Authority,
}

impl House {
    async fn open() -> Self {
        let (nginx, authority) = (Nginx::start().await, Authority::new());
        let Certificate { cert_file, key_file, .. } = authority.issue(&["localhost", "127.0.0.1"]);
        let text = format!(
            "{BOTH}[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
             [logging]\naccess = false\n[routes]\n\"/*\" = \"http://{}\"\n",
            nginx.address
        );
        let proxy = Proxy::start(text).await;
        Self { nginx, proxy, authority }
    }

    fn plain(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.listener("http"))
    }

    fn secure(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.proxy.listener("https").socket().port())
    }
}

/// Runs a tool to its end and gives what it printed, both outputs together.
async fn printed(command: &mut Command) -> String {
    let running = command.output();
    let output = within_limit(Duration::from_secs(120), "a tool to end", running).await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{text}");
    text
}

#[tokio::test]
async fn curl_gets_files_of_nginx_in_every_version() {
    let house = House::open().await;
    let ca = house.authority.file().display().to_string();
    let (plain, secure) = (house.plain("/large"), house.secure("/large"));
    for arguments in [
        vec!["--http1.1", &plain],
        vec!["--http1.0", &plain],
        vec!["--http2-prior-knowledge", &plain],
        vec!["--http1.1", "--cacert", &ca, &secure],
        vec!["--http2", "--cacert", &ca, &secure],
        vec!["--tls-max", "1.2", "--cacert", &ca, &secure],
    ] {
        let got = curl(&arguments).await;
        assert_eq!(got.code, 0, "{arguments:?}: {}", got.stderr);
        assert!(got.stdout == house.nginx.file("large"), "{arguments:?} got other bytes");
    }
    let index = house.plain("/");
    assert!(curl([index.as_str()]).await.ok().contains("hello from nginx"));
}

#[tokio::test]
async fn curl_sees_ranges_validators_and_errors_of_nginx() {
    let house = House::open().await;
    let large = house.plain("/large");
    let part = curl(["--range", "1000-1999", &large]).await;
    assert!(part.stdout == house.nginx.file("large")[1000..2000]);
    let head = curl(["--head", &large]).await.ok();
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().trim().to_owned();
    let condition = format!("If-None-Match: {etag}");
    let unchanged = curl(["--header", &condition, "--write-out", "%{http_code}", &large]).await.ok();
    assert_eq!(unchanged, "304");
    let missing = house.plain("/missing");
    let code = curl(["--output", "/dev/null", "--write-out", "%{http_code}", &missing]).await.ok();
    assert_eq!(code, "404");
    let index = house.plain("/");
    let many: Vec<&str> = std::iter::repeat_n(index.as_str(), 20).collect();
    assert_eq!(curl(many).await.ok().matches("hello from nginx").count(), 20);
}

#[tokio::test]
async fn wrk_meets_no_error() {
    let house = House::open().await;
    let mut wrk = tool("wrk", "wrk");
    wrk.args(["-t2", "-c32", "-d2s", &house.plain("/")]);
    let told = printed(&mut wrk).await;
    assert!(told.contains("Requests/sec") && !told.contains("Socket errors") && !told.contains("Non-2xx"), "{told}");
    assert_eq!(house.proxy.metric("http_errors_total", &[]).await, 0.0);
}

#[tokio::test]
async fn h2load_meets_no_error() {
    let house = House::open().await;
    for url in [house.plain("/"), house.secure("/")] {
        let mut h2load = tool("h2load", "nghttp2-client");
        h2load.args(["-n", "5000", "-c", "8", "-m", "20", &url]);
        let told = printed(&mut h2load).await;
        assert!(told.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    }
    assert_eq!(house.proxy.metric("http_errors_total", &[]).await, 0.0);
}

/// git in `folder`, without the configuration of whoever runs the test.
fn git(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = tool("git", "git");
    command.current_dir(folder).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Tester").env(format!("GIT_{role}_EMAIL"), "tester@example.com");
    }
    command
}

#[tokio::test]
async fn git_clones_and_pushes_over_smart_http() {
    let folder = tempfile::tempdir().unwrap();
    let (root, work) = (folder.path(), folder.path().join("work"));
    printed(&mut git(root, &["init", "--quiet", "--bare", "--initial-branch=main", "house.git"])).await;
    printed(&mut git(&root.join("house.git"), &["config", "http.receivepack", "true"])).await;
    printed(&mut git(root, &["init", "--quiet", "--initial-branch=main", "work"])).await;
    for n in 0..100 {
        let noise: Vec<u8> =
            testkit::pattern(n * 20_011, 40_000).iter().map(|byte| byte.wrapping_add(n as u8)).collect();
        std::fs::write(work.join(format!("{n}.bin")), noise).unwrap();
    }
    printed(&mut git(&work, &["add", "."])).await;
    printed(&mut git(&work, &["commit", "--quiet", "-m", "Everything"])).await;
    let server = Cgi::git(root).await;
    let proxy = Proxy::start(format!("{BOTH}[routes]\n\"/*\" = \"{server}\"\n")).await;
    let url = proxy.url("/house.git");
    printed(&mut git(&work, &["-c", "http.postBuffer=1024", "push", "--quiet", &url, "main"])).await;
    for (name, version) in [("one", "HTTP/1.1"), ("two", "HTTP/2")] {
        let version = format!("http.version={version}");
        printed(&mut git(root, &["-c", &version, "clone", "--quiet", &url, name])).await;
        printed(&mut git(&root.join(name), &["fsck", "--full"])).await;
        assert_eq!(std::fs::read(root.join(name).join("99.bin")).unwrap(), std::fs::read(work.join("99.bin")).unwrap());
    }
}

const TALK: &str = r#"
import asyncio, sys, websockets
async def talk():
    async with websockets.connect(sys.argv[1]) as socket:
        for n in range(200):
            await socket.send(f"message {n}")
            assert await socket.recv() == f"message {n}"
        await socket.send(b"\x00" * 300000)
        assert await socket.recv() == b"\x00" * 300000
        await (await socket.ping())
    print("well")
asyncio.run(talk())
"#;

#[tokio::test]
async fn a_websocket_client_of_somebody_elses_is_understood() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let proxy = Proxy::start(route(&origin, "")).await;
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", TALK, &format!("ws://{}/", proxy.address())]).kill_on_drop(true);
    let output = within_limit(Duration::from_secs(60), "the WebSocket client to end", python.output()).await;
    let output = output.expect("`/usr/bin/python3` is missing: install the package `python3`");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("No module named"), "install the package `python3-websockets`");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "well\n", "{told}");
}

#[tokio::test]
async fn the_two_commands_of_the_readme_serve() {
    let folder = tempfile::tempdir().unwrap();
    let nginx = Nginx::start().await;
    let url = format!("http://localhost:{}", nginx.address.port());
    let listen = Address::refusing().to_string();
    let mut command = Command::new(testkit::binary());
    command.args(["proxy", &url, "--listen", &listen]).current_dir(folder.path()).kill_on_drop(true);
    let _running = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let up = async {
        while Address::Tcp(listen.parse().unwrap()).try_connect().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("maitred to listen", up).await;
    let front = format!("http://{listen}/");
    assert!(curl([front.as_str()]).await.ok().contains("hello from nginx"));
}

/// Every command that the demo prints can be typed, and shows what it says.
#[tokio::test]
async fn the_demo_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let listen = Address::refusing().to_string();
    let printed = std::fs::File::create(folder.path().join("printed")).unwrap();
    let mut command = Command::new(testkit::binary());
    command.args(["demo", "--listen", &listen]).current_dir(folder.path()).kill_on_drop(true);
    let _running = command.stdout(std::process::Stdio::null()).stderr(printed).spawn().unwrap();
    let guide = async {
        loop {
            let text = std::fs::read_to_string(folder.path().join("printed")).unwrap();
            if text.contains("Your own service next") {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let guide = within("the demo to say what to try", guide).await;
    let commands: Vec<&str> = guide.lines().filter(|line| line.contains(&listen)).skip(1).collect();
    assert!(commands.len() > 12, "{guide}");
    let mut shown = String::new();
    for command in commands {
        let mut bash = Command::new("bash");
        let said = within(command.to_owned(), bash.args(["-c", command]).kill_on_drop(true).output()).await.unwrap();
        assert!(said.status.success(), "`{command}`: {}", String::from_utf8_lossy(&said.stderr));
        shown.push_str(&String::from_utf8_lossy(&said.stdout));
    }
    for wanted in [
        "\"target\": \"/v2/orders\"",
        "location: /users/page?x=1",
        "has left the building",
        "no_route",
        "access-control-allow-origin: https://app.example.com",
        "body_too_large",
        "\"x-user\": \"ann\"",
        "429",
        "cache-status: maitred",
        "course 5 of 5",
    ] {
        assert!(shown.to_lowercase().contains(wanted), "{wanted}: {shown}");
    }
}

/// How much curl moves each way: 4 GiB with a release build, which `MAITRED_BIN` names, else what a debug build does in
/// a few seconds.
fn volume() -> u64 {
    let release = testkit::binary().to_string_lossy().contains("/release/");
    if release { 4 << 30 } else { 256 << 20 }
}

#[tokio::test]
async fn curl_moves_gigabytes_each_way_through_little_memory() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "GET" if seen.target == "/large" => Answer::generated(volume()),
        _ => Answer::text("thanks"),
    })
    .await;
    let text = format!("{BOTH}{}", route(&origin, "max_body = false"));
    let proxy = Proxy::start(text).await;
    let url = proxy.url("/large");
    let upload = async |bytes: u64| {
        let script = format!("head -c {bytes} /dev/zero | curl -sS -f -T - {url}");
        printed(Command::new("bash").args(["-c", &script])).await
    };
    // What the first request of a kind brings into memory stays there; only what grows with the size counts.
    curl([proxy.url("/").as_str()]).await.ok();
    upload(1 << 20).await;
    let before = proxy.rss();
    let size = curl(["--output", "/dev/null", "--write-out", "%{size_download}", &url]).await.ok();
    assert_eq!(size, volume().to_string());
    assert_eq!(upload(volume()).await, "thanks");
    let seen = origin.requests();
    assert!(seen.last().is_some_and(|seen| seen.body.complete && seen.body.length == volume()));
    let rise = proxy.peak_rss().saturating_sub(before);
    println!("{} MiB each way: memory rose by {} KiB", volume() >> 20, rise >> 10);
    assert!(rise < 16 << 20, "memory rose by {} KiB", rise >> 10);
}
