//! What maitred answers for itself: problem documents, pages and gRPC statuses, logged and counted under the same word.

use testkit::{Address, Answer, Origin, Proxy, Request};

/// A proxy whose only backend refuses connections, for HTTP/1 and HTTP/2.
async fn broken() -> Proxy {
    let nobody = Address::refusing();
    let text = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n\
         [routes]\n\"/broken/*\" = \"http://{nobody}\"\n"
    );
    Proxy::start(text).await
}

#[tokio::test]
async fn a_problem_document_says_what_happened_and_carries_the_request_id() {
    let proxy = broken().await;
    let answer = proxy.get("/nowhere").await.expect_problem(404, "no_route");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let problem = answer.json();
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["title"], "Not found");
    assert_eq!(problem["error"], "Not found");
    assert_eq!(problem["detail"], problem["message"]);
    assert_eq!(problem["request_id"].as_str(), answer.request_id());
    let logged = proxy.logged("/nowhere").await;
    assert_eq!(logged["error"], "no_route");
    assert_eq!(logged["status"], 404);
    assert_eq!(logged["request_id"], problem["request_id"]);
    assert_eq!(logged["route"], "-");
    proxy.until_metric("http_errors_total", &[("reason", "no_route"), ("route", "-")], 1.0).await;
}

#[tokio::test]
async fn a_browser_gets_a_page() {
    let proxy = broken().await;
    let browser = Request::get("/nowhere").header("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    let answer = proxy.fetch(browser).await.expect(404);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let page = answer.text();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("404 Not found") && page.contains("no_route"),
        "{page}"
    );
    assert!(page.contains(answer.request_id().unwrap()));
    for accept in ["application/json", "*/*", "application/json, text/html;q=0.5"] {
        proxy.fetch(Request::get("/nowhere").header("Accept", accept)).await.expect_problem(404, "no_route");
    }
}

#[tokio::test]
async fn a_grpc_client_gets_a_status() {
    let proxy = broken().await;
    let client = proxy.h2c().await;
    let call = |path: &str| Request::post(path, "").header("content-type", "application/grpc").header("te", "trailers");
    for (path, status, reason) in [("/nowhere", "12", "no_route"), ("/broken/x", "14", "upstream_refused")] {
        let answer = client.fetch(call(path)).await.expect(200);
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.header("grpc-status"), Some(status));
        assert_eq!(answer.header("grpc-message"), Some(reason));
        assert_eq!(answer.body.length, 0);
        assert!(answer.request_id().is_some());
        assert_eq!(proxy.logged(path).await["error"], reason);
    }
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone_and_the_connection_lives_on() {
    let proxy = broken().await;
    let mut connection = proxy.connect().await;
    let head = connection.fetch(Request::new("HEAD", "/nowhere")).await.expect(404);
    assert_eq!(head.body.length, 0);
    let length: u64 = head.header("content-length").unwrap().parse().unwrap();
    assert!(length > 0);
    let whole = connection.fetch(Request::get("/nowhere")).await.expect_problem(404, "no_route");
    assert_eq!(whole.body.length, length);
}

#[tokio::test]
async fn health_is_answered_unless_a_route_claims_it() {
    let proxy = broken().await;
    let answer = proxy.get("/health").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let health = answer.json();
    assert_eq!(health["status"], "healthy");
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    let claimed = Proxy::start("[routes.mine]\npath = \"/health\"\nrespond = { body = \"mine\" }").await;
    assert_eq!(claimed.get("/health").await.expect(200).text(), "mine");
}

#[tokio::test]
async fn every_answer_has_a_request_id_that_the_origin_was_told() {
    let origin = testkit::Origin::echo().await;
    let proxy = Proxy::start(format!("[routes]\n\"/*\" = \"{origin}\"")).await;
    let first = proxy.get("/1").await.expect(200).seen("x-request-id").unwrap();
    let second = proxy.get("/2").await.expect(200).seen("x-request-id").unwrap();
    assert_ne!(first, second);
    assert_eq!(proxy.logged("/1").await["request_id"], first.as_str());
    assert_eq!(proxy.logged("/2").await["request_id"], second.as_str());
}

#[tokio::test]
async fn proxy_status_says_why_where_it_is_asked_for_and_only_in_answers_of_our_own() {
    let nobody = Address::refusing();
    let origin = Origin::start(|_| Answer::status(502)).await;
    let with = |server: &str| {
        format!(
            "{server}[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n\
             [routes]\n\"/broken/*\" = \"http://{nobody}\"\n\"/fails\" = \"{origin}\"\n\
             \"/fixed\" = {{ respond = {{ body = \"x\" }} }}\n"
        )
    };
    for engine in ["", "general"] {
        let text = with("[server]\nproxy_status = true\n");
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        let h2 = proxy.h2c().await;
        for (path, status) in [
            ("/nowhere", Some("maitred; error=destination_not_found; details=\"no_route\"")),
            ("/broken/x", Some("maitred; error=connection_refused; details=\"upstream_refused\"")),
            ("/fails", None),
            ("/fixed", None),
        ] {
            assert_eq!(proxy.get(path).await.header("proxy-status"), status, "{path}");
            assert_eq!(h2.fetch(Request::get(path)).await.header("proxy-status"), status, "{path}");
        }
        let upgrade = Request::get("/broken/x").header("Connection", "Upgrade").header("Upgrade", "x");
        assert!(proxy.fetch(upgrade).await.header("proxy-status").unwrap().contains("error=connection_refused"));
        let unread = proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
        assert!(unread.contains("\r\nproxy-status: maitred; error=http_request_error; details="), "{unread}");
        proxy.hang_up(with("")).await;
        assert_eq!(proxy.get("/broken/x").await.expect(502).header("proxy-status"), None);
    }
}
