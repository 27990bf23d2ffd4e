//! Copies of requests: they say what the origin was told, and nobody's request depends on them.

use std::time::{Duration, Instant};

use testkit::Response;
use testkit::{Address, Answer, Gate, Origin, Proxy, Request};

use crate::setting::BOTH;

/// A proxy before `origin` whose requests are copied for `shadow`.
async fn mirrored(origin: &Origin, shadow: &dyn std::fmt::Display, mirror: &str, route: &str) -> Proxy {
    Proxy::start(format!(
        "{BOTH}[upstreams.shadow]\nbackends = \"{shadow}\"\n[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\n\
         mirror = {{ upstream = \"shadow\"{mirror} }}\n{route}\n"
    ))
    .await
}

async fn fetch(proxy: &Proxy, request: Request, h2: bool) -> Response {
    if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await }
}

async fn counted(proxy: &Proxy, result: &str, count: f64) {
    proxy.until_metric("mirror_requests_total", &[("route", "app"), ("result", result)], count).await;
}

#[tokio::test]
async fn a_copy_is_what_the_origin_is_sent() {
    for (h2, to_h2) in [(false, false), (true, false), (false, true), (true, true)] {
        let origin = Origin::text("well").await;
        let shadow = if to_h2 { Origin::builder().h2c() } else { Origin::builder() };
        let shadow = shadow.start(|_| Answer::status(500)).await;
        let route = "[routes.app.request]\nrewrite = \"/v2{path}\"\nset = { X-Tag = \"a\" }";
        let proxy = mirrored(&origin, &shadow, ", remove = \"Authorization\"", route).await;
        let request = Request::post("/orders?page=2", "an order").host("shop.example.com");
        fetch(&proxy, request.header("Authorization", "Bearer x"), h2).await.expect(200);
        let (seen, copy) = (origin.request().await, shadow.ended(0).await);
        assert_eq!(copy.target, "/v2/orders?page=2");
        assert_eq!((copy.method.as_str(), copy.body.start.as_slice()), ("POST", &b"an order"[..]));
        assert_eq!((copy.header("x-shadow"), copy.header("x-tag"), copy.host()), (Some("1"), Some("a"), seen.host()));
        assert_eq!((copy.header("authorization"), seen.header("x-shadow")), (None, None));
        assert_eq!(copy.header("x-request-id"), seen.header("x-request-id"));
        fetch(&proxy, Request::get("/plain"), h2).await.expect(200);
        assert_eq!(shadow.ended(1).await.method, "GET");
        counted(&proxy, "answered", 2.0).await;
        assert_eq!(origin.requests().len(), 2);
    }
}

#[tokio::test]
async fn whatever_becomes_of_copies_the_client_has_its_answer() {
    let origin = Origin::text("well").await;
    let refusing = format!("http://{}", Address::refusing());
    let (silent, nonsense) = (Origin::start(|_| Answer::hang()).await, Origin::raw(b"nonsense\r\n\r\n").await);
    for (shadow, result) in
        [(&refusing as &dyn std::fmt::Display, "failed"), (&silent, "timeout"), (&nonsense, "failed")]
    {
        for h2 in [false, true] {
            let proxy = mirrored(&origin, shadow, ", timeout = \"700ms\"", "").await;
            let began = Instant::now();
            for _ in 0..5 {
                let answer = fetch(&proxy, Request::post("/", "x"), h2).await.expect(200);
                assert_eq!(answer.text(), "well");
            }
            assert!(
                result != "timeout" || began.elapsed() < 5 * Duration::from_millis(700),
                "nobody waited for a copy"
            );
            counted(&proxy, result, 5.0).await;
        }
    }
}

#[tokio::test]
async fn so_many_are_under_way_and_no_more() {
    for h2 in [false, true] {
        let origin = Origin::text("well").await;
        let gate = Gate::new();
        let held = gate.clone();
        let shadow = Origin::start(move |_| Answer::text("late").after(&held)).await;
        let proxy = mirrored(&origin, &shadow, ", concurrent = 2, timeout = \"60s\"", "").await;
        for _ in 0..2 {
            fetch(&proxy, Request::get("/"), h2).await.expect(200);
        }
        shadow.nth(1).await;
        for _ in 0..3 {
            fetch(&proxy, Request::get("/"), h2).await.expect(200);
        }
        counted(&proxy, "dropped", 3.0).await;
        gate.open();
        counted(&proxy, "answered", 2.0).await;
        assert_eq!(shadow.requests().len(), 2);
        fetch(&proxy, Request::get("/"), h2).await.expect(200);
        counted(&proxy, "answered", 3.0).await;
    }
}

