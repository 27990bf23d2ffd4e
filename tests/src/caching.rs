//! The cache: what is kept, what a request gets of it, and how often the origin is asked.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use testkit::{Answer, Connection, Gate, Origin, Proxy, Request, Response, Seen, within};

use crate::setting::{BOTH, route};

pub async fn caching(lines: &str, respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (Origin, Proxy) {
    let origin = Origin::start(respond).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, lines))).await;
    (origin, proxy)
}

/// An answer that tells how many there were before it.
pub fn counting(
    respond: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let count = AtomicUsize::new(0);
    move |seen| respond(seen, count.fetch_add(1, Ordering::SeqCst))
}

pub fn numbered(number: usize) -> Answer {
    Answer::text(format!("answer {number}"))
}

pub fn status(answer: &Response) -> String {
    answer.headers.all("cache-status").join(", ")
}

fn date(ago: Duration) -> String {
    httpdate::fmt_http_date(SystemTime::now() - ago)
}

#[tokio::test]
async fn a_fresh_answer_is_given_again_rfc_9111_4() {
    let (origin, proxy) = caching(
        "cache = true",
        counting(|_, n| numbered(n).header("Cache-Control", "max-age=60").header("ETag", "\"v\"")),
    )
    .await;
    let first = proxy.get("/a").await.expect(200);
    assert_eq!((first.text().as_str(), status(&first).as_str()), ("answer 0", "maitred; fwd=uri-miss; stored"));
    assert_eq!(proxy.logged("/a").await["cache"], "miss");
    for client in 0..2 {
        let mut connection = Connection::to(proxy.address()).await;
        let again = connection.fetch(Request::get("/a")).await.expect(200);
        assert_eq!(again.text(), "answer 0", "client {client}");
        assert_eq!(again.headers.all("content-length"), ["8"]);
        assert!(
            again.header("age").is_some() && status(&again).starts_with("maitred; hit; ttl="),
            "{:?}",
            again.headers
        );
    }
    let h2 = proxy.h2c().await.fetch(Request::get("/a")).await.expect(200);
    assert_eq!(h2.text(), "answer 0");
    assert_eq!(proxy.get("/a?b").await.text(), "answer 1", "the query is part of the key");
    assert_eq!(proxy.fetch(Request::get("/a").host("other.example")).await.text(), "answer 2", "so is the host");
    assert_eq!(origin.requests().len(), 3);
    proxy.until_metric("cache_requests_total", &[("route", "app"), ("result", "hit")], 3.0).await;
    proxy.until_metric("cache_requests_total", &[("route", "app"), ("result", "miss")], 3.0).await;
    assert_eq!(proxy.metric("cache_entries", &[("tier", "memory")]).await, 3.0);
}

#[tokio::test]
async fn what_may_not_be_kept_is_not_rfc_9111_3() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("/no-store", &[("Cache-Control", "no-store, max-age=60")]),
        ("/private", &[("Cache-Control", "private, max-age=60")]),
        ("/cookie", &[("Cache-Control", "public, max-age=60"), ("Set-Cookie", "a=1")]),
        ("/vary", &[("Cache-Control", "max-age=60"), ("Vary", "*")]),
        ("/vary-unreadable", &[("Cache-Control", "max-age=60"), ("Vary", "Accept-Language Cookie")]),
        ("/nothing", &[]),
        ("/expired", &[("Expires", "0")]),
        ("/unreadable", &[("Cache-Control", "max-age=abc")]),
    ];
    let (origin, proxy) = caching("cache = true", move |seen| {
        let fields = cases.iter().find(|(path, _)| *path == seen.target).map_or(&[][..], |(_, fields)| fields);
        fields.iter().fold(Answer::text("x"), |answer, (name, value)| answer.header(name, *value))
    })
    .await;
    for (number, (path, _)) in cases.iter().enumerate() {
        for _ in 0..2 {
            let answer = proxy.get(path).await.expect(200);
            assert!(
                !status(&answer).contains("hit") && !status(&answer).contains("stored"),
                "{path}: {}",
                status(&answer)
            );
        }
        assert_eq!(origin.requests().len(), 2 * (number + 1), "{path}");
    }
}

