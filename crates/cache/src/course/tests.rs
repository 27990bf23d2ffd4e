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
    let crate::Boarded::Leads(flight) = zone.board(&key, NOW, |_| true) else { panic!("the first one leads") };
    course.bring(&stored);
    flight.land(crate::Landed::Shared(stored.clone()));
    assert!(matches!(zone.board(&key, NOW, |_| true), crate::Boarded::Follows(_)));
    let newer = stored_for(&head(&[]), "/a", PLAIN, NOW + 1, CacheTable::default()).1;
    zone.let_go_of_older(&zone.begin(&key), &newer, &HeaderMap::new());
    assert!(matches!(zone.board(&key, NOW, |_| true), crate::Boarded::Leads(_)));
}

#[test]
fn nothing_is_remembered_once_nothing_is_under_way_and_not_without_end_before() {
    let courses = Arc::new(Courses::default());
    let (key, stored, _) = stored_for(&head(&[]), "/a", BY_PLAN, NOW, CacheTable::default());
    let (awaited, other) = (courses.begin(&key), courses.begin(&key));
    for number in 0..500 {
        other.overtake(NOW + 1, &head(&[("x-plan", &*format!("{number}"))]).headers);
        // One that comes again takes no room.
        other.overtake(NOW + 2, &head(&[("x-plan", "499")]).headers);
    }
    let held = |courses: &Courses| courses.parts.iter().map(|part| lock(part).len()).sum::<usize>();
    assert_eq!(lock(courses.part(awaited.place))[&awaited.place].later.len(), LATER);
    let stored = Arc::new(stored);
    awaited.bring(&stored);
    assert!(!stored.is_overtaken());
    drop(other);
    assert_eq!(held(&courses), 1);
    drop(awaited);
    assert_eq!(held(&courses), 0);
}
