//! Choosing a backend allocates nothing and looks at as few of 1,000 as of 2, whatever the policy.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::cell::Cell;

use balance::{Field, Kind, Policy, mix};
use document::{At, Report};
use telemetry::{Build, Metrics};
use upstream::{State, Upstream, Wish};

const KINDS: [Kind; 6] =
    [Kind::RoundRobin, Kind::Random, Kind::LeastRequests, Kind::TwoChoices, Kind::Latency, Kind::Hash];

/// Endpoints that count how often they are looked at.
struct Looked {
    count: usize,
    looks: Cell<u64>,
}

impl Looked {
    fn look(&self) {
        self.looks.set(self.looks.get() + 1);
    }
}

impl Field for Looked {
    fn usable(&self, _: usize) -> bool {
        self.look();
        true
    }

    fn load(&self, index: usize) -> u32 {
        self.look();
        index as u32 % 7
    }

    fn total(&self) -> u32 {
        3 * self.count as u32
    }

    fn latency(&self, index: usize) -> f32 {
        self.look();
        index as f32
    }
}

fn policy(kind: Kind, size: usize) -> Policy {
    let names: Vec<String> = (0..size).map(|n| format!("10.0.{}.{}:8080", n / 250, n % 250)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Policy::new(kind, &vec![1; size], &names).unwrap()
}

/// How many looks a pick takes on average.
fn looks(kind: Kind, size: usize) -> f64 {
    const PICKS: u64 = 2_000;
    let (policy, field) = (policy(kind, size), Looked { count: size, looks: Cell::new(0) });
    let picked = (0..PICKS).filter_map(|key| policy.pick(&field, Some(mix(key)))).count();
    assert_eq!(picked as u64, PICKS);
    field.looks.get() as f64 / PICKS as f64
}

#[test]
fn a_pick_of_1_000_looks_at_no_more_than_one_of_8() {
    for kind in KINDS {
        // The least requests are looked for among all as long as they are no more than eight.
        let (few, many) = (looks(kind, 8).max(looks(kind, 2)), looks(kind, 1_000));
        assert!(many <= few + 1.0 && many <= 8.0, "{kind:?}: {many} looks among 1,000, {few} among a few");
    }
}

#[test]
fn a_pick_allocates_nothing() {
    for kind in KINDS {
        for size in [2, 1_000] {
            let (policy, field) = (policy(kind, size), Looked { count: size, looks: Cell::new(0) });
            let run = || assert_eq!((0..1_000).filter_map(|key| policy.pick(&field, Some(mix(key)))).count(), 1_000);
            run();
            assert_eq!(allocation_counter::measure(run).count_total, 0, "{kind:?} among {size}");
        }
    }
}

/// An upstream with everything on that a choice looks at.
fn upstream(balance: &str, size: usize) -> Upstream {
    let backends: Vec<String> = (0..size).map(|n| format!("\"http://10.0.{}.{}:8080\"", n / 250, n % 250)).collect();
    let text = format!(
        "backends = [{}]\nbalance = \"{balance}\"\nsticky = {{ cookie = \"at\", secret = \"0123456789abcdef\" }}\n\
         slow_start = \"1s\"\npanic_threshold = \"50%\"\ncircuit_breaker = {{}}\nadaptive_concurrency = {{ min = 900 }}\n\
         pool = {{ max_connections = 100 }}\n",
        backends.join(", ")
    );
    let (metrics, mut report) = (Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" }), Report::new());
    let config = toml::from_str(&text).unwrap();
    let upstream = upstream::compile(&config, "users", &At::root(), &State::default(), &metrics, &mut report);
    assert!(report.diagnostics().is_empty(), "{:?}", report.diagnostics());
    upstream.unwrap()
}

#[test]
fn an_attempt_takes_and_leaves_its_place_without_an_allocation() {
    for balance in ["round_robin", "random", "least_requests", "p2c", "ewma", "hash:path"] {
        for size in [2, 1_000] {
            let upstream = upstream(balance, size);
            let home = upstream.pick(&[]).unwrap().home();
            let run = || {
                for key in 0..1_000 {
                    let home = home.filter(|_| key % 2 == 0);
                    assert!(upstream.choose(&Wish { key: Some(mix(key)), home, ..Wish::default() }).is_ok());
                }
            };
            run();
            assert_eq!(allocation_counter::measure(run).count_total, 0, "{balance} among {size}");
        }
    }
}
