//! The PROXY protocol: told to backends, believed of trusted proxies, with HAProxy, nginx and curl at the other end.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use testkit::{Address, Answer, Authority, Connection, Origin, Proxy, Request, Stream, curl, tool, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{BOTH, TRUSTING};

/// A proxy whose upstream `app` is `origin` and has these lines.
async fn telling(listener: &str, origin: &str, lines: &str) -> Proxy {
    Proxy::start(format!("{listener}{}", upstream(origin, lines))).await
}

fn upstream(origin: &str, lines: &str) -> String {
    format!("[upstreams.app]\nbackends = {origin:?}\n{lines}\n[routes.app]\npath = \"/*\"\nupstream = \"app\"\n")
}

/// A tool of somebody else's, with a file of this text, listening at `address`.
async fn server(
    program: &str,
    package: &str,
    arguments: &[&str],
    text: String,
    address: std::net::SocketAddr,
) -> (tokio::process::Child, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.conf"), text).unwrap();
    let mut command = tool(program, package);
    let child = command.current_dir(folder.path()).args(arguments).spawn().unwrap();
    let up = async {
        while Address::Tcp(address).try_connect().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(format!("{program} to listen"), up).await;
    (child, folder)
}

#[tokio::test]
async fn a_backend_is_told_the_client_before_the_first_byte() {
    for version in ["v1", "v2"] {
        let origin = Origin::builder().proxy_protocol().start(|_| Answer::echo()).await;
        let proxy = telling(BOTH, &origin.to_string(), &format!("proxy_protocol = {version:?}")).await;
        let mut client = proxy.connect().await;
        let us = client.local_address();
        client.fetch(Request::get("/")).await.expect(200);
        let there = proxy.address().socket();
        let told = origin.preamble(0);
        if version == "v1" {
            let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", us.port(), there.port());
            assert_eq!(String::from_utf8_lossy(&told), line);
        } else {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
            header.extend(us.port().to_be_bytes().into_iter().chain(there.port().to_be_bytes()));
            assert_eq!(told, header);
        }
    }
}

#[tokio::test]
async fn a_connection_to_the_backend_is_one_client_connections() {
    let origin = Origin::builder().proxy_protocol().start(|_| Answer::echo()).await;
    let proxy = telling(BOTH, &origin.to_string(), "proxy_protocol = \"v1\"").await;
    let (mut one, mut two) = (proxy.connect().await, proxy.connect().await);
    for _ in 0..3 {
        for client in [&mut one, &mut two] {
            let port = client.local_address().port();
            let answer = client.fetch(Request::get("/")).await.expect(200);
            let connection = answer.json()["connection"].as_u64().unwrap() as usize;
            let told = String::from_utf8(origin.preamble(connection)).unwrap();
            assert!(told.contains(&format!(" {port} ")), "{told:?} is not of port {port}");
        }
    }
    assert_eq!(origin.connections(), 2, "each client has one, and keeps it");
}

#[tokio::test]
async fn streams_of_two_clients_do_not_share_a_connection() {
    let origin = Origin::builder().h2c().proxy_protocol().start(|_| Answer::echo()).await;
    let proxy = telling(BOTH, &origin.to_string(), "proxy_protocol = \"v2\"").await;
    let (one, two) = (proxy.h2c().await, proxy.h2c().await);
    for _ in 0..3 {
        one.fetch(Request::get("/one")).await.expect(200);
        two.fetch(Request::get("/two")).await.expect(200);
    }
    let requests = origin.requests();
    let of = |target: &str| {
        let mut all: Vec<usize> =
            requests.iter().filter(|seen| seen.target == target).map(|seen| seen.connection).collect();
        all.dedup();
        all
    };
    assert_eq!((of("/one"), of("/two")), (vec![0], vec![1]));
}

#[tokio::test]
async fn the_header_comes_before_tls_and_over_unix_sockets() {
    let authority = Authority::new();
    let secure =
        Origin::builder().proxy_protocol().tls(authority.issue(&["127.0.0.1"])).start(|_| Answer::echo()).await;
    let lines = format!("proxy_protocol = \"v1\"\ntls = {{ ca = {:?} }}", authority.file());
    let proxy = telling(BOTH, &secure.to_string(), &lines).await;
    proxy.get("/").await.expect(200);
    assert!(secure.preamble(0).starts_with(b"PROXY TCP4 127.0.0.1 "));
    let unix = Origin::builder().proxy_protocol().unix().start(|_| Answer::echo()).await;
    let proxy = telling(BOTH, &unix.to_string(), "proxy_protocol = \"v1\"").await;
    proxy.get("/").await.expect(200);
    assert!(unix.preamble(0).starts_with(b"PROXY TCP4 127.0.0.1 "));
}

#[tokio::test]
async fn a_tunnel_is_announced_as_well() {
    let origin = Origin::builder().proxy_protocol().start(|_| Answer::websocket()).await;
    let proxy = telling(BOTH, &origin.to_string(), "proxy_protocol = \"v1\"").await;
    let mut socket = proxy.websocket("/").await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("hello"));
    assert!(origin.preamble(0).starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "));
}

#[tokio::test]
async fn the_client_that_a_trusted_proxy_names_is_told() {
    let origin = Origin::builder().proxy_protocol().start(|_| Answer::echo()).await;
    let proxy = telling(TRUSTING, &origin.to_string(), "proxy_protocol = \"v1\"").await;
    let port = proxy.address().socket().port();
    let mut client = proxy.connect().await;
    for (n, address) in ["192.0.2.7", "192.0.2.8"].into_iter().enumerate() {
        client.fetch(Request::get("/").header("X-Forwarded-For", address)).await.expect(200);
        let told = String::from_utf8(origin.preamble(n)).unwrap();
        assert_eq!(told, format!("PROXY TCP4 {address} 127.0.0.1 0 {port}\r\n"));
    }
    client.fetch(Request::get("/").header("X-Forwarded-For", "2001:db8::7")).await.expect(200);
    let told = String::from_utf8(origin.preamble(2)).unwrap();
    assert_eq!(told, format!("PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 0 {port}\r\n"));
}

#[tokio::test]
async fn a_client_without_an_address_is_told_as_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::builder().proxy_protocol().start(|_| Answer::echo()).await;
    let path = folder.path().join("front.sock");
    let listener = format!("[listeners.http]\naddress = \"unix:{}\"\n", path.display());
    let proxy = telling(&listener, &origin.to_string(), "proxy_protocol = \"v1\"").await;
    proxy.get("/").await.expect(200);
    assert_eq!(origin.preamble(0), b"PROXY UNKNOWN\r\n");
}

