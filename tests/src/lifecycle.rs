//! How a process starts, refuses to start, and ends.

use std::io::ErrorKind;

use futures::SinkExt;
use testkit::{Answer, Gate, Origin, Proxy, Request, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{before, route};

#[tokio::test]
async fn the_banner_says_where_to_look() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    let lines = proxy.lines();
    let banner = lines.join("\n");
    assert!(banner.contains(&format!("http://{}", proxy.address())), "{banner}");
    assert!(banner.contains("1 route") && banner.contains("maitred.toml") && banner.contains("/metrics"), "{banner}");
    assert!(lines.len() <= 6, "{banner}");
}

#[tokio::test]
async fn term_lets_requests_end_and_ends_as_soon_as_idle() {
    let gate = Gate::new();
    let script = gate.clone();
    let (_origin, proxy) = before(move |_| Answer::status(200).chunk("first").wait(&script).chunk("second")).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/under-way")).await;
    connection.answer_head().await;
    assert_eq!(connection.chunk().await.unwrap(), "first");
    let client = proxy.h2c().await;
    let (_, mut incoming) = client.open(&Request::get("/h2")).await;
    incoming.head().await.unwrap();
    gate.reached_by(2).await;
    let mut idle = proxy.connect().await;
    proxy.signal("TERM").await;
    proxy.until_refusing().await;
    idle.closed().await;
    let ready = proxy.admin("/ready").await;
    assert_eq!((ready.status, ready.json()["status"].clone()), (503, "draining".into()));
    assert_eq!(proxy.admin("/health").await.status, 200);
    gate.open();
    assert_eq!(connection.chunk().await.unwrap(), "second");
    assert_eq!(connection.chunk().await.unwrap(), "");
    let rest = async { while incoming.piece().await.unwrap().is_some() {} };
    rest.await;
    let exit = proxy.wait().await.expect(0);
    assert!(exit.stdout.contains("/under-way") && exit.stdout.contains("/h2"), "the log was not written out");
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let (_origin, proxy) = before(|_| Answer::text("x")).await;
        let mut kept = proxy.connect().await;
        kept.fetch(Request::get("/")).await.expect(200);
        let client = proxy.h2c().await;
        client.fetch(Request::get("/")).await.expect(200);
        proxy.signal(signal).await;
        proxy.wait().await.expect(0);
    }
}

#[tokio::test]
async fn an_answer_while_draining_says_that_the_connection_ends() {
    let gate = Gate::new();
    let script = gate.clone();
    let (_origin, proxy) = before(move |_| Answer::text("x").after(&script)).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    gate.reached().await;
    proxy.signal("TERM").await;
    proxy.until_refusing().await;
    gate.open();
    let answer = connection.answer("GET").await.expect(200);
    assert!(answer.headers.has_token("connection", "close"), "{:?}", answer.headers);
    connection.closed().await;
    proxy.wait().await.expect(0);
}

