//! Clients that leave and origins that break off: neither goes unnoticed at the other end.

use std::time::Duration;

use testkit::{Answer, Framing, Gate, Origin, Outcome, Proxy, Request, within_limit};

use crate::setting::{BOTH, before, route, still_serves};

/// Waits, for no longer than a second, until the origin's first request ended as cancelled.
async fn cancelled_within_a_second(origin: &Origin) {
    let ended = within_limit(Duration::from_secs(1), "the origin's request to be cancelled", origin.ended(0)).await;
    assert_eq!(ended.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn the_origin_hears_when_an_http1_client_leaves() {
    let (origin, proxy) = before(|_| Answer::hang()).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/left")).await;
    origin.request().await;
    drop(connection);
    cancelled_within_a_second(&origin).await;
    let line = proxy.logged("/left").await;
    assert_eq!((&line["error"], &line["status"]), (&"client_closed".into(), &499.into()));
}

#[tokio::test]
async fn the_origin_hears_when_an_http1_client_resets() {
    let (origin, proxy) = before(|_| Answer::hang()).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::post("/", "whole body")).await;
    origin.request().await;
    connection.reset();
    cancelled_within_a_second(&origin).await;
}

#[tokio::test]
async fn the_origin_hears_when_an_http2_stream_is_reset() {
    let (origin, proxy) = before(|seen| if seen.target == "/" { Answer::hang() } else { Answer::text("x") }).await;
    let client = proxy.h2c().await;
    let (out, _incoming) = client.stream(Request::new("POST", "/")).await;
    origin.request().await;
    out.reset(h2::Reason::CANCEL);
    cancelled_within_a_second(&origin).await;
    client.fetch(Request::get("/other")).await.expect(200);
}

#[tokio::test]
async fn the_origin_hears_when_an_http2_connection_goes() {
    let (origin, proxy) = before(|_| Answer::hang()).await;
    let client = proxy.h2c().await;
    let opened = client.open(&Request::get("/")).await;
    origin.request().await;
    drop((client, opened));
    cancelled_within_a_second(&origin).await;
}

#[tokio::test]
async fn an_http2_origin_hears_it_too() {
    let origin = Origin::builder().h2c().start(|_| Answer::hang()).await;
    let proxy = Proxy::start(route(&origin, "")).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    origin.request().await;
    drop(connection);
    cancelled_within_a_second(&origin).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_download_ends_it() {
    let (origin, proxy) = before(|_| Answer::generated(1 << 30)).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    connection.answer_head().await;
    connection.bytes(1 << 20).await;
    drop(connection);
    cancelled_within_a_second(&origin).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_upload_leaves_no_whole_request() {
    let (origin, proxy) = before(|_| Answer::text("x")).await;
    let mut connection = proxy.connect().await;
    connection.send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    origin.until("half the body", |seen| seen.first().is_some_and(|seen| seen.body.length == 4)).await;
    drop(connection);
    cancelled_within_a_second(&origin).await;
    let mut connection = proxy.connect().await;
    connection.send("POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    origin.until("half the chunks", |seen| seen.get(1).is_some_and(|seen| seen.body.length == 4)).await;
    drop(connection);
    assert!(!origin.ended(1).await.body.complete, "a cut upload ended with a last chunk");
    assert_eq!(proxy.logged("/cut").await["error"], "client_closed");
}

#[tokio::test]
async fn an_upload_that_is_reset_over_http2_leaves_no_whole_request() {
    let (origin, proxy) = before(|_| Answer::text("x")).await;
    let client = proxy.h2c().await;
    let (mut out, _incoming) = client.stream(Request::new("POST", "/")).await;
    out.send("half".into()).await.unwrap();
    origin.until("half the body", |seen| seen.first().is_some_and(|seen| seen.body.length == 4)).await;
    out.reset(h2::Reason::CANCEL);
    let seen = origin.ended(0).await;
    assert!(!seen.body.complete && seen.outcome == Outcome::Cancelled);
}

/// The ways in which an origin breaks an answer off, by target. The gate opens once the client has what came before.
fn breaking(gate: Gate) -> impl Fn(&testkit::Seen) -> Answer + Send + Sync + 'static {
    move |seen| {
        let half = |framing| Answer::status(200).framing(framing).piece("half").wait(&gate);
        match seen.target.as_str() {
            "/counted" => half(Framing::Length(100)).closing(),
            "/counted-reset" => half(Framing::Length(100)).resetting(),
            "/chunked" => {
                Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").wait(&gate).closing()
            }
            "/chunked-reset" => half(Framing::Chunked).resetting(),
            "/bad-chunk" => Answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n")
                .wait(&gate)
                .closing(),
            _ => half(Framing::UntilClose).resetting(),
        }
    }
}

const BREAKS: &[&str] =
    &["/counted", "/counted-reset", "/chunked", "/chunked-reset", "/bad-chunk", "/until-close-reset"];

#[tokio::test]
async fn an_answer_that_the_origin_broke_off_ends_broken_over_http1() {
    for target in BREAKS {
        let gate = Gate::new();
        let (_origin, proxy) = before(breaking(gate.clone())).await;
        let mut connection = proxy.connect().await;
        connection.start(&Request::get(target)).await;
        gate.reached().await;
        gate.open();
        let answer = connection.answer("GET").await.expect(200);
        assert!(!answer.body.complete, "{target} ended cleanly with {:?}", answer.text());
        let error = proxy.logged(target).await["error"].clone();
        assert!(error == "upstream_reset" || error == "upstream_protocol", "{target} was logged as {error}");
    }
}

#[tokio::test]
async fn an_answer_that_the_origin_broke_off_ends_broken_over_http2() {
    for target in BREAKS {
        let gate = Gate::new();
        let (_origin, proxy) = before(breaking(gate.clone())).await;
        let client = proxy.h2c().await;
        let (_, mut incoming) = client.open(&Request::get(target)).await;
        gate.reached().await;
        assert_eq!(incoming.head().await.unwrap().0, 200);
        gate.open();
        let end = loop {
            match incoming.piece().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(end.is_some_and(|error| error.is_reset()), "{target} ended cleanly");
        still_serves(&proxy).await;
    }
}

#[tokio::test]
async fn an_http2_origin_that_resets_breaks_the_answer_for_everybody() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::builder().h2c().start(move |_| Answer::status(200).chunk("half").wait(&script).resetting());
    let origin = origin.await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    gate.reached().await;
    let client = proxy.h2c().await;
    let (_, mut incoming) = client.open(&Request::get("/")).await;
    gate.reached_by(2).await;
    incoming.head().await.unwrap();
    gate.open();
    assert!(!connection.answer("GET").await.expect(200).body.complete);
    let end = async {
        while incoming.piece().await?.is_some() {}
        Ok::<(), h2::Error>(())
    };
    assert!(end.await.is_err(), "the HTTP/2 client saw a clean end");
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_up_nobody_else() {
    let (_origin, proxy) = before(|seen| match seen.target.as_str() {
        "/large" => Answer::generated(64 << 20),
        _ => Answer::text("small"),
    })
    .await;
    let before = proxy.rss();
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let mut connection = proxy.connect().await;
        connection.start(&Request::get("/large")).await;
        connection.answer_head().await;
        stalled.push(connection);
    }
    for _ in 0..50 {
        assert_eq!(proxy.get("/small").await.expect(200).text(), "small");
    }
    assert!(proxy.rss() < before + (32 << 20), "{before} became {}", proxy.rss());
}
