//! One pick among 2 and among 1,000 backends: both should cost the same, whatever the policy.

#![expect(clippy::expect_used, reason = "a bench that cannot set up should stop")]

use std::hint::black_box;

use balance::{Field, Kind, Policy, mix};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [usize; 2] = [2, 1_000];

/// Endpoints that are all in use, each a little more or less than the next.
struct Busy {
    load: Vec<u32>,
}

impl Field for Busy {
    fn usable(&self, _: usize) -> bool {
        true
    }

    fn load(&self, index: usize) -> u32 {
        self.load[index]
    }

    fn total(&self) -> u32 {
        self.load.len() as u32 * 5
    }

    fn latency(&self, index: usize) -> f32 {
        self.load[index] as f32
    }
}

fn picks(criterion: &mut Criterion) {
    let kinds = [
        ("round_robin", Kind::RoundRobin),
        ("random", Kind::Random),
        ("least_requests", Kind::LeastRequests),
        ("p2c", Kind::TwoChoices),
        ("ewma", Kind::Latency),
        ("hash", Kind::Hash),
    ];
    let mut group = criterion.benchmark_group("pick");
    for (name, kind) in kinds {
        for size in SIZES {
            let names: Vec<String> = (0..size).map(|n| format!("10.0.{}.{}:8080", n / 250, n % 250)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let policy = Policy::new(kind, &vec![1; size], &names).expect("weights above 0 make a policy");
            let field = Busy { load: (0..size as u32).map(|n| n * 7 % 10).collect() };
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter(|| {
                    key += 1;
                    policy.pick(black_box(&field), Some(mix(key)))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
