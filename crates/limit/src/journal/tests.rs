//! Two processes: what the old one charges after its export the new one knows of.

use std::time::Duration;

use super::*;
use crate::{
    ban::Ban,
    bucket::Bucket,
    clock::SECOND,
    quota::{DAY, Quota},
    rule::Said,
    window::Window,
};

fn rules() -> [Rule; 4] {
    [
        Rule::Window(Window::new(1_000, Duration::from_secs(3600))),
        Rule::Bucket(Bucket::new(1_000, Duration::from_secs(3600), 1_000)),
        Rule::Quota(Quota::new(1_000, 7 * DAY)),
        Rule::Quota(Quota::monthly(1_000)),
    ]
}

/// Everything that is to be told.
fn tell(old: &Counters, new: &Counters) {
    while let told @ [_, ..] = &*old.charges() {
        new.charged_elsewhere(told).unwrap();
    }
}

fn charge(counters: &Counters, key: Hashed, rule: &Rule, now: Now) -> u64 {
    counters.shard(key).charge(key, None, now, rule, 1).by
}

fn says(counters: &Counters, key: Hashed, rule: &Rule, now: Now) -> Option<Said> {
    counters.look(key, |cell| rule.ask(cell, now, 1))
}

#[test]
fn whatever_is_charged_while_a_successor_comes_is_in_the_export_or_told_after_it() {
    let (old, new, now) = (Counters::default(), Counters::default(), Now::read());
    let keys: Vec<Hashed> = (0..64_u64).map(|number| old.hash(1, &number.to_le_bytes())).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let charged: Vec<u32> = std::thread::scope(|scope| {
        let worker = || {
            let mut times = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || times < 10 {
                for (key, rule) in keys.iter().zip(rules().iter().cycle()) {
                    charge(&old, *key, rule, now);
                }
                times += 1;
            }
            times
        };
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        while old.keys() < keys.len() {}
        new.import(&old.export()).unwrap();
        // Both go on at the same time.
        keys.iter()
            .zip(rules().iter().cycle())
            .for_each(|(key, rule)| assert!(charge(&new, *key, rule, now) < u64::MAX));
        (0..50).for_each(|_| new.charged_elsewhere(&old.charges()).unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    tell(&old, &new);
    let all = charged.iter().sum::<u32>() + 1;
    for (key, rule) in keys.iter().zip(rules().iter().cycle()).filter(|(_, rule)| !matches!(rule, Rule::Bucket(_))) {
        assert_eq!(new.look(*key, |cell| cell.used), Some(all), "{rule:?}");
    }
    // Of a bucket the arrival time says it.
    let (key, rule) = (keys[1], rules()[1]);
    let arrival = |counters: &Counters| counters.look(key, |cell| cell.words[0]).unwrap();
    assert_eq!(arrival(&new), now.0 + u64::from(all) * 3_600_000_000, "{rule:?}");
}

#[test]
fn what_is_given_back_and_who_is_banned_is_told_as_well() {
    let (old, new) = (Counters::default(), Counters::default());
    let (key, banned, now) = (Hashed(5), Hashed(6), Now::read());
    let before = rules().map(|rule| (rule, charge(&old, Hashed(key.0 + u128::from(rule.words().0) * 100), &rule, now)));
    new.import(&old.export()).unwrap();
    let ban = Ban::new(2, Duration::from_secs(60), Duration::from_secs(60));
    for (rule, by) in before {
        let key = Hashed(key.0 + u128::from(rule.words().0) * 100);
        let later = Now(now.0 + SECOND);
        charge(&old, key, &rule, later);
        old.give_back(key, &rule, later, by, 1);
        tell(&old, &new);
        assert_eq!(says(&new, key, &rule, later), says(&old, key, &rule, later), "{rule:?}");
    }
    old.strike(banned, &ban, now);
    old.strike(banned, &ban, now);
    tell(&old, &new);
    assert_eq!(says(&new, banned, &Rule::Ban(ban), now), Some(Said::Full { wait: 60 * SECOND }));
    // Who comes after the new one hears of it too.
    let third = Counters::default();
    third.import(&new.export()).unwrap();
    charge(&old, Hashed(7), &rules()[0], now);
    tell(&old, &new);
    tell(&new, &third);
    assert_eq!(third.look(Hashed(7), |cell| cell.used), Some(1));
}

#[test]
fn what_is_told_of_a_quota_survives_the_end_of_the_new_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quotas");
    let (old, new, now) = (Counters::default(), Counters::default(), Now::read());
    old.keep_quotas(&file, false);
    let (key, rule) = (old.hash(1, b"a"), rules()[2]);
    new.import(&old.export()).unwrap();
    new.keep_quotas(&file, true);
    charge(&new, key, &rule, now);
    for _ in 0..3 {
        charge(&old, key, &rule, now);
    }
    tell(&old, &new);
    let restarted = Counters::default();
    restarted.keep_quotas(&file, false);
    assert_eq!(restarted.look(key, |cell| cell.used), Some(4));
}

#[test]
fn places_and_what_nobody_asks_for_are_not_written_down_and_room_is_bounded() {
    let (counters, now) = (Counters::default(), Now(1_000 * SECOND));
    charge(&counters, Hashed(1), &rules()[0], now);
    assert!(counters.charges().is_empty(), "there is no successor");
    counters.export();
    charge(&counters, Hashed(1), &Rule::Concurrent(5), now);
    assert!(counters.charges().is_empty());
    for number in 0..2 * ROOM {
        charge(&counters, Hashed(number as u128), &rules()[0], now);
    }
    let mut told = 0;
    while let bytes @ [_, ..] = &*counters.charges() {
        assert!(bytes.len() <= AT_ONCE * ENTRY);
        told += bytes.len() / ENTRY;
    }
    assert_eq!(told, ROOM, "all of them are of one part");
    charge(&counters, Hashed(1), &rules()[0], now);
    counters.tell_no_charges();
    assert!(counters.charges().is_empty());
    // A part of an entry, or one of a later release.
    assert!(counters.charged_elsewhere(&[9; ENTRY + 1]).is_err());
    assert!(counters.charged_elsewhere(&[9; ENTRY]).is_ok());
}
