//! The window against a reference that remembers every charge, with a clock that the test turns.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(millis: u64) -> Now {
    Now(millis * MILLISECOND)
}

/// Charges where the window lets it pass.
fn admit(window: &Window, cell: &mut Cell, now: Now, cost: u32, room: Room) -> Said {
    let said = window.ask(cell, now, cost);
    if matches!(said, Said::Free(_)) {
        window.charge(cell, now, cost, room);
    }
    said
}

/// Remembers every charge, and counts.
#[derive(Default)]
struct Reference(Vec<(u64, u32)>);

impl Reference {
    fn used(&self, window: u64, now: u64) -> u32 {
        self.0.iter().filter(|(then, _)| now - then <= window).map(|(_, cost)| cost).sum()
    }

    fn admit(&mut self, limit: u32, window: u64, now: u64, cost: u32) -> Option<u32> {
        let left = limit.checked_sub(self.used(window, now) + cost)?;
        self.0.push((now, cost));
        Some(left)
    }
}

/// What memory there may be.
fn memory() -> impl Strategy<Value = Room> {
    prop_oneof![3 => Just(Room::None), 1 => Just(Room::Some), 1 => Just(Room::Plenty)]
}

#[test]
fn who_sends_evenly_up_to_the_limit_is_never_refused_for_want_of_memory() {
    for limit in [10, 100, 500, 5_000, 60_000] {
        let (window, mut cell) = (Window::new(limit, MINUTE), Cell::default());
        for step in 0..u64::from(limit) * 5 {
            // A request counts for a millisecond longer than its window.
            let now = at(1_000_000 + step * 60_001 / u64::from(limit) + step / u64::from(limit) * 120);
            let said = admit(&window, &mut cell, now, 1, Room::None);
            assert!(matches!(said, Said::Free(_)), "{limit}: {step}: {said:?}");
            assert_eq!(cell.spilled(), 0);
        }
    }
}

#[test]
fn a_window_is_exact_again_once_there_is_memory() {
    let (window, mut cell) = (Window::new(100, MINUTE), Cell::default());
    for number in 0..50_u64 {
        admit(&window, &mut cell, at(100_000 + number * 500), 1, Room::None);
    }
    assert!(Ring::of(&cell.words).is_some());
    admit(&window, &mut cell, at(130_000), 1, Room::Some);
    assert!(Ring::of(&cell.words).is_some());
    for number in 0..49_u64 {
        admit(&window, &mut cell, at(185_000 + number), 1, Room::Plenty);
    }
    // Those of the ring are over.
    assert_eq!((cell.used, cell.words.len()), (50, 50));
    assert!(Ring::of(&cell.words).is_none());
}

#[test]
fn the_hundred_and_first_of_a_minute_is_refused_until_the_first_is_a_minute_old() {
    let (window, mut cell) = (Window::new(100, MINUTE), Cell::default());
    for number in 0..100_u64 {
        let said = admit(&window, &mut cell, at(1000 + number), 1, Room::Plenty);
        assert!(matches!(said, Said::Free(standing) if standing.remaining == 99 - number as u32), "{number}: {said:?}");
    }
    assert_eq!(admit(&window, &mut cell, at(2000), 1, Room::Plenty), Said::Full { wait: 59_001 * MILLISECOND });
    assert!(matches!(admit(&window, &mut cell, at(61_000), 1, Room::Plenty), Said::Full { .. }));
    assert!(matches!(admit(&window, &mut cell, at(61_001), 1, Room::Plenty), Said::Free(_)));
    assert!(matches!(admit(&window, &mut cell, at(61_001), 1, Room::Plenty), Said::Full { .. }));
}

#[test]
fn what_is_given_back_counts_for_nobody() {
    let (window, mut cell) = (Window::new(2, MINUTE), Cell::default());
    let first = window.charge(&mut cell, at(0), 1, Room::Plenty);
    window.charge(&mut cell, at(5), 1, Room::Plenty);
    assert!(matches!(window.ask(&cell, at(6), 1), Said::Full { .. }));
    window.give_back(&mut cell, first, 1);
    assert!(matches!(window.ask(&cell, at(6), 1), Said::Free(_)));
    assert_eq!((cell.used, cell.words.len()), (1, 1));
}

#[test]
fn a_large_limit_takes_little_memory() {
    let (window, mut cell) = (Window::new(1_000_000, Duration::from_secs(3600)), Cell::default());
    for step in 0..1_000_000 {
        admit(&window, &mut cell, at(step * 3), 1, Room::Plenty);
    }
    assert!(cell.words.len() as u64 <= PARTS + 1, "{}", cell.words.len());
    assert_eq!(cell.used, 1_000_000);
}

