//! Listeners that pass bytes on: to Redis, to TLS servers by the name that is asked for, and to whatever else listens.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{Address, Answer, Authority, Gate, Origin, Proxy, Request, Stream, curl, tool, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// A server of bytes: what it does with a connection is the test's to say.
struct Peer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: tokio::task::JoinHandle<()>,
}

impl Peer {
    async fn start<F: Future<Output = ()> + Send>(serve: impl Fn(TcpStream) -> F + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                all.spawn(async move { serve(stream).await });
            }
        });
        Self { address, connections, _task: task }
    }

    /// Sends back what it is sent, and its last word after the client's.
    async fn echo() -> Self {
        Self::start(|mut stream: TcpStream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.write_all(b" bye").await;
        })
        .await
    }

    /// Says who it is and closes.
    async fn named(name: &'static str) -> Self {
        Self::start(move |mut stream: TcpStream| async move {
            let _ = stream.write_all(name.as_bytes()).await;
        })
        .await
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A proxy with a listener of mode `tcp`, these lines in its table, before these backends.
async fn passing(lines: &str, backends: &[&dyn std::fmt::Display], upstream: &str) -> Proxy {
    let backends: Vec<String> = backends.iter().map(|backend| format!("\"tcp://{backend}\"")).collect();
    Proxy::start(format!(
        "[listeners.stream]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\nupstream = \"peers\"\n{lines}\n\
         [upstreams.peers]\nbackends = [{}]\n{upstream}\n",
        backends.join(", ")
    ))
    .await
}

/// Everything that comes back until the end; the error of a connection that broke.
async fn rest(stream: &mut Stream) -> Result<String, std::io::ErrorKind> {
    let mut bytes = Vec::new();
    let read = within("the end of a stream", stream.read_to_end(&mut bytes)).await;
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.kind())
}

async fn stream_log(proxy: &Proxy) -> serde_json::Value {
    proxy.access_log(1).await.remove(0)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_half_ends_by_itself() {
    let peer = Peer::echo().await;
    let proxy = passing("", &[&peer.address], "").await;
    let mut stream = proxy.stream().await;
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    within("an echo", stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
    proxy.until_metric("connections", &[("listener", "stream"), ("protocol", "tcp")], 1.0).await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), " bye");
    let line = stream_log(&proxy).await;
    assert_eq!(line["listener"], "stream");
    assert_eq!((&line["upstream"], &line["backend"]), (&"peers".into(), &peer.address.to_string().into()));
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &9.into()));
    assert_eq!((&line["client_ip"], &line["status"], &line["error"]), (&"127.0.0.1".into(), &().into(), &().into()));
    assert_eq!(proxy.metric("stream_bytes_total", &[("listener", "stream"), ("direction", "out")]).await, 9.0);
    assert_eq!(proxy.metric("upstream_requests_total", &[("upstream", "peers"), ("code", "tcp")]).await, 1.0);
    proxy.until_metric_is("connections", &[("listener", "stream")], 0.0).await;
}

#[tokio::test]
async fn a_backend_may_speak_first() {
    let peer = Peer::named("220 ready").await;
    let proxy = passing("", &[&peer.address], "").await;
    assert_eq!(rest(&mut proxy.stream().await).await.unwrap(), "220 ready");
}

