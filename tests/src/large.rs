//! Bodies far larger than memory, up and down, over HTTP/1 and HTTP/2: whole, and nearly without memory.
//!
//! `MAITRED_TEST_BIG_BYTES` says how large; 256 MiB unless told otherwise.

use std::time::Duration;

use testkit::{Answer, Origin, Proxy, Request, Response};

use crate::setting::{BOTH, route};

/// How far the resident memory may rise above that of a proxy that has served small requests.
const ALLOWED: u64 = 16 << 20;

fn size() -> u64 {
    let told = std::env::var("MAITRED_TEST_BIG_BYTES").ok();
    told.map_or(256 << 20, |told| told.parse().expect("MAITRED_TEST_BIG_BYTES is a number of bytes"))
}

/// Enough for a debug build on a slow machine: 8 MiB a second.
fn limit() -> Duration {
    Duration::from_secs(30 + size() / (8 << 20))
}

/// A proxy that has served a small request over both protocols, before an origin that sends and takes large bodies.
async fn warm() -> (Origin, Proxy) {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "GET" if seen.target == "/large" => Answer::generated(size()),
        _ => Answer::text("thanks"),
    })
    .await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "max_body = false"))).await;
    proxy.get("/").await.expect(200);
    proxy.h2c().await.fetch(Request::get("/")).await.expect(200);
    (origin, proxy)
}

fn assert_whole(answer: &Response) {
    assert!(answer.body.complete, "{:?}", answer.cut);
    assert!(answer.body.is_pattern, "the bytes are not those that were sent");
    assert_eq!(answer.body.length, size());
}

fn assert_flat(proxy: &Proxy, before: u64) {
    let rise = proxy.peak_rss().saturating_sub(before);
    assert!(rise < ALLOWED, "memory rose by {} KiB", rise >> 10);
}

#[tokio::test]
async fn a_large_download_over_http1() {
    let (_origin, proxy) = warm().await;
    let before = proxy.rss();
    let answer = proxy.connect().await.limit(limit()).fetch(Request::get("/large")).await.expect(200);
    assert_whole(&answer);
    assert_flat(&proxy, before);
}

#[tokio::test]
async fn a_large_download_over_http2() {
    let (_origin, proxy) = warm().await;
    let before = proxy.rss();
    let answer = proxy.h2c().await.limit(limit()).fetch(Request::get("/large")).await.expect(200);
    assert_whole(&answer);
    assert_flat(&proxy, before);
}

#[tokio::test]
async fn a_large_upload_over_http1() {
    let (origin, proxy) = warm().await;
    let before = proxy.rss();
    proxy.connect().await.limit(limit()).fetch(Request::new("POST", "/up").generated(size())).await.expect(200);
    let seen = origin.nth(2).await;
    assert!(seen.body.complete && seen.body.is_pattern && seen.body.length == size(), "{} bytes", seen.body.length);
    assert_flat(&proxy, before);
}

#[tokio::test]
async fn a_large_upload_over_http2() {
    let (origin, proxy) = warm().await;
    let before = proxy.rss();
    proxy.h2c().await.limit(limit()).fetch(Request::new("POST", "/up").generated(size())).await.expect(200);
    let seen = origin.nth(2).await;
    assert!(seen.body.complete && seen.body.is_pattern && seen.body.length == size(), "{} bytes", seen.body.length);
    assert_flat(&proxy, before);
}
