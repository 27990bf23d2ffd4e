//! The testkit against itself: clients and origins without a proxy between them.

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    Answer, Authority, Connection, Gate, H2, Messages, Origin, Outcome, Request, Response, Stream, message, websocket,
};

async fn fetch(origin: &Origin, request: Request) -> Response {
    Connection::to(origin.address()).await.fetch(request).await
}

#[tokio::test]
async fn an_echoing_origin_says_what_it_saw() {
    let origin = Origin::echo().await;
    let answer = fetch(&origin, Request::post("/a?b=c", "hello").header("X-One", "1")).await.expect(200);
    assert_eq!(answer.target(), "/a?b=c");
    assert_eq!(answer.seen("x-one").as_deref(), Some("1"));
    assert_eq!(answer.json()["body"], "hello");
    let seen = origin.request().await;
    assert!(seen.head.starts_with(b"POST /a?b=c HTTP/1.1\r\n"));
    assert!(seen.body.complete);
}

#[tokio::test]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let origin = Origin::start(|_| Answer::status(200).chunk("ab").chunk("c").trailer("X-End", "yes")).await;
    let answer = fetch(&origin, Request::new("PUT", "/").chunks(&[b"12", b"345"])).await.expect(200);
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.body.trailers.get("x-end"), Some("yes"));
    assert_eq!(origin.request().await.body.text(), "12345");
}

#[tokio::test]
async fn connections_are_kept_and_counted() {
    let origin = Origin::text("x").await;
    let mut connection = Connection::to(origin.address()).await;
    for _ in 0..3 {
        connection.fetch(Request::get("/")).await.expect(200);
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(origin.nth(2).await.turn, 2);
}

#[tokio::test]
async fn a_gate_holds_an_answer_until_the_test_opens_it() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |_| Answer::events().chunk("one").wait(&script).chunk("two")).await;
    let mut connection = Connection::to(origin.address()).await;
    connection.start(&Request::get("/")).await;
    connection.answer_head().await;
    assert_eq!(connection.chunk().await.unwrap(), "one");
    gate.reached().await;
    gate.open();
    assert_eq!(connection.chunk().await.unwrap(), "two");
    assert_eq!(connection.chunk().await.unwrap(), "");
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_to_leave() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let mut connection = Connection::to(origin.address()).await;
    connection.start(&Request::get("/")).await;
    origin.request().await;
    drop(connection);
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_body_cut_short_is_not_complete() {
    let origin = Origin::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let answer = fetch(&origin, Request::get("/")).await.expect(200);
    assert!(!answer.body.complete && answer.cut.is_some());
    let origin = Origin::start(|_| Answer::status(200).chunk("half").resetting()).await;
    let answer = fetch(&origin, Request::get("/")).await;
    assert!(!answer.body.complete || answer.text() == "half");
}

#[tokio::test]
async fn generated_bodies_pass_without_being_held() {
    let origin = Origin::start(|_| Answer::generated(3 << 20)).await;
    let answer = fetch(&origin, Request::post("/", "").generated(2 << 20)).await.expect(200);
    assert!(answer.body.complete && answer.body.is_pattern);
    assert_eq!(answer.body.length, 3 << 20);
    let seen = origin.request().await;
    assert!(seen.body.complete && seen.body.is_pattern && seen.body.length == 2 << 20);
}

