//! WebSocket and every other upgrade that an origin grants.

use futures::{SinkExt, StreamExt};
use testkit::{Answer, Authority, Gate, Origin, Outcome, Proxy, Request, websocket, within};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{before, route, still_serves};

const UPGRADE: &str = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n";

#[tokio::test]
async fn messages_pass_both_ways() {
    let (origin, proxy) = before(|_| Answer::websocket()).await;
    let mut socket = proxy.websocket("/chat?room=1").await;
    let large = vec![7_u8; 1 << 20];
    for message in [Message::text("hello"), Message::binary(large), Message::text("grüße")] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), message);
    }
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(within("a pong", socket.next()).await.unwrap().unwrap(), Message::Pong("are you there".into()));
    socket.close(None).await.unwrap();
    let seen = origin.request().await;
    assert_eq!(seen.target, "/chat?room=1");
    assert!(seen.headers.has_token("connection", "upgrade") && seen.headers.has_token("upgrade", "websocket"));
    assert_eq!(seen.headers.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(origin.ended(0).await.outcome, Outcome::Answered);
    let line = proxy.logged("/chat").await;
    assert_eq!((&line["status"], &line["error"]), (&101.into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn many_sockets_are_open_at_once() {
    let (origin, proxy) = before(|_| Answer::websocket()).await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(proxy.websocket("/").await);
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(n.to_string())).await.unwrap();
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text(n.to_string()), "{n}");
    }
    drop(sockets);
    origin.until("all to end", |seen| seen.len() == 50 && seen.iter().all(|seen| seen.outcome != Outcome::Open)).await;
}

#[tokio::test]
async fn a_socket_over_tls_is_one_too() {
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"]);
    let origin = Origin::start(|_| Answer::websocket()).await;
    let text = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n{}",
        certificate.cert_file,
        certificate.key_file,
        route(&origin, "")
    );
    let proxy = Proxy::start(text).await;
    let stream = authority.client().alpn(&["http/1.1"]).connect(proxy.address()).await;
    let mut socket = websocket(stream, "localhost", "/").await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn any_other_protocol_passes_as_well() {
    let (_origin, proxy) = before(|_| Answer::upgrade("thing")).await;
    let mut connection = proxy.connect().await;
    connection.send(UPGRADE).await;
    let (status, fields) = connection.answer_head().await;
    assert_eq!(status, 101);
    assert!(fields.has_token("upgrade", "thing") && fields.has_token("connection", "upgrade"), "{fields:?}");
    connection.send(b"\x00\x01\x02 no HTTP at all \r\n\r\n").await;
    assert_eq!(connection.bytes(23).await, "\x00\x01\x02 no HTTP at all \r\n\r\n");
}

#[tokio::test]
async fn a_half_closed_tunnel_still_carries_the_other_half() {
    let (_origin, proxy) = before(|_| Answer::upgrade("thing")).await;
    let mut connection = proxy.connect().await;
    connection.send(UPGRADE).await;
    connection.answer_head().await;
    connection.send("last words").await;
    connection.half_close().await;
    assert_eq!(connection.rest().await, "last words");
}

#[tokio::test]
async fn bytes_sent_before_the_101_arrive_after_it() {
    let gate = Gate::new();
    let script = gate.clone();
    let (_origin, proxy) = before(move |_| Answer::upgrade("thing").after(&script)).await;
    let mut connection = proxy.connect().await;
    connection.send(format!("{UPGRADE}early")).await;
    gate.reached().await;
    gate.open();
    assert_eq!(connection.answer_head().await.0, 101);
    assert_eq!(connection.bytes(5).await, "early");
}

#[tokio::test]
async fn bytes_after_an_upgrade_that_is_declined_never_reach_the_origin_unjudged() {
    let origin = Origin::start(|_| Answer::text("declined")).await;
    let text = format!(
        "[routes.admin]\npath = \"/admin\"\nrespond = {{ status = 403 }}\n[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\n"
    );
    let proxy = Proxy::start(text).await;
    for protocol in ["thing", "websocket"] {
        let mut connection = proxy.connect().await;
        let upgrade = UPGRADE.replace("thing", protocol);
        connection.send(format!("{upgrade}GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(connection.answer("GET").await.expect(200).text(), "declined");
        let next = String::from_utf8_lossy(&connection.rest_or_answer().await).into_owned();
        assert!(next.is_empty() || next.starts_with("HTTP/1.1 403"), "{next}");
    }
    for seen in origin.requests() {
        assert_eq!((seen.target.as_str(), seen.body.length), ("/up", 0));
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn an_upgrade_that_connection_does_not_name_is_none() {
    let (origin, proxy) = before(|_| Answer::echo()).await;
    let answer = proxy.fetch(Request::get("/").header("Upgrade", "thing")).await.expect(200);
    assert!(answer.seen("upgrade").is_none());
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn an_origin_that_demands_an_upgrade_is_heard() {
    let (_origin, proxy) =
        before(|_| Answer::status(426).header("Connection", "Upgrade").header("Upgrade", "thing")).await;
    assert_eq!(proxy.get("/").await.expect(426).header("upgrade"), Some("thing"));
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_502() {
    let (_origin, proxy) = before(|_| Answer::upgrade("thing")).await;
    let answer = proxy.get("/").await;
    assert_eq!(answer.status, 502, "{answer:?}");
}

#[tokio::test]
async fn a_silent_socket_is_closed_after_its_idle_time() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let proxy = Proxy::start(route(&origin, "websocket = { idle = \"300ms\" }\ntimeout = \"100ms\"")).await;
    let mut socket = proxy.websocket("/").await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("hello"));
    let end = within("the silent socket to be closed", socket.next()).await;
    assert!(!matches!(end, Some(Ok(Message::Text(_) | Message::Binary(_)))), "{end:?}");
    assert_ne!(origin.ended(0).await.outcome, Outcome::Open);
}

#[tokio::test]
async fn an_origin_that_closes_closes_the_client() {
    let (_origin, proxy) = before(|_| {
        Answer::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\nbye").closing()
    })
    .await;
    let mut connection = proxy.connect().await;
    connection.send(UPGRADE).await;
    assert_eq!(connection.answer_head().await.0, 101);
    assert_eq!(connection.rest().await, "bye");
}
