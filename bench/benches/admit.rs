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
struct Cost {
    allocations: u64,
    bytes: u64,
    nanoseconds: f64,
}

/// Counts one run after a first one, and takes the median time of many. What `input` makes is neither counted nor timed.
fn cost<T>(input: impl Fn() -> T, run: impl Fn(&mut T)) -> Cost {
    const BATCH: usize = 64;
    const BATCHES: usize = 1001;
    run(&mut input());
    let mut one = input();
    let counted = allocation_counter::measure(|| run(&mut one));
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let mut inputs: Vec<T> = (0..BATCH).map(|_| input()).collect();
            let began = Instant::now();
            inputs.iter_mut().for_each(&run);
            began.elapsed().as_secs_f64() * 1e9 / BATCH as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    Cost { allocations: counted.count_total, bytes: counted.bytes_total, nanoseconds: times[BATCHES / 2] }
}

fn print_walks() {
    println!("{:<22}{:>34}{:>34}", "", "admit", "admit and amend");
    println!("{:<22}{}{}", "per request", columns(), columns());
    for (name, scene, walk) in walks() {
        let admit = cost(|| (), |()| walk.admit(&scene));
        let whole = cost(|| scene.heads(), |heads| walk.whole(&scene, heads));
        println!("{name:<22}{}{}", row(&admit), row(&whole));
    }
}

fn print_concerns() {
    let scene = Scene::of(FULL);
    let (route, view) = (&scene.route, &scene.view());
    let heads = || scene.heads();
    let rows = [
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
    println!("\n{:<22}{}", "full route, alone", columns());
    for (name, cost) in rows {
        println!("{name:<22}{}", row(&cost));
    }
    println!();
}

fn passed(passed: Result<(), filter::Reply>) {
    black_box(passed).expect("a request that passes");
}

fn columns() -> String {
    format!("{:>13}{:>11}{:>10}", "allocations", "bytes", "ns")
}

fn row(cost: &Cost) -> String {
    format!("{:>13}{:>11}{:>10.0}", cost.allocations, cost.bytes, cost.nanoseconds)
}

fn times(criterion: &mut Criterion) {
    print_walks();
    print_concerns();
    let walks = walks();
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
