//! Which endpoints are used, and which are not.

use std::time::{Duration, Instant};

use document::{At, Report};
use filter::Reason;
use serde_json::{Value, json};
use telemetry::{Build, Metrics};

use super::*;
use crate::{Config, Fault, Order, Reading, Upstream, sweep};

fn on(state: &State, written: Value) -> Upstream {
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let config: Config = serde_json::from_value(written).unwrap();
    let mut report = Report::new();
    let upstream = crate::compile(&config, "users", &At::root(), state, &metrics, &mut report);
    assert_eq!(report.diagnostics(), []);
    upstream.unwrap()
}

fn upstream(written: Value) -> Upstream {
    on(&State::default(), written)
}

fn urls(count: usize) -> Value {
    (1..=count).map(|n| format!("http://10.0.0.{n}:80")).collect()
}

/// The backends of the next picks.
fn picks(upstream: &Upstream, count: usize) -> Vec<String> {
    (0..count).map(|_| upstream.pick(&[]).unwrap().label().to_string()).collect()
}

/// The backends that are used at all.
fn used(upstream: &Upstream) -> Vec<String> {
    let mut used = picks(upstream, 100);
    used.sort();
    used.dedup();
    used
}

fn of(upstream: &Upstream, label: &str) -> Pick {
    let found = (0..100).find_map(|_| upstream.pick(&[]).filter(|pick| &**pick.label() == label));
    found.unwrap_or_else(|| panic!("{label} is not used"))
}

fn reset() -> Reading {
    Reading { reason: Reason::UpstreamReset, fault: Fault::Backend, sent: true }
}

fn fail(upstream: &Upstream, label: &str, times: usize) {
    for _ in 0..times {
        of(upstream, label).failed(reset(), Duration::ZERO, true);
    }
}

