//! The table: bounded whatever comes, handed over whole.

use std::time::Duration;

use super::*;
use crate::{rule::Rule, window::Window};

fn rule(limit: u32) -> Rule {
    Rule::Window(Window::new(limit, Duration::from_secs(60)))
}

fn charge(counters: &Counters, key: Hashed, now: Now, times: u32) {
    let rule = rule(1_000);
    for _ in 0..times {
        counters.lock([key].into_iter()).change(key, None, now, |cell, room| rule.charge(cell, now, 1, room));
    }
}

fn used(counters: &Counters, key: Hashed) -> u32 {
    counters.look(key, |cell| cell.used).unwrap_or(0)
}

#[test]
fn whoever_comes_with_ever_new_addresses_pushes_out_its_own() {
    let counters = Counters::default();
    let now = Now(1_000 * crate::clock::SECOND);
    let honest: Vec<Hashed> = (0..1_000_u32).map(|number| counters.hash(1, &number.to_le_bytes())).collect();
    honest.iter().for_each(|&key| charge(&counters, key, now, 5));
    for number in 0..(KEYS as u64 + KEYS as u64 / 4) {
        charge(&counters, counters.hash(2, &number.to_le_bytes()), now, 1);
    }
    assert!(counters.keys() <= KEYS, "{}", counters.keys());
    let kept = honest.iter().filter(|&&key| used(&counters, key) == 5).count();
    assert!(kept >= 999, "{kept} of a thousand are left");
}

#[test]
fn what_has_expired_is_forgotten_by_and_by() {
    let counters = Counters::default();
    let (early, late) = (Now(1_000 * crate::clock::SECOND), Now(2_000 * crate::clock::SECOND));
    for number in 0..10_000_u32 {
        charge(&counters, counters.hash(1, &number.to_le_bytes()), early, 1);
    }
    assert_eq!(counters.keys(), 10_000);
    for _ in 0..100 {
        for number in 0..512_u32 {
            charge(&counters, counters.hash(2, &number.to_le_bytes()), late, 1);
        }
    }
    assert!(counters.keys() < 1_000, "{}", counters.keys());
}

#[test]
fn a_successor_goes_on_where_its_predecessor_was() {
    let (old, new) = (Counters::default(), Counters::default());
    let now = Now::read();
    let of = |counters: &Counters, number: u32| counters.hash(1, &number.to_le_bytes());
    for number in 0..100 {
        charge(&old, of(&old, number), now, number);
    }
    new.import(&old.export()).unwrap();
    for number in 0..100 {
        assert_eq!(used(&new, of(&new, number)), number);
    }
    let export = old.export();
    assert!(Counters::default().import(&export[..export.len() - 1]).is_err());
}

#[test]
fn windows_of_busy_keys_stay_within_their_memory() {
    let counters = Counters::default();
    let (rule, busy) = (rule(500), 40_000_u32);
    for step in 0..300_u64 {
        let now = Now((1_000_000 + step * 7) * crate::clock::MILLISECOND);
        for number in 0..busy / 10 {
            let key = counters.hash(1, &number.to_le_bytes());
            counters.lock([key].into_iter()).change(key, None, now, |cell, room| rule.charge(cell, now, 1, room));
        }
    }
    let spilled: usize = counters.shards.iter().map(|shard| shard.lock().spilled as usize).sum();
    // A cell that grows does so by half again what all may have together, and then no more.
    assert!(spilled <= SPILLED + SHARDS * 8192, "{spilled}");
    let sum = (0..busy / 10).all(|number| used(&counters, counters.hash(1, &number.to_le_bytes())) == 300);
    assert!(sum, "no charge is lost");
}

#[test]
fn where_others_have_taken_the_memory_nobody_is_refused_who_keeps_to_the_limit() {
    let counters = Counters::default();
    counters.shards.iter().for_each(|shard| shard.lock().spilled = (SPILLED / SHARDS) as u32);
    let rule = rule(60);
    let keys: Vec<Hashed> = (0..200_u32).map(|number| counters.hash(2, &number.to_le_bytes())).collect();
    // A request counts for a millisecond longer than its window.
    for step in 0..300_u64 {
        let now = Now((1_000_000 + step * 1_001) * crate::clock::MILLISECOND);
        for &key in &keys {
            let said = counters.look(key, |cell| rule.ask(cell, now, 1));
            assert!(!matches!(said, Some(Said::Full { .. })), "{step}: {said:?}");
            counters.lock([key].into_iter()).charge(key, None, now, &rule, 1);
        }
    }
    // Whoever sends more is refused with what they have sent last.
    let now = Now(1_300_000 * crate::clock::MILLISECOND);
    let more = (0..60).filter(|_| {
        let free = counters.look(keys[0], |cell| matches!(rule.ask(cell, now, 1), Said::Free(_))) == Some(true);
        counters.lock([keys[0]].into_iter()).charge(keys[0], None, now, &rule, 1);
        free
    });
    assert!((1..=8).contains(&more.count()));
    let spilled: usize = counters.shards.iter().map(|shard| shard.lock().spilled as usize).sum();
    assert_eq!(spilled, SPILLED);
}

#[test]
fn what_is_given_back_of_another_period_is_not_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quotas");
    let (counters, key, now, end) = (Counters::default(), Hashed(1), Now::read(), unix() + 1_000);
    counters.keep_quotas(&path, false);
    let rule = Rule::Quota(crate::quota::Quota::new(9, 3_600));
    counters.make(key, now, |cell| {
        *cell = Cell { words: SmallVec::from_slice(&[end]), used: 2, expires: now.seconds() + 1_000 }
    });
    counters.book(key, end, 2);
    // Charged before the period was made shorter.
    counters.give_back(key, &rule, now, end + 80_000, 1);
    let (_, records) = Ledger::default().open(&path, false).unwrap().unwrap();
    assert_eq!(records[&key], (end, 2));
}
