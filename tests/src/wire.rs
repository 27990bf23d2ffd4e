//! HTTP/1 and HTTP/2 as they are spoken on both sides: connections kept, heads alone, interim and early answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::{Answer, Connection, Framing, Gate, Origin, Proxy, Request, Seen};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    time::{Instant, interval_at},
};

use crate::setting::{BOTH, before, echoing, route};

const PROGRESS: &str = "HTTP/1.1 102 Processing\r\n\r\n";

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (origin, proxy) = echoing("").await;
    let mut connection = proxy.connect().await;
    for n in 0..20 {
        connection.fetch(Request::post(&format!("/{n}"), "body")).await.expect(200);
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(proxy.metric("connections_total", &[("listener", "http")]).await, 1.0);
    assert_eq!(proxy.logged("/0").await["reused"], false);
    assert_eq!(proxy.logged("/19").await["reused"], true);
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_closed() {
    let (origin, proxy) = echoing("").await;
    let mut connection = proxy.connect().await;
    let answer = connection.fetch(Request::get("/").header("Connection", "close")).await.expect(200);
    assert!(answer.headers.has_token("connection", "close"));
    connection.closed().await;
    proxy.get("/").await.expect(200);
    assert_eq!(origin.connections(), 1, "the origin's connection was not the client's to close");
}

#[tokio::test]
async fn http_1_0_clients_get_what_they_understand() {
    let (_origin, proxy) = before(|_| Answer::status(200).chunk("one").chunk("two")).await;
    let answer = proxy.exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nonetwo"), "{answer}");
}

#[tokio::test]
async fn a_head_request_has_no_body_whatever_its_length() {
    let (_origin, proxy) = before(|seen| match seen.target.as_str() {
        "/counted" => Answer::text("hello"),
        _ => Answer::status(200).chunk("hello"),
    })
    .await;
    let mut connection = proxy.connect().await;
    for _ in 0..2 {
        let counted = connection.fetch(Request::new("HEAD", "/counted")).await.expect(200);
        assert_eq!((counted.header("content-length"), counted.body.length), (Some("5"), 0));
        let chunked = connection.fetch(Request::new("HEAD", "/chunked")).await.expect(200);
        assert_eq!(chunked.body.length, 0);
    }
    assert_eq!(connection.fetch(Request::get("/counted")).await.expect(200).text(), "hello");
    let over_h2 = proxy.h2c().await.fetch(Request::new("HEAD", "/counted")).await.expect(200);
    assert_eq!((over_h2.header("content-length"), over_h2.body.length), (Some("5"), 0));
}

#[tokio::test]
async fn answers_without_a_body_end_at_their_head() {
    let (_origin, proxy) = before(|seen| match seen.target.as_str() {
        "/204" => Answer::status(204),
        "/304" => Answer::status(304).header("ETag", "\"a\"").header("Content-Length", "1000"),
        _ => Answer::text("after"),
    })
    .await;
    let mut connection = proxy.connect().await;
    let none = connection.fetch(Request::get("/204")).await.expect(204);
    assert!(none.header("content-length").is_none() && none.header("transfer-encoding").is_none());
    assert_eq!(connection.fetch(Request::get("/304")).await.expect(304).header("etag"), Some("\"a\""));
    assert_eq!(connection.fetch(Request::get("/")).await.expect(200).text(), "after");
    let client = proxy.h2c().await;
    client.fetch(Request::get("/304")).await.expect(304);
    client.fetch(Request::get("/204")).await.expect(204);
}

#[tokio::test]
async fn an_expectant_client_is_told_to_continue_by_the_origin() {
    let (origin, proxy) = before(|_| Answer::text("done").continues()).await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(connection.any_head().await.1, 100);
    connection.send("hello").await;
    assert_eq!(connection.answer("POST").await.expect(200).text(), "done");
    assert_eq!(origin.request().await.body.text(), "hello");
}

#[tokio::test]
async fn an_expectant_client_hears_a_refusal_before_it_sends() {
    let (_origin, proxy) = before(|_| Answer::status(401).header("WWW-Authenticate", "Basic").early().closing()).await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = connection.answer("POST").await.expect(401);
    assert!(answer.interim.iter().all(|(status, _)| *status != 100), "{:?}", answer.interim);
}

#[tokio::test]
async fn an_origin_that_knows_no_expectations_gets_the_body_all_the_same() {
    let (origin, proxy) = before(|_| Answer::text("done")).await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello").await;
    assert_eq!(connection.answer("POST").await.expect(200).text(), "done");
    assert_eq!(origin.request().await.body.text(), "hello");
}

#[tokio::test]
async fn interim_answers_pass() {
    let (_origin, proxy) = before(|_| Answer::text("final").interim(103, &[("Link", "</a.css>; rel=preload")])).await;
    let answer = proxy.get("/").await.expect(200);
    let hints: Vec<_> = answer.interim.iter().filter(|(status, _)| *status == 103).collect();
    assert_eq!(hints.len(), 1, "{:?}", answer.interim);
    assert_eq!(hints[0].1.get("link"), Some("</a.css>; rel=preload"));
    assert_eq!(answer.text(), "final");
    assert_eq!(proxy.h2c().await.fetch(Request::get("/")).await.expect(200).text(), "final");
    let old = proxy.exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(!old.contains(" 103 ") && old.ends_with("final"), "HTTP/1.0 knows no interim answers: {old}");
}

#[tokio::test]
async fn interim_answers_have_no_framing_and_are_not_without_end() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Own: 1\r\nConnection: X-Own\r\nKeep-Alive: 5\r\n\
                 Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
    let told = |count: usize| format!("{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", hints.repeat(count));
    let (_origin, proxy) = before(move |seen| match seen.target.as_str() {
        "/some" => Answer::raw(told(2)),
        _ => Answer::raw(told(300)),
    })
    .await;
    let answer = proxy.get("/some").await.expect(200);
    assert_eq!(answer.interim.len(), 2);
    for (status, fields) in &answer.interim {
        assert_eq!((*status, fields.get("link")), (103, Some("</a>")));
        for name in ["connection", "x-own", "keep-alive", "transfer-encoding", "content-length"] {
            assert!(!fields.has(name), "{name}: {fields:?}");
        }
    }
    proxy.fetch(Request::post("/many", "x")).await.expect_problem(502, "upstream_protocol");
    assert_eq!(proxy.logged("/many").await["attempts"], 1);
}