#[tokio::test]
async fn large_streams_lose_nothing_and_little_is_held() {
    const SIZE: usize = 64 << 20;
    const LARGE: u8 = 7;
    let peer = Peer::start(|mut stream: TcpStream| async move {
        let (mut read, mut write) = stream.split();
        if read.read_u8().await.unwrap() != LARGE {
            return;
        }
        let all: Vec<u8> = testkit::pattern(0, 65_521).repeat(SIZE / 65_521 + 1);
        let up = async { tokio::io::copy(&mut read, &mut tokio::io::sink()).await.unwrap() };
        let down = async {
            write.write_all(&all[..SIZE]).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let (count, ()) = tokio::join!(up, down);
        assert_eq!(count, SIZE as u64 - 1);
    })
    .await;
    let proxy = passing("", &[&peer.address], "").await;
    // What is made once, and the program's own pages.
    let mut small = proxy.stream().await;
    small.write_u8(0).await.unwrap();
    rest(&mut small).await.unwrap();
    let before = proxy.rss();
    let (mut read, mut write) = tokio::io::split(proxy.stream().await);
    let sending = tokio::spawn(async move {
        write.write_all(&vec![LARGE; SIZE]).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::with_capacity(SIZE);
    testkit::within_limit(Duration::from_secs(60), "a large stream", read.read_to_end(&mut got)).await.unwrap();
    sending.await.unwrap();
    let expected = testkit::pattern(0, 65_521).repeat(SIZE / 65_521 + 1);
    assert!(got == expected[..SIZE]);
    let rise = proxy.peak_rss().saturating_sub(before);
    assert!(rise < 8 << 20, "memory rose by {} KiB", rise >> 10);
}

#[tokio::test]
async fn a_slow_reader_holds_up_the_sender_and_not_memory() {
    let peer = Peer::start(|mut stream: TcpStream| async move {
        let piece = vec![1; 1 << 20];
        while stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let proxy = passing("", &[&peer.address], "").await;
    let mut stream = proxy.stream().await;
    let before = proxy.rss();
    let mut some = vec![0; 64 << 20];
    within("some bytes", stream.read_exact(&mut some)).await.unwrap();
    let rise = proxy.peak_rss().saturating_sub(before);
    assert!(rise < 8 << 20, "memory rose by {} KiB", rise >> 10);
    drop(stream);
    assert_eq!(stream_log(&proxy).await["error"], "client_closed");
}

#[tokio::test]
async fn connections_are_balanced_and_a_dead_backend_is_passed_over() {
    let (one, two) = (Peer::named("one").await, Peer::named("two").await);
    let proxy = passing("", &[&one.address, &two.address], "").await;
    for _ in 0..10 {
        rest(&mut proxy.stream().await).await.unwrap();
    }
    assert_eq!((one.count(), two.count()), (5, 5));
    let dead = Address::refusing();
    let proxy = passing("", &[&dead, &two.address], "").await;
    for _ in 0..6 {
        assert_eq!(rest(&mut proxy.stream().await).await.unwrap(), "two");
    }
    assert!(proxy.metric("upstream_retries_total", &[("reason", "upstream_refused")]).await >= 1.0);
    let proxy = passing("", &[&dead], "").await;
    assert_eq!(rest(&mut proxy.stream().await).await, Ok(String::new()));
    assert_eq!(stream_log(&proxy).await["error"], "upstream_refused");
    proxy.until_metric("stream_errors_total", &[("listener", "stream"), ("reason", "upstream_refused")], 1.0).await;
}

#[tokio::test]
async fn what_breaks_on_one_side_breaks_on_the_other() {
    let gate = Gate::new();
    let script = gate.clone();
    let peer = Peer::start(move |mut stream: TcpStream| {
        let gate = script.clone();
        async move {
            let mut ask = [0; 3];
            stream.read_exact(&mut ask).await.unwrap();
            match &ask {
                b"cut" => {
                    stream.write_all(b"half of an ans").await.unwrap();
                    stream.set_zero_linger().unwrap();
                }
                _ => {
                    let end = stream.read_to_end(&mut Vec::new()).await;
                    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
                    gate.open();
                }
            }
        }
    })
    .await;
    let proxy = passing("", &[&peer.address], "").await;
    let mut stream = proxy.stream().await;
    stream.write_all(b"cut").await.unwrap();
    assert_eq!(rest(&mut stream).await, Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(proxy.logged_error("upstream_reset").await["listener"], "stream");
    let mut stream = proxy.stream().await;
    stream.write_all(b"see").await.unwrap();
    proxy.until_metric("stream_bytes_total", &[("direction", "in")], 6.0).await;
    stream.reset();
    within("the backend to see the reset", gate.pass()).await;
    proxy.logged_error("client_closed").await;
}

#[tokio::test]
async fn silence_ends_a_stream() {
    let peer = Peer::echo().await;
    let proxy = passing("timeouts = { idle = \"300ms\" }", &[&peer.address], "").await;
    let mut stream = proxy.stream().await;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), "x");
    assert_eq!(stream_log(&proxy).await["error"], "idle");
}

#[tokio::test]
async fn a_stream_goes_on_over_reloads_and_while_the_process_drains() {
    let (peer, other) = (Peer::echo().await, Peer::named("other").await);
    let proxy = passing("", &[&peer.address], "").await;
    let mut stream = proxy.stream().await;
    let say = async |stream: &mut Stream, text: &str| {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        within("an echo", stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, text.as_bytes());
    };
    say(&mut stream, "before").await;
    let file = proxy.folder().join("maitred.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace(&peer.address.to_string(), &other.address.to_string());
    std::fs::write(&file, text).unwrap();
    proxy.signal("HUP").await;
    let moved = async {
        loop {
            let mut fresh = proxy.stream().await;
            let _ = fresh.shutdown().await;
            if rest(&mut fresh).await == Ok("other".into()) {
                return;
            }
        }
    };
    within("new connections to go elsewhere", moved).await;
    say(&mut stream, "between").await;
    proxy.signal("TERM").await;
    proxy.until_refusing().await;
    say(&mut stream, "after").await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), " bye");
    proxy.wait().await.expect(0);
}

#[tokio::test]
async fn a_stream_goes_on_while_a_new_process_takes_over() {
    let peer = Peer::echo().await;
    let mut proxy = passing("", &[&peer.address], "").await;
    let (old, mut kept) = (proxy.pid(), proxy.stream().await);
    kept.write_all(b"before ").await.unwrap();
    let upgrading = async { proxy.command(["--json", "upgrade"]).await.expect(0).stdout };
    let going_on = async {
        proxy.printed(" serves; draining ").await;
        let mut fresh = proxy.stream().await;
        fresh.write_all(b"fresh").await.unwrap();
        fresh.shutdown().await.unwrap();
        assert_eq!(rest(&mut fresh).await.unwrap(), "fresh bye");
        kept.write_all(b"after").await.unwrap();
        kept.shutdown().await.unwrap();
        assert_eq!(rest(&mut kept).await.unwrap(), "before after bye");
    };
    let (told, ()) = tokio::join!(upgrading, going_on);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_ne!(told["pid"], old);
    proxy.succeeded_by(told["pid"].as_u64().unwrap() as u32);
    let generation = |line: &serde_json::Value| line["generation"].as_u64().unwrap();
    let mut generations: Vec<u64> = proxy.access_log(2).await.iter().map(generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, [1, 2]);
}

#[tokio::test]
async fn tls_may_end_here() {
    let (peer, authority) = (Peer::echo().await, Authority::new());
    let ours = authority.issue(&["db.example.com"]);
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", ours.cert_file, ours.key_file);
    let proxy = passing(&tls, &[&peer.address], "").await;
    assert!(proxy.printed("tls://127.0.0.1").await.contains("→ peers"));
    let client = authority.client().name("db.example.com").alpn(&["postgresql"]);
    let mut stream = client.connect(proxy.address()).await;
    stream.write_all(b"secret").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), "secret bye");
    let line = stream_log(&proxy).await;
    assert_eq!((&line["tls"], &line["host"]), (&"TLSv1.3".into(), &"db.example.com".into()));
}

#[tokio::test]
async fn the_proxy_protocol_comes_in_and_goes_out() {
    let peer = Peer::echo().await;
    let lines = "proxy_protocol = \"required\"\ntrusted_proxies = \"127.0.0.1\"\nmax_connections_per_ip = 1";
    let proxy = passing(lines, &[&peer.address], "proxy_protocol = \"v2\"").await;
    let mut stream = proxy.stream().await;
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\nhello").await.unwrap();
    let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xc3\x50\x01\xbbhello";
    let mut back = vec![0; expected.len()];
    within("an echo", stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, expected);
    let mut second = proxy.stream().await;
    second.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 50001 443\r\nhello").await.unwrap();
    assert_eq!(rest(&mut second).await.unwrap_or_default(), "");
    assert_eq!(proxy.logged_error("too_many_connections_per_ip").await["client_ip"], "192.0.2.7");
    stream.shutdown().await.unwrap();
    rest(&mut stream).await.unwrap();
    let line = proxy.access_log(2).await.remove(1);
    assert_eq!((&line["client_ip"], &line["bytes_in"]), (&"192.0.2.7".into(), &5.into()));
}

#[tokio::test]
async fn unix_sockets_may_be_at_either_end() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::builder().unix().start(|_| Answer::text("over a socket")).await;
    let listener = folder.path().join("front.sock");
    let proxy = Proxy::start(format!(
        "[listeners.stream]\naddress = \"unix:{}\"\nmode = \"tcp\"\nupstream = \"{origin}\"\n",
        listener.display()
    ))
    .await;
    proxy.get("/").await.expect(200);
}