#[test]
fn what_fails_again_and_again_is_ejected_but_never_too_many() {
    let upstream = upstream(json!({ "backends": urls(4), "outlier": { "consecutive_errors": 3 } }));
    fail(&upstream, "10.0.0.1:80", 2);
    of(&upstream, "10.0.0.1:80").answered(200, Duration::ZERO);
    fail(&upstream, "10.0.0.1:80", 2);
    assert_eq!(used(&upstream).len(), 4, "only errors in a row count");
    fail(&upstream, "10.0.0.1:80", 1);
    assert_eq!(used(&upstream), ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
    fail(&upstream, "10.0.0.2:80", 3);
    assert_eq!(used(&upstream), ["10.0.0.3:80", "10.0.0.4:80"]);
    fail(&upstream, "10.0.0.3:80", 9);
    assert_eq!(used(&upstream), ["10.0.0.3:80", "10.0.0.4:80"], "half of them is the most");
}

#[test]
fn what_breaks_off_after_a_good_beginning_counts() {
    let upstream = upstream(json!({ "backends": urls(2), "outlier": { "consecutive_errors": 3 } }));
    for _ in 0..3 {
        let pick = of(&upstream, "10.0.0.1:80");
        pick.answered(200, Duration::ZERO);
        pick.failed(reset(), Duration::ZERO, true);
    }
    assert_eq!(used(&upstream), ["10.0.0.2:80"]);
}

#[test]
fn what_others_are_to_blame_for_does_not_count() {
    let upstream = upstream(json!({ "backends": urls(2), "outlier": { "consecutive_errors": 1 } }));
    let readings = [
        (Reading { fault: Fault::Client, reason: Reason::ClientClosed, sent: true }, true),
        (Reading { fault: Fault::Ours, reason: Reason::LocalResource, sent: false }, true),
        (Reading { fault: Fault::Backend, reason: Reason::UpstreamTimeout, sent: true }, false),
    ];
    for (reading, fair) in readings {
        for label in ["10.0.0.1:80", "10.0.0.2:80"] {
            of(&upstream, label).failed(reading, Duration::ZERO, fair);
        }
    }
    of(&upstream, "10.0.0.1:80").answered(500, Duration::ZERO);
    assert_eq!(used(&upstream).len(), 2);
    of(&upstream, "10.0.0.1:80").answered(503, Duration::ZERO);
    assert_eq!(used(&upstream), ["10.0.0.2:80"]);
}

#[test]
fn outlier_can_be_switched_off() {
    let upstream = upstream(json!({ "backends": urls(2), "outlier": false }));
    fail(&upstream, "10.0.0.1:80", 50);
    assert_eq!(used(&upstream).len(), 2);
}

#[test]
fn what_refuses_connections_is_left_out_at_once_and_all_are_used_when_all_do() {
    let upstream = upstream(json!({ "backends": urls(3) }));
    let refused = Reading { reason: Reason::UpstreamRefused, fault: Fault::Backend, sent: false };
    for (label, left) in [("10.0.0.1:80", 2), ("10.0.0.2:80", 1), ("10.0.0.3:80", 3)] {
        of(&upstream, label).failed(refused, Duration::ZERO, true);
        assert_eq!(used(&upstream).len(), left);
    }
}

#[test]
fn a_backup_is_used_when_no_other_can_be() {
    let upstream = upstream(json!({
        "backends": ["http://10.0.0.1", "http://10.0.0.2", { "url": "http://10.0.0.9", "backup": true }],
    }));
    assert_eq!(used(&upstream), ["10.0.0.1:80", "10.0.0.2:80"]);
    let refused = Reading { reason: Reason::UpstreamRefused, fault: Fault::Backend, sent: false };
    for label in ["10.0.0.1:80", "10.0.0.2:80"] {
        of(&upstream, label).failed(refused, Duration::ZERO, true);
    }
    assert_eq!(used(&upstream), ["10.0.0.9:80"]);
}

#[test]
fn the_own_zone_is_preferred() {
    let upstream = upstream(json!({
        "prefer_zone": "b",
        "backends": [
            { "url": "http://10.0.0.1", "zone": "a" }, { "url": "http://10.0.0.2", "zone": "b" },
            { "url": "http://10.0.0.3", "zone": "b", "backup": true },
        ],
    }));
    let tried: Vec<EndpointId> = Vec::new();
    let mut order = Vec::new();
    let mut seen = tried;
    for _ in 0..3 {
        let pick = upstream.pick(&seen).unwrap();
        seen.push(pick.endpoint());
        order.push(pick.label().to_string());
    }
    assert_eq!(order, ["10.0.0.2:80", "10.0.0.1:80", "10.0.0.3:80"]);
}

#[test]
fn an_open_breaker_lets_one_request_through_after_its_time() {
    let breaker = json!({ "failures": 2, "open_for": "1ms" });
    let upstream = upstream(json!({ "backends": urls(1), "circuit_breaker": breaker, "outlier": false }));
    fail(&upstream, "10.0.0.1:80", 2);
    assert_eq!(upstream.choose(&Wish::default()).err(), Some(Missed::Open));
    let until = Instant::now() + Duration::from_secs(20);
    let trial = loop {
        match upstream.choose(&Wish::default()) {
            Ok(trial) => break trial,
            Err(missed) => assert!(missed == Missed::Open && Instant::now() < until),
        }
    };
    assert_eq!(upstream.choose(&Wish::default()).err(), Some(Missed::Open), "one at a time");
    trial.answered(200, Duration::ZERO);
    assert!(upstream.choose(&Wish::default()).is_ok());
}

#[tokio::test]
async fn a_request_waits_for_a_place_and_not_for_ever() {
    let pool = json!({ "max_connections": 1, "queue": "50ms" });
    let upstream = Arc::new(upstream(json!({ "backends": urls(2), "pool": pool })));
    let (one, two) = (upstream.pick(&[]).unwrap(), upstream.pick(&[]).unwrap());
    assert_ne!(one.label(), two.label());
    assert_eq!(upstream.choose(&Wish::default()).err(), Some(Missed::Full));
    assert_eq!(upstream.choose_or_wait(&Wish::default(), None).await.err(), Some(Missed::Full), "in vain");
    let waiting = {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(
            async move { upstream.choose_or_wait(&Wish::default(), None).await.map(|pick| pick.label().clone()) },
        )
    };
    while upstream.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let freed = two.label().clone();
    drop(two);
    assert_eq!(waiting.await.unwrap(), Ok(freed));
    assert_eq!(upstream.waiting(), 0);
    drop(one);
    assert_eq!(upstream.pool.tally.total.load(Relaxed), 0);
}

#[tokio::test]
async fn only_so_many_wait() {
    let pool = json!({ "max_connections": 1, "queue": "20s" });
    let upstream = Arc::new(upstream(json!({ "backends": urls(1), "pool": pool })));
    let _taken = upstream.pick(&[]).unwrap();
    let waiting = {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { upstream.choose_or_wait(&Wish::default(), None).await.is_ok() })
    };
    while upstream.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.choose_or_wait(&Wish::default(), None).await.err(), Some(Missed::Full));
    let soon = Instant::now() + Duration::from_millis(1);
    waiting.abort();
    let _ = waiting.await;
    assert_eq!(
        upstream.choose_or_wait(&Wish::default(), Some(soon)).await.err(),
        Some(Missed::Full),
        "not beyond its deadline"
    );
    assert_eq!(upstream.waiting(), 0);
}