#[tokio::test]
async fn the_grace_period_is_the_limit() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let proxy = Proxy::start(format!("{}[server]\ngrace_period = \"300ms\"\n", route(&origin, ""))).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    origin.request().await;
    proxy.signal("TERM").await;
    let exit = proxy.wait().await.expect(0);
    assert!(exit.stderr.contains("cut after the grace period"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_second_int_ends_at_once() {
    let (origin, proxy) = before(|_| Answer::hang()).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    origin.request().await;
    proxy.signal("INT").await;
    proxy.until_refusing().await;
    proxy.signal("INT").await;
    proxy.wait().await.expect(130);
}

#[tokio::test]
async fn an_open_websocket_does_not_outlive_the_grace_period() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let proxy = Proxy::start(format!("{}[server]\ngrace_period = \"500ms\"\n", route(&origin, ""))).await;
    let mut socket = proxy.websocket("/").await;
    socket.send(Message::text("hello")).await.unwrap();
    proxy.signal("TERM").await;
    proxy.wait().await.expect(0);
}

#[tokio::test]
async fn a_port_in_use_names_its_owner() {
    let (_origin, first) = before(|_| Answer::text("x")).await;
    let taken = first.address().socket();
    let second = Proxy::with(format!("listen = \"{taken}\"\n[routes.app]\nrespond = {{ body = \"x\" }}\n"));
    let exit = second.refused().await.expect(1);
    assert!(exit.stderr.contains(&taken.port().to_string()), "{}", exit.stderr);
    assert!(exit.stderr.contains(&first.pid().to_string()) && exit.stderr.contains("maitred"), "{}", exit.stderr);
    first.get("/").await.expect(200);
}

#[tokio::test]
async fn an_admin_port_in_use_is_told_of_too() {
    let (_origin, first) = before(|_| Answer::text("x")).await;
    let taken = first.listener("admin").socket();
    let second = Proxy::with(format!("[routes.app]\nrespond = {{ body = \"x\" }}\n[admin]\naddress = \"{taken}\"\n"));
    let exit = second.refused().await.expect(1);
    assert!(exit.stderr.contains(&taken.to_string()), "{}", exit.stderr);
}

#[tokio::test]
async fn an_upstream_that_is_down_at_the_start_is_no_reason_not_to_start() {
    let address = testkit::Address::refusing();
    let proxy = Proxy::start(format!("[routes]\n\"/*\" = \"http://{address}\"\n")).await;
    proxy.get("/").await.expect(502);
    let origin = Origin::builder().at(address).start(|_| Answer::text("up")).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "up");
    drop(origin);
}

#[tokio::test]
async fn all_mistakes_are_told_at_once_and_nothing_starts() {
    let wrong = r#"
[upstreams.users]
backends = "http://10.0.0.1:8080"
retires  = 2
[routes.users]
path     = "/users/*"
upstream = "usres"
timeout  = 30000
"#;
    let exit = Proxy::with(wrong).refused().await.expect(3);
    for told in
        ["error[E0102]", "`retires`", "retries", "error[E0201]", "usres", "error[E0104]", "30s", "maitred.toml:"]
    {
        assert!(exit.stderr.contains(told), "{told} is missing in:\n{}", exit.stderr);
    }
    assert!(!exit.stderr.contains("ready in"));
}

#[tokio::test]
async fn without_a_file_and_a_terminal_the_places_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let exit = testkit::maitred(folder.path(), ["run"]).await.expect(3);
    assert!(
        exit.stderr.contains("maitred.toml") && exit.stderr.contains("/etc/maitred/maitred.toml"),
        "{}",
        exit.stderr
    );
    assert!(exit.stderr.contains("maitred init"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_thousand_connections_leave_nothing_behind() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    proxy.get("/").await.expect(200);
    let before = proxy.descriptors();
    for n in 0..1000 {
        let mut connection = proxy.connect().await;
        match n % 3 {
            0 => drop(connection.fetch(Request::get("/")).await),
            1 => connection.reset(),
            _ => connection.send("GET / HT").await,
        }
    }
    let gone = async {
        while proxy.descriptors() > before + 8 {
            tokio::task::yield_now().await;
        }
    };
    within("the descriptors to be given back", gone).await;
}

/// Whoever reads to the end of a stream takes what it has read for all there was.
#[tokio::test]
async fn a_stream_that_is_cut_with_the_process_does_not_look_as_if_it_had_ended() {
    for now in [false, true] {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(format!(
            "[listeners.stream]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\nupstream = \"peers\"\n\
             [upstreams.peers]\nbackends = [\"tcp://{}\"]\n[server]\ngrace_period = \"300ms\"\n",
            backend.local_addr().unwrap()
        ))
        .await;
        let mut client = proxy.stream().await;
        client.write_all(b"half").await.unwrap();
        let (mut taken, _) = within("a connection to the backend", backend.accept()).await.unwrap();
        let mut read = [0; 4];
        taken.read_exact(&mut read).await.unwrap();
        taken.write_all(b"half").await.unwrap();
        client.read_exact(&mut read).await.unwrap();
        match now {
            true => drop(proxy.command(["stop", "--now"]).await.expect(0)),
            false => proxy.signal("TERM").await,
        }
        let cut = within("the backend to see an end", taken.read(&mut read)).await;
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let cut = within("the client to see an end", client.read(&mut read)).await;
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::ConnectionReset);
        proxy.wait().await.expect(0);
    }
}
