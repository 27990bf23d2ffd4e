//! How large a request may be: bodies, header blocks, field counts and targets.

use testkit::{Answer, Body, Origin, Proxy, Request};

use crate::setting::{BOTH, before, echoing, route, still_serves};

#[tokio::test]
async fn a_body_that_announces_too_much_never_reaches_the_origin() {
    let (origin, proxy) = echoing("max_body = \"1KiB\"").await;
    let large = Request::post("/large", vec![b'x'; 1025]);
    proxy.fetch(large.clone()).await.expect_problem(413, "body_too_large");
    proxy.h2c().await.fetch(large).await.expect_problem(413, "body_too_large");
    assert!(origin.requests().is_empty());
    assert_eq!(proxy.logged("/large").await["error"], "body_too_large");
    let exact = proxy.fetch(Request::post("/exact", vec![b'x'; 1024])).await.expect(200);
    assert_eq!(exact.json()["body_length"], 1024);
}

#[tokio::test]
async fn a_chunked_body_is_cut_off_where_it_grows_too_large() {
    let (origin, proxy) = echoing("max_body = \"1KiB\"").await;
    let half = [b'x'; 600];
    let fits = proxy.fetch(Request::new("POST", "/fits").chunks(&[&half[..512], &half[..512]])).await.expect(200);
    assert_eq!(fits.json()["body_length"], 1024);
    let grows = Request::new("POST", "/grows").chunks(&[&half, &half]);
    proxy.fetch(grows.clone()).await.expect_problem(413, "body_too_large");
    proxy.h2c().await.fetch(grows).await.expect_problem(413, "body_too_large");
    let complete = |seen: &testkit::Seen| seen.target == "/grows" && seen.body.complete;
    assert!(!origin.requests().iter().any(complete), "the origin took a cut body for a whole one");
    assert_eq!(proxy.logged("/grows").await["error"], "body_too_large");
    still_serves(&proxy).await;
}

#[tokio::test]
async fn bodies_are_limited_to_ten_mebibytes_unless_told_otherwise() {
    let (_origin, proxy) = before(|_| Answer::text("ok")).await;
    proxy.fetch(Request::new("POST", "/").generated((10 << 20) + 1)).await.expect_problem(413, "body_too_large");
    proxy.fetch(Request::new("POST", "/").generated(10 << 20)).await.expect(200);
    let origin = Origin::text("ok").await;
    let unlimited = Proxy::start(route(&origin, "max_body = false")).await;
    unlimited.fetch(Request::new("POST", "/").generated((10 << 20) + 1)).await.expect(200);
    let Body { length, complete, is_pattern, .. } = origin.request().await.body;
    assert_eq!((length, complete, is_pattern), ((10 << 20) + 1, true, true));
}

#[tokio::test]
async fn a_refused_body_does_not_become_the_next_request() {
    let (origin, proxy) = echoing("max_body = \"10B\"").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let request = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len());
    let mut connection = proxy.connect().await;
    connection.send(request).await;
    connection.answer("POST").await.expect_problem(413, "body_too_large");
    connection.start(&Request::get("/next")).await;
    let rest = String::from_utf8_lossy(&connection.rest_or_answer().await).into_owned();
    assert!(rest.is_empty() || rest.contains("/next"), "{rest}");
    assert!(!origin.requests().iter().any(|seen| seen.target == "/smuggled"));
}

