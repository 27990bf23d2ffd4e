//! Bounded, ordered, and never waited for.

use std::{sync::Arc, thread};

use super::*;

fn ring() -> Ring {
    Ring::new(IntCounter::new("dropped", "dropped").unwrap())
}

#[test]
fn a_full_ring_drops_and_counts() {
    let ring = ring();
    let line = vec![b'x'; 64 * 1024];
    let room = ring.shards.len() * SHARD / line.len();
    for _ in 0..room + 5 {
        ring.push(Instant::now(), &line);
    }
    assert_eq!(ring.dropped.get(), 5);
    let mut batch = Batch::default();
    ring.take(&mut batch);
    assert_eq!((batch.lines() as usize, batch.bytes.len()), (room, room * line.len()));
    ring.push(Instant::now(), &line);
    assert_eq!(ring.dropped.get(), 5);
}

#[test]
fn a_line_longer_than_a_shard_is_dropped() {
    let ring = ring();
    ring.push(Instant::now(), &vec![b'x'; SHARD + 1]);
    assert_eq!(ring.dropped.get(), 1);
}

#[test]
fn lines_of_several_workers_come_in_the_order_of_their_times() {
    let ring = Arc::new(ring());
    for number in 0..100_u64 {
        let shared = Arc::clone(&ring);
        let push = move || shared.push(shared.epoch + Duration::from_micros(number), format!("{number}\n").as_bytes());
        // Threads take turns, so that consecutive lines lie in different shards.
        thread::spawn(push).join().unwrap();
    }
    let mut batch = Batch::default();
    ring.take(&mut batch);
    let text = String::from_utf8(batch.bytes).unwrap();
    let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_shard_in_use_is_passed_over() {
    let ring = ring();
    let held: Vec<_> = ring.shards.iter().skip(1).map(|shard| shard.lock().unwrap()).collect();
    ring.push(Instant::now(), b"a\n");
    assert_eq!(ring.dropped.get(), 0);
    drop(held);
    let held: Vec<_> = ring.shards.iter().map(|shard| shard.lock().unwrap()).collect();
    ring.push(Instant::now(), b"b\n");
    assert_eq!(ring.dropped.get(), 1, "dropped rather than waited");
    drop(held);
}

#[test]
fn a_flush_that_nobody_answers_ends_at_its_deadline() {
    assert!(!ring().flush(Duration::from_millis(1)));
}
