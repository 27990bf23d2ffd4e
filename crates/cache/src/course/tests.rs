//! Who overtakes whom.

use super::*;
use crate::{
    CacheTable, Zone,
    testing::{NOW, head, stored_for},
};

type Fields = &'static [(&'static str, &'static str)];

const PLAIN: Fields = &[("cache-control", "max-age=60")];
const PUBLIC: Fields = &[("cache-control", "public, max-age=60")];
const BY_PLAN: Fields = &[("cache-control", "max-age=60"), ("vary", "x-plan, accept-language")];
const PUBLIC_BY_PLAN: Fields = &[("cache-control", "public, max-age=60"), ("vary", "x-plan, accept-language")];

fn zone() -> Zone {
    let zone = Zone::new();
    zone.resize(1 << 20);
    zone
}

/// Whether an answer of `NOW` to the first request, with these fields, is kept, though one to the second is known that was asked
/// for so much later, and was here before its head was or after.
fn is_kept(request: Fields, fields: Fields, other: Fields, after: i64, before_head: bool) -> bool {
    let zone = zone();
    let request = head(request);
    let (key, stored, _) = stored_for(&request, "/a", fields, NOW, CacheTable::default());
    let stored = Arc::new(stored);
    let course = zone.begin(&key);
    if !before_head {
        course.bring(&stored);
    }
    let newer = stored_for(&head(other), "/a", PLAIN, NOW.saturating_add_signed(after), CacheTable::default()).1;
    zone.let_go_of_older(&zone.begin(&key), &newer, &head(other).headers);
    zone.keep(&course, stored, &request.headers);
    zone.find(&key, &request.headers).is_some()
}

#[test]
fn what_is_under_way_is_overtaken_by_what_was_asked_for_later_for_such_requests() {
    let pro: Fields = &[("x-plan", "pro"), ("accept-language", "DE")];
    for (request, fields, other, after, expected) in [
        (&[][..], PLAIN, &[][..], 1, false),
        (&[], PLAIN, &[], 0, false),
        (&[], PLAIN, &[], -1, true),
        // What it does not vary by does not matter.
        (&[("x-plan", "pro")], PLAIN, &[("x-plan", "free")], 1, false),
        (pro, BY_PLAN, pro, 1, false),
        (pro, BY_PLAN, &[("accept-language", "de"), ("x-plan", "pro"), ("x-other", "1")], 1, false),
        (pro, BY_PLAN, &[("x-plan", "free"), ("accept-language", "de")], 1, true),
        (pro, BY_PLAN, &[("x-plan", "pro")], 1, true),
        (&[], BY_PLAN, &[], 1, false),
        (&[], BY_PLAN, &[("x-plan", "pro")], 1, true),
        // RFC 9111 section 3.5: what is not for who has credentials is none of their business.
        (&[], PLAIN, &[("authorization", "Bearer x")], 1, true),
        (&[], PUBLIC, &[("authorization", "Bearer x")], 1, false),
    ] {
        for before_head in [false, true] {
            let kept = is_kept(request, fields, other, after, before_head);
            assert_eq!(kept, expected, "{request:?} {fields:?}, then {other:?} {after} later; {before_head}");
        }
    }
}

#[test]
fn what_is_kept_overtakes_what_it_takes_the_place_of_whoever_asked_for_it() {
    let pro: Fields = &[("x-plan", "pro"), ("accept-language", "DE")];
    let own_pro: Fields = &[("authorization", "Bearer x"), ("accept-language", "de"), ("x-plan", "pro")];
    let own_free: Fields = &[("authorization", "Bearer x"), ("accept-language", "de"), ("x-plan", "free")];
    let own: Fields = &[("authorization", "Bearer x")];
    for (request, fields, other, newer, after, expected) in [
        (&[][..], PLAIN, &[][..], PLAIN, 1, true),
        (&[], PLAIN, own, PUBLIC, 1, true),
        (&[], PLAIN, own, PUBLIC, 0, false),
        (&[], PLAIN, own, PUBLIC, -1, false),
        (pro, BY_PLAN, own_pro, PUBLIC_BY_PLAN, 1, true),
        (pro, BY_PLAN, own_free, PUBLIC_BY_PLAN, 1, false),
    ] {
        for before_head in [false, true] {
            let zone = zone();
            let (key, stored, _) = stored_for(&head(request), "/a", fields, NOW, CacheTable::default());
            let (stored, course) = (Arc::new(stored), zone.begin(&key));
            if !before_head {
                course.bring(&stored);
            }
            let asked = NOW.saturating_add_signed(after);
            let (_, newer, kept) = stored_for(&head(other), "/a", newer, asked, CacheTable::default());
            assert!(kept.is_ok());
            zone.keep(&zone.begin(&key), Arc::new(newer), &head(other).headers);
            course.bring(&stored);
            assert_eq!(stored.is_overtaken(), expected, "{request:?}, then {other:?} {after} later; {before_head}");
        }
    }
    // What is not kept for the same request afterwards takes nothing of that back.
    let (key, stored, _) = stored_for(&head(&[]), "/a", PLAIN, NOW, CacheTable::default());
    let courses = Arc::new(Courses::default());
    let (awaited, came, stored) = (courses.begin(&key), courses.begin(&key), Arc::new(stored));
    let newer = stored_for(&head(own), "/a", PUBLIC, NOW + 1, CacheTable::default()).1;
    came.overtake(NOW + 1, &head(own).headers, Some(&newer));
    came.overtake(NOW + 2, &head(own).headers, None);
    awaited.bring(&stored);
    assert!(stored.is_overtaken());
}

