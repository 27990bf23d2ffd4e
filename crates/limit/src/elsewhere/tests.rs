//! What the old process holds counts in the new one, until it says otherwise.

use std::time::Duration;

use super::*;
use crate::{
    gate::{Asked, Terms},
    plan::Tier,
    rule::{Rule, Said},
};

const LIMIT: Hashed = Hashed(9);
const TERMS: Terms = Terms { tier: Tier::OWN, caller: None, places: 2, waiting: 4, patience: Duration::from_secs(60) };

fn used(counters: &Counters, key: Hashed) -> u32 {
    counters.look(key, |cell| cell.used).unwrap_or(0)
}

fn charge(counters: &Counters, key: Hashed) {
    let rule = Rule::Concurrent(3);
    counters
        .lock([key].into_iter())
        .change(key, None, Now::read(), |cell, room| rule.charge(cell, Now::read(), 1, room));
}

#[test]
fn slots_of_the_old_process_count_until_they_are_free() {
    let (old, new, key) = (Counters::default(), Counters::default(), Hashed(5));
    charge(&old, key);
    charge(&old, key);
    new.held_elsewhere(&old.held()).unwrap();
    charge(&new, key);
    assert_eq!(used(&new, key), 3);
    let says = new.look(key, |cell| Rule::Concurrent(3).ask(cell, Now::read(), 1));
    assert!(matches!(says, Some(Said::Full { .. })), "{says:?}");
    // What is told twice counts once.
    new.held_elsewhere(&old.held()).unwrap();
    assert_eq!(used(&new, key), 3);
    old.change(key, |cell| Rule::Concurrent(3).give_back(cell, Now::read(), 0, 1));
    new.held_elsewhere(&old.held()).unwrap();
    assert_eq!(used(&new, key), 2);
    // Of three processes in a row the last one knows of all.
    let third = Counters::default();
    third.held_elsewhere(&new.held()).unwrap();
    assert_eq!(used(&third, key), 2);
    assert!(new.holds_elsewhere() && !old.holds_elsewhere());
    new.held_elsewhere(&[]).unwrap();
    assert!(!new.holds_elsewhere());
    assert_eq!(used(&new, key), 1);
}

#[test]
fn a_place_of_the_old_process_that_becomes_free_goes_to_who_waits() {
    let (old, new) = (Counters::default(), Counters::default());
    let wish = |consumer| Wish { key: Hashed(1), consumer: Hashed(consumer), cost: 1 };
    let gate = old.gate(LIMIT);
    let mut held: Vec<_> = [7, 8].map(|consumer| gate.ask(&TERMS, wish(consumer)).ok().unwrap()).into();
    new.held_elsewhere(&old.held()).unwrap();
    let gate = new.gate(LIMIT);
    assert_eq!(gate.look(Hashed(1)), (2, 0));
    let Ok(Asked::Waits(waiting)) = gate.ask(&TERMS, wish(7)) else { panic!("there is no place") };
    held.pop();
    new.held_elsewhere(&old.held()).unwrap();
    assert_eq!(gate.look(Hashed(1)), (2, 0), "whoever waited has it");
    drop(waiting);
    assert_eq!(gate.look(Hashed(1)), (1, 0));
    new.held_elsewhere(&[]).unwrap();
    assert_eq!(gate.look(Hashed(1)), (0, 0));
}

#[test]
fn what_is_cut_short_changes_nothing() {
    let (old, new, key) = (Counters::default(), Counters::default(), Hashed(5));
    charge(&old, key);
    let told = old.held();
    new.held_elsewhere(&told).unwrap();
    assert!(new.held_elsewhere(&told[..told.len() - 1]).is_err() && new.held_elsewhere(&[9]).is_err());
    assert_eq!(used(&new, key), 1);
}
