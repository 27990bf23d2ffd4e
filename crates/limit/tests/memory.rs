//! How much memory a million clients take, and twice as many.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use document::{At, Report};
use filter::{Admit, Captures, Client, View};
use maitred_limit as limit;
use pingora_http::RequestHeader;

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_million_clients_fit_in_128_mib_and_two_million_take_no_more() {
    let state = limit::State::default();
    let meters = |_: &str| limit::Meters::of(|result| prometheus::IntCounter::new(result, result).unwrap());
    let ground = limit::Ground { state: &state, redis: limit::Redis::Absent, meters: &meters };
    let written: limit::Written = serde_json::from_str("\"100/h\"").unwrap();
    let site = limit::Site { route: "r", upstream: None };
    let (named, mut report) = (limit::Named::new(), Report::new());
    let limits = limit::Limits::compile(&[written], site, &named, &At::root(), ground, &mut report).unwrap();
    let (head, captures) = (RequestHeader::build("GET", b"/", None).unwrap(), Captures::new());
    let mut client = Client::local("public".into());
    let before = resident();
    for number in 0..2_000_000_u32 {
        client.address = Some(Ipv4Addr::from(number).into());
        let view = View {
            generation: 1,
            head: &head,
            client: &client,
            identity: None,
            host: "",
            path: "/",
            query: None,
            captures: &captures,
        };
        // One in ten is busy: what it is remembered by does not fit into its place in the table.
        for _ in 0..if number % 10 == 0 { 8 } else { 1 } {
            let _ = limits.by_client.admit(&view);
        }
        if number == 1_000_000 {
            assert!(state.keys() > 990_000, "{}", state.keys());
            let taken = resident() - before;
            println!("a million clients: {} MiB", taken >> 20);
            assert!(taken < 128 << 20, "{taken}");
        }
    }
    let taken = resident() - before;
    println!("two million: {} keys, {} MiB", state.keys(), taken >> 20);
    assert!(state.keys() <= limit::KEYS && taken < 128 << 20, "{taken}");
}
