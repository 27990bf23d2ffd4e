//! One lookup among 10, 100, 1,000 and 10,000 routes: all of them should cost the same.
//!
//! *hot* asks for the same few paths again and again, as traffic does; *spread* asks for every route in turn in a shuffled
//! order, so that a large table also pays for the processor's caches. The list of requests is equally long for every
//! table, so that reading it costs the same.

#![expect(clippy::expect_used, reason = "a bench that cannot set up should stop")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use document::{At, OneOrMany, Report};
use filter::{Captures, Client, View};
use pingora_http::RequestHeader;
use route::{Match, Table};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// How many requests the spread run cycles through.
const REQUESTS: usize = 10_000;

/// The route `n`: exact, template and prefix in turn, over four hosts, every other one for GET alone. All of this hangs on
/// the last digit, so that tables of every size hold the same mixture.
fn route(n: usize) -> Match {
    let path = match n % 10 % 3 {
        0 => format!("{}/health", service(n)),
        1 => format!("{}/items/{{id}}", service(n)),
        _ => format!("{}/*", service(n)),
    };
    let method = n.is_multiple_of(2).then(|| OneOrMany(vec!["GET".into()]));
    Match { host: Some(OneOrMany(vec![host(n)])), path: Some(path), method, ..Match::default() }
}

/// A path that the route `n` takes.
fn path(n: usize) -> String {
    let below = match n % 10 % 3 {
        0 => "health",
        1 => "items/4711",
        _ => "a/b",
    };
    format!("{}/{below}", service(n))
}

fn service(n: usize) -> String {
    format!("/api/v{}/service-{n:05}", n % 10 % 7)
}

fn host(n: usize) -> String {
    format!("host-{}.example.com", n % 10 % 4)
}

fn table(size: usize) -> Table {
    let routes: Vec<(String, Match)> = (0..size).map(|n| (format!("r{n}"), route(n))).collect();
    let routes: Vec<(&str, &Match, At)> = routes.iter().map(|(name, route)| (&**name, route, At::root())).collect();
    let mut report = Report::new();
    let table = Table::compile(&routes, &[], &mut report);
    assert!(!report.has_errors(), "{:?}", report.diagnostics().first());
    table.expect("routes without mistakes compile")
}

/// The `count` requests of a run: host and path, spread evenly over the table in an order without a pattern.
fn requests(size: usize, count: usize) -> Vec<(String, String)> {
    // A step that has no divisor in common with the sizes visits every ten.
    let pick = |n: usize| (n / 10 * 7_919) % (size / 10) * 10 + n % 10;
    (0..count).map(pick).map(|n| (host(n), path(n))).collect()
}

fn run(criterion: &mut Criterion, name: &str, count: usize) {
    let head = RequestHeader::build("GET", b"/", None).expect("a request head");
    let client = Client::local("public".into());
    let none = Captures::new();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(count as u64));
    for size in SIZES {
        let table = table(size);
        let requests = requests(size, count);
        let mut captures = Captures::new();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                for (host, path) in &requests {
                    let view = View {
                        generation: 1,
                        identity: None,
                        head: &head,
                        client: &client,
                        host,
                        path,
                        query: None,
                        captures: &none,
                    };
                    let found = table.find(black_box(&view), &mut captures);
                    assert!(black_box(found).is_some());
                }
            });
        });
    }
    group.finish();
}

fn lookups(criterion: &mut Criterion) {
    run(criterion, "routes/hot", 20);
    run(criterion, "routes/spread", REQUESTS);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(40).measurement_time(std::time::Duration::from_secs(3));
    targets = lookups
}
criterion_main!(benches);
