//! How much memory a million clients take, and twice as many.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use document::{At, Report};
use filter::Admit;
use maitred_limit as limit;
use prometheus::{Counter, IntCounter};
use testkit::Caller;

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn limits(state: &limit::State, written: &str) -> limit::Limits {
    let held = || Counter::new("held", "held").unwrap();
    let meters = |_: &str| limit::Meters::of(|result| IntCounter::new(result, result).unwrap(), held());
    let ground = limit::Ground { state, redis: limit::Redis::Absent, meters: &meters };
    let written: limit::Written = serde_json::from_str(written).unwrap();
    let site = limit::Site { route: "r", upstreams: &[] };
    let (named, mut report) = (limit::Named::new(), Report::new());
    limit::Limits::compile(&[written], site, &named, &At::root(), ground, &mut report).unwrap()
}

/// Asks for each of so many clients, one in ten of which is busy, and says how many were refused.
fn ask(limits: &limit::Limits, clients: std::ops::Range<u32>) -> usize {
    let (mut caller, mut refused) = (Caller::new(), 0);
    let mut ask = |number: u32| {
        caller.client.address = Some(Ipv4Addr::from(number).into());
        refused += usize::from(limits.by_client.admit(&caller.view()).is_err());
    };
    clients.clone().for_each(&mut ask);
    // What a busy one is remembered by does not fit into its place in the table: each of its requests has a moment of its own.
    for _ in 0..7 {
        clients.clone().step_by(10).for_each(&mut ask);
    }
    refused
}

/// One test, since what the process has in memory is measured.
#[test]
fn a_million_clients_fit_in_128_mib_and_two_million_take_no_more() {
    let state = limit::State::default();
    let before = resident();
    let estimate = limits(&state, r#"{ "requests": 100, "window": "1h", "estimate": true }"#);
    // Of 3.4 million requests in a window, few clients that sent eight are taken for one that sent a hundred.
    let refused = ask(&estimate, 0..2_000_000);
    let taken = resident() - before;
    println!("an estimate of two million: {} MiB, {refused} refused", taken >> 20);
    assert!(taken < 10 << 20 && state.keys() == 0 && refused < 3_400, "{taken} {} {refused}", state.keys());

    let exact = limits(&state, "\"100/h\"");
    let before = resident();
    assert_eq!(ask(&exact, 0..1_000_000), 0);
    assert!(state.keys() > 990_000, "{}", state.keys());
    let taken = resident() - before;
    println!("a million clients: {} MiB", taken >> 20);
    assert!(taken < 128 << 20, "{taken}");
    ask(&exact, 1_000_000..2_000_000);
    let taken = resident() - before;
    println!("two million: {} keys, {} MiB", state.keys(), taken >> 20);
    assert!(state.keys() <= limit::KEYS && taken < 128 << 20, "{taken}");
}
