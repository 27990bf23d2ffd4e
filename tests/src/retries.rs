//! What is tried again, and what is not.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use socket2::{Domain, Socket, Type};
use testkit::{Answer, Origin, Proxy, Request, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::BOTH;

async fn balanced(backends: &[&dyn std::fmt::Display], lines: &str, route: &str) -> Proxy {
    let list: Vec<String> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [{}]\n{lines}\n[routes.app]\npath = \"/*\"\nupstream = \"app\"\n{route}\n",
        list.join(", ")
    ))
    .await
}

/// Answers its first `count` requests with `first`, and the others with 200.
async fn at_first(count: usize, first: impl Fn() -> Answer + Send + Sync + 'static) -> Origin {
    let seen = Arc::new(AtomicUsize::new(0));
    Origin::start(move |_| if seen.fetch_add(1, Relaxed) < count { first() } else { Answer::text("well") }).await
}

#[tokio::test]
async fn a_status_is_tried_again_where_the_configuration_says_so() {
    for h2 in [false, true] {
        let origin = at_first(2, || Answer::status(503).body("busy")).await;
        let proxy = balanced(&[&origin], "retries = { attempts = 2, on = [\"503\"] }", "").await;
        let request = Request::new("PUT", "/").body("body");
        let answer = if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
        assert_eq!(answer.expect(200).text(), "well");
        assert_eq!(origin.requests().len(), 3);
        assert!(origin.requests().iter().all(|seen| seen.body.start == b"body"), "the body is sent each time");
        assert_eq!(proxy.metric("upstream_retries_total", &[("reason", "upstream_status")]).await, 2.0);
        let line = &proxy.access_log(1).await[0];
        assert_eq!((&line["attempts"], &line["upstream_status"]), (&3.into(), &200.into()));
    }
}

/// A listener whose connections take little that nobody reads: small segments leave small buffers at both ends.
fn narrow() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(88).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(8).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

/// Reads until `what` has come, which is given with what came before.
async fn read_to(stream: &mut TcpStream, what: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(what.as_bytes()) {
        seen.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn what_is_sent_again_is_whole_though_the_answer_comes_meanwhile() {
    const PIECES: usize = 64;
    let listener = narrow();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (arrived, mut arrives) = mpsc::channel(1);
    let origin = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..PIECES {
            read_to(&mut stream, "!").await;
            arrived.send(()).await.unwrap();
        }
        read_to(&mut stream, "\r\n0\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 401 Who\r\nContent-Length: 4\r\n\r\nwho?").await.unwrap();
        let again = read_to(&mut stream, "\r\n0\r\n\r\n").await;
        let next = read_to(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell").await.unwrap();
        (again, next)
    });
    let proxy = balanced(&[&address], "retries = { attempts = 1, on = [\"503\"] }", "").await;
    let mut client = proxy.connect().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..PIECES {
        client.send(format!("3e8\r\n{}!\r\n", "x".repeat(999))).await;
        arrives.recv().await.unwrap();
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer("PUT").await.expect(401).text(), "who?");
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer("GET").await.expect(200).text(), "well");
    let (again, next) = within("the origin", origin).await.unwrap();
    assert_eq!(again.matches('!').count(), PIECES);
    assert!(next.starts_with("GET /next "), "{next}");
}