/// A listener whose queue is full, so that a further connection is neither made nor refused.
async fn full() -> (std::net::SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(stream);
    }
    (address, (listener, waiting))
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_told_as_ever() {
    let lines = "proxy_protocol = \"v2\"\npool = { connect = \"300ms\" }";
    let refusing = format!("http://{}", Address::refusing());
    let proxy = telling(BOTH, &refusing, lines).await;
    proxy.get("/").await.expect_problem(502, "upstream_refused");
    let (silent, _full) = full().await;
    let proxy = telling(BOTH, &format!("http://{silent}"), lines).await;
    proxy.get("/").await.expect_problem(504, "connect_timeout");
    let origin = Origin::builder().proxy_protocol().start(|_| Answer::echo()).await;
    let both = format!(
        "{BOTH}[upstreams.app]\nbackends = [{refusing:?}, \"{origin}\"]\n{lines}\n[routes.app]\npath = \"/*\"\nupstream = \"app\"\n"
    );
    let proxy = Proxy::start(both).await;
    for _ in 0..4 {
        proxy.get("/").await.expect(200);
    }
}

#[tokio::test]
async fn nginx_and_haproxy_understand_both_versions() {
    let (nginx, haproxy) = (Address::refusing(), Address::refusing());
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log /dev/null; user root; events {{}}\n\
         http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u;\n\
         scgi_temp_path s; server {{ listen {nginx} proxy_protocol;\n\
         location / {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }} }} }}\n"
    );
    let _nginx =
        server("nginx", "nginx-light", &["-p", ".", "-c", "server.conf", "-e", "/dev/null"], text, nginx).await;
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         frontend f\n bind {haproxy} accept-proxy\n http-request return status 200 content-type text/plain \
         lf-string \"%[src]:%[src_port]\"\n"
    );
    let _haproxy = server("haproxy", "haproxy", &["-db", "-f", "server.conf"], text, haproxy).await;
    for origin in [nginx, haproxy] {
        for version in ["v1", "v2"] {
            let proxy = telling(BOTH, &format!("http://{origin}"), &format!("proxy_protocol = {version:?}")).await;
            for _ in 0..2 {
                let mut client = proxy.connect().await;
                let us = client.local_address().to_string();
                assert_eq!(client.fetch(Request::get("/")).await.expect(200).text(), us);
            }
            let url = proxy.url("/");
            let told = curl(["--write-out", " %{local_ip}:%{local_port}", &url]).await.ok();
            let (answer, us) = told.split_once(' ').unwrap();
            assert_eq!(answer, us, "{origin} {version}");
        }
    }
}

