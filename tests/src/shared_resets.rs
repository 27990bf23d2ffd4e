//! Keys under a shared limit that an operator forgives, through one process and for all.

use std::time::Duration;

use testkit::{Proxy, Request, Response, within};

use crate::{
    setting::BOTH,
    shared_limits::{Redis, count},
};

pub async fn found(redis: &str, limit: &str) -> Proxy {
    let proxy = Proxy::start(format!(
        "{BOTH}[redis]\n{redis}\ntimeout = \"1s\"\n[routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = {limit}\n"
    ))
    .await;
    proxy.printed("redis: connected to").await;
    proxy
}

pub async fn ask(proxy: &Proxy, key: &str) -> u16 {
    proxy.fetch(Request::get("/").header("X-Key", key)).await.status
}

pub async fn asks<const N: usize>(proxy: &Proxy, key: &str) -> [u16; N] {
    let mut statuses = [0; N];
    for status in &mut statuses {
        *status = ask(proxy, key).await;
    }
    statuses
}

pub async fn forgive(proxy: &Proxy, limit: &str, key: &str) -> Response {
    let path = format!("/api/v1/limits/{limit}/keys/{key}");
    testkit::Connection::to(&proxy.admin_socket()).await.fetch(Request::new("DELETE", &path)).await
}

fn place(redis: &Redis) -> String {
    format!("url = \"unix:{}\"", redis.socket().display())
}

#[tokio::test]
async fn a_key_that_is_forgiven_through_one_process_passes_through_all() {
    let redis = Redis::start().await;
    let place = place(&redis);
    for limit in [
        "requests = 2, window = \"1h\"",
        "rate = \"2/h\"",
        "requests = 2, window = \"1h\", burst = 2",
        "requests = 2, window = \"7d\", align = \"calendar\"",
    ] {
        redis.cli(&["flushall"]);
        let limit = format!("{{ {limit}, key = \"header:X-Key\", store = \"redis\" }}");
        let (one, two) = tokio::join!(found(&place, &limit), found(&place, &limit));
        assert_eq!(asks(&one, "open/sesame").await, [200, 200, 429], "{limit}");
        assert_eq!(asks(&one, "another").await, [200, 200, 429]);
        assert_eq!(ask(&two, "open/sesame").await, 429);
        let stands = forgive(&two, "app", "open%2Fsesame").await.expect(200).json();
        assert_eq!(stands["rules"][0]["remaining"], 2, "{stands}");
        assert_eq!(asks(&one, "open/sesame").await, [200, 200, 429], "{limit}");
        assert_eq!(ask(&two, "open/sesame").await, 429);
        // By the sign that one process shows, through one that has not seen the key.
        let limits = one.admin("/api/v1/limits").await.expect(200).json();
        let shown: Vec<&str> =
            limits[0]["limited"].as_array().unwrap().iter().map(|own| own["key"].as_str().unwrap()).collect();
        assert!(shown.len() == 2 && shown.iter().all(|shown| shown.starts_with('#')), "{shown:?}");
        for shown in shown {
            forgive(&two, "app", &shown.replace('#', "%23")).await.expect(200);
        }
        assert_eq!(redis.cli(&["keys", "*"]).trim(), "", "{limit}");
        for key in ["open/sesame", "another"] {
            assert_eq!(asks(&one, key).await, [200, 200, 429], "{limit}");
        }
    }
}

#[tokio::test]
async fn an_address_is_forgiven_that_counts_in_the_place_of_a_key() {
    let redis = Redis::start().await;
    let place = place(&redis);
    for key in ["ip", "header:X-Other"] {
        let limit = format!("{{ requests = 1, window = \"1h\", key = \"{key}\", store = \"redis\" }}");
        let (one, two) = tokio::join!(found(&place, &limit), found(&place, &limit));
        assert_eq!(asks(&one, "x").await, [200, 429]);
        forgive(&two, "app", "127.0.0.1").await.expect(200);
        assert_eq!(asks(&one, "x").await, [200, 429], "{key}");
        redis.cli(&["flushall"]);
    }
}

#[tokio::test]
async fn leases_of_a_key_that_is_forgiven_pass_no_more_than_told() {
    let redis = Redis::start().await;
    let place = place(&redis);
    let limit = "{ requests = 20, window = \"1h\", key = \"header:X-Key\", store = \"redis\", lease = 4 }";
    let (one, two) = tokio::join!(found(&place, limit), found(&place, limit));
    let (first, second) = (asks::<30>(&one, "a").await, asks::<30>(&two, "a").await);
    assert_eq!(count(&[first, second].concat(), 200), 20);
    forgive(&two, "app", "a").await.expect(200);
    // The process that was asked has given up its lease and what Redis had said.
    assert_eq!(ask(&two, "a").await, 200);
    within("the other one to ask anew", async { while ask(&one, "a").await != 200 {} }).await;
    let (first, second) = (asks::<40>(&one, "a").await, asks::<40>(&two, "a").await);
    let passed = 2 + count(&[first, second].concat(), 200);
    assert!((20..=24).contains(&passed), "{passed} of 20, and a lease of 4");
}

#[tokio::test]
async fn who_forgives_is_told_where_redis_does_not_answer() {
    let mut redis = Redis::start().await;
    let place = place(&redis);
    let limit = "{ requests = 1, window = \"1h\", key = \"header:X-Key\", store = \"redis\" }";
    let proxy = found(&place, limit).await;
    assert_eq!(asks(&proxy, "a").await, [200, 429]);
    redis.signal("STOP");
    let began = std::time::Instant::now();
    let refused = forgive(&proxy, "app", "a").await.expect(503);
    assert!(began.elapsed() < Duration::from_secs(10));
    redis.signal("CONT");
    let problem = refused.json();
    assert!(problem["detail"].as_str().unwrap().contains("forgiven in this process alone"), "{problem}");
    forgive(&proxy, "none", "a").await.expect(404);

    redis.kill();
    within("redis to be missed", async {
        while proxy.admin("/api/v1/status").await.expect(200).json()["redis"]["up"] == true {}
    })
    .await;
    let problem = forgive(&proxy, "app", "a").await.expect(503).json();
    assert!(problem["detail"].as_str().unwrap().contains("Redis is away: "), "{problem}");
    // What it says is true.
    assert_eq!(asks(&proxy, "a").await, [200, 429]);
    redis.restart().await;
    within("redis to be back", async { while forgive(&proxy, "app", "a").await.status != 200 {} }).await;
    assert_eq!(asks(&proxy, "a").await, [200, 429]);
}
