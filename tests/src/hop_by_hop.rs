//! Fields for one connection only are taken out in both directions; a client cannot take out what maitred adds.

use testkit::{Answer, Request};

use crate::setting::{before, echoing};

#[tokio::test]
async fn what_was_meant_for_us_does_not_reach_the_origin() {
    let (_origin, proxy) = echoing("").await;
    let request = Request::get("/")
        .header("Connection", "keep-alive, X-Private, x-other")
        .header("X-Private", "1")
        .header("X-Other", "2")
        .header("X-Public", "3")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eA==")
        .header("TE", "trailers")
        .header("Trailer", "X-End");
    let answer = proxy.fetch(request).await.expect(200);
    for gone in ["x-private", "x-other", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer"] {
        assert!(answer.seen(gone).is_none(), "{gone} came through");
    }
    assert!(!answer.seen_all("connection").iter().any(|value| value.to_ascii_lowercase().contains("x-private")));
    assert_eq!(answer.seen_all("x-public"), ["3"]);
}

#[tokio::test]
async fn a_client_cannot_have_deleted_what_we_add() {
    let (_origin, proxy) = echoing("request = { set = { X-Secret = \"from maitred\" } }").await;
    let request = Request::get("/")
        .header("Connection", "X-Forwarded-For, X-Forwarded-Proto, X-Request-Id, traceparent, X-Secret, Host, Cookie")
        .header("X-Secret", "from the client")
        .header("Cookie", "a=1")
        .host("a.example");
    let answer = proxy.fetch(request).await.expect(200);
    for kept in ["x-forwarded-for", "x-forwarded-proto", "x-request-id", "traceparent", "host"] {
        assert!(answer.seen(kept).is_some(), "{kept} is gone");
    }
    assert_eq!(answer.seen_all("x-secret"), ["from maitred"]);
    assert_eq!(answer.seen_all("cookie"), ["a=1"]);
}

#[tokio::test]
async fn an_absurd_connection_field_is_refused() {
    let (origin, proxy) = echoing("").await;
    let names: Vec<String> = (0..40).map(|n| format!("x-{n}")).collect();
    let request = Request::get("/").header("Connection", &names.join(", "));
    proxy.fetch(request).await.expect_problem(400, "bad_request");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn what_the_origin_meant_for_us_does_not_reach_the_client() {
    let answer = |_: &testkit::Seen| {
        Answer::text("x")
            .header("Connection", "keep-alive, X-Private")
            .header("X-Private", "1")
            .header("X-Public", "2")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Authenticate", "Basic")
            .header("Trailer", "X-End")
    };
    let (_origin, proxy) = before(answer).await;
    for answer in [proxy.get("/").await.expect(200), proxy.h2c().await.fetch(Request::get("/")).await.expect(200)] {
        for gone in ["x-private", "keep-alive", "proxy-authenticate", "trailer"] {
            assert!(answer.header(gone).is_none(), "{gone} came through {}", answer.version);
        }
        assert!(!answer.headers.has_token("connection", "x-private"));
        assert_eq!(answer.header("x-public"), Some("2"));
        assert_eq!(answer.text(), "x");
    }
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_no_way_past_the_rules() {
    let (_origin, proxy) = echoing("").await;
    let request = Request::get("/")
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
    let answer = proxy.fetch(request).await.expect(200);
    for gone in ["upgrade", "http2-settings"] {
        assert!(answer.seen(gone).is_none(), "{gone} came through");
    }
}

#[tokio::test]
async fn cookie_crumbs_of_http2_become_one_field() {
    let (_origin, proxy) = echoing("").await;
    let crumbs = Request::get("/").header("cookie", "a=1").header("cookie", "b=2").header("cookie", "c=3");
    let answer = proxy.h2c().await.fetch(crumbs).await.expect(200);
    assert_eq!(answer.seen_all("cookie"), ["a=1; b=2; c=3"]);
}
