//! What an adversarial review found: each of these once desynchronised, cut, hung or misled somebody.

use bytes::Bytes;
use testkit::{Answer, Authority, Connection, Framing, Origin, Outcome, Proxy, Request, Wire, within};

use crate::setting::{BOTH, before, echoing, route, still_serves};

/// One answer of the origin, as bytes, and what becomes of it at a client that sends these bytes.
async fn becomes(origin: &'static [u8], request: &str) -> String {
    let origin = Origin::raw(origin).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    proxy.exchange(request).await
}

const ONCE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_upload_that_ends_on_an_empty_frame_ends_once() {
    let (origin, proxy) = before(|_| Answer::echo()).await;
    let client = proxy.h2c().await;
    for _ in 0..3 {
        let (mut outgoing, mut incoming) = client.stream(Request::new("POST", "/upload")).await;
        outgoing.send(Bytes::from_static(b"hello")).await.unwrap();
        outgoing.finish().await.unwrap();
        assert_eq!(incoming.head().await.unwrap().0, 200);
        while incoming.piece().await.unwrap().is_some() {}
    }
    // A second end would have been the first bytes of the next request on the pooled connection.
    client.fetch(Request::get("/after")).await.expect(200);
    assert_eq!(origin.connections(), 1);
    assert!(origin.requests().iter().all(|seen| seen.body.complete));
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_refused() {
    const GRANTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let answer = becomes(GRANTED, ONCE).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let origin = Origin::raw(GRANTED).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    proxy.h2c().await.fetch(Request::get("/")).await.expect_problem(502, "upstream_protocol");
}

#[tokio::test]
async fn a_coding_that_is_not_chunked_is_not_passed_on() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok",
    ] {
        let answer = becomes(answer, ONCE).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_without_content_says_nothing_of_its_framing() {
    for answer in [
        &b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"[..],
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = becomes(answer, ONCE).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 204 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length") && !answer.contains("transfer-encoding"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_neither_chunks_nor_interim_answers() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ] {
        let answer = becomes(answer, OLD).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_failure_that_ends_the_connection_says_so() {
    let answer = becomes(b"nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("Connection: close"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waited_for_a_100_keeps_its_connection() {
    let (_origin, proxy) = before(|seen| match seen.target.as_str() {
        "/upload" => Answer::text("thanks").continues(),
        _ => Answer::text("ok"),
    })
    .await;
    let mut client = proxy.connect().await;
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.any_head().await.1, 100);
    client.send("hello").await;
    let answer = client.answer("POST").await.expect(200);
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    client.fetch(Request::get("/next")).await.expect(200);
}

#[tokio::test]
async fn a_tunnel_has_no_body_to_be_too_large() {
    let origin = Origin::start(|_| Answer::upgrade("echo")).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "max_body = \"1KiB\""))).await;
    let mut client = proxy.connect().await;
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(client.answer_head().await.0, 101);
    for _ in 0..16 {
        client.send([b'x'; 1024]).await;
        assert_eq!(client.bytes(1024).await.len(), 1024);
    }
}

#[tokio::test]
async fn many_small_messages_are_no_attack() {
    let (origin, proxy) = before(|_| Answer::echo()).await;
    let client = proxy.h2c().await;
    let (mut outgoing, mut incoming) = client.stream(Request::new("POST", "/messages")).await;
    for _ in 0..5000 {
        outgoing.send(Bytes::from_static(b"tiny")).await.unwrap();
    }
    outgoing.finish().await.unwrap();
    assert_eq!(incoming.head().await.unwrap().0, 200);
    assert_eq!(origin.ended(0).await.body.length, 20_000);
}

/// The preface of HTTP/2 with empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// One frame again and again, until the proxy has had enough.
async fn flood(proxy: &Proxy, frame: &[u8]) {
    let mut wire: Wire = Wire::new(proxy.stream().await);
    wire.write(PREFACE).await.unwrap();
    let many = frame.repeat(1000);
    let flooding = async { while wire.write(&many).await.is_ok() {} };
    within("the flood to be ended", flooding).await;
}

#[tokio::test]
async fn floods_of_control_frames_end() {
    let (_origin, proxy) = echoing("").await;
    for frame in [
        &b"\0\0\x08\x06\0\0\0\0\0ABCDEFGH"[..],    // PING
        b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", // SETTINGS
        b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\x03\x10", // PRIORITY
        b"\0\0\x01\x77\0\0\0\0\0x",                // an unknown type
    ] {
        flood(&proxy, frame).await;
        still_serves(&proxy).await;
    }
}