#[test]
fn an_operator_drains_weighs_and_takes_back() {
    let upstream = upstream(json!({ "backends": urls(2) }));
    let drain = Order { duty: Some(Duty::Drain), ..Order::default() };
    assert!(upstream.order("10.0.0.1:80", &drain));
    assert!(!upstream.order("10.0.0.9:80", &drain));
    assert_eq!(used(&upstream), ["10.0.0.2:80"]);
    assert!(upstream.order("10.0.0.2:80", &Order { duty: Some(Duty::Down), ..Order::default() }));
    assert_eq!(upstream.choose(&Wish::default()).err(), Some(Missed::NoBackend), "what an operator says is obeyed");
    for label in ["10.0.0.1:80", "10.0.0.2:80"] {
        upstream.order(label, &Order { duty: Some(Duty::Ready), ..Order::default() });
    }
    upstream.order("10.0.0.1:80", &Order { weight: Some(3), ..Order::default() });
    let picks = picks(&upstream, 40);
    assert_eq!(picks.iter().filter(|label| *label == "10.0.0.1:80").count(), 30);
}

#[test]
fn orders_and_what_is_known_outlive_a_reload() {
    let state = State::default();
    let old = on(&state, json!({ "backends": urls(3), "outlier": { "consecutive_errors": 1 } }));
    old.order("10.0.0.1:80", &Order { duty: Some(Duty::Drain), ..Order::default() });
    fail(&old, "10.0.0.2:80", 1);
    let new = on(&state, json!({ "backends": urls(4), "timeout": "1s" }));
    drop(old);
    assert_eq!(used(&new), ["10.0.0.3:80", "10.0.0.4:80"]);
}

#[test]
fn what_a_reload_takes_away_holds_nothing_back_any_more() {
    let state = State::default();
    let rules = json!({ "consecutive_errors": 1, "eject_for": "1h" });
    let breaker = json!({ "failures": 1, "within": "10s", "open_for": "1h" });
    let old = on(&state, json!({ "backends": urls(2), "outlier": rules, "circuit_breaker": breaker }));
    fail(&old, "10.0.0.1:80", 1);
    sweep::sweep(&old.pool);
    assert_eq!(used(&old), ["10.0.0.2:80"]);
    let new = on(&state, json!({ "backends": urls(2), "outlier": false }));
    drop(old);
    sweep::sweep(&new.pool);
    assert_eq!(used(&new), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert!(new.pool.set().endpoints().all(|endpoint| endpoint.standing.marks() == 0));
}

#[test]
fn too_few_healthy_ones_are_not_left_alone() {
    let rules = json!({ "consecutive_errors": 1, "max_ejected": "100%" });
    let upstream = upstream(json!({ "backends": urls(4), "outlier": rules, "panic_threshold": "50%" }));
    fail(&upstream, "10.0.0.1:80", 1);
    fail(&upstream, "10.0.0.2:80", 1);
    sweep::sweep(&upstream.pool);
    assert_eq!(used(&upstream).len(), 2);
    fail(&upstream, "10.0.0.3:80", 1);
    sweep::sweep(&upstream.pool);
    assert_eq!(used(&upstream).len(), 4);
}

#[test]
fn requests_under_way_are_counted_to_the_last() {
    let upstream = upstream(json!({ "backends": urls(2), "balance": "least_requests" }));
    let mut held: Vec<Pick> = (0..10).map(|_| upstream.pick(&[]).unwrap()).collect();
    let at = |label: &str, held: &[Pick]| held.iter().filter(|pick| &**pick.label() == label).count();
    assert_eq!((at("10.0.0.1:80", &held), at("10.0.0.2:80", &held)), (5, 5));
    held.retain(|pick| &**pick.label() == "10.0.0.1:80");
    held.extend((0..5).map(|_| upstream.pick(&[]).unwrap()));
    assert_eq!(at("10.0.0.2:80", &held), 5, "those that became free are filled first");
    drop(held);
    assert_eq!(upstream.pool.tally.total.load(Relaxed), 0);
    let set = upstream.pool.set();
    assert!(set.endpoints().all(|endpoint| endpoint.standing.load.load(Relaxed) == 0));
}