#[tokio::test]
async fn the_last_answer_is_the_clients() {
    let origin = at_first(9, || Answer::status(502).body("broken")).await;
    let proxy = balanced(&[&origin], "retries = { attempts = 2, on = [\"502\"] }", "").await;
    assert_eq!(proxy.get("/").await.expect(502).text(), "broken");
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn a_status_moves_the_request_to_another_backend() {
    let busy = Origin::start(|_| Answer::status(503)).await;
    let well = Origin::text("well").await;
    let proxy = balanced(&[&busy, &well], "retries = { on = \"503\" }\noutlier = false", "").await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.expect(200).text(), "well");
    }
    assert!(busy.requests().len() >= 5);
    assert_eq!(well.requests().len(), 10);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let origin = at_first(9, || Answer::status(503)).await;
    let silent = Origin::start(|_| Answer::hang()).await;
    let retries =
        "timeout = \"500ms\"\nretries = { attempts = 5, on = [\"connect\", \"reset\", \"timeout\", \"503\"] }";
    let proxy = balanced(&[&origin, &silent], retries, "").await;
    for _ in 0..4 {
        let answer = proxy.fetch(Request::post("/", "order")).await;
        assert!([503, 504].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(origin.requests().len() + silent.requests().len(), 4);
}

#[tokio::test]
async fn what_a_backend_refuses_unprocessed_goes_elsewhere_whatever_its_method() {
    let full = Origin::builder().h2c().start(|_| Answer::refuse()).await;
    let well = Origin::builder().h2c().start(|_| Answer::text("well")).await;
    let proxy = balanced(&[&full, &well], "outlier = { consecutive_errors = 1 }", "").await;
    for h2 in [false, true, false, true] {
        let request = Request::post("/", "order");
        let answer = if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
        assert_eq!(answer.expect(200).text(), "well");
    }
    assert!(full.requests().len() >= 2);
    assert!(well.requests().iter().all(|seen| seen.body.start == b"order"), "the body is sent again");
    assert_eq!(proxy.metric("backend_ejections_total", &[]).await, 0.0, "to be full is no fault");
}

#[tokio::test]
async fn what_a_backend_resets_without_a_word_is_not_sent_again() {
    let broken = Origin::builder().h2c().start(|_| Answer::hang().resetting()).await;
    let proxy = balanced(&[&broken], "retries = 3", "").await;
    proxy.fetch(Request::post("/", "order")).await.expect_problem(502, "upstream_reset");
    assert_eq!(broken.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_was_not_kept_is_not_sent_again() {
    let origin = at_first(9, || Answer::status(503)).await;
    let proxy = balanced(&[&origin], "retries = { attempts = 5, on = [\"503\"] }", "").await;
    proxy.fetch(Request::new("PUT", "/").generated(200_000)).await.expect(503);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_silent_backend_is_left_for_another_only_on_demand() {
    let (silent, well) = (Origin::start(|_| Answer::hang()).await, Origin::text("well").await);
    let retries = "timeout = \"300ms\"\nretries = { on = [\"timeout\"] }\noutlier = false";
    let proxy = balanced(&[&silent, &well], retries, "").await;
    for _ in 0..4 {
        assert_eq!(proxy.get("/").await.expect(200).text(), "well");
    }
    assert!(silent.requests().len() >= 2);
}

#[tokio::test]
async fn a_route_says_it_in_its_own_way() {
    let origin = at_first(1, || Answer::status(503)).await;
    let proxy = balanced(&[&origin], "retries = 0", "retries = { attempts = 1, on = [\"503\"] }").await;
    proxy.get("/").await.expect(200);
    let origin = at_first(1, || Answer::status(503)).await;
    let proxy = balanced(&[&origin], "retries = { on = [\"503\"] }", "retries = false").await;
    proxy.get("/").await.expect(503);
}

#[tokio::test]
async fn retry_after_is_waited_for_where_there_is_time() {
    let origin = at_first(1, || Answer::status(503).header("Retry-After", "1")).await;
    let proxy = balanced(&[&origin], "retries = { on = [\"503\"] }", "").await;
    let began = Instant::now();
    proxy.get("/").await.expect(200);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let origin = at_first(1, || Answer::status(503).header("Retry-After", "100")).await;
    let proxy = balanced(&[&origin], "retries = { on = [\"503\"] }", "").await;
    let answer = proxy.get("/").await.expect(503);
    assert_eq!(answer.header("retry-after"), Some("100"));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn retry_after_is_not_waited_for_without_end_where_a_route_has_no_time() {
    let origin = at_first(1, || Answer::status(503).header("Retry-After", "86400")).await;
    let proxy = balanced(&[&origin], "retries = { on = [\"503\"] }", "timeout = false").await;
    let answer = within("the answer", proxy.get("/")).await.expect(503);
    assert_eq!(answer.header("retry-after"), Some("86400"));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn all_tries_together_stay_within_the_routes_time() {
    let origin = Origin::start(|_| Answer::status(503)).await;
    let retries = "retries = { attempts = 10, on = [\"503\"], backoff = \"2s\", budget = \"100%\" }";
    let proxy = balanced(&[&origin], retries, "timeout = \"1s\"").await;
    let began = Instant::now();
    let answer = proxy.get("/").await;
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn retries_are_bounded_when_everything_fails() {
    let origin = Origin::start(|_| Answer::status(503)).await;
    let retries = "retries = { attempts = 10, on = [\"503\"], backoff = \"5ms\" }\noutlier = false";
    let proxy = balanced(&[&origin], retries, "").await;
    let all = (0..60).map(|_| async { proxy.get("/").await.expect(503) });
    futures::future::join_all(all).await;
    let sent = origin.requests().len();
    assert!((61..200).contains(&sent), "60 requests became {sent}, of up to 660");
}

#[tokio::test]
async fn a_websocket_goes_to_another_backend_as_well() {
    let busy = Origin::start(|_| Answer::status(503)).await;
    let well = Origin::start(|_| Answer::websocket()).await;
    let proxy = balanced(&[&busy, &well], "retries = { on = [\"503\"] }", "").await;
    for _ in 0..4 {
        let mut socket = proxy.websocket("/").await;
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("hello"));
    }
}

#[tokio::test]
async fn grpc_codes_are_conditions() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = Origin::builder()
        .h2c()
        .start(move |_| {
            let answer = Answer::status(200).header("Content-Type", "application/grpc");
            match seen.fetch_add(1, Relaxed) {
                0 => answer.header("grpc-status", "14"),
                _ => answer.header("grpc-status", "0"),
            }
        })
        .await;
    let proxy = balanced(&[&origin], "retries = { on = [\"unavailable\"] }", "").await;
    let call = Request::post("/", "message").header("Content-Type", "application/grpc");
    let answer = proxy.h2c().await.fetch(call).await.expect(200);
    assert_eq!(answer.header("grpc-status"), Some("0"));
    assert_eq!(origin.requests().len(), 2);
}
