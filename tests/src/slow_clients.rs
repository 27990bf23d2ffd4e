//! Clients that take their time, and clients that send their next request before they got their answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{Answer, Authority, Connection, Gate, Origin, Proxy, Request, Seen, within};

use crate::setting::{before, route};

/// A proxy with short deadlines for its clients.
async fn impatient(timeouts: &str) -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let listener = format!("[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = {{ {timeouts} }}\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    (origin, proxy)
}

#[tokio::test]
async fn a_head_that_stops_half_way_is_answered_408() {
    let (origin, proxy) = impatient("header = \"300ms\"").await;
    let mut connection = proxy.connect().await;
    connection.send("GET /slow HTTP/1.1\r\nHost: a\r\nX-Hal").await;
    connection.answer("GET").await.expect_problem(408, "header_timeout");
    connection.closed().await;
    assert!(origin.requests().is_empty());
    let line = proxy.logged("/slow").await;
    assert_eq!((&line["error"], &line["status"]), (&"header_timeout".into(), &408.into()));
    proxy.until_metric("http_errors_total", &[("reason", "header_timeout")], 1.0).await;
}

#[tokio::test]
async fn a_head_that_trickles_has_the_same_deadline() {
    let (_origin, proxy) = impatient("header = \"500ms\"").await;
    let mut connection = proxy.connect().await;
    let trickle = async {
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
        loop {
            tokio::select! {
                _ = beat.tick() => connection.wire().write(b"x").await.unwrap_or_default(),
                read = connection.wire_ready() => if read { return },
            }
        }
    };
    within("the trickling head to be given up", trickle).await;
    connection.answer("GET").await.expect_problem(408, "header_timeout");
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let (_origin, proxy) = impatient("idle = \"200ms\", header = \"300ms\"").await;
    let mut connection = proxy.connect().await;
    connection.fetch(Request::get("/")).await.expect(200);
    connection.closed().await;
    let mut silent = proxy.connect().await;
    silent.closed().await;
    assert_eq!(proxy.metric("http_errors_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_body_that_stops_is_answered_408() {
    let (origin, proxy) = impatient("body = \"300ms\"").await;
    let mut connection = proxy.connect().await;
    connection.send("POST /stops HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    connection.answer("POST").await.expect_problem(408, "body_timeout");
    connection.closed().await;
    assert!(!origin.ended(0).await.body.complete);
    assert_eq!(proxy.logged("/stops").await["error"], "body_timeout");
}

#[tokio::test]
async fn a_body_that_stops_is_no_failure_of_the_backend() {
    // Pingora's engine does not tell for whom it has waited.
    for (engine, status, reason) in [("", 408, "body_timeout"), ("general", 504, "upstream_timeout")] {
        let (one, two) = (Origin::echo().await, Origin::echo().await);
        let text = format!(
            "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\ntimeouts = {{ body = \"600ms\" }}\n\
             [upstreams.app]\nbackends = [\"{one}\", \"{two}\"]\ntimeout = \"300ms\"\n\
             outlier = {{ consecutive_errors = 1 }}\n[routes]\n\"/*\" = \"app\"\n"
        );
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        for head in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
            let mut client = proxy.connect().await;
            client.send(format!("POST /h1 HTTP/1.1\r\nHost: a\r\n{head}")).await;
            client.answer("POST").await.expect_problem(status, reason);
        }
        let (mut out, mut incoming) = proxy.h2c().await.stream(Request::new("POST", "/h2")).await;
        out.send("half".into()).await.unwrap();
        assert_eq!(incoming.head().await.unwrap().0, status, "over HTTP/2");
        assert_eq!(proxy.logged("/h2").await["error"], reason);
        assert_eq!(proxy.metric("backend_ejections_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_owes_nothing_until_then() {
    for engine in ["", "general"] {
        let silent = Origin::start(|_| Answer::hang().early()).await;
        let inviting = Origin::start(|_| Answer::text("thanks").continues()).await;
        let text = format!(
            "[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = {{ body = \"1200ms\" }}\n\
             [upstreams.silent]\nbackends = \"{silent}\"\ntimeout = \"300ms\"\n\
             [upstreams.inviting]\nbackends = \"{inviting}\"\ntimeout = \"300ms\"\n\
             [routes]\n\"/silent\" = \"silent\"\n\"/inviting\" = \"inviting\"\n"
        );
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        let head =
            |path: &str| format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        let mut client = proxy.connect().await;
        client.send(head("/silent")).await;
        client.answer("PUT").await.expect_problem(504, "upstream_timeout");
        // One that was invited and does not come is late itself; Pingora's engine does not tell for whom it has waited.
        let (status, reason) = if engine.is_empty() { (408, "body_timeout") } else { (504, "upstream_timeout") };
        let mut client = proxy.connect().await;
        client.send(head("/inviting")).await;
        assert_eq!(client.any_head().await.1, 100);
        client.answer("PUT").await.expect_problem(status, reason);
    }
}

/// Two origins of this script, and a proxy whose upstream ejects a backend after one failure.
async fn strict(
    engine: &str,
    respond: impl Fn(&Seen) -> Answer + Send + Sync + Clone + 'static,
) -> ([Origin; 2], Proxy) {
    let origins = [Origin::start(respond.clone()).await, Origin::start(respond).await];
    let text = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\ntimeouts = {{ body = \"1200ms\" }}\n\
         [upstreams.app]\nbackends = [\"{}\", \"{}\"]\ntimeout = \"300ms\"\n\
         outlier = {{ consecutive_errors = 1 }}\n[routes]\n\"/*\" = \"app\"\n",
        origins[0], origins[1]
    );
    (origins, Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await)
}

const EXPECTANT: &str = "PUT /expects HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn a_client_that_waits_for_a_100_makes_no_backend_fail() {
    for engine in ["", "general"] {
        // They know no expectations, and wait for content that does not come.
        let (origins, proxy) = strict(engine, |_| Answer::text("thanks")).await;
        for _ in 0..2 {
            let mut client = proxy.connect().await;
            client.send(EXPECTANT).await;
            client.answer("PUT").await.expect_problem(504, "upstream_timeout");
        }
        let expectant = Request::new("PUT", "/h2").header("expect", "100-continue").header("content-length", "5");
        let (_out, mut incoming) = proxy.h2c().await.stream(expectant).await;
        assert_eq!(incoming.head().await.unwrap().0, 504, "over HTTP/2");
        assert_eq!(proxy.logged("/h2").await["error"], "upstream_timeout");
        assert_eq!(proxy.metric("backend_ejections_total", &[]).await, 0.0);
        assert_eq!(origins.iter().map(|origin| origin.requests().len()).sum::<usize>(), 3, "none is tried again");
    }
}

#[tokio::test]
async fn a_client_that_was_told_to_continue_by_an_attempt_before_owes_its_content() {
    let asked = Arc::new(AtomicUsize::new(0));
    let respond = move |_: &Seen| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::raw("HTTP/1.1 100 Continue\r\n\r\n").early().closing(),
        _ => Answer::hang().early(),
    };
    let (origins, proxy) = strict("", respond).await;
    let mut client = proxy.connect().await;
    client.send(EXPECTANT).await;
    assert_eq!(client.any_head().await.1, 100);
    client.answer("PUT").await.expect_problem(408, "body_timeout");
    assert!(origins.iter().all(|origin| origin.requests().len() == 1));
}

#[tokio::test]
async fn an_interim_answer_of_which_a_part_is_written_is_not_cut() {
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(60 << 10));
    let origin = Origin::start(move |_| Answer::raw(hint.repeat(16)).early().read_body()).await;
    let folder = tempfile::tempdir().unwrap();
    // A socket that holds little.
    let address = format!("unix:{}", folder.path().join("http.sock").display());
    let listener =
        format!("[listeners.http]\naddress = \"{address}\"\ntimeouts = {{ body = \"1s\", min_rate = false }}\n");
    // Pingora's engine waits for the client with each of them.
    let proxy = Proxy::with(format!("{listener}{}", route(&origin, ""))).variable("MAITRED_ENGINE", "").start().await;
    let mut client = proxy.connect().await;
    // It takes nothing, and stops in the middle of what it sends.
    client.send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    origin.ended(0).await;
    let (mut hints, mut head) = (0, client.any_head().await);
    while head.1 == 103 {
        assert_eq!(head.2.get("link").map(str::len), Some(60 << 10));
        hints += 1;
        head = client.any_head().await;
    }
    assert!((1..16).contains(&hints), "{hints}");
    assert_eq!(head.1, 408);
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_may_take_its_time_with_what_it_was_sent() {
    let origin = Origin::start(|_| Answer::generated(2 << 20)).await;
    let folder = tempfile::tempdir().unwrap();
    // A socket that holds little, and takes more only once most of that was read.
    let address = format!("unix:{}", folder.path().join("http.sock").display());
    let proxy = Proxy::start(format!("[listeners.http]\naddress = \"{address}\"\n{}", route(&origin, ""))).await;
    let mut client = proxy.connect().await;
    client.start(&Request::get("/large")).await;
    client.half_close().await;
    client.answer_head().await;
    // Longer than a client that has closed its side waits for an answer that does not move.
    tokio::time::interval_at(tokio::time::Instant::now() + Duration::from_millis(1200), Duration::MAX / 2).tick().await;
    assert_eq!(client.bytes(2 << 20).await.len(), 2 << 20);
}

#[tokio::test]
async fn a_tls_handshake_has_a_deadline_too() {
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"]);
    let text = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n\
         timeouts = {{ header = \"300ms\" }}\n[routes.app]\nrespond = {{ body = \"x\" }}\n",
        certificate.cert_file, certificate.key_file
    );
    let proxy = Proxy::start(text).await;
    let mut silent = proxy.connect().await;
    silent.closed().await;
    proxy.until_metric("tls_handshakes_total", &[("result", "timeout")], 1.0).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gate = Gate::new();
    let script = gate.clone();
    let (origin, proxy) = before(move |seen| match seen.target.as_str() {
        "/first" => Answer::text("first").after(&script),
        _ => Answer::echo(),
    })
    .await;
    let mut connection = proxy.connect().await;
    connection
        .send(
            "GET /first HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
             POST /third HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             HEAD /fourth HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /fifth HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    gate.reached().await;
    assert_eq!(origin.requests().len(), 1, "the second waits for the first one's answer");
    gate.open();
    assert_eq!(connection.answer("GET").await.expect(200).text(), "first");
    assert_eq!(connection.answer("POST").await.expect(200).json()["body"], "hello");
    assert_eq!(connection.answer("POST").await.expect(200).json()["body"], "abc");
    assert_eq!(connection.answer("HEAD").await.expect(200).body.length, 0);
    assert_eq!(connection.answer("GET").await.expect(200).target(), "/fifth");
}

#[tokio::test]
async fn requests_behind_a_chunked_one_are_served() {
    let (_origin, proxy) = before(|_| Answer::echo()).await;
    let mut connection = proxy.connect().await;
    connection
        .send(
            "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
             POST /second HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nX-End: 1\r\n\r\n\
             GET /third HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    assert_eq!(connection.answer("POST").await.expect(200).json()["body"], "abc");
    assert_eq!(connection.answer("POST").await.expect(200).json()["body"], "de");
    assert_eq!(connection.answer("GET").await.expect(200).target(), "/third");
}

#[tokio::test]
async fn a_pipelined_request_after_a_local_answer_is_served() {
    let (_origin, proxy) = before(|_| Answer::echo()).await;
    let mut connection = proxy.connect().await;
    connection
        .send(
            "GET /%2f HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /served HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /broken HTTP/1.1\r\n\r\n\
             GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    connection.answer("GET").await.expect_problem(400, "bad_path");
    assert_eq!(connection.answer("GET").await.expect(200).target(), "/served");
    connection.answer("GET").await.expect_problem(400, "bad_host");
    connection.closed().await;
}

#[tokio::test]
async fn hundreds_of_pipelined_requests_lose_nothing() {
    let (_origin, proxy) = before(|_| Answer::echo()).await;
    let mut connection: Connection = proxy.connect().await;
    let all: String = (0..300).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    connection.send(all).await;
    for n in 0..300 {
        assert_eq!(connection.answer("GET").await.expect(200).target(), format!("/{n}"));
    }
}

#[tokio::test]
async fn empty_lines_between_requests_are_forgiven_once() {
    let (_origin, proxy) = before(|_| Answer::echo()).await;
    let mut connection = proxy.connect().await;
    connection
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(connection.answer("POST").await.expect(200).target(), "/a");
    assert_eq!(connection.answer("GET").await.expect(200).target(), "/b");
}

/// Sends these bytes one by one, a moment apart, until the proxy has something to say; says how many it took.
async fn drip(connection: &mut Connection, bytes: &[u8]) -> usize {
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let drops = async {
        for (count, byte) in bytes.iter().enumerate() {
            tokio::select! {
                _ = beat.tick() => connection.wire().write(&[*byte]).await.unwrap_or_default(),
                read = connection.wire_ready() => if read { return count },
            }
        }
        bytes.len()
    };
    within("the dripping body to end", drops).await
}

#[tokio::test]
async fn a_body_that_drips_is_answered_408() {
    // Waits of a third of `body` are let be: a fifth of a second here.
    let (origin, proxy) = impatient("body = \"600ms\"").await;
    for head in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let mut connection = proxy.connect().await;
        connection.send(format!("POST /drips HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n")).await;
        let chunk = [&b"ffff\r\n"[..], &[b'x'; 200]].concat();
        let sent = drip(&mut connection, &chunk).await;
        assert!((3..20).contains(&sent), "{sent} bytes were taken");
        connection.answer("POST").await.expect_problem(408, "body_timeout");
        connection.closed().await;
    }
    assert!(!origin.ended(1).await.body.complete);
    assert_eq!(proxy.logged("/drips").await["error"], "body_timeout");
}

#[tokio::test]
async fn a_stream_may_drip_and_what_follows_it_may_not() {
    for origin in [Origin::echo().await, Origin::builder().h2c().start(|_| Answer::echo()).await] {
        let listener = "[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = { body = \"600ms\" }\n";
        let proxy =
            Proxy::with(format!("{listener}{}", route(&origin, ""))).variable("MAITRED_ENGINE", "").start().await;
        for field in ["Accept: text/event-stream", "Content-Type: application/grpc"] {
            let mut connection = proxy.connect().await;
            connection
                .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n"))
                .await;
            let content = [&b"14\r\n"[..], &[b'x'; 20], b"\r\n0\r\n\r\n"].concat();
            assert_eq!(drip(&mut connection, &content).await, content.len());
            assert_eq!(connection.answer("POST").await.expect(200).json()["body_length"], 20, "{field}");
            connection.send("POST /drips HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
            assert!(drip(&mut connection, &[b'x'; 100]).await < 100, "after {field}");
            connection.answer("POST").await.expect_problem(408, "body_timeout");
        }
    }
}

#[tokio::test]
async fn a_small_body_may_drip_and_a_large_one_where_that_is_allowed() {
    let (_origin, proxy) = impatient("body = \"600ms\", min_rate = \"10B/s\"").await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n").await;
    assert_eq!(drip(&mut connection, &[b'x'; 20]).await, 20, "20 bytes a second are twice the rate");
    assert_eq!(connection.answer("POST").await.expect(200).json()["body_length"], 20);
    let (_origin, proxy) = impatient("body = \"600ms\", min_rate = false").await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n").await;
    assert_eq!(drip(&mut connection, &[b'x'; 20]).await, 20);
    assert_eq!(connection.answer("POST").await.expect(200).json()["body_length"], 20);
}

#[tokio::test]
async fn a_client_that_waits_for_the_origin_is_not_slow() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |_| Answer::text("thanks").after(&script)).await;
    let listener = "[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = { body = \"3s\", min_rate = \"1MiB/s\" }\n";
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::post("/waits", vec![b'x'; 1 << 20])).await;
    gate.reached().await;
    // Another request's deadline says when time has passed.
    let (_other, impatient) = impatient("header = \"1500ms\"").await;
    impatient.exchange("GET / HTTP/1.1\r\nX-Hal").await;
    gate.open();
    assert_eq!(connection.answer("POST").await.expect(200).text(), "thanks");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_let_go() {
    let origin = Origin::start(|_| Answer::generated(1 << 30)).await;
    let text = "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n\
                timeouts = { body = \"900ms\" }\n";
    let proxy = Proxy::start(format!("{text}{}", route(&origin, ""))).await;
    let mut h1 = proxy.connect().await;
    h1.start(&Request::get("/h1")).await;
    h1.answer_head().await;
    assert_eq!(proxy.logged("/h1").await["error"], "answer_timeout");
    let h2 = proxy.h2c().await;
    let (_out, mut incoming) = h2.open(&Request::get("/h2")).await;
    incoming.head().await.unwrap();
    assert_eq!(proxy.logged("/h2").await["error"], "answer_timeout");
    origin.until_open(0).await;
}

#[tokio::test]
async fn a_client_that_takes_little_at_a_time_gets_all_of_what_is_kept() {
    let origin = Origin::start(|_| Answer::generated(2 << 20).header("Cache-Control", "max-age=60")).await;
    let folder = tempfile::tempdir().unwrap();
    // A socket that holds little, so that what is written tells what was taken.
    let address = format!("unix:{}", folder.path().join("http.sock").display());
    let listener = format!("[listeners.http]\naddress = \"{address}\"\ntimeouts = {{ body = \"1s\" }}\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, "cache = true"))).await;
    let is_hit = |status: Option<&str>| status.is_some_and(|status| status.contains("hit"));
    within("it to be kept", async { while !is_hit(proxy.get("/large").await.header("cache-status")) {} }).await;
    let mut client = proxy.connect().await;
    client.start(&Request::get("/large")).await;
    assert!(is_hit(client.answer_head().await.1.get("cache-status")));
    // A piece out of memory is 1 MiB, and takes longer than `body`.
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..64 {
        beat.tick().await;
        assert_eq!(client.bytes(32 << 10).await.len(), 32 << 10);
    }
}

/// An upgrade that its origin refuses, behind answers that nobody reads: somewhere each connection has to end.
#[tokio::test]
async fn a_refused_upgrade_is_not_waited_for_without_end() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/get" => Answer::generated(8 << 10),
        // More than is gathered before it is written.
        _ => Answer::text("no").header("X-Long", "x".repeat(48 << 10)),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("http.sock").display());
    let listener = format!("[listeners.http]\naddress = \"{address}\"\ntimeouts = {{ body = \"500ms\" }}\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    let mut connections = Vec::new();
    // A socket holds between 64 and 512 KiB. In some of these the head is the first that has no room.
    for count in 1..=32 {
        let mut connection = proxy.connect().await;
        let before = "GET /get HTTP/1.1\r\nHost: a\r\n\r\n".repeat(count);
        let upgrade = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
        connection.send(before + upgrade).await;
        connections.push(connection);
    }
    let late = |line: &&String| line.contains("answer_timeout");
    let on = |line: &String, path: &str| line.contains(&format!("\"path\":\"{path}\""));
    let ended = || {
        let lines = proxy.lines();
        lines.iter().filter(|line| on(line, "/up") || (on(line, "/get") && late(line))).count()
    };
    within("each connection to end", async {
        while ended() < connections.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(proxy.lines().iter().filter(late).any(|line| on(line, "/up")), "no head has met a full socket");
}