/// A listener that takes headers of these peers, which loopback ones are or are not.
fn taking(mode: &str, peers: &str) -> String {
    format!("[listeners.http]\naddress = \"127.0.0.1:0\"\nproxy_protocol = {mode:?}\ntrusted_proxies = {peers:?}\n")
}

/// A proxy with this listener before an origin that echoes.
async fn told(listener: &str) -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(format!("{listener}{}", upstream(&origin.to_string(), ""))).await;
    (origin, proxy)
}

/// Sends these bytes on a connection of their own and gives what comes back until it ends, however that is.
async fn say(proxy: &Proxy, bytes: &[u8]) -> String {
    let mut stream = proxy.stream().await;
    let mut back = Vec::new();
    let _ = stream.write_all(bytes).await;
    let _ = within("the connection to end", stream.read_to_end(&mut back)).await;
    String::from_utf8_lossy(&back).into_owned()
}

const ASK: &str = "GET /asked HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// A header of version 2 for 192.0.2.7:50000, with a field after the addresses.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\x0a\0\0\x01\xc3\x50\x01\xbb\x04\0\x01\0";

#[tokio::test]
async fn the_client_that_the_header_names_is_the_client() {
    let (origin, proxy) = told(&taking("required", "127.0.0.1")).await;
    let spoof = ASK.replace("Host:", "X-Forwarded-For: 203.0.113.9\r\nHost:");
    for (n, header) in [&b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n"[..], V2].into_iter().enumerate() {
        let answer = say(&proxy, &[header, spoof.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = origin.nth(n).await;
        assert_eq!(seen.headers.all("x-forwarded-for"), ["192.0.2.7"], "a client that is told is not a trusted proxy");
    }
    say(&proxy, format!("PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n{ASK}").as_bytes()).await;
    assert_eq!(origin.nth(2).await.headers.all("x-forwarded-for"), ["2001:db8::7"]);
    let log = proxy.access_log(3).await;
    let mut clients: Vec<_> = log.iter().map(|line| line["client_ip"].as_str().unwrap()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["192.0.2.7", "192.0.2.7", "2001:db8::7"]);
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    let (origin, proxy) = told(&taking("required", "127.0.0.1")).await;
    for header in [&b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n"[..], V2] {
        let mut client = proxy.connect().await;
        for byte in [header, ASK.as_bytes()].concat() {
            client.send([byte]).await;
        }
        assert_eq!(client.answer("GET").await.expect(200).seen_all("x-forwarded-for"), ["192.0.2.7"]);
    }
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_header_that_names_nobody_leaves_the_peer() {
    let (origin, proxy) = told(&taking("required", "127.0.0.1")).await;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xc3\x50\x01\xbb";
    for (n, header) in [&b"PROXY UNKNOWN\r\n"[..], local].into_iter().enumerate() {
        say(&proxy, &[header, ASK.as_bytes()].concat()).await;
        assert_eq!(origin.nth(n).await.headers.all("x-forwarded-for"), ["127.0.0.1"]);
    }
}

#[tokio::test]
async fn nobody_is_believed_who_is_not_trusted() {
    let claims = [&b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n"[..], V2];
    let (origin, proxy) = told(&taking("required", "127.0.0.2")).await;
    for claim in claims {
        assert_eq!(say(&proxy, &[claim, ASK.as_bytes()].concat()).await, "");
    }
    assert_eq!(say(&proxy, ASK.as_bytes()).await, "");
    let line = proxy.logged_error("bad_proxy_header").await;
    assert_eq!((&line["client_ip"], &line["status"]), (&"127.0.0.1".into(), &400.into()));
    proxy.until_metric("http_errors_total", &[("reason", "bad_proxy_header"), ("listener", "http")], 3.0).await;
    let (optional, proxy) = told(&taking("optional", "127.0.0.2")).await;
    for claim in claims {
        let answer = say(&proxy, &[claim, ASK.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(say(&proxy, ASK.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_eq!((origin.requests().len(), optional.requests().len()), (0, 1));
    assert_eq!(optional.request().await.headers.all("x-forwarded-for"), ["127.0.0.1"]);
    // Where nobody asks for it, a header is no HTTP at all.
    let (origin, proxy) = told(BOTH).await;
    for claim in claims {
        let answer = say(&proxy, &[claim, ASK.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_trusted_proxy_may_leave_out_what_is_optional_and_nothing_else() {
    let (origin, proxy) = told(&taking("optional", "127.0.0.1")).await;
    assert!(say(&proxy, ASK.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert!(say(&proxy, &[V2, ASK.as_bytes()].concat()).await.starts_with("HTTP/1.1 200"));
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    assert!(say(&proxy, post.as_bytes()).await.starts_with("HTTP/1.1 200"), "P begins both");
    let clients: Vec<_> =
        origin.requests().iter().map(|seen| seen.header("x-forwarded-for").unwrap().to_owned()).collect();
    assert_eq!(clients, ["127.0.0.1", "192.0.2.7", "127.0.0.1"]);
    let (origin, required) = told(&taking("required", "127.0.0.1")).await;
    assert_eq!(say(&required, ASK.as_bytes()).await, "");
    for proxy in [&proxy, &required] {
        for garbage in [
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 50000\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443 \r\n",
            b"PROXY TCP4 ::1 10.0.0.1 50000 443\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
        ] {
            assert_eq!(say(proxy, &[garbage, ASK.as_bytes()].concat()).await, "", "{garbage:?}");
        }
    }
    assert!(origin.requests().is_empty());
    required.until_metric("http_errors_total", &[("reason", "bad_proxy_header")], 7.0).await;
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let timeouts = "timeouts = { header = \"300ms\" }\n";
    let (_origin, proxy) = told(&format!("{}{timeouts}", taking("required", "127.0.0.1"))).await;
    // The health check of a balancer that only looks whether anybody listens is no error.
    drop(proxy.stream().await);
    assert_eq!(say(&proxy, b"").await, "");
    assert_eq!(say(&proxy, b"PROXY TCP4 192.0.2.7").await, "");
    assert_eq!(proxy.logged_error("header_timeout").await["client_ip"], "127.0.0.1");
    assert_eq!(say(&proxy, &V2[..20]).await, "");
    proxy.until_metric("http_errors_total", &[("reason", "header_timeout")], 2.0).await;
    assert_eq!(proxy.metric("http_errors_total", &[]).await, 2.0);
}

#[tokio::test]
async fn what_comes_in_goes_out() {
    let origin = Origin::builder().proxy_protocol().start(|_| Answer::echo()).await;
    let out = upstream(&origin.to_string(), "proxy_protocol = \"v1\"");
    let proxy = Proxy::start(format!("{}{out}", taking("required", "127.0.0.1"))).await;
    say(&proxy, &[V2, ASK.as_bytes()].concat()).await;
    assert_eq!(origin.preamble(0), b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n");
}

#[tokio::test]
async fn haproxy_and_curl_are_believed_in_plaintext_and_over_tls() {
    let authority = Authority::new();
    let ours = authority.issue(&["localhost"]);
    let listeners = format!(
        "{}{}tls = {{ cert = {:?}, key = {:?} }}\n",
        taking("required", "127.0.0.1"),
        taking("required", "127.0.0.1").replace("listeners.http", "listeners.https"),
        ours.cert_file,
        ours.key_file
    );
    let (_origin, proxy) = told(&listeners).await;
    let (plain, secure) = (proxy.listener("http").socket(), proxy.listener("https").socket());
    let fronts: Vec<_> = (0..4).map(|_| Address::refusing()).collect();
    let mut text = "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n".to_owned();
    let ways = [(plain, "send-proxy"), (plain, "send-proxy-v2"), (secure, "send-proxy"), (secure, "send-proxy-v2-ssl")];
    for (n, (to, send)) in ways.iter().enumerate() {
        let at = fronts[n];
        text.push_str(&format!("listen l{n}\n bind {at}\n source 127.0.0.1\n server s {to} {send}\n"));
    }
    let _haproxy = server("haproxy", "haproxy", &["-db", "-f", "server.conf"], text, fronts[3]).await;
    let ca = authority.file().display().to_string();
    let get = async |url: &str, more: &[&str]| {
        let mut arguments = vec!["--cacert", &ca, "--interface", "127.0.0.3", url];
        arguments.extend(more);
        serde_json::from_str::<serde_json::Value>(&curl(arguments).await.ok()).unwrap().to_string()
    };
    for (n, (to, send)) in ways.iter().enumerate() {
        let scheme = if *to == secure { "https" } else { "http" };
        let seen = get(&format!("{scheme}://localhost:{}/", fronts[n].port()), &["--ipv4"]).await;
        assert!(seen.contains("127.0.0.3"), "{send} to {to}: {seen}");
    }
    for (scheme, at) in [("http", plain), ("https", secure)] {
        let url = format!("{scheme}://localhost:{}/", at.port());
        let told = curl(["--cacert", &ca, "--ipv4", "--haproxy-protocol", &url]).await.ok();
        assert!(told.contains("127.0.0.1"), "{told}");
    }
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_its_share() {
    let (_origin, proxy) = told("[listeners.http]\naddress = \"127.0.0.1:0\"\nmax_connections_per_ip = 2\n").await;
    let (mut one, mut two) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut one, &mut two] {
        client.fetch(Request::get("/")).await.expect(200);
    }
    assert_eq!(say(&proxy, ASK.as_bytes()).await, "");
    let line = proxy.logged_error("too_many_connections_per_ip").await;
    assert_eq!((&line["client_ip"], &line["status"]), (&"127.0.0.1".into(), &429.into()));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = Stream::Tcp(socket.connect(proxy.address().socket()).await.unwrap());
    Connection::over(other, "a").fetch(Request::get("/")).await.expect(200);
    drop(one);
    let freed = async { while say(&proxy, ASK.as_bytes()).await.is_empty() {} };
    within("a place to become free", freed).await;
    two.fetch(Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn the_share_is_the_told_clients() {
    let listener = format!("{}max_connections_per_ip = 1\n", taking("optional", "127.0.0.1"));
    let (_origin, proxy) = told(&listener).await;
    let claim = async |address: &str| {
        let mut client = proxy.connect().await;
        client.send(format!("PROXY TCP6 {address} ::1 1 2\r\n{}", ASK.replace("close", "keep-alive"))).await;
        client
    };
    let mut first = claim("2001:db8:0:1::1").await;
    first.answer("GET").await.expect(200);
    assert!(claim("2001:db8:0:1::2").await.rest_or_answer().await.is_empty(), "an IPv6 client is a /64");
    claim("2001:db8:0:2::1").await.answer("GET").await.expect(200);
    assert_eq!(proxy.logged_error("too_many_connections_per_ip").await["client_ip"], "2001:db8:0:1::2");
    // The proxy itself stands for many.
    let (mut one, mut two) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut one, &mut two] {
        client.fetch(Request::get("/")).await.expect(200);
    }
}

#[tokio::test]
async fn what_the_streams_of_a_client_were_carried_by_ends_once_it_is_idle() {
    let origin = Origin::builder().h2c().proxy_protocol().start(|_| Answer::text("x")).await;
    let lines = "proxy_protocol = \"v2\"\npool = { idle = \"300ms\" }";
    let proxy = telling(BOTH, &origin.to_string(), lines).await;
    for _ in 0..10 {
        let client = proxy.h2c().await;
        // Streams begin and end beside each other.
        let ask = async || {
            for _ in 0..20 {
                client.fetch(Request::get("/")).await.expect(200);
            }
        };
        within("many streams", async { tokio::join!(ask(), ask(), ask(), ask()) }).await;
    }
    origin.until_open(0).await;
}
