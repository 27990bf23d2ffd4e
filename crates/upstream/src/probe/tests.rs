//! What answers come to.

use document::{At, Report};
use serde_json::json;
use telemetry::{Build, Metrics};

use super::*;
use crate::{Config, State};

/// The probe of an endpoint that is asked every 5s, and the upstream that keeps it.
fn probe() -> (Arc<Probe>, crate::Upstream) {
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let config: Config =
        serde_json::from_value(json!({ "backends": "http://10.0.0.1:80", "health_check": "/health" })).unwrap();
    let state = State::default();
    let upstream = crate::compile(&config, "users", &At::root(), &state, &metrics, &mut Report::new()).unwrap();
    let backend = upstream.pool.backends()[0].clone();
    let check = backend.check.clone().unwrap();
    (state.probe(&check, &backend, None), upstream)
}

fn bad() -> Answer {
    Answer::Badly("it answered 500".into())
}

#[test]
fn the_first_answer_decides() {
    for (answer, up) in [(Answer::Well, true), (bad(), false)] {
        let (probe, _upstream) = probe();
        assert!(!probe.is_up() && !probe.is_down());
        probe.take(answer, &mut 0);
        assert_eq!((probe.is_up(), probe.is_down()), (up, !up));
    }
}

#[test]
fn later_ones_need_company() {
    let (probe, _upstream) = probe();
    let mut row = 0;
    let calm = probe.take(Answer::Well, &mut row);
    assert_eq!(calm, Duration::from_secs(5));
    for answer in [bad(), bad(), Answer::Well, bad(), bad()] {
        probe.take(answer, &mut row);
        assert!(probe.is_up());
    }
    assert_eq!(probe.take(bad(), &mut row), FAST, "what is down is looked at again soon");
    assert!(probe.is_down());
    assert_eq!(probe.trouble().as_deref(), Some("it answered 500"));
    probe.take(Answer::Well, &mut row);
    assert!(probe.is_down());
    assert_eq!(probe.take(Answer::Well, &mut row), calm);
    assert!(probe.is_up() && probe.trouble().is_none());
}

#[test]
fn what_could_not_be_asked_says_nothing() {
    let (probe, _upstream) = probe();
    let mut row = 0;
    probe.take(Answer::Well, &mut row);
    for _ in 0..10 {
        probe.take(Answer::Unasked, &mut row);
    }
    assert!(probe.is_up());
}

#[test]
fn upstreams_that_ask_the_same_share_the_answer() {
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let state = State::default();
    let upstream = |name: &str, check: &str| {
        let config: Config =
            serde_json::from_value(json!({ "backends": "http://10.0.0.1:80", "health_check": check })).unwrap();
        crate::compile(&config, name, &At::root(), &state, &metrics, &mut Report::new()).unwrap()
    };
    let probe_of = |upstream: &crate::Upstream| upstream.pool.set().endpoints().next().unwrap().probe.clone().unwrap();
    let (one, two, other) = (upstream("one", "/health"), upstream("two", "/health"), upstream("other", "/ready"));
    assert!(Arc::ptr_eq(&probe_of(&one), &probe_of(&two)));
    assert!(!Arc::ptr_eq(&probe_of(&one), &probe_of(&other)));
    probe_of(&one).take(bad(), &mut 0);
    drop(one);
    assert!(probe_of(&two).is_down(), "what is known stays while anybody wants to know");
}
