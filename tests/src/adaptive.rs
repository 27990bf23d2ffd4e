//! A limit that follows what an upstream can do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use testkit::{Answer, Gate, Origin, Proxy, Request, within};
use tokio::sync::Semaphore;

use crate::setting::{BOTH, upstream};

async fn proxied(origin: &Origin, lines: &str) -> Proxy {
    Proxy::start(upstream(origin, lines)).await
}

async fn limit(proxy: &Proxy) -> f64 {
    proxy.metric("upstream_concurrency_limit", &[("upstream", "app")]).await
}

/// An origin that works on as many requests at a time as there are places, each for some milliseconds.
async fn worker(places: usize) -> Origin {
    let places = Arc::new(Semaphore::new(places));
    Origin::start(move |_| {
        let (gate, places) = (Gate::new(), places.clone());
        let done = gate.clone();
        tokio::spawn(async move {
            let _place = places.acquire().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            done.open();
        });
        Answer::text("done").after(&gate)
    })
    .await
}

/// Clients without patience: who is refused asks again, over another connection. Ends once the limit is as it should be.
async fn until_limit(proxy: &Proxy, clients: usize, is_right: impl Fn(f64) -> bool) -> (usize, usize) {
    let (stop, served, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let each = (0..clients).map(|_| async {
        while !stop.load(Relaxed) {
            let answer = proxy.get("/").await;
            match answer.status {
                200 => served.fetch_add(1, Relaxed),
                _ => {
                    answer.expect_problem(503, "upstream_overloaded");
                    refused.fetch_add(1, Relaxed)
                }
            };
        }
    });
    let watch = async {
        within("the limit to move", async { while !is_right(limit(proxy).await) {} }).await;
        stop.store(true, Relaxed);
    };
    tokio::join!(futures::future::join_all(each), watch);
    (served.into_inner(), refused.into_inner())
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_refused_with_its_reason() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Answer::text("x").after(&held)).await;
    let proxy = proxied(&origin, "adaptive_concurrency = { min = 2, max = 2 }").await;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut connection = proxy.connect().await;
        connection.start(&Request::get("/")).await;
        connections.push(connection);
    }
    gate.reached_by(2).await;
    for h2 in [false, true] {
        for request in [Request::get("/full"), Request::post("/full", "x")] {
            let answer = if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
            assert_eq!(answer.header("retry-after"), Some("1"));
            answer.expect_problem(503, "upstream_overloaded");
        }
    }
    proxy.until_metric("upstream_concurrency_limit", &[("upstream", "app")], 2.0).await;
    let status = proxy.admin("/api/v1/status").await.expect(200).json();
    assert_eq!(status["upstreams"][0]["concurrency_limit"], 2);
    assert_eq!(origin.requests().len(), 2);
    gate.open();
    for connection in &mut connections {
        connection.answer("GET").await.expect(200);
    }
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn the_limit_shrinks_before_an_upstream_that_is_slower_with_each() {
    let origin = worker(2).await;
    let mut proxy = proxied(&origin, "adaptive_concurrency = { min = 2 }").await;
    // One at a time shows how fast it is at best.
    for _ in 0..60 {
        proxy.get("/").await.expect(200);
    }
    assert_eq!(limit(&proxy).await, 20.0);
    let (served, refused) = until_limit(&proxy, 40, |limit| limit <= 8.0).await;
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
    let before = limit(&proxy).await;
    proxy.configure(format!(
        "{BOTH}[upstreams.app]\nbackends = \"{origin}\"\nadaptive_concurrency = {{ min = 2 }}\ntimeout = \"9s\"\n\
         [routes]\n\"/*\" = \"app\"\n"
    ));
    proxy.command(["reload"]).await.expect(0);
    assert!(limit(&proxy).await <= before + 4.0, "a reload keeps what was learnt");
    proxy.upgrade(&[]).await;
    within("the new process to say so", async { while limit(&proxy).await == 0.0 {} }).await;
    assert!(limit(&proxy).await <= before + 4.0, "an upgrade as well");
}

#[tokio::test]
async fn the_limit_grows_with_an_upstream_that_has_room() {
    let origin = worker(1_000).await;
    // Much of what an answer takes on a busy machine is the machine's.
    let proxy = proxied(&origin, "adaptive_concurrency = { tolerance = \"1000%\" }").await;
    let (served, _) = until_limit(&proxy, 60, |limit| limit >= 40.0).await;
    assert!(served > 0);
}

#[tokio::test]
async fn a_table_that_cannot_be_is_refused_with_every_mistake() {
    let origin = Origin::text("x").await;
    for (lines, told) in [
        ("adaptive_concurrency = false", "leave it out instead of `false`"),
        ("adaptive_concurrency = { min = 0 }", "`min` is at least 1"),
        ("adaptive_concurrency = { min = 9, max = 8 }", "`min` is more than `max`"),
        ("adaptive_concurrency = { tolerance = \"0%\" }", "`0%` is not how much longer"),
    ] {
        let exit = Proxy::with(upstream(&origin, lines)).refused().await;
        assert!(exit.stderr.contains(told), "{}", exit.stderr);
    }
}