proptest! {
    #[test]
    fn it_agrees_with_a_reference_that_remembers_everything(
        limit in 1_u32..40, window in 100_u64..5_000, steps in prop::collection::vec((0_u64..400, 1_u32..4), 1..300)
    ) {
        let rule = Window::new(limit, Duration::from_millis(window));
        let (mut cell, mut reference, mut now) = (Cell::default(), Reference::default(), 10_000);
        for (step, cost) in steps {
            now += step;
            let cost = cost.min(limit);
            let said = admit(&rule, &mut cell, at(now), cost, Room::Plenty);
            match (reference.admit(limit, window, now, cost), said) {
                (Some(left), Said::Free(standing)) => prop_assert_eq!(left, standing.remaining),
                (None, Said::Full { wait }) => {
                    // Whoever waits that long passes, and nobody who waits less does.
                    let then = now + wait / MILLISECOND;
                    prop_assert!(reference.used(window, then) + cost <= limit);
                    prop_assert!(reference.used(window, then - 1) + cost > limit);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn what_is_counted_roughly_is_never_let_go_early_and_not_much_too_late(
        limit in 513_u32..2_000, steps in prop::collection::vec((0_u64..50, 1_u32..40), 1..400)
    ) {
        let window = 5_000;
        let rule = Window::new(limit, Duration::from_millis(window));
        let (mut cell, mut reference, mut now) = (Cell::default(), Reference::default(), 10_000);
        for (step, cost) in steps {
            now += step;
            match admit(&rule, &mut cell, at(now), cost, Room::Plenty) {
                Said::Free(_) => prop_assert!(reference.admit(limit, window, now, cost).is_some()),
                Said::Full { wait } => {
                    prop_assert!(wait <= (window + rule.quantum + 1) * MILLISECOND);
                    // A coarse window refuses only what one that is a part longer would refuse too.
                    prop_assert!(reference.used(window + rule.quantum, now) + cost > limit);
                }
            }
        }
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_never_been(steps in prop::collection::vec((0_u64..200, any::<bool>()), 1..100)) {
        let rule = Window::new(20, Duration::from_millis(1_000));
        let (mut cell, mut reference, mut now) = (Cell::default(), Reference::default(), 10_000);
        for (step, kept) in steps {
            now += step;
            let free = matches!(rule.ask(&cell, at(now), 1), Said::Free(_));
            prop_assert_eq!(free, reference.used(1_000, now) < 20);
            if free {
                let by = rule.charge(&mut cell, at(now), 1, Room::Plenty);
                if kept { reference.0.push((now, 1)) } else { rule.give_back(&mut cell, by, 1) }
            }
        }
    }

    #[test]
    fn without_memory_who_keeps_to_the_limit_passes_and_who_does_not_gets_an_eighth_of_the_window_more_at_most(
        limit in prop_oneof![1_u32..40, 513_u32..2_000, 70_000_u32..300_000], window in 100_u64..5_000,
        costs in 1_u32..4, steps in prop::collection::vec((0_u64..400, 0_u32..100, memory()), 1..400)
    ) {
        let rule = Window::new(limit, Duration::from_millis(window));
        let (mut cell, mut reference, mut now) = (Cell::default(), Reference::default(), 1_000_000);
        // One unit of a ring, for limits that do not fit into sixteen bits.
        let unit = rule.scale().unit - 1;
        let (part, late) = (rule.scale().part, rule.quantum - 1);
        for (step, share, room) in steps {
            now += step;
            // Between a request of a few and a good part of the limit.
            let cost = (limit / 100 * share / 4 + share % costs + 1).min(limit);
            let taken = cell.spilled();
            let said = admit(&rule, &mut cell, at(now), cost, room);
            prop_assert!(room > Room::None || cell.spilled() <= taken);
            match said {
                Said::Free(_) => {
                    prop_assert!(reference.used(window.saturating_sub(part + late), now) + cost <= limit + unit);
                    reference.0.push((now, cost));
                }
                Said::Full { wait } => {
                    prop_assert!(reference.used(window + late, now) + cost > limit);
                    prop_assert!(wait <= (window + rule.quantum + 1) * MILLISECOND);
                    let then = rule.ask(&cell, at(now + wait / MILLISECOND), cost);
                    prop_assert!(matches!(then, Said::Free(_)), "{:?}", then);
                }
            }
        }
    }

    #[test]
    fn what_is_given_back_is_given_back_whatever_memory_there_is(
        steps in prop::collection::vec((0_u64..200, any::<bool>(), memory()), 1..100)
    ) {
        let rule = Window::new(20, Duration::from_millis(1_000));
        let (mut cell, mut kept, mut now) = (Cell::default(), Reference::default(), 10_000);
        for (step, keep, room) in steps {
            now += step;
            if matches!(rule.ask(&cell, at(now), 1), Said::Free(_)) {
                let by = rule.charge(&mut cell, at(now), 1, room);
                if keep { kept.0.push((now, 1)) } else { rule.give_back(&mut cell, by, 1) }
            } else {
                prop_assert!(kept.used(1_000, now) >= 20);
            }
            prop_assert!(cell.used <= kept.used(1_000, now) || cell.words.len() > 3, "{:?}", cell);
        }
        let (all, now) = (kept.used(1_000 - 125, now), at(now));
        if let Said::Free(standing) = rule.ask(&cell, now, 1) {
            prop_assert!(standing.remaining < 20 - all);
        }
    }
}
