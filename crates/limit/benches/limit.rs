//! What asking a limit costs: alone, with all workers on one key, with a key of its own for each worker; and out of a lease.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::{
    hint::black_box,
    net::IpAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use document::{At, Report};
use filter::Admit;
use maitred_limit as limit;
use prometheus::{Counter, IntCounter};
use testkit::Caller;

fn limits(written: &str, redis: limit::Redis<'_>) -> limit::Limits {
    let state = limit::State::default();
    let held = || Counter::new("held", "held").unwrap();
    let meters = |_: &str| limit::Meters::of(|result| IntCounter::new(result, result).unwrap(), held());
    let ground = limit::Ground { state: &state, redis, meters: &meters };
    let written: document::OneOrMany<limit::Written> = serde_json::from_str(written).unwrap();
    let site = limit::Site { route: "r", upstreams: &[] };
    limit::Limits::compile(&written, site, &limit::Named::new(), &At::root(), ground, &mut Report::new()).unwrap()
}

/// Asks `rounds` times from each of `workers`, and says how long one question took each of them.
fn asked(limits: &limit::Limits, rounds: u64, workers: u8, own_key: bool) -> Duration {
    let barrier = Barrier::new(usize::from(workers));
    let worker = |number: u8| {
        let mut caller = Caller::new();
        caller.client.address = Some(IpAddr::from([10, 0, 0, if own_key { number } else { 0 }]));
        let view = caller.view();
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

fn local(criterion: &mut Criterion) {
    let workers = thread::available_parallelism().map_or(2, |cores| cores.get() as u8);
    for (name, written) in [
        ("window of 100", r#""100/s""#),
        ("window that is never full", r#"{ "requests": 16000000, "window": "1s" }"#),
        ("bucket", r#"{ "rate": "16000000/s" }"#),
        ("concurrent", r#"{ "concurrent": 1000 }"#),
        ("estimate", r#"{ "requests": 16000000, "window": "1s", "estimate": true }"#),
        ("three limits", r#"["16000000/s", { "rate": "16000000/s" }, { "concurrent": 1000 }]"#),
    ] {
        let limits = Arc::new(limits(written, limit::Redis::Absent));
        for (how, workers, own_key) in [("alone", 1, false), ("one key", workers, false), ("own keys", workers, true)] {
            criterion.bench_function(&format!("{name}, {how}"), |bencher| {
                bencher.iter_custom(|rounds| asked(&limits, rounds, workers, own_key));
            });
        }
    }
}

/// A Redis in a folder of its own, where the machine has one.
struct Server(Child, tempfile::TempDir);

impl Server {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let socket = folder.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--dir"]).arg(folder.path()).arg("--unixsocket").arg(&socket);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() && began.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        Some(Self(child, folder))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Out of leases of a real Redis, whose questions are among what is measured.
fn leased(criterion: &mut Criterion) {
    let Some(server) = Server::start() else { return println!("no redis-server: leases are not measured") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let written = format!(r#"{{ "url": "unix:{}" , "timeout": "1s" }}"#, server.1.path().join("redis.sock").display());
    let config = serde_json::from_str(&written).unwrap();
    let settings = store::compile(&config, &At::root(), &mut Report::new()).unwrap();
    let kept = store::Kept::default();
    let store = kept.store(&settings);
    let written = r#"{ "requests": 16000000, "window": "1s", "store": "redis", "lease": 10000 }"#;
    let limits = limits(written, limit::Redis::Found(&store));
    let mut caller = Caller::new();
    caller.client.address = Some(IpAddr::from([10, 0, 0, 1]));
    let (stage, view) = (limits.by_client.as_ref().unwrap(), caller.view());
    criterion.bench_function("lease of 10000, one key", |bencher| {
        bencher.iter_custom(|rounds| {
            runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..rounds {
                    let _ = black_box(stage.pass(&view, maitred_limit::Waited::default()).await);
                }
                began.elapsed()
            })
        });
    });
}

criterion_group!(benches, local, leased);
criterion_main!(benches);
