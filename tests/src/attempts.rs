//! What the access log tells of every attempt, and what is reported where none is left.

use std::fmt::Display;

use serde_json::{Value, json};
use testkit::{Address, Answer, Origin, Proxy, Request};

use crate::setting::BOTH;

async fn balanced(backends: &[&dyn Display], lines: &str, route: &str) -> Proxy {
    let list: Vec<String> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [{}]\n{lines}\n[routes.app]\npath = \"/*\"\nupstream = \"app\"\n{route}\n",
        list.join(", ")
    ))
    .await
}

fn nobody() -> String {
    format!("http://{}", Address::refusing())
}

async fn get(proxy: &Proxy, path: &str, h2: bool) -> testkit::Response {
    if h2 { proxy.h2c().await.fetch(Request::get(path)).await } else { proxy.get(path).await }
}

/// The backends and errors of the attempts in a line.
fn tries(line: &Value) -> Vec<(String, Value)> {
    let list = line["tries"].as_array().unwrap_or_else(|| panic!("{line}"));
    list.iter().map(|one| (one["backend"].as_str().unwrap().to_owned(), one["error"].clone())).collect()
}

#[tokio::test]
async fn every_attempt_stands_in_the_line() {
    for (route, h2) in [("", false), ("", true), ("cache = \"1m\"", false), ("cache = \"1m\"", true)] {
        let (busy, well) = (Origin::start(|_| Answer::status(503)).await, Origin::text("well").await);
        let gone = nobody();
        let retries = "retries = { attempts = 3, on = [\"connect\", \"503\"] }";
        let proxy = balanced(&[&gone, &busy, &well], retries, route).await;
        get(&proxy, "/first", h2).await.expect(200);
        let line = proxy.logged("/first").await;
        assert_eq!(
            tries(&line),
            [
                (gone.trim_start_matches("http://").to_owned(), json!("upstream_refused")),
                (busy.socket().to_string(), json!("upstream_status")),
                (well.socket().to_string(), Value::Null),
            ],
            "{route} {h2}"
        );
        let times = |index: usize| (&line["tries"][index]["connect_ms"], &line["tries"][index]["upstream_ms"]);
        assert!(times(0).0.is_null() && times(0).1.is_null(), "{line}");
        assert!(times(1).0.is_number() && times(1).1.is_number(), "{line}");
        assert_eq!(line["tries"][1]["status"], 503);
        assert_eq!(line["tries"][2]["status"], 200);
        assert_eq!((&line["attempts"], &line["backend"]), (&json!(3), &json!(well.socket().to_string())));
        get(&proxy, "/second", h2).await.expect(200);
        let line = proxy.logged("/second").await;
        let first = line["attempts"] == 1;
        assert_eq!(line["tries"].is_null(), first, "nothing is said twice: {line}");
    }
}

#[tokio::test]
async fn an_attempt_that_came_to_nothing_is_told_though_it_was_the_only_one() {
    let origin = Origin::raw(b"nonsense\r\n\r\n").await;
    let proxy = balanced(&[&origin], "retries = 0", "").await;
    proxy.fetch(Request::post("/", "x")).await.expect(502);
    let line = &proxy.access_log(1).await[0];
    assert_eq!(tries(line), [(origin.socket().to_string(), line["error"].clone())]);
    assert_eq!(line["circuit"], Value::Null);
}

#[tokio::test]
async fn where_no_backend_is_left_the_attempt_before_says_why() {
    for h2 in [false, true] {
        let gone = nobody();
        let breaker = "circuit_breaker = { failures = 1, within = \"10s\", open_for = \"60s\" }";
        let proxy = balanced(&[&gone], breaker, "").await;
        get(&proxy, "/first", h2).await.expect_problem(502, "upstream_refused");
        let line = proxy.logged("/first").await;
        assert_eq!((&line["error"], &line["attempts"]), (&json!("upstream_refused"), &json!(1)));
        assert_eq!(line["circuit"], "open");
        assert_eq!(line["tries"][0]["circuit"], "open");
        get(&proxy, "/second", h2).await.expect_problem(503, "circuit_open");
        let line = proxy.logged("/second").await;
        assert_eq!((&line["tries"], &line["attempts"]), (&Value::Null, &json!(0)));
    }
}
