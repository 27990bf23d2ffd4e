//! Origins that fail: what the client is told, and what is tried elsewhere.

use std::time::Duration;

use testkit::{Address, Answer, Gate, Origin, Proxy, Request};
use tokio::time::{Instant, interval_at};

use crate::setting::{BOTH, before, route};

/// A proxy whose upstream has these backends and further lines.
async fn balanced(backends: &[&dyn std::fmt::Display], lines: &str) -> Proxy {
    let list: Vec<String> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    let list = list.join(", ");
    let text = format!("{BOTH}[upstreams.app]\nbackends = [{list}]\n{lines}\n[routes]\n\"/*\" = \"app\"\n");
    Proxy::start(text).await
}

fn nobody() -> String {
    format!("http://{}", Address::refusing())
}

#[tokio::test]
async fn an_origin_that_is_down_is_a_502() {
    let proxy = balanced(&[&nobody()], "").await;
    for answer in [proxy.get("/down").await, proxy.h2c().await.fetch(Request::post("/down", "x")).await] {
        answer.expect_problem(502, "upstream_refused");
    }
    let line = proxy.logged("/down").await;
    assert_eq!((&line["error"], &line["status"]), (&"upstream_refused".into(), &502.into()));
    assert_eq!(line["upstream"], "app");
    proxy.until_metric("http_errors_total", &[("reason", "upstream_refused")], 2.0).await;
}

#[tokio::test]
async fn garbage_is_a_502() {
    for garbage in [
        &b"hello\r\n\r\n"[..],
        b"\x00\x01\x02\x03\x04\x05\x06\x07\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    ] {
        let origin = Origin::raw(garbage).await;
        let proxy = balanced(&[&origin], "").await;
        let answer = proxy.get("/").await;
        let shown = String::from_utf8_lossy(garbage).into_owned();
        assert_eq!(answer.status, 502, "{shown:?} became {answer:?}");
        let reason = answer.reason().unwrap();
        assert!(reason == "upstream_protocol" || reason == "upstream_reset", "{shown:?} is {reason}");
    }
}

#[tokio::test]
async fn an_origin_that_closes_without_a_word_is_a_502() {
    let origin = Origin::raw(b"").await;
    let proxy = balanced(&[&origin], "").await;
    proxy.fetch(Request::post("/", "x")).await.expect_problem(502, "upstream_reset");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_a_504() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let proxy = balanced(&[&origin], "timeout = \"300ms\"").await;
    proxy.get("/silent").await.expect_problem(504, "upstream_timeout");
    assert_eq!(proxy.logged("/silent").await["error"], "upstream_timeout");
    assert_eq!(origin.requests().len(), 1, "a silent origin had its chance");
}

#[tokio::test]
async fn a_route_has_a_deadline_over_all_tries() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let proxy = Proxy::start(route(&origin, "timeout = \"300ms\"")).await;
    proxy.get("/").await.expect_problem(504, "upstream_timeout");
    proxy.fetch(Request::post("/", "x")).await.expect_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn a_connection_from_the_pool_that_ends_gives_no_time_anew() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match (seen.connection, seen.turn) {
        (0, 0) => Answer::text("first"),
        (0, 1) => Answer::raw("").after(&script).closing(),
        _ => Answer::hang(),
    })
    .await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "timeout = \"2s\""))).await;
    proxy.get("/first").await.expect(200);
    let began = Instant::now();
    let late = async {
        gate.reached().await;
        interval_at(began + Duration::from_millis(1500), Duration::MAX / 2).tick().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(proxy.get("/late"), late);
    answer.expect_problem(504, "upstream_timeout");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_the_deadline_in_pieces_is_not_cut() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let script = gates.clone();
    let respond = move |seen: &testkit::Seen| match seen.target.as_str() {
        "/pieces" => script.iter().fold(Answer::status(200), |answer, gate| answer.chunk("piece").wait(gate)),
        _ => Answer::hang(),
    };
    let origin = Origin::start(respond).await;
    let short = format!("[routes.short]\npath = \"/silent\"\nupstream = \"{origin}\"\ntimeout = \"500ms\"\n");
    let proxy = Proxy::start(format!("{short}{}", route(&origin, "timeout = \"1200ms\""))).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/pieces")).await;
    connection.answer_head().await;
    for gate in &gates {
        assert_eq!(connection.chunk().await.unwrap(), "piece");
        // Another route's shorter deadline says when time has passed: three of them are more than ours.
        proxy.get("/silent").await.expect_problem(504, "upstream_timeout");
        gate.open();
    }
    assert_eq!(connection.chunk().await.unwrap(), "");
}

#[tokio::test]
async fn a_tls_backend_that_does_not_shake_hands_is_given_up() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let url = format!("https://{}", origin.socket());
    let proxy = balanced(&[&url], "pool = { connect = \"300ms\" }").await;
    proxy.get("/").await.expect_problem(504, "connect_timeout");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_503() {
    let proxy = balanced(&[&"http://nobody.invalid:8080"], "").await;
    proxy.get("/").await.expect_problem(503, "no_backend");
}

