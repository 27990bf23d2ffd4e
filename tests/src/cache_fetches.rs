//! What the cache asks the origin for on behalf of clients: how much of it, under which conditions, and how often.

use serde_json::{Value, json};
use testkit::{Answer, Framing, Gate, Request};

use crate::caching::{caching, counting, numbered, status};

/// Who asks for a part of what is stale has all of it fetched, since nothing less is kept, and does not wait for the rest.
#[tokio::test]
async fn a_part_of_what_is_stale_costs_one_fetch_of_the_whole() {
    const LENGTH: usize = 1 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let script = counting(move |_, n| match n {
        0 => numbered(n).header("Cache-Control", "max-age=600, stale-if-error=9999").header("Age", "700"),
        _ => Answer::status(200)
            .framing(Framing::Length(LENGTH as u64 + 10))
            .header("Cache-Control", "max-age=600")
            .piece("0123456789")
            .wait(&held)
            .piece(vec![b'x'; LENGTH]),
    });
    let (origin, proxy) = caching("cache = true", script).await;
    proxy.get("/").await.expect(200);
    let part = || Request::get("/").header("Range", "bytes=0-9");
    let first = proxy.fetch(part()).await.expect(206);
    assert_eq!((first.text().as_str(), status(&first).ends_with("; stored")), ("0123456789", true));
    // Whoever has left has left by now.
    proxy.until_metric_is("http_requests_in_flight", &[("route", "app")], 0.0).await;
    gate.open();
    proxy.until_metric("cache_bytes", &[("tier", "memory")], LENGTH as f64).await;
    let second = proxy.fetch(part()).await.expect(206);
    assert_eq!((second.text().as_str(), status(&second).contains("; hit")), ("0123456789", true));
    let whole = proxy.get("/").await.expect(200);
    assert_eq!((whole.body.length, origin.requests().len()), (LENGTH as u64 + 10, 2));
}

/// What is known not to be kept is asked for as the client asks: it may have it already.
#[tokio::test]
async fn what_is_not_kept_is_asked_for_under_the_conditions_of_who_asks() {
    let (origin, proxy) = caching("cache = true", |seen| {
        let is_known = seen.header("if-none-match") == Some("\"v\"")
            || seen.header("if-modified-since") == Some("Thu, 01 Jan 2026 00:00:00 GMT");
        let answer = if is_known { Answer::status(304) } else { Answer::text("own") };
        let answer = answer.header("ETag", "\"v\"").header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT");
        let control = if seen.target == "/own" { "private, no-cache" } else { "no-cache" };
        answer.header("Cache-Control", control)
    })
    .await;
    assert_eq!(proxy.get("/own").await.expect(200).text(), "own");
    for (name, value, code) in [
        ("If-None-Match", "\"v\"", 304),
        ("If-None-Match", "\"x\"", 200),
        ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT", 304),
    ] {
        for over_h2 in [false, true] {
            let request = Request::get("/own").header(name, value);
            let answer = if over_h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
            let answer = answer.expect(code);
            assert_eq!(answer.text(), if code == 200 { "own" } else { "" });
            assert_eq!((answer.header("etag"), status(&answer).as_str()), (Some("\"v\""), "maitred; fwd=uri-miss"));
            let asked = origin.requests().last().unwrap().header(&name.to_lowercase()).map(str::to_owned);
            assert_eq!(asked.as_deref(), Some(value), "{name} over HTTP/2: {over_h2}");
        }
    }
    // What is kept has conditions of its own.
    proxy.get("/kept").await.expect(200);
    proxy.fetch(Request::get("/kept").header("If-None-Match", "\"x\"")).await.expect(200);
    let last = origin.requests().last().unwrap().header("if-none-match").map(str::to_owned);
    assert_eq!(last.as_deref(), Some("\"v\""));
}

/// A 304 about another answer than the one that is kept is no fault of the backend, and no attempt of the request that follows.
#[tokio::test]
async fn a_304_that_is_passed_over_is_no_failure_and_takes_no_retry() {
    for resets in [false, true] {
        let script = counting(move |_, n| match n {
            0 => numbered(n).header("Cache-Control", "max-age=1").header("Age", "5").header("ETag", "\"a\""),
            1 => Answer::status(304).header("ETag", "\"b\""),
            2 if resets => Answer::raw("").resetting(),
            2 => Answer::status(503),
            _ => numbered(n).header("Cache-Control", "max-age=60").header("ETag", "\"b\""),
        });
        let lines = "cache = true\nretries = { attempts = 1, on = [\"reset\", \"503\"] }";
        let (origin, proxy) = caching(lines, script).await;
        proxy.get("/").await.expect(200);
        assert_eq!(proxy.get("/").await.expect(200).text(), "answer 3", "resets: {resets}");
        assert_eq!(origin.requests().len(), 4);
        let line = &proxy.access_log(2).await[1];
        let tries: Vec<_> =
            line["tries"].as_array().unwrap().iter().map(|one| (&one["status"], &one["error"])).collect();
        let (code, error) =
            if resets { (Value::Null, json!("upstream_reset")) } else { (json!(503), json!("upstream_status")) };
        assert_eq!(tries, [(&json!(304), &Value::Null), (&code, &error), (&json!(200), &Value::Null)], "{line}");
        assert_eq!(line["attempts"], 3);
    }
}