#[tokio::test]
async fn progress_may_be_told_for_as_long_as_it_takes() {
    for engine in ["", "general"] {
        let gate = Gate::new();
        let script = gate.clone();
        let origin = Origin::start(move |_| {
            let end = format!("{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", PROGRESS.repeat(30));
            Answer::raw(PROGRESS.repeat(250)).wait(&script).bytes(end)
        })
        .await;
        let proxy =
            Proxy::with(format!("{BOTH}{}", route(&origin, ""))).variable("MAITRED_ENGINE", engine).start().await;
        let mut client = proxy.connect().await;
        client.start(&Request::get("/")).await;
        let later = Instant::now() + Duration::from_millis(1500);
        for _ in 0..250 {
            assert_eq!(client.any_head().await.1, 102);
        }
        // Each second allows for some more of them.
        interval_at(later, Duration::MAX / 2).tick().await;
        gate.open();
        assert_eq!(client.answer("GET").await.expect(200).interim.len(), 30, "{engine}");
    }
}

#[tokio::test]
async fn what_the_network_has_held_up_is_progress_as_well_whoever_asks() {
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for lines in ["", "cache = true"] {
        let origin = Origin::start(move |_| Answer::raw(format!("{}{end}", PROGRESS.repeat(100)))).await;
        let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, lines))).await;
        assert_eq!(proxy.get("/").await.expect(200).text(), "ok", "{lines}");
        assert_eq!(origin.requests().len(), 1, "{lines}");
    }
}