#[tokio::test]
async fn a_request_that_was_never_sent_goes_to_another_backend() {
    let origin = Origin::echo().await;
    let proxy = balanced(&[&nobody(), &origin], "").await;
    for n in 0..10 {
        proxy.get(&format!("/{n}")).await.expect(200);
        proxy.fetch(Request::post("/post", "body")).await.expect(200);
    }
    assert_eq!(origin.requests().len(), 20);
    assert!(proxy.metric("upstream_retries_total", &[("upstream", "app")]).await >= 1.0);
}

#[tokio::test]
async fn an_idempotent_request_without_an_answer_is_tried_elsewhere() {
    let (broken, fine) = (Origin::raw(b"").await, Origin::echo().await);
    let proxy = balanced(&[&broken, &fine], "").await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        for _ in 0..2 {
            proxy.fetch(Request::new(method, "/").body("x")).await.expect(200);
        }
    }
    assert!(!broken.requests().is_empty());
    assert_eq!(fine.requests().len(), 10);
}

#[tokio::test]
async fn a_post_reaches_an_origin_at_most_once() {
    let (one, two) = (Origin::raw(b"").await, Origin::raw(b"").await);
    let proxy = balanced(&[&one, &two], "retries = 5").await;
    for n in 1..=10 {
        proxy.fetch(Request::post("/", "order")).await.expect_problem(502, "upstream_reset");
        assert_eq!(one.requests().len() + two.requests().len(), n);
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_tried_again() {
    let origin = Origin::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let proxy = balanced(&[&origin], "retries = 5").await;
    let answer = proxy.get("/").await.expect(200);
    assert!(!answer.body.complete);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn an_error_of_the_origins_own_is_its_answer() {
    let origin = Origin::start(|_| Answer::status(503).body("busy").header("Retry-After", "7")).await;
    let proxy = balanced(&[&origin], "retries = 5").await;
    let answer = proxy.get("/busy").await.expect(503);
    assert_eq!((answer.text().as_str(), answer.header("retry-after")), ("busy", Some("7")));
    assert_eq!(origin.requests().len(), 1);
    let line = proxy.logged("/busy").await;
    assert_eq!(line["upstream_status"], 503);
    assert!(line["error"].is_null(), "the origin's own errors are no reasons of ours");
}

#[tokio::test]
async fn retries_can_be_switched_off() {
    let (broken, fine) = (Origin::raw(b"").await, Origin::echo().await);
    let proxy = balanced(&[&broken, &fine], "retries = 0").await;
    let (first, second) = (proxy.get("/").await.status, proxy.get("/").await.status);
    assert_eq!(first.min(second), 200);
    assert_eq!(first.max(second), 502);
}

#[tokio::test]
async fn an_origin_that_closes_its_idle_connections_loses_nothing() {
    let (origin, proxy) = before(|seen| match seen.target.as_str() {
        "/last" => Answer::text("last").closing(),
        _ => Answer::text("next"),
    })
    .await;
    for n in 0..10 {
        proxy.get("/last").await.expect(200);
        let next = Request::new(if n % 2 == 0 { "GET" } else { "POST" }, "/next").body("x");
        assert_eq!(proxy.fetch(next).await.expect(200).text(), "next", "request {n}");
    }
    assert_eq!(origin.requests().len(), 20);
}

#[tokio::test]
async fn an_origin_that_comes_back_is_used_again() {
    let origin = Origin::text("first").await;
    let address = origin.socket();
    let proxy = balanced(&[&origin], "").await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "first");
    origin.stop().await;
    proxy.get("/").await.expect(502);
    let back = Origin::builder().at(address).start(|_| Answer::text("back")).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "back");
    drop(back);
}

#[tokio::test]
async fn weights_are_kept_to_the_request() {
    let (three, one, none) = (Origin::text("three").await, Origin::text("one").await, Origin::text("none").await);
    let text = format!(
        "[upstreams.app]\nbackends = [{{ url = \"{three}\", weight = 3 }}, \"{one}\", {{ url = \"{none}\", weight = 0 }}]\n\
         [routes]\n\"/*\" = \"app\"\n"
    );
    let proxy = Proxy::start(text).await;
    let mut in_a_row = 0;
    for _ in 0..40 {
        let answer = proxy.get("/").await.expect(200).text();
        in_a_row = if answer == "three" { in_a_row + 1 } else { 0 };
        assert!(in_a_row <= 4);
    }
    assert_eq!((three.requests().len(), one.requests().len(), none.requests().len()), (30, 10, 0));
    let label = three.socket().to_string();
    proxy.until_metric("upstream_requests_total", &[("backend", &label), ("code", "200")], 30.0).await;
}

#[tokio::test]
async fn connections_to_the_origin_are_pooled_over_clients() {
    let origin = Origin::text("x").await;
    let proxy = balanced(&[&origin], "").await;
    for _ in 0..20 {
        proxy.get("/").await.expect(200);
        proxy.h2c().await.fetch(Request::get("/")).await.expect(200);
    }
    // A connection comes back to the pool a moment after its answer went out, which a quick next request may not see.
    assert!(origin.connections() <= 10, "40 requests one after the other took {} connections", origin.connections());
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let origin = Origin::text("x").await;
    let proxy = balanced(&[&origin], "pool = { idle = \"200ms\" }").await;
    proxy.get("/").await.expect(200);
    origin.until_open(0).await;
    proxy.get("/").await.expect(200);
    assert_eq!(origin.connections(), 2);
}
