//! What one process knew, as another one goes on with it.

use std::sync::atomic::Ordering::Relaxed;

use document::{At, Report};
use filter::Reason;
use serde_json::{Value, json};
use telemetry::{Build, Metrics};

use super::*;
use crate::{BackendState, Config, Duty, Fault, Order, Reading, Upstream};

fn on(state: &State, written: &Value) -> Upstream {
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let config: Config = serde_json::from_value(written.clone()).unwrap();
    let upstream = crate::compile(&config, "users", &At::root(), state, &metrics, &mut Report::new()).unwrap();
    upstream.goes_live();
    upstream
}

fn states(upstream: &Upstream) -> Vec<BackendState> {
    upstream.backends().map(|backend| upstream.condition(&backend).state).collect()
}

fn fail(upstream: &Upstream, label: &str, reason: Reason, sent: bool) {
    let pick = (0..1000).find_map(|_| upstream.pick(&[]).filter(|pick| &**pick.label() == label)).unwrap();
    pick.failed(Reading { reason, fault: Fault::Backend, sent }, Duration::from_millis(40), true);
}

fn written() -> Value {
    let urls: Value = (1..=6).map(|n| format!("http://10.0.0.{n}:80")).collect();
    json!({
        "backends": urls,
        "balance": "ewma",
        "outlier": { "consecutive_errors": 1, "eject_for": "60s" },
        "circuit_breaker": { "failures": 1, "open_for": "60s" },
    })
}

#[tokio::test]
async fn a_successor_knows_what_its_predecessor_knew() {
    let (old, new) = (State::default(), State::default());
    let before = on(&old, &written());
    fail(&before, "10.0.0.1:80", Reason::UpstreamReset, true);
    before.order("10.0.0.2:80", &Order { duty: Some(Duty::Drain), ..Order::default() });
    let hour = Some(Duration::from_secs(3600));
    before.order("10.0.0.3:80", &Order { weight: Some(7), time: hour, ..Order::default() });
    before.order("10.0.0.4:80", &Order { duty: Some(Duty::Down), weight: Some(0), ..Order::default() });
    fail(&before, "10.0.0.5:80", Reason::UpstreamRefused, false);
    new.import(&old.export()).unwrap();
    let after = on(&new, &written());
    assert_eq!(states(&after), states(&before));
    assert_ne!(states(&after)[0], BackendState::Up);
    let weights = |upstream: &Upstream| upstream.backends().map(|backend| backend.weight_now()).collect::<Vec<_>>();
    assert_eq!(weights(&after), [1, 1, 7, 0, 1, 1]);
    // The order with a time ends when it would have, and the back-off of the next ejection goes on.
    let known =
        |state: &State| state.live()[0].set().endpoints().map(|it| Known::of(it, clock::now())).collect::<Vec<_>>();
    let time = |known: &Known| known.outlier.clone().map(|outlier| format!("{outlier:?}"));
    assert!(known(&new)[0].outlier.is_some() && known(&new)[0].latency.is_some(), "{:?}", time(&known(&new)[0]));
    assert!(after.backends().nth(2).unwrap().orders.expire(clock::now() + 3_600_001));
    assert!(!after.backends().nth(1).unwrap().orders.expire(u64::MAX), "without a time it stays");
}

#[tokio::test]
async fn what_was_told_is_told_once() {
    let (old, new) = (State::default(), State::default());
    let before = on(&old, &written());
    before.order("10.0.0.2:80", &Order { duty: Some(Duty::Drain), ..Order::default() });
    new.import(&old.export()).unwrap();
    let after = on(&new, &written());
    after.order("10.0.0.2:80", &Order { duty: Some(Duty::Ready), ..Order::default() });
    drop(after);
    assert_eq!(states(&on(&new, &written()))[1], BackendState::Up, "an order is not given again by a reload");
}

#[test]
fn times_of_before_this_process_can_be_told() {
    let now = clock::now();
    for time in [0, 1, now - 5_000, now, now + 60_000] {
        assert_eq!(clock::at(clock::from_now(time, now), now), time);
    }
    assert!(State::default().import(b"{").is_err());
    State::default().import(b"{\"of_later\":1}").unwrap();
}

#[test]
fn a_probe_goes_on_with_the_verdict() {
    let state = State::default();
    let written = json!({ "backends": ["http://10.0.0.1:80"], "health_check": "/healthz" });
    let upstream = on(&state, &written);
    let set = state.live()[0].set();
    let probe = set.endpoints().next().unwrap().probe.clone().unwrap();
    assert_eq!(probe.learnt(clock::now()), None);
    let learnt: probe::Learnt = serde_json::from_value(json!({ "up": false, "well": -5, "trouble": "503" })).unwrap();
    probe.inherit(&learnt, clock::now());
    assert!(probe.is_down());
    let next = State::default();
    next.import(&state.export()).unwrap();
    let after = on(&next, &written);
    let condition = after.condition(&after.backends().next().unwrap());
    assert_eq!((condition.state, condition.trouble.as_deref()), (BackendState::Failing, Some("503")));
    assert_eq!(set.endpoints().next().unwrap().standing.load.load(Relaxed), 0);
    drop(upstream);
}