/// Redis, whose own tool talks to it through maitred.
async fn redis() -> (Child, SocketAddr, tempfile::TempDir) {
    let (folder, address) = (tempfile::tempdir().unwrap(), Address::refusing());
    let mut command = tool("redis-server", "redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
    let child = command.current_dir(folder.path()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let up = async {
        while Address::Tcp(address).try_connect().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("redis to listen", up).await;
    (child, address, folder)
}

#[tokio::test]
async fn redis_is_served_through_it() {
    let (_redis, address, _folder) = redis().await;
    let proxy = passing("", &[&address], "").await;
    let port = proxy.address().socket().port().to_string();
    let ask = async |arguments: &[&str]| {
        let mut command = tool("redis-cli", "redis-tools");
        let output = command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments).output();
        let output = within("redis-cli to end", output).await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(ask(&["SET", "key", "value"]).await, "OK\n");
    assert_eq!(ask(&["GET", "key"]).await, "value\n");
    let mut bench = tool("redis-benchmark", "redis-tools");
    bench.args(["-h", "127.0.0.1", "-p", &port, "-c", "20", "-n", "20000", "-P", "8", "-t", "set,get", "-q"]);
    let output =
        testkit::within_limit(Duration::from_secs(60), "redis-benchmark to end", bench.output()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("GET:") && !told.contains("rror"), "{told}");
    assert_eq!(proxy.metric("stream_errors_total", &[]).await, 0.0);
}

/// `openssl s_server`, which says who it is.
async fn s_server(authority: &Authority, name: &str) -> (Child, SocketAddr) {
    let (certificate, address) = (authority.issue(&[name]), Address::refusing());
    let mut command = tool("openssl", "openssl");
    command.args(["s_server", "-quiet", "-www", "-accept", &address.to_string()]);
    command.arg("-cert").arg(certificate.cert_file).arg("-key").arg(certificate.key_file);
    let child = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let up = async {
        while Address::Tcp(address).try_connect().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("openssl to listen", up).await;
    (child, address)
}

#[tokio::test]
async fn the_name_asked_for_says_which_server_shakes_hands() {
    let authority = Authority::new();
    let (_a, a) = s_server(&authority, "a.example.com").await;
    let (_b, b) = s_server(&authority, "b.example.org").await;
    let origin = Origin::builder().tls(authority.issue(&["c.other.org"])).start(|_| Answer::text("c")).await;
    let proxy = Proxy::start(format!(
        "[listeners.tls]\naddress = \"127.0.0.1:0\"\nmode = \"tls-passthrough\"\n\
         sni = {{ \"a.example.com\" = \"a\", \"*.example.org\" = \"tcp://{b}\", \"*.other.org\" = \"{origin}\" }}\n\
         timeouts = {{ header = \"500ms\" }}\n[upstreams.a]\nbackends = \"tcp://{a}\"\n"
    ))
    .await;
    assert!(proxy.printed("tls://127.0.0.1").await.contains("→ "));
    let (ca, port) = (authority.file().display().to_string(), proxy.address().socket().port());
    let get = async |name: &str, more: &[&str]| {
        let (url, resolve) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
        curl(["--cacert", &ca, "--resolve", &resolve].iter().chain(more).chain(&[url.as_str()])).await
    };
    // curl checks the certificate against the name: only the right server has it.
    assert!(get("a.example.com", &[]).await.ok().contains("s_server"));
    assert!(get("b.example.org", &["--tls-max", "1.2"]).await.ok().contains("s_server"));
    assert_eq!(get("c.other.org", &[]).await.ok(), "c");
    assert_eq!(origin.request().await.server_name.as_deref(), Some("c.other.org"));
    let unknown = get("d.example.com", &[]).await;
    assert!(unknown.code == 35 && unknown.stderr.contains("unrecognized name"), "{unknown:?}");
    let line = proxy.logged_error("unknown_server_name").await;
    assert_eq!((&line["host"], &line["upstream"]), (&"d.example.com".into(), &().into()));
    let nameless =
        within("curl to end", Command::new("curl").args(["-sk", &format!("https://127.0.0.1:{port}/")]).output());
    assert!(!nameless.await.unwrap().status.success());
    let log = proxy.access_log(4).await;
    let named = log.iter().find(|line| line["host"] == "a.example.com").unwrap();
    assert_eq!(named["upstream"], "a");
}

#[tokio::test]
async fn what_is_no_tls_does_not_pass() {
    let peer = Peer::echo().await;
    let proxy = Proxy::start(format!(
        "[listeners.tls]\naddress = \"127.0.0.1:0\"\nmode = \"tls-passthrough\"\nupstream = \"tcp://{}\"\n\
         timeouts = {{ header = \"300ms\" }}\n",
        peer.address
    ))
    .await;
    let mut stream = proxy.stream().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap_or_default(), "");
    proxy.logged_error("not_tls").await;
    let mut silent = proxy.stream().await;
    silent.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    assert_eq!(rest(&mut silent).await.unwrap_or_default(), "");
    proxy.logged_error("header_timeout").await;
    let mut endless = proxy.stream().await;
    let record = [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xff"[..], &[0; 0x4000 - 4]].concat();
    let _ = endless.write_all(&record).await;
    assert_eq!(rest(&mut endless).await.unwrap_or_default(), "");
    proxy.until_metric("stream_errors_total", &[("reason", "not_tls")], 2.0).await;
    assert_eq!(peer.count(), 0);
}

#[tokio::test]
async fn http_and_streams_live_side_by_side() {
    let (peer, origin) = (Peer::named("stream").await, Origin::echo().await);
    let proxy = Proxy::start(format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [listeners.stream]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\nupstream = \"tcp://{}\"\n\
         [routes]\n\"/*\" = \"{origin}\"\n",
        peer.address
    ))
    .await;
    proxy.fetch(Request::get("/")).await.expect(200);
    assert_eq!(rest(&mut proxy.listener("stream").connect().await).await.unwrap(), "stream");
    let status = proxy.admin("/api/v1/status").await.expect(200).text();
    assert!(status.contains(&format!("tcp://{}", proxy.listener("stream"))), "{status}");
}