#[tokio::test]
async fn connect_over_http_2_is_refused_and_logged_like_any_other_request() {
    let (origin, proxy) = echoing("").await;
    let mut wire = Wire::new(proxy.stream().await);
    // HEADERS with END_STREAM and END_HEADERS: `:method: CONNECT`, `:authority: a:443`.
    wire.write(PREFACE).await.unwrap();
    wire.write(b"\0\0\x10\x01\x05\0\0\0\x01\x42\x07CONNECT\x41\x05a:443").await.unwrap();
    let line = proxy.logged_error("method_refused").await;
    assert_eq!((&line["status"], &line["method"]), (&405.into(), &"CONNECT".into()), "{line}");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn who_is_refused_while_sending_still_reads_why() {
    let (_origin, proxy) = echoing("max_body = \"1KiB\"").await;
    for framing in ["Content-Length: 100000000", "Transfer-Encoding: chunked"] {
        let mut client = Connection::to(proxy.address()).await;
        client.send(format!("POST /large HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await;
        let piece = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        // More than all buffers on the way hold: what is not read resets the connection.
        for _ in 0..100 {
            client.wire().write(&piece).await.unwrap();
        }
        client.answer("POST").await.expect_problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn answers_during_the_drain_ask_for_another_connection() {
    let gate = testkit::Gate::new();
    let (_origin, proxy) = before({
        let gate = gate.clone();
        move |_| Answer::text("ok").after(&gate)
    })
    .await;
    let mut client = proxy.connect().await;
    client.start(&Request::get("/slow")).await;
    gate.reached().await;
    proxy.signal("TERM").await;
    proxy.until_refusing().await;
    gate.open();
    let answer = client.answer("GET").await.expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_head_in_small_pieces_is_read_all_the_same() {
    let (origin, proxy) = echoing("").await;
    let mut client = proxy.connect().await;
    for piece in ["\r", "\n", "G", "ET /piec", "es HTTP/1.1\r", "\nHost: a\r\nX-Lo", "ng: y", "\r\n\r", "\n"] {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    client.answer("GET").await.expect(200);
    assert_eq!(origin.request().await.target, "/pieces");
}

#[tokio::test]
async fn a_failure_without_content_ends_its_stream() {
    let proxy = Proxy::start(format!("{BOTH}[routes]\n\"/*\" = \"http://{}\"\n", testkit::Address::refusing())).await;
    let client = proxy.h2c().await;
    for request in [Request::new("HEAD", "/"), Request::post("/", "x").header("content-type", "application/grpc")] {
        let answer = client.fetch(request).await;
        assert!(answer.body.complete && answer.cut.is_none(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_body_has_the_deadline_of_its_route_over_http_2_as_well() {
    let origin = Origin::builder().h2c().start(|_| Answer::hang()).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "timeout = \"300ms\""))).await;
    proxy.h2c().await.fetch(Request::get("/")).await.expect_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn a_client_that_agreed_on_http_2_and_says_nothing_is_not_waited_for() {
    let (authority, origin) = (Authority::new(), Origin::echo().await);
    let certificate = authority.issue(&["localhost"]);
    let tls = format!("{{ cert = {:?}, key = {:?} }}", certificate.cert_file, certificate.key_file);
    let listener =
        format!("[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {tls}\ntimeouts = {{ header = \"200ms\" }}\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    for sent in ["", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut wire = Wire::new(authority.client().alpn(&["h2"]).connect(proxy.address()).await);
        wire.write(sent.as_bytes()).await.unwrap();
        wire.until_closed().await;
    }
}

#[tokio::test]
async fn an_upgrade_that_is_answered_otherwise_is_no_way_around_the_deadlines() {
    const ASKING: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let origin = Origin::start(|seen| match seen.header("upgrade") {
        Some("x") => Answer::generated(1 << 30),
        _ => Answer::status(200).framing(Framing::Length(100)).piece("begun").hanging(),
    })
    .await;
    let listener = "[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = { body = \"200ms\" }\n";
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    // One that reads nothing of what it is sent.
    let mut client = proxy.connect().await;
    client.send(ASKING).await;
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
    // One that leaves while the origin is silent.
    let mut client = proxy.connect().await;
    client.send(ASKING.replace("Upgrade: x", "Upgrade: y")).await;
    assert_eq!(client.answer_head().await.0, 200);
    drop(client);
    assert_eq!(origin.ended(1).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_one_for_an_http_2_origin() {
    let origin = Origin::builder().h2c().start(|_| Answer::echo()).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    let mut client = proxy.connect().await;
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.any_head().await.1, 100);
    client.send("hello").await;
    let answer = client.answer("POST").await.expect(200);
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    let seen = origin.ended(0).await;
    assert_eq!((seen.body.text().as_str(), seen.header("expect")), ("hello", None));
}

#[tokio::test]
async fn an_interim_answer_is_not_the_last_word() {
    let origin = Origin::raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    let answer = proxy.fetch(Request::post("/hints", "x")).await.expect_problem(502, "upstream_reset");
    assert_eq!(answer.interim.len(), 1);
    assert_eq!(proxy.logged("/hints").await["status"], 502);
}

#[tokio::test]
async fn http_2_does_not_begin_in_the_middle_of_a_connection() {
    let (_origin, proxy) = echoing("").await;
    let mut client = proxy.connect().await;
    client.fetch(Request::get("/")).await.expect(200);
    client.send(PREFACE).await;
    client.answer("PRI").await.expect_problem(505, "bad_version");
}

#[tokio::test]
async fn a_client_that_leaves_a_second_request_behind_is_gone_all_the_same() {
    let (origin, proxy) = before(|_| Answer::hang()).await;
    let mut client = proxy.connect().await;
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request().await;
    drop(client);
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
    assert_eq!(proxy.logged("/first").await["error"], "client_closed");
}
