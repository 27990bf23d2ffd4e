//! The PROXY protocol: told to backends, believed of trusted proxies, with HAProxy, nginx and curl at the other end.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use testkit::{Address, Answer, Authority, Origin, Proxy, Request, curl, tool, within};
use tokio::{
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