#[test]
fn what_is_found_while_what_is_older_is_let_go_of_is_overtaken_too() {
    let zone = Arc::new(zone());
    let made = |asked| stored_for(&head(&[]), "/a", PLAIN, asked, CacheTable::default());
    let (key, kept, _) = made(NOW);
    zone.keep(&zone.begin(&key), Arc::new(kept), &HeaderMap::new());
    let (first, found, newer) = (Arc::new(made(NOW).1), Arc::new(made(NOW).1), made(NOW + 1).1);
    let course = zone.begin(&key);
    course.bring(&first);
    let held = zone.hold();
    let (own, of) = (zone.clone(), key.clone());
    let letting_go = std::thread::spawn(move || own.let_go_of_older(&own.begin(&of), &newer, &HeaderMap::new()));
    while !first.is_overtaken() {
        std::thread::yield_now();
    }
    // Somebody looks into the other tiers now, where it still is.
    let seeking = zone.begin(&key);
    drop(held);
    letting_go.join().unwrap();
    zone.keep(&seeking, found, &HeaderMap::new());
    assert!(zone.find(&key, &HeaderMap::new()).is_none());
}

#[test]
fn what_came_to_be_kept_overtakes_what_is_older() {
    let zone = zone();
    let (key, older, _) = stored_for(&head(&[]), "/a", PLAIN, NOW, CacheTable::default());
    let course = zone.begin(&key);
    {
        let later = stored_for(&head(&[]), "/a", PLAIN, NOW + 1, CacheTable::default()).1;
        zone.keep(&zone.begin(&key), Arc::new(later), &HeaderMap::new());
    }
    // Memory has let go of it by then.
    zone.resize(0);
    zone.resize(1 << 20);
    zone.keep(&course, Arc::new(older), &HeaderMap::new());
    assert!(zone.find(&key, &HeaderMap::new()).is_none());
}

#[test]
fn nobody_joins_what_is_overtaken() {
    let zone = Arc::new(zone());
    let (key, stored, _) = stored_for(&head(&[]), "/a", PLAIN, NOW, CacheTable::default());
    let (stored, course) = (Arc::new(stored), zone.begin(&key));
    let crate::Boarded::Leads(flight) = zone.board(&key, &HeaderMap::new(), NOW, |_| true) else {
        panic!("the first one leads")
    };
    course.bring(&stored);
    flight.land(crate::Landed::Shared(stored.clone()));
    assert!(matches!(zone.board(&key, &HeaderMap::new(), NOW, |_| true), crate::Boarded::Follows(_)));
    let newer = stored_for(&head(&[]), "/a", PLAIN, NOW + 1, CacheTable::default()).1;
    zone.let_go_of_older(&zone.begin(&key), &newer, &HeaderMap::new());
    assert!(matches!(zone.board(&key, &HeaderMap::new(), NOW, |_| true), crate::Boarded::Leads(_)));
}

#[test]
fn nothing_is_remembered_once_nothing_is_under_way_and_not_without_end_before() {
    let courses = Arc::new(Courses::default());
    let (key, stored, _) = stored_for(&head(&[]), "/a", BY_PLAN, NOW, CacheTable::default());
    let (awaited, other) = (courses.begin(&key), courses.begin(&key));
    for number in 0..475 {
        other.overtake(NOW + 1, &head(&[("x-plan", &*format!("{number}"))]).headers, None);
        // One that comes again takes no room, and stays for longer.
        if number % 40 == 0 {
            other.overtake(NOW + 2, &head(&[("x-plan", "again")]).headers, None);
        }
    }
    let held = |courses: &Courses| courses.parts.iter().map(|part| lock(part).len()).sum::<usize>();
    assert_eq!(lock(courses.part(awaited.place))[&awaited.place].later.len(), LATER);
    let stored = Arc::new(stored);
    awaited.bring(&stored);
    assert!(!stored.is_overtaken());
    let again = stored_for(&head(&[("x-plan", "again")]), "/a", BY_PLAN, NOW, CacheTable::default()).1;
    let again = Arc::new(again);
    awaited.bring(&again);
    assert!(again.is_overtaken());
    assert_eq!(lock(courses.part(awaited.place))[&awaited.place].brought.len(), 1, "the last one counts");
    drop(other);
    assert_eq!(held(&courses), 1);
    drop(awaited);
    assert_eq!(held(&courses), 0);
}