#[tokio::test]
async fn an_expectant_client_is_refused_before_it_sends() {
    let (origin, proxy) = echoing("max_body = \"10B\"").await;
    let mut connection = proxy.connect().await;
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = connection.answer("POST").await.expect_problem(413, "body_too_large");
    assert!(answer.interim.is_empty());
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_header_block_that_is_too_large_is_refused() {
    let (origin, proxy) = echoing("").await;
    let big = "x".repeat(8000);
    let many =
        |count: usize| (0..count).fold(Request::get("/big"), |request, n| request.header(&format!("X-{n}"), &big));
    proxy.fetch(many(8)).await.expect(200);
    proxy.fetch(many(9)).await.expect_problem(431, "header_too_large");
    proxy.fetch(many(40)).await.expect_problem(431, "header_too_large");
    assert_eq!(origin.requests().len(), 1);
    proxy.until_metric("http_errors_total", &[("reason", "header_too_large")], 2.0).await;
    still_serves(&proxy).await;
}

#[tokio::test]
async fn a_route_can_be_tighter_than_the_listener() {
    let (_origin, proxy) = echoing("max_header = \"1KiB\"\nmax_url = \"100B\"").await;
    let long = "x".repeat(1100);
    let large = Request::get("/").header("X-Long", &long);
    proxy.fetch(large.clone()).await.expect_problem(431, "header_too_large");
    proxy.h2c().await.fetch(large).await.expect_problem(431, "header_too_large");
    let target = format!("/?{}", "x".repeat(99));
    proxy.get(&target).await.expect_problem(414, "url_too_long");
    proxy.h2c().await.fetch(Request::get(&target)).await.expect_problem(414, "url_too_long");
    proxy.get(&target[..100]).await.expect(200);
}

#[tokio::test]
async fn a_hundred_fields_are_enough_for_everybody() {
    let (_origin, proxy) = echoing("").await;
    let fields = |count: usize| (1..count).fold(Request::get("/"), |request, n| request.header(&format!("X-{n}"), "x"));
    proxy.fetch(fields(100)).await.expect(200);
    proxy.fetch(fields(101)).await.expect_problem(431, "header_too_large");
    proxy.fetch(fields(1000)).await.expect_problem(431, "header_too_large");
    proxy.h2c().await.fetch(fields(150)).await.expect_problem(431, "header_too_large");
}

#[tokio::test]
async fn a_target_of_more_than_eight_kibibytes_is_refused() {
    let (_origin, proxy) = echoing("").await;
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    proxy.get(&target(8 * 1024)).await.expect(200);
    proxy.get(&target(8 * 1024 + 1)).await.expect_problem(414, "url_too_long");
    proxy.get(&target(200 * 1024)).await.expect_problem(414, "url_too_long");
    proxy.h2c().await.fetch(Request::get(&target(9 * 1024))).await.expect_problem(414, "url_too_long");
}

#[tokio::test]
async fn an_endless_head_is_given_up_long_before_memory_is() {
    let (_origin, proxy) = echoing("").await;
    // The first ones bring code and each worker's buffers in; what is measured is whether memory grows with what is sent.
    for _ in 0..8 {
        send_endless_head(&proxy).await;
    }
    let before = proxy.rss();
    for _ in 0..8 {
        send_endless_head(&proxy).await;
    }
    let after = proxy.rss();
    assert!(after < before + (8 << 20), "{before} became {after}");
    still_serves(&proxy).await;
}

/// Eight megabytes of one field.
async fn send_endless_head(proxy: &Proxy) {
    let mut connection = proxy.connect().await;
    connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Long: ").await;
    connection.send(vec![b'x'; 8 << 20]).await;
    let answer = String::from_utf8_lossy(&connection.rest().await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_and_told_of() {
    let text =
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nmax_connections = 2\n[routes.app]\nrespond = { body = \"x\" }\n";
    let proxy = Proxy::start(text).await;
    let (mut first, mut second) = (proxy.connect().await, proxy.connect().await);
    first.fetch(Request::get("/")).await.expect(200);
    second.fetch(Request::get("/")).await.expect(200);
    let mut third = proxy.connect().await;
    assert_eq!(third.rest().await, "");
    assert_eq!(proxy.logged_error("too_many_connections").await["listener"], "http");
    drop(first);
    let freed = async {
        loop {
            let mut connection = proxy.connect().await;
            connection.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            if !connection.rest().await.is_empty() {
                return;
            }
        }
    };
    testkit::within("a place to become free", freed).await;
}

#[tokio::test]
async fn an_expectation_that_nobody_can_meet_is_refused() {
    let (_origin, proxy) = echoing("").await;
    let request = Request::post("/", "x").header("Expect", "200-maybe");
    proxy.fetch(request).await.expect_problem(417, "bad_expectation");
}

#[tokio::test]
async fn http2_refusals_leave_the_connection_alive() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "max_body = \"1KiB\""))).await;
    let client = proxy.h2c().await;
    for _ in 0..10 {
        client.fetch(Request::new("POST", "/").generated(100 << 10)).await.expect_problem(413, "body_too_large");
    }
    client.fetch(Request::get("/after")).await.expect(200);
}

#[tokio::test]
async fn a_connection_counts_until_its_socket_is_closed() {
    let text =
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nmax_connections = 1\n[routes.app]\nrespond = { body = \"x\" }\n";
    let proxy = Proxy::start(text).await;
    // It has sent more than is wanted: that is read for a while, so that it gets to see its answer.
    let mut first = proxy.connect().await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nand more").await;
    first.answer("GET").await.expect(200);
    proxy.until_metric_is("connections", &[("listener", "http")], 0.0).await;
    let mut next = proxy.connect().await;
    assert_eq!(next.rest().await, "");
    drop(first);
    let freed =
        async { while proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.is_empty() {} };
    testkit::within("its place to become free", freed).await;
}