#[tokio::test]
async fn what_is_too_long_is_not_copied() {
    for h2 in [false, true] {
        let (origin, shadow) = (Origin::echo().await, Origin::text("well").await);
        let proxy = mirrored(&origin, &shadow, ", max_body = \"1KiB\"", "").await;
        fetch(&proxy, Request::post("/", "x").generated(5_000), h2).await.expect(200);
        fetch(&proxy, Request::post("/", "x").chunks(&[&[b'a'; 900], &[b'b'; 900]]), h2).await.expect(200);
        counted(&proxy, "too_large", 2.0).await;
        fetch(&proxy, Request::post("/", "x").chunks(&[&[b'a'; 500], &[b'b'; 500]]), h2).await.expect(200);
        assert_eq!(shadow.ended(0).await.body.length, 1000);
        assert_eq!(shadow.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_share_is_copied() {
    let (origin, shadow) = (Origin::text("well").await, Origin::text("well").await);
    let proxy = mirrored(&origin, &shadow, ", percent = 30, concurrent = 1000", "").await;
    for _ in 0..20 {
        futures::future::join_all((0..10).map(|_| async { proxy.get("/").await.expect(200) })).await;
    }
    let count = shadow.requests().len();
    assert!((25..=100).contains(&count), "of 200 requests {count} were copied");
}

#[tokio::test]
async fn a_retry_is_copied_once_and_whole() {
    for h2 in [false, true] {
        let (busy, well) = (Origin::start(|_| Answer::status(503).read_body()).await, Origin::text("well").await);
        let shadow = Origin::text("well").await;
        let proxy = Proxy::start(format!(
            "{BOTH}[upstreams.app]\nbackends = [\"{busy}\", \"{well}\"]\nretries = {{ on = \"503\" }}\n\
             [routes.app]\npath = \"/*\"\nupstream = \"app\"\nmirror = \"{shadow}\"\n"
        ))
        .await;
        let request = Request::new("PUT", "/").chunks(&[b"one", b"two"]);
        fetch(&proxy, request, h2).await.expect(200);
        assert_eq!(shadow.ended(0).await.body.start, b"onetwo");
        counted(&proxy, "answered", 1.0).await;
        assert_eq!((busy.requests().len(), shadow.requests().len()), (1, 1));
    }
}

#[tokio::test]
async fn answers_are_compared_on_demand() {
    for route in ["", "cache = \"1m\"\n", "compress = true\n"] {
        for h2 in [false, true] {
            let json = |text: &'static str| {
                move |seen: &testkit::Seen| match seen.target.as_str() {
                    "/status" => Answer::status(if text.starts_with(' ') { 500 } else { 200 }),
                    _ => Answer::status(200).header("Content-Type", "application/json").body(text),
                }
            };
            let origin = Origin::start(json(r#"{"id":1,"at":"12:00","items":[1,2]}"#)).await;
            let shadow = Origin::start(json(r#" { "items": [1, 2], "at": "13:00", "id": 1.0 }"#)).await;
            let other = ", compare = { ignore = \"/at\" }";
            let proxy = mirrored(&origin, &shadow, other, route).await;
            fetch(&proxy, Request::get("/same"), h2).await.expect(200);
            counted(&proxy, "same", 1.0).await;
            fetch(&proxy, Request::get("/status"), h2).await.expect(200);
            counted(&proxy, "different", 1.0).await;
            proxy.printed("GET /status").await;
            let proxy = mirrored(&origin, &shadow, ", compare = true", route).await;
            fetch(&proxy, Request::get("/at"), h2).await.expect(200);
            counted(&proxy, "different", 1.0).await;
            let line = proxy.printed("differs in").await;
            assert!(line.contains("mirror of route `app` to `shadow`: GET /at") && line.contains("/at"), "{line}");
            assert!(!line.contains("12:00"), "nothing of an answer stands in the log: {line}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_is_not_copied() {
    let (origin, shadow) = (Origin::start(|_| Answer::websocket()).await, Origin::text("well").await);
    let proxy = mirrored(&origin, &shadow, "", "").await;
    drop(proxy.websocket("/").await);
    origin.ended(0).await;
    assert_eq!(shadow.requests().len(), 0);
}
