//! Calls from web pages of other origins: preflights, credentials, and errors that a page may read.

use testkit::{Address, Answer, Origin, Proxy, Request};

use crate::setting::route;

const APP: &str = "https://app.example.com";

const POLICY: &str = r#"
    [routes.app.cors]
    origins     = ["https://app.example.com", "https://*.preview.example.com"]
    methods     = ["GET", "POST"]
    headers     = ["Authorization", "Content-Type"]
    expose      = ["X-Request-Id"]
    credentials = true
    max_age     = "10m"
"#;

fn preflight(origin: &str) -> Request {
    Request::new("OPTIONS", "/x").header("Origin", origin).header("Access-Control-Request-Method", "POST")
}

async fn permissive_origin() -> Origin {
    Origin::start(|_| {
        Answer::text("x")
            .header("Access-Control-Allow-Origin", "*")
            .header("Access-Control-Allow-Headers", "X-Evil")
            .header("Vary", "Accept-Encoding")
    })
    .await
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_origin() {
    let origin = permissive_origin().await;
    let proxy = Proxy::start(route(&origin, POLICY)).await;
    let answer = proxy.fetch(preflight(APP).header("Access-Control-Request-Headers", "content-type")).await.expect(204);
    for (name, value) in [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, POST"),
        ("access-control-allow-headers", "Authorization, Content-Type"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(answer.headers.all(name), [value], "{name}");
    }
    assert!(answer.headers.has_token("vary", "origin"));
    assert!(answer.headers.has_token("vary", "access-control-request-method"));
    assert_eq!(answer.body.length, 0);
    let preview = proxy.fetch(preflight("https://pr-7.preview.example.com")).await.expect(204);
    assert_eq!(preview.header("access-control-allow-origin"), Some("https://pr-7.preview.example.com"));
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_stranger_gets_no_permission() {
    let origin = permissive_origin().await;
    let proxy = Proxy::start(route(&origin, POLICY)).await;
    for stranger in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com.evil.example",
        "https://app.example.com:8443",
        "https://preview.example.com",
        "https://evilpreview.example.com",
        "null",
    ] {
        let answer = proxy.fetch(preflight(stranger)).await;
        assert!(answer.header("access-control-allow-origin").is_none(), "{stranger}");
        let answer = proxy.fetch(Request::get("/").header("Origin", stranger)).await.expect(200);
        assert!(answer.header("access-control-allow-origin").is_none(), "{stranger}");
        assert!(answer.headers.has_token("vary", "origin"), "{stranger}");
    }
}

#[tokio::test]
async fn every_other_answer_carries_our_policy_instead_of_the_origins() {
    let origin = permissive_origin().await;
    let proxy = Proxy::start(route(&origin, POLICY)).await;
    let answer = proxy.fetch(Request::get("/").header("Origin", APP)).await.expect(200);
    assert_eq!(answer.headers.all("access-control-allow-origin"), [APP]);
    assert_eq!(answer.headers.all("access-control-allow-credentials"), ["true"]);
    assert_eq!(answer.headers.all("access-control-expose-headers"), ["X-Request-Id"]);
    assert!(answer.header("access-control-allow-headers").is_none());
    assert!(answer.headers.has_token("vary", "origin") && answer.headers.has_token("vary", "accept-encoding"));
    let plain = proxy.get("/").await.expect(200);
    assert!(plain.header("access-control-allow-origin").is_none());
    assert!(plain.headers.has_token("vary", "origin"), "a cache must not give this answer to a page");
}

#[tokio::test]
async fn errors_can_be_read_by_the_page() {
    let text = format!(
        "[routes.app]\npath = \"/*\"\nupstream = \"http://{}\"\nmax_body = \"1B\"\n{POLICY}",
        Address::refusing()
    );
    let proxy = Proxy::start(text).await;
    let down = proxy.fetch(Request::get("/").header("Origin", APP)).await.expect_problem(502, "upstream_refused");
    let large = proxy.fetch(Request::post("/", "xx").header("Origin", APP)).await.expect_problem(413, "body_too_large");
    for answer in [down, large] {
        assert_eq!(answer.headers.all("access-control-allow-origin"), [APP]);
        assert_eq!(answer.headers.all("access-control-allow-credentials"), ["true"]);
        assert!(answer.headers.has_token("vary", "origin"));
    }
}

#[tokio::test]
async fn options_that_is_no_preflight_reaches_the_origin() {
    let origin = permissive_origin().await;
    let proxy = Proxy::start(route(&origin, POLICY)).await;
    proxy.fetch(Request::new("OPTIONS", "/").header("Origin", APP)).await.expect(200);
    assert_eq!(origin.request().await.method, "OPTIONS");
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_route_that_the_call_will_take() {
    let origin = permissive_origin().await;
    let text = format!(
        "[routes.reads]\npath = \"/x\"\nmethod = \"GET\"\nupstream = \"{origin}\"\n\
         cors = {{ origins = [\"https://read.example\"] }}\n\
         [routes.writes]\npath = \"/x\"\nmethod = \"POST\"\nupstream = \"{origin}\"\n\
         cors = {{ origins = [\"https://write.example\"] }}\n"
    );
    let proxy = Proxy::start(text).await;
    let writer = proxy.fetch(preflight("https://write.example")).await.expect(204);
    assert_eq!(writer.header("access-control-allow-origin"), Some("https://write.example"));
    let reader = proxy.fetch(preflight("https://read.example")).await;
    assert!(reader.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn everybody_may_call_without_credentials() {
    let origin = permissive_origin().await;
    let lines = "cors = { origins = [\"*\"], methods = [\"*\"], headers = [\"*\"] }";
    let proxy = Proxy::start(route(&origin, lines)).await;
    let asked = preflight("https://anyone.example").header("Access-Control-Request-Headers", "x-one, x-two");
    let answer = proxy.fetch(asked).await.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-one, x-two"));
    assert!(answer.header("access-control-allow-credentials").is_none());
}
