//! What a route's policies cost a request: the fixed pipeline against the same concerns as a chain of plugins (ADR 7).
//!
//! Two tables come first, with allocations counted exactly: every walk, and the full route's concerns one by one. Then
//! criterion measures the walks' time. The counter is also the allocator here, the system's with a little arithmetic
//! on top, so that walks which allocate look slower than they are with the allocator that maitred ships with.

#![expect(clippy::expect_used, reason = "a bench that cannot set up should stop")]

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use filter::{Admit, Amend};
use http::Extensions;
use maitred_bench::{
    chain::{Calls, Chain},
    scene::{EMPTY, FULL, Scene},
    walk,
};
use pingora_http::{RequestHeader, ResponseHeader};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
struct Zero { count_total: u64, bytes_total: u64 }

/// A request's way through a route.
enum Walk {
    Fixed,
    Chain(Chain),
}

impl Walk {
    fn admit(&self, scene: &Scene) {
        let passed = match self {
            Self::Fixed => walk::admit(scene),
            Self::Chain(chain) => now(chain.admit(scene, &mut Extensions::new())),
        };
        black_box(passed).expect("a request that passes");
    }

    fn whole(&self, scene: &Scene, (to, head): &mut (RequestHeader, ResponseHeader)) {
        let passed = match self {
            Self::Fixed => walk::whole(scene, to, head),
            Self::Chain(chain) => now(chain.whole(scene, to, head, &mut Extensions::new())),
        };
        black_box(passed).expect("a request that passes");
    }
}

/// Every walk with its name, for the same request.
fn walks() -> Vec<(String, Scene, Walk)> {
    let mut walks = Vec::new();
    for (name, text) in [("empty", EMPTY), ("full", FULL)] {
        walks.push((format!("{name}, fixed"), Scene::of(text), Walk::Fixed));
        for (how, calls) in [("chain", Calls::Every), ("thrifty chain", Calls::Told)] {
            let scene = Scene::of(text);
            let chain = Chain::of(&scene.route, calls);
            walks.push((format!("{name}, {how}"), scene, Walk::Chain(chain)));
        }
    }
    walks
}

/// Runs a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("no concern of this release waits for anything"),
    }
}

/// What one run costs.
struct Cost<'a> {
    allocations: u64,
    bytes: u64,
    /// Of the fastest batch so far, per run.
    nanoseconds: f64,
    batch: Box<dyn Fn() -> f64 + 'a>,
}

/// How many runs are timed together.
const BATCH: usize = 64;

/// How often everything in a table has its turn.
const ROUNDS: usize = 2000;

/// Counts one run, after a first one that fills what is filled once. What `input` makes is neither counted nor timed.
fn cost<'a, T>(input: impl Fn() -> T + 'a, run: impl Fn(&mut T) + 'a) -> Cost<'a> {
    run(&mut input());
    let mut one = input();
    let counted = { run(&mut one); Zero { count_total: 0, bytes_total: 0 } };
    let batch = move || {
        let mut inputs: Vec<T> = (0..BATCH).map(|_| input()).collect();
        let began = Instant::now();
        inputs.iter_mut().for_each(&run);
        began.elapsed().as_secs_f64() * 1e9 / BATCH as f64
    };
    let (allocations, bytes) = (counted.count_total, counted.bytes_total);
    Cost { allocations, bytes, nanoseconds: f64::INFINITY, batch: Box::new(batch) }
}

/// Times and prints a table. Its cells take turns, so that a machine that slows down slows all of them down, and of each
/// the best batch counts, because noise only adds.
fn print<const N: usize>(head: [&str; N], rows: &mut [(String, [Cost<'_>; N])]) {
    for _ in 0..ROUNDS {
        for cost in rows.iter_mut().flat_map(|(_, costs)| costs) {
            cost.nanoseconds = cost.nanoseconds.min((cost.batch)());
        }
    }
    println!("\n{:<22}{}", "", head.map(|text| format!("{text:>34}")).concat());
    println!("{:<22}{}", "per request", format!("{:>13}{:>11}{:>10}", "allocations", "bytes", "ns").repeat(N));
    for (name, costs) in rows {
        print!("{name:<22}");
        costs.iter().for_each(|cost| print!("{:>13}{:>11}{:>10.0}", cost.allocations, cost.bytes, cost.nanoseconds));
        println!();
    }
}

fn print_walks(walks: &[(String, Scene, Walk)]) {
    let mut rows = Vec::new();
    for (name, scene, walk) in walks {
        let admit = cost(|| (), |()| walk.admit(scene));
        let whole = cost(|| scene.heads(), |heads| walk.whole(scene, heads));
        rows.push((name.clone(), [admit, whole]));
    }
    print(["admit", "admit and amend"], &mut rows);
}

fn print_concerns() {
    let scene = Scene::of(FULL);
    let (route, view) = (&scene.route, &scene.view());
    let heads = || scene.heads();
    let costs = [
        ("cors.admit", cost(|| (), |()| passed(route.cors.admit(view)))),
        ("access.admit", cost(|| (), |()| passed(route.access.admit(view)))),
        ("rewrite.admit", cost(|| (), |()| passed(route.rewrite.admit(view)))),
        ("hop, request", cost(heads, |(to, _)| walk::strip_request(&scene.from, to))),
        ("rewrite.target", cost(heads, |(to, _)| walk::set_target(route.rewrite.as_ref(), view, to))),
        ("host", cost(heads, |(to, _)| walk::set_host(&route.host, to))),
        ("forwarding", cost(heads, |(to, _)| route.forwarding.amend(to, view))),
        ("request edits", cost(heads, |(to, _)| route.request.amend(to, view))),
        ("hop, answer", cost(heads, |(_, head)| walk::strip_response(&scene.from, head))),
        ("response edits", cost(heads, |(_, head)| route.response.amend(head, view))),
        ("security headers", cost(heads, |(_, head)| route.security.amend(head, view))),
        ("cors, answer", cost(heads, |(_, head)| route.cors.amend(head, view))),
    ];
    let mut rows = costs.map(|(name, cost)| (name.to_owned(), [cost]));
    print(["full, fixed: each alone"], &mut rows);
}

fn passed(passed: Result<(), filter::Reply>) {
    black_box(passed).expect("a request that passes");
}

fn times(criterion: &mut Criterion) {
    let walks = walks();
    print_walks(&walks);
    print_concerns();
    println!();
    let mut group = criterion.benchmark_group("admit");
    for (name, scene, walk) in &walks {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| bencher.iter(|| walk.admit(scene)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("admit and amend");
    for (name, scene, walk) in &walks {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched_ref(|| scene.heads(), |heads| walk.whole(scene, heads), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(40).measurement_time(std::time::Duration::from_secs(3));
    targets = times
}
criterion_main!(benches);