#[tokio::test]
async fn authorization_needs_leave_rfc_9111_3_5() {
    let (origin, proxy) = caching("cache = \"1m\"", |seen| match seen.target.as_str() {
        "/shared" => Answer::text("x").header("Cache-Control", "s-maxage=60"),
        _ => Answer::text("x"),
    })
    .await;
    let authorized = |path: &str| Request::get(path).header("Authorization", "Basic eA==");
    for _ in 0..2 {
        proxy.fetch(authorized("/own")).await.expect(200);
        proxy.fetch(authorized("/shared")).await.expect(200);
    }
    assert_eq!(origin.requests().iter().filter(|seen| seen.target == "/own").count(), 2);
    assert_eq!(origin.requests().iter().filter(|seen| seen.target == "/shared").count(), 1);
    // What was kept for somebody without credentials is not for who has some, unless it says so.
    proxy.get("/own").await.expect(200);
    assert!(status(&proxy.get("/own").await).contains("hit"));
    assert!(!status(&proxy.fetch(authorized("/own")).await).contains("hit"));
}

#[tokio::test]
async fn vary_keeps_answers_apart_rfc_9111_4_1() {
    let (origin, proxy) = caching(
        "cache = true",
        counting(|_, n| {
            numbered(n).header("Cache-Control", "max-age=60").header("Vary", "X-A").header("Vary", "accept-language")
        }),
    )
    .await;
    let ask = |a: &'static str, language: &'static str| {
        Request::get("/").header("X-A", a).header("Accept-Language", language)
    };
    assert_eq!(proxy.fetch(ask("1", "de")).await.text(), "answer 0");
    assert_eq!(proxy.fetch(ask("2", "de")).await.text(), "answer 1");
    let other = proxy.fetch(ask("1", "en")).await;
    assert_eq!((other.text().as_str(), status(&other).as_str()), ("answer 2", "maitred; fwd=vary-miss; stored"));
    assert_eq!(proxy.fetch(ask("1", "DE ")).await.text(), "answer 0", "what means the same is the same");
    assert_eq!(proxy.fetch(ask("2", "de")).await.text(), "answer 1");
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn stale_answers_are_validated_and_updated_rfc_9111_4_3() {
    let (origin, proxy) = caching(
        "cache = true",
        counting(|seen, n| match seen.header("if-none-match") {
            Some("\"v1\"") if n == 1 => Answer::status(304)
                .header("ETag", "\"v1\"")
                .header("X-Count", "2")
                .header("Cache-Control", "max-age=60")
                .header("Content-Length", "999"),
            _ => numbered(n).header("ETag", "\"v1\"").header("X-Count", "1").header("Cache-Control", "max-age=0"),
        }),
    )
    .await;
    proxy.get("/").await.expect(200);
    let validated = proxy.get("/").await.expect(200);
    assert_eq!((validated.text().as_str(), validated.header("x-count")), ("answer 0", Some("2")));
    assert_eq!(status(&validated), "maitred; fwd=stale; fwd-status=304; stored");
    let hit = proxy.get("/").await.expect(200);
    assert_eq!(
        (hit.text().as_str(), hit.header("x-count"), hit.header("content-length")),
        ("answer 0", Some("2"), Some("8"))
    );
    assert_eq!(origin.requests().len(), 2);
    proxy.until_metric("cache_requests_total", &[("route", "app"), ("result", "revalidated")], 1.0).await;
}

#[tokio::test]
async fn conditions_are_answered_from_what_is_kept_rfc_9110_13() {
    let modified = date(Duration::from_secs(1000));
    let told = modified.clone();
    let (origin, proxy) = caching("cache = true", move |_| {
        Answer::text("content")
            .header("Cache-Control", "max-age=60")
            .header("ETag", "\"v\"")
            .header("Last-Modified", told.clone())
    })
    .await;
    let first = proxy.fetch(Request::get("/").header("If-None-Match", "\"v\"")).await;
    assert_eq!(first.status, 304, "the whole answer is fetched, and the client told that it has it");
    assert!(origin.request().await.header("if-none-match").is_none());
    for (name, value, expected) in [
        ("If-None-Match", "\"v\"", 304),
        ("If-None-Match", "W/\"v\"", 304),
        ("If-None-Match", "\"a\", \"v\"", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"w\"", 200),
        ("If-Modified-Since", modified.as_str(), 304),
        ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let answer = proxy.fetch(Request::get("/").header(name, value)).await;
        assert_eq!(answer.status, expected, "{name}: {value}");
        if expected == 304 {
            assert!(answer.body.length == 0 && answer.header("content-length").is_none(), "{:?}", answer.headers);
            assert_eq!(answer.header("etag"), Some("\"v\""));
        }
    }
    assert_eq!(origin.requests().len(), 1);
    // RFC 9111 section 4.3.2: what is for the origin to judge goes there.
    proxy.fetch(Request::get("/").header("If-Match", "\"w\"")).await;
    assert_eq!(origin.nth(1).await.header("if-match"), Some("\"w\""));
}

#[tokio::test]
async fn ranges_and_heads_are_answered_from_what_is_kept_rfc_9110_14() {
    let (origin, proxy) = caching("cache = true", |_| {
        Answer::text("0123456789").header("Cache-Control", "max-age=60").header("ETag", "\"v\"")
    })
    .await;
    proxy.get("/").await.expect(200);
    for (range, expected, content, told) in [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=5-99", 206, "56789", "bytes 5-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=0-1,4-5", 200, "0123456789", ""),
        ("lines=0-1", 200, "0123456789", ""),
        ("bytes=3-1", 200, "0123456789", ""),
    ] {
        let answer = proxy.fetch(Request::get("/").header("Range", range)).await;
        assert_eq!((answer.status, answer.text().as_str()), (expected, content), "{range}");
        assert_eq!(answer.header("content-range").unwrap_or_default(), told, "{range}");
    }
    let conditional = |tag: &'static str| Request::get("/").header("Range", "bytes=0-3").header("If-Range", tag);
    assert_eq!(proxy.fetch(conditional("\"v\"")).await.status, 206);
    assert_eq!(proxy.fetch(conditional("W/\"v\"")).await.status, 200, "RFC 9110 section 13.1.5: strong only");
    assert_eq!(proxy.fetch(conditional("\"w\"")).await.status, 200);
    let head = proxy.fetch(Request::new("HEAD", "/")).await.expect(200);
    assert_eq!((head.body.length, head.header("content-length")), (0, Some("10")));
    assert_eq!(origin.requests().len(), 1);
    // Where nothing is kept the part is asked for, and not kept as if it were the whole.
    proxy.fetch(Request::get("/other").header("Range", "bytes=0-3")).await;
    assert_eq!(origin.nth(1).await.header("range"), Some("bytes=0-3"));
    assert_eq!(proxy.get("/other").await.text(), "0123456789");
}

#[tokio::test]
async fn age_is_told_and_counted_rfc_9111_4_2_3() {
    let (origin, proxy) = caching("cache = true", |seen| match seen.target.as_str() {
        "/old" => Answer::text("x").header("Cache-Control", "max-age=60").header("Age", "50"),
        "/dated" => {
            Answer::text("x").header("Cache-Control", "max-age=60").header("Date", date(Duration::from_secs(40)))
        }
        _ => Answer::text("x").header("Cache-Control", "max-age=60").header("Age", "60"),
    })
    .await;
    for (path, least) in [("/old", 50), ("/dated", 40)] {
        proxy.get(path).await.expect(200);
        let hit = proxy.get(path).await.expect(200);
        let age: u64 = hit.header("age").unwrap().parse().unwrap();
        assert!((least..least + 5).contains(&age), "{path}: {age}");
    }
    proxy.get("/spent").await.expect(200);
    proxy.get("/spent").await.expect(200);
    assert_eq!(origin.requests().iter().filter(|seen| seen.target == "/spent").count(), 2, "it came stale");
}

#[tokio::test]
async fn requests_say_what_will_do_rfc_9111_5_2_1() {
    let (origin, proxy) =
        caching("cache = true", counting(|_, n| numbered(n).header("Cache-Control", "max-age=60").header("Age", "20")))
            .await;
    let asking = |path: &'static str, what: &str| Request::get(path).header("Cache-Control", what);
    proxy.fetch(asking("/", "only-if-cached")).await.expect_problem(504, "not_cached");
    proxy.get("/").await.expect(200);
    for (what, expected) in [
        ("only-if-cached", "answer 0"),
        ("max-age=30", "answer 0"),
        ("min-fresh=10", "answer 0"),
        ("max-age=10", "answer 1"),
        ("min-fresh=50", "answer 2"),
        ("no-cache", "answer 3"),
        ("max-age=0", "answer 4"),
        ("max-stale", "answer 4"),
    ] {
        assert_eq!(proxy.fetch(asking("/", what)).await.text(), expected, "{what}");
    }
    assert_eq!(proxy.fetch(Request::get("/").header("Pragma", "no-cache")).await.text(), "answer 5");
    assert_eq!(proxy.fetch(asking("/", "no-store")).await.text(), "answer 6");
    assert_eq!(proxy.get("/").await.text(), "answer 5", "what was asked for with no-store is not kept");
    assert_eq!(origin.requests().len(), 7);
}

#[tokio::test]
async fn what_breaks_off_is_not_kept_and_not_given_as_whole() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly so far",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nonly so far\r\n",
    ] {
        let (origin, proxy) = caching(
            "cache = \"1m\"",
            counting(move |_, n| if n == 0 { Answer::raw(cut).closing() } else { Answer::text("whole") }),
        )
        .await;
        let mut client = Connection::to(proxy.address()).await;
        client.start(&Request::get("/")).await;
        let first = String::from_utf8_lossy(&client.rest().await).into_owned();
        assert!(first.starts_with("HTTP/1.1 200") && !first.ends_with("0\r\n\r\n"), "{cut}: {first}");
        assert_eq!(proxy.get("/").await.text(), "whole", "{cut}");
        drop(origin);
    }
}

