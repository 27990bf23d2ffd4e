//! WebSocket and every other upgrade that an origin grants.

use futures::{SinkExt, StreamExt};
use testkit::{Answer, Authority, Gate, Mmdb, Origin, Outcome, Proxy, Request, maitred, websocket, within};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{BOTH, before, route, still_serves};

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

/// A policy that refuses a request with these lines, with this status and reason: its name, and how it is written, where `MODE`
/// stands for its mode.
type Policy = (&'static str, &'static str, &'static str, u16, &'static str);

const POLICIES: [Policy; 13] = [
    ("ip", "ip = { deny = \"127.0.0.1\"MODE }", "", 403, "address_denied"),
    ("geo", "geo = { deny = \"KP\"MODE }", "", 403, "country_denied"),
    ("url", "max_url = { size = \"20B\"MODE }", "", 414, "url_too_long"),
    ("header", "max_header = { size = \"100B\"MODE }", "", 431, "header_too_large"),
    ("body", "max_body = { size = \"1B\"MODE }", "Content-Length: 4\r\n", 413, "body_too_large"),
    ("chunks", "max_body = { size = \"1B\"MODE }", "Transfer-Encoding: chunked\r\n", 413, "body_too_large"),
    ("type", "content_type = { allow = \"image/*\"MODE }", "Content-Type: text/plain\r\n", 415, "content_type_refused"),
    ("limit", "limit = { requests = 1, window = \"1h\"MODE }", "", 429, "limited"),
    ("no-key", "auth = { type = \"api_key\", keys = \"keys.toml\"MODE }", "", 401, "auth_missing"),
    ("key", "auth = { type = \"api_key\", keys = \"keys.toml\"MODE }", "X-API-Key: mtd_wrong\r\n", 401, "auth_invalid"),
    (
        "jwt",
        "auth = { type = \"jwt\", secret = \"0123456789abcdef0123456789abcdef\"MODE }",
        "Authorization: Bearer e30.e30.e30\r\n",
        401,
        "auth_invalid",
    ),
    (
        "basic",
        "auth = { type = \"basic\", users = \"users.toml\"MODE }",
        "Authorization: Basic eDp5\r\n",
        401,
        "auth_invalid",
    ),
    (
        "require",
        "auth = { type = \"api_key\", keys = \"keys.toml\" }\nrequire = { scope = \"orders\"MODE }",
        "X-API-Key: WEAK\r\n",
        403,
        "forbidden",
    ),
];

#[tokio::test]
async fn no_policy_is_skipped_because_a_request_asks_for_an_upgrade() {
    for engine in ["", "general"] {
        let asks = |seen: &testkit::Seen| seen.headers.has_token("upgrade", "thing");
        let origin =
            Origin::start(move |seen| if asks(seen) { Answer::upgrade("thing") } else { Answer::echo() }).await;
        let mut text = format!("{BOTH}[access]\ngeoip = \"places.mmdb\"\n");
        for (name, policy, ..) in POLICIES {
            for (end, mode) in [("", ""), ("-shadow", ", mode = \"shadow\"")] {
                let policy = policy.replace("MODE", mode);
                text +=
                    &format!("[routes.{name}{end}]\npath = \"/{name}{end}/*\"\nupstream = \"{origin}\"\n{policy}\n");
            }
        }
        let starter = Proxy::with(text).variable("MAITRED_ENGINE", engine).file("users.toml", "");
        let places = Mmdb::default().country("127.0.0.0/8", "KP").bytes();
        std::fs::write(starter.folder().join("places.mmdb"), places).unwrap();
        let added = maitred(starter.folder(), ["key", "add", "beta", "--file", "keys.toml"]).await.expect(0);
        let proxy = starter.start().await;
        for (name, _, fields, status, reason) in POLICIES {
            let fields = fields.replace("WEAK", added.stdout.trim());
            let ask = |path: &str, protocol: &str| {
                let content = match &*fields {
                    "Content-Length: 4\r\n" => "four",
                    "Transfer-Encoding: chunked\r\n" => "4\r\nfour\r\n0\r\n\r\n",
                    _ => "",
                };
                format!(
                    "GET {path}?{} HTTP/1.1\r\nHost: a\r\n{fields}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{content}",
                    "x".repeat(20)
                )
            };
            let (path, shadow) = (format!("/{name}"), format!("/{name}-shadow"));
            if name == "limit" {
                proxy.get(&format!("{path}/spent")).await.expect(200);
                proxy.get(&format!("{shadow}/spent")).await.expect(200);
            }
            for protocol in ["thing", "websocket", "h2c"] {
                let mut connection = proxy.connect().await;
                connection.send(ask(&path, protocol)).await;
                assert_eq!(connection.answer("GET").await.status, status, "{engine:?}, {name}, {protocol}");
            }
            assert_eq!(proxy.logged(&path).await["error"], reason, "{engine:?}, {name}");
            let mut connection = proxy.connect().await;
            connection.send(ask(&shadow, "thing")).await;
            if ["body", "chunks"].contains(&name) {
                // What brings content is served as if it had not asked (RFC 9110 section 7.8).
                assert_eq!(connection.answer("GET").await.expect(200).json()["body"], "four", "{engine:?}, {name}");
            } else {
                assert_eq!(connection.answer_head().await.0, 101, "{engine:?}, {name}");
                connection.send("through").await;
                assert_eq!(connection.bytes(7).await, "through", "{engine:?}, {name}");
            }
            drop(connection);
            let line = proxy.logged(&shadow).await;
            assert_eq!(line["shadow"], reason, "{engine:?}, {name}: {line}");
        }
        let passed = |seen: &testkit::Seen| seen.header("upgrade").is_some() && !seen.target.contains("-shadow");
        assert!(!origin.requests().iter().any(passed), "{engine:?}");
    }
}