/// Tells every client of progress, ten times a second and for ever.
async fn progressing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut beat = interval_at(Instant::now(), Duration::from_millis(100));
                while stream.write_all(PROGRESS.as_bytes()).await.is_ok() {
                    beat.tick().await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn progress_does_not_put_off_when_the_answer_is_due() {
    let origin = progressing().await;
    for engine in ["", "general"] {
        let routes = format!("[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\ntimeout = \"1s\"\n");
        let proxy = Proxy::with(format!("{BOTH}{routes}")).variable("MAITRED_ENGINE", engine).start().await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.answer("GET").await.expect_problem(504, "upstream_timeout");
        assert_eq!(proxy.logged("/").await["attempts"], 1, "{engine}");
    }
}

#[tokio::test]
async fn a_stream_may_begin_as_late_as_it_likes() {
    for engine in ["", "general"] {
        let gate = Gate::new();
        let script = gate.clone();
        let origin = Origin::start(move |seen| match seen.target.as_str() {
            "/never" => Answer::hang(),
            // Pingora's engine looks at the time when something comes.
            _ => Answer::raw(PROGRESS)
                .wait(&script)
                .bytes(PROGRESS)
                .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        })
        .await;
        let text = format!("{BOTH}{}", route(&origin, "timeout = \"300ms\""));
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        let mut client = proxy.connect().await;
        client.start(&Request::get("/").header("Accept", "text/event-stream")).await;
        gate.reached().await;
        // It began later, and has had its time.
        proxy.get("/never").await.expect_problem(504, "upstream_timeout");
        gate.open();
        assert_eq!(client.answer("GET").await.expect(200).text(), "ok", "{engine}");
    }
}

#[tokio::test]
async fn progress_ends_a_silence_whoever_asks() {
    for (engine, lines) in [("", ""), ("general", ""), ("", "cache = true"), ("general", "hedge = \"20s\"")] {
        let (early, late) = (Gate::new(), Gate::new());
        let (one, two) = (early.clone(), late.clone());
        let end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let origin = Origin::start(move |_| Answer::raw("").wait(&one).bytes(PROGRESS).wait(&two).bytes(end)).await;
        let text = format!(
            "[upstreams.app]\nbackends = \"{origin}\"\ntimeout = \"2s\"\n[routes.app]\npath = \"/*\"\n{lines}\n"
        );
        let text = format!("{BOTH}{text}upstream = \"app\"\ntimeout = \"10s\"\n");
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        let began = Instant::now();
        let mut client = proxy.connect().await;
        client.start(&Request::get("/")).await;
        early.reached().await;
        interval_at(began + Duration::from_millis(1400), Duration::MAX / 2).tick().await;
        early.open();
        late.reached().await;
        interval_at(began + Duration::from_millis(2600), Duration::MAX / 2).tick().await;
        late.open();
        assert_eq!(client.answer("GET").await.expect(200).text(), "ok", "{engine} {lines}");
    }
}

#[tokio::test]
async fn the_interim_answers_of_one_backend_are_not_anothers() {
    let asked = Arc::new(AtomicUsize::new(0));
    let respond = move |_: &Seen| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::raw(PROGRESS.repeat(20)).closing(),
        _ => Answer::raw(format!("{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", PROGRESS.repeat(20))),
    };
    let (one, two) = (Origin::start(respond.clone()).await, Origin::start(respond).await);
    let text = format!("[upstreams.app]\nbackends = [\"{one}\", \"{two}\"]\n[routes]\n\"/*\" = \"app\"\n");
    // Pingora's engine tries nothing again once the client has been sent anything.
    let proxy = Proxy::with(format!("{BOTH}{text}")).variable("MAITRED_ENGINE", "").start().await;
    assert_eq!(proxy.get("/").await.expect(200).interim.len(), 40);
    assert_eq!((one.requests().len(), two.requests().len()), (1, 1));
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let (_origin, proxy) = before(|_| Answer::status(403).body("no").early().closing()).await;
    for _ in 0..5 {
        let mut connection = proxy.connect().await;
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin").await;
        assert_eq!(connection.answer("POST").await.expect(403).text(), "no");
    }
    let client = proxy.h2c().await;
    let (mut out, mut incoming) = client.stream(Request::new("POST", "/")).await;
    out.send("begin".into()).await.unwrap();
    assert_eq!(incoming.head().await.unwrap().0, 403);
}