#[tokio::test]
async fn a_stale_answer_is_given_while_it_is_asked_for_anew_rfc_5861_3() {
    let gate = Gate::new();
    let held = gate.clone();
    let (origin, proxy) = caching(
        "cache = true",
        counting(move |_, n| {
            let answer =
                numbered(n).header("Cache-Control", "max-age=1, stale-while-revalidate=600").header("Age", "10");
            if n == 0 { answer } else { numbered(n).header("Cache-Control", "max-age=60").after(&held) }
        }),
    )
    .await;
    proxy.get("/").await.expect(200);
    for _ in 0..3 {
        let stale = proxy.get("/").await.expect(200);
        assert_eq!(stale.text(), "answer 0");
        assert!(status(&stale).starts_with("maitred; hit; ttl=-"), "{}", status(&stale));
    }
    origin.nth(1).await;
    proxy.until_metric("cache_requests_total", &[("route", "app"), ("result", "stale")], 3.0).await;
    gate.open();
    let renewed = async { while proxy.get("/").await.text() != "answer 1" {} };
    within("the background to bring a new answer", renewed).await;
    assert_eq!(origin.requests().len(), 2, "asked for anew once");
}

#[tokio::test]
async fn a_stale_answer_is_given_where_the_origin_fails_rfc_5861_4() {
    let (origin, proxy) = caching(
        "cache = { stale_if_error = \"10m\" }\nretries = 0",
        counting(|seen, n| match (seen.target.as_str(), n) {
            (_, 0 | 1) if seen.target == "/strict" => {
                numbered(n).header("Cache-Control", "max-age=0, must-revalidate").header("ETag", "\"v\"")
            }
            (_, 0 | 1) => numbered(n).header("Cache-Control", "max-age=1").header("Age", "5").header("ETag", "\"v\""),
            _ => Answer::status(503),
        }),
    )
    .await;
    proxy.get("/").await.expect(200);
    proxy.get("/strict").await.expect(200);
    let stale = proxy.get("/").await.expect(200);
    assert_eq!(stale.text(), "answer 0");
    // RFC 9211 section 2.2: what was forwarded is no hit, whatever came of it.
    assert!(status(&stale).starts_with("maitred; fwd=stale; fwd-status=503; ttl=-"), "{}", status(&stale));
    proxy.get("/strict").await.expect(503);
    let address = origin.stop().await;
    let stale = proxy.get("/").await.expect(200);
    assert_eq!(stale.text(), "answer 0", "{address:?} is gone");
    assert!(status(&stale).starts_with("maitred; fwd=stale; ttl=-"), "{}", status(&stale));
    proxy.get("/strict").await.expect(502);
}

#[tokio::test]
async fn fetches_use_the_connections_that_all_requests_use() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "POST" => Answer::text("done"),
        _ => Answer::text("kept").header("Cache-Control", "max-age=60"),
    })
    .await;
    // Pingora's own pool is closed to us.
    let configuration = format!("{BOTH}{}", route(&origin, "cache = true"));
    let proxy = Proxy::with(configuration).variable("MAITRED_ENGINE", "").start().await;
    let mut client = Connection::to(proxy.address()).await;
    client.fetch(Request::get("/a")).await.expect(200);
    client.fetch(Request::post("/b", "x")).await.expect(200);
    client.fetch(Request::get("/c")).await.expect(200);
    client.fetch(Request::new("HEAD", "/d")).await.expect(200);
    let came_by: Vec<(usize, usize)> = origin.requests().iter().map(|seen| (seen.connection, seen.turn)).collect();
    assert_eq!(came_by, [(0, 0), (0, 1), (0, 2), (0, 3)]);
}