#[tokio::test]
async fn interim_answers_come_before_the_final_one() {
    let origin = Origin::start(|_| Answer::text("x").interim(103, &[("Link", "</a>")])).await;
    let answer = fetch(&origin, Request::get("/")).await.expect(200);
    assert_eq!(answer.interim[0].0, 103);
    assert_eq!(answer.interim[0].1.get("link"), Some("</a>"));
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_and_a_websocket_echoes() {
    let origin =
        Origin::start(|seen| if seen.target == "/ws" { Answer::websocket() } else { Answer::upgrade("thing") }).await;
    let mut connection = Connection::to(origin.address()).await;
    connection.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\nearly").await;
    assert_eq!(connection.answer_head().await.0, 101);
    assert_eq!(connection.bytes(5).await, "early");
    let mut socket = websocket(origin.address().connect().await, "a", "/ws").await;
    socket.send(Message::text("hi")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hi"));
}

#[tokio::test]
async fn unix_sockets_serve_too() {
    let origin = Origin::builder().unix().start(|_| Answer::text("by unix")).await;
    assert!(origin.to_string().starts_with("unix:/"));
    assert_eq!(fetch(&origin, Request::get("/")).await.expect(200).text(), "by unix");
}

#[tokio::test]
async fn http2_speaks_the_same_scripts() {
    let (gate, last) = (Gate::new(), Gate::new());
    let (script, end) = (gate.clone(), last.clone());
    let respond = move |seen: &crate::Seen| match seen.target.as_str() {
        "/echo" => Answer::echo(),
        "/gate" => Answer::events().chunk("one").wait(&script).chunk("two").trailer("x-end", "yes"),
        "/cut" => Answer::status(200).chunk("half").wait(&end).resetting(),
        _ => Answer::generated(3 << 20),
    };
    let origin = Origin::builder().h2c().start(respond).await;
    let client = H2::over(origin.address().connect().await, "a.example").await;
    let answer = client.fetch(Request::post("/echo", "hello")).await.expect(200);
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.seen(":authority").as_deref(), Some("a.example"));
    let (_, mut incoming) = client.open(&Request::get("/gate")).await;
    assert_eq!(incoming.head().await.unwrap().0, 200);
    assert_eq!(incoming.piece().await.unwrap().unwrap(), "one");
    gate.open();
    assert_eq!(incoming.piece().await.unwrap().unwrap(), "two");
    assert_eq!(incoming.piece().await.unwrap(), None);
    assert_eq!(incoming.trailers().await.unwrap().get("x-end"), Some("yes"));
    let (_, mut cut) = client.open(&Request::get("/cut")).await;
    assert_eq!(cut.head().await.unwrap().0, 200);
    assert_eq!(cut.piece().await.unwrap().unwrap(), "half");
    last.open();
    assert!(cut.piece().await.is_err());
    let big = client.fetch(Request::post("/big", "").generated(2 << 20)).await;
    assert!(big.body.complete && big.body.is_pattern && big.body.length == 3 << 20);
}

#[tokio::test]
async fn a_cancelled_http2_stream_is_seen_to_be_cancelled() {
    let origin = Origin::builder().h2c().start(|_| Answer::hang()).await;
    let client = H2::over(origin.address().connect().await, "a").await;
    let (out, incoming) = client.open(&Request::get("/")).await;
    origin.request().await;
    out.reset(h2::Reason::CANCEL);
    drop(incoming);
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn grpc_echoes_in_both_directions_at_once() {
    let origin = Origin::builder().h2c().start(|_| Answer::grpc()).await;
    let client = H2::over(origin.address().connect().await, "a").await;
    let (mut out, mut incoming) = client.stream(Request::new("POST", "/echo.Echo/Chat")).await;
    assert_eq!(incoming.head().await.unwrap().0, 200);
    let mut messages = Messages::default();
    for text in ["one", "two"] {
        out.send(message(text.as_bytes())).await.unwrap();
        let received = loop {
            if let Some(received) = messages.next() {
                break received;
            }
            messages.feed(&incoming.piece().await.unwrap().unwrap());
        };
        assert_eq!(received, text);
    }
    out.finish().await.unwrap();
    assert_eq!(incoming.piece().await.unwrap(), None);
    assert_eq!(incoming.trailers().await.unwrap().get("grpc-status"), Some("0"));
}

#[tokio::test]
async fn tls_agrees_on_a_protocol_and_knows_the_name_and_the_client() {
    let authority = Authority::new();
    let certificate = authority.issue(&["origin.test", "127.0.0.1"]);
    let origin = Origin::builder().tls(certificate).client_ca(&authority).start(|_| Answer::echo()).await;
    assert!(origin.to_string().starts_with("https://127.0.0.1:"));
    let connect = || authority.client().name("origin.test").alpn(&["h2", "http/1.1"]);
    let stream = connect().identity(authority.issue(&["client"])).connect(origin.address()).await;
    assert_eq!(stream.alpn().as_deref(), Some(&b"http/1.1"[..]));
    Connection::over(stream, "origin.test").fetch(Request::get("/")).await.expect(200);
    let seen = origin.request().await;
    assert_eq!(seen.server_name.as_deref(), Some("origin.test"));
    assert!(seen.client_certificate);
    let h2 = Origin::builder().h2(authority.issue(&["two.test"])).start(|_| Answer::echo()).await;
    let stream: Stream = authority.client().name("two.test").alpn(&["h2"]).connect(h2.address()).await;
    H2::over(stream, "two.test").await.fetch(Request::get("/")).await.expect(200);
}