#[tokio::test]
async fn a_large_upload_that_is_answered_early_is_answered() {
    let (_origin, proxy) = before(|_| Answer::status(403).body("no").reading(1000)).await;
    let answer = proxy.fetch(Request::new("POST", "/").generated(4 << 20)).await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn bodies_pass_as_they_come_in_both_directions_at_once() {
    let (_origin, proxy) = before(|_| Answer::echo_body()).await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    connection.send_chunk(b"one").await.unwrap();
    assert_eq!(connection.answer_head().await.0, 200);
    assert_eq!(connection.chunk().await.unwrap(), "one");
    connection.send_chunk(b"two").await.unwrap();
    assert_eq!(connection.chunk().await.unwrap(), "two");
    connection.send("0\r\n\r\n").await;
    assert_eq!(connection.chunk().await.unwrap(), "");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let until_close = |_: &testkit::Seen| Answer::status(200).framing(Framing::UntilClose).piece("all of it");
    let (_origin, proxy) = before(until_close).await;
    let mut connection = proxy.connect().await;
    let answer = connection.fetch(Request::get("/")).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.body.complete), ("all of it", true));
    assert_eq!(proxy.h2c().await.fetch(Request::get("/")).await.expect(200).text(), "all of it");
}

#[tokio::test]
async fn many_streams_share_a_connection_and_end_in_any_order() {
    let gate = Gate::new();
    let script = gate.clone();
    let (_origin, proxy) = before(move |seen| match seen.target.as_str() {
        "/slow" => Answer::text("slow").after(&script),
        _ => Answer::text("fast"),
    })
    .await;
    let client = proxy.h2c().await;
    let (_, mut slow) = client.open(&Request::get("/slow")).await;
    gate.reached().await;
    for _ in 0..50 {
        assert_eq!(client.fetch(Request::get("/fast")).await.expect(200).text(), "fast");
    }
    gate.open();
    assert_eq!(slow.head().await.unwrap().0, 200);
}

#[tokio::test]
async fn an_empty_body_over_http2_is_sent_as_one() {
    let (origin, proxy) = echoing("").await;
    let client = proxy.h2c().await;
    let (mut out, mut incoming) = client.stream(Request::new("POST", "/empty")).await;
    out.finish().await.unwrap();
    assert_eq!(incoming.head().await.unwrap().0, 200);
    let seen = origin.request().await;
    assert_eq!((seen.body.length, seen.body.complete), (0, true));
    client.fetch(Request::post("/after", "x")).await.expect(200);
    assert_eq!(origin.nth(1).await.target, "/after");
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let (_origin, proxy) = echoing("").await;
    let answer = proxy.fetch(Request::get("/").body("query")).await.expect(200);
    assert_eq!(answer.json()["body"], "query");
}

#[tokio::test]
async fn both_protocols_share_one_port_and_one_can_be_refused() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(route(&origin, "")).await;
    proxy.get("/").await.expect(200);
    let mut connection = proxy.connect().await;
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let answer = String::from_utf8_lossy(&connection.rest().await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 505") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let text = format!("[listeners.grpc]\naddress = \"127.0.0.1:0\"\nprotocols = \"h2c\"\n{}", route(&origin, ""));
    let only_h2c = Proxy::start(text).await;
    only_h2c.h2c().await.fetch(Request::get("/")).await.expect(200);
    Connection::to(only_h2c.address()).await.fetch(Request::get("/")).await.expect_problem(505, "bad_version");
}

#[tokio::test]
async fn a_listener_can_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front.sock");
    let origin = Origin::echo().await;
    let text = format!("[listeners.front]\naddress = \"unix:{}\"\n{}", path.display(), route(&origin, ""));
    let proxy = Proxy::start(text).await;
    let answer = proxy.fetch(Request::get("/").host("a.example")).await.expect(200);
    assert_eq!(answer.seen_all("host"), ["a.example"]);
    assert!(answer.seen("x-forwarded-for").is_none());
}
