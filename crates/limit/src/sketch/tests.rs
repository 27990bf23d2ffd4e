//! The estimate against counts that are true.

use std::{collections::HashMap, time::Duration};

use super::*;
use crate::counters::Counters;

fn at(millis: u64) -> Now {
    Now(100_000 * MILLISECOND + millis * MILLISECOND)
}

/// A window of ten seconds, which begins where [`at`] does.
fn window(limit: u32) -> Window {
    Window::new(limit, Duration::from_secs(10))
}

fn passes(sketch: &Sketch, window: &Window, key: Hashed, now: Now) -> bool {
    let free = matches!(sketch.ask(window, key, now, 1), Said::Free(_));
    if free {
        sketch.charge(window, key, now, 1);
    }
    free
}

#[test]
fn alone_it_is_exact_within_a_window_of_the_clock_and_slides_from_one_to_the_next() {
    let (sketch, window, key) = (Sketch::default(), window(100), Hashed(7 << 60 | 12345));
    let count = |now: Now| (0..200).filter(|_| passes(&sketch, &window, key, now)).count();
    assert_eq!(count(at(1_000)), 100);
    assert_eq!(count(at(9_999)), 0);
    // Of the hundred of the window before a half still counts, and what has come since then.
    assert_eq!(count(at(15_000)), 50);
    assert_eq!(count(at(17_500)), 25);
    // Whoever has not come for two windows has never come.
    assert_eq!(count(at(40_000)), 100);
}

#[test]
fn who_waits_as_long_as_told_passes_and_not_before() {
    for (limit, first) in [(100, 0), (100, 9_000), (7, 3_333), (1, 5_000)] {
        let (sketch, window, key) = (Sketch::default(), window(limit), Hashed(99));
        while passes(&sketch, &window, key, at(first)) {}
        let Said::Full { wait } = sketch.ask(&window, key, at(first), 1) else { panic!("{limit}") };
        let then = Now(at(first).0 + wait);
        assert!(passes(&sketch, &window, key, then), "{limit} {first}: {wait}");
        assert!(wait <= 20_000 * MILLISECOND, "{limit}: {wait}");
    }
}

#[test]
fn what_is_given_back_is_not_counted_and_what_is_forgiven_begins_anew() {
    let (sketch, window, key) = (Sketch::default(), window(2), Hashed(5));
    let by = sketch.charge(&window, key, at(0), 1);
    sketch.charge(&window, key, at(0), 1);
    assert!(!passes(&sketch, &window, key, at(10)));
    sketch.give_back(&window, key, at(10), by, 1);
    assert!(passes(&sketch, &window, key, at(10)) && !passes(&sketch, &window, key, at(20)));
    assert!(sketch.forgive(&window, key, at(20)) && !sketch.forgive(&window, key, at(20)));
    assert!(passes(&sketch, &window, key, at(20)));
}

#[test]
fn a_million_clients_are_never_counted_too_low_and_seldom_much_too_high() {
    let (sketch, window, counters) = (Sketch::default(), window(MOST), Counters::default());
    let mut random = fastrand::Rng::with_seed(7);
    let mut truth: HashMap<u32, u32> = HashMap::new();
    for client in 0..1_000_000_u32 {
        sketch.charge(&window, counters.hash(4, &client.to_le_bytes()), at(0), 1);
    }
    for _ in 0..200_000 {
        // Some come often.
        let client = random.u32(..2_000);
        *truth.entry(client).or_insert(1) += 1;
        sketch.charge(&window, counters.hash(4, &client.to_le_bytes()), at(0), 1);
    }
    let over = |(client, true_count): (&u32, &u32)| {
        let estimate = sketch.look(counters.hash(4, &client.to_le_bytes()), at(0).millis() / 10_000).now;
        assert!(estimate >= *true_count, "{client}: {estimate} of {true_count}");
        estimate - true_count
    };
    let over: Vec<u32> = truth.iter().map(over).collect();
    let bound = 1_200_000 / 96_000 + 1;
    let beyond = over.iter().filter(|over| **over > bound).count();
    assert!(beyond * 50 < over.len(), "{beyond} of {}", over.len());
}

#[test]
fn a_successor_goes_on_where_it_was() {
    let (old, new, window, key) = (Sketch::default(), Sketch::default(), window(3), Hashed(3 << 90 | 17));
    for _ in 0..3 {
        old.charge(&window, key, at(0), 1);
    }
    old.export().for_each(|(index, word)| new.import(index, word));
    assert!(!passes(&new, &window, key, at(10)));
}
