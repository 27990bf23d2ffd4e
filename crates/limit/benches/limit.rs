//! What asking a limit costs: alone, with all workers on one key, with a key of its own for each worker.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{
    hint::black_box,
    net::IpAddr,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use document::{At, Report};
use filter::{Admit, Captures, Client, View};
use maitred_limit as limit;
use pingora_http::RequestHeader;

fn limits(written: &str) -> limit::Limits {
    let state = limit::State::default();
    let meters = |_: &str| limit::Meters::of(|result| prometheus::IntCounter::new(result, result).unwrap());
    let ground = limit::Ground { state: &state, redis: limit::Redis::Absent, meters: &meters };
    let written: document::OneOrMany<limit::Written> = serde_json::from_str(written).unwrap();
    let site = limit::Site { route: "r", upstream: None };
    limit::Limits::compile(&written, site, &limit::Named::new(), &At::root(), ground, &mut Report::new()).unwrap()
}

/// Asks `rounds` times from each of `workers`, and says how long one question took each of them.
fn asked(limits: &limit::Limits, rounds: u64, workers: u8, own_key: bool) -> Duration {
    let barrier = Barrier::new(usize::from(workers));
    let worker = |number: u8| {
        let head = RequestHeader::build("GET", b"/", None).unwrap();
        let (mut client, captures) = (Client::local("public".into()), Captures::new());
        client.address = Some(IpAddr::from([10, 0, 0, if own_key { number } else { 0 }]));
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
        barrier.wait();
        let began = Instant::now();
        for _ in 0..rounds {
            let _ = black_box(limits.by_client.admit(&view));
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|number| scope.spawn(move || worker(number))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).max().unwrap_or_default()
    })
}

fn bench(criterion: &mut Criterion) {
    let workers = thread::available_parallelism().map_or(2, |cores| cores.get() as u8);
    for (name, written) in [
        ("window of 100", r#""100/s""#),
        ("window that is never full", r#"{ "requests": 16000000, "window": "1s" }"#),
        ("bucket", r#"{ "rate": "16000000/s" }"#),
        ("concurrent", r#"{ "concurrent": 1000 }"#),
        ("three limits", r#"["16000000/s", { "rate": "16000000/s" }, { "concurrent": 1000 }]"#),
    ] {
        let limits = Arc::new(limits(written));
        for (how, workers, own_key) in [("alone", 1, false), ("one key", workers, false), ("own keys", workers, true)] {
            criterion.bench_function(&format!("{name}, {how}"), |bencher| {
                bencher.iter_custom(|rounds| asked(&limits, rounds, workers, own_key));
            });
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
