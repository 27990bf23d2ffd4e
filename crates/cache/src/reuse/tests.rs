//! What does for which request, each with its section.

use super::*;
use crate::testing::{NOW, head, stored};

fn judged(answer: &[(&'static str, &str)], request: &str, age: Millis) -> Reuse {
    let asked =
        if request.is_empty() { Asked::default() } else { Asked::of(&head(&[("cache-control", request)]).headers) };
    judge(&stored(answer), &asked, NOW + age)
}

const MINUTE: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[test]
fn fresh_until_its_lifetime_is_over_rfc_9111_4_2() {
    assert_eq!(judged(MINUTE, "", 59_999), Reuse::Fresh);
    assert_eq!(judged(MINUTE, "", 60_000), Reuse::Revalidate);
}

#[test]
fn requests_narrow_and_widen_rfc_9111_5_2_1() {
    for (request, age, expected) in [
        ("max-age=30", 30_000, Reuse::Fresh),
        ("max-age=30", 31_000, Reuse::Asked),
        ("max-age=0", 1, Reuse::Asked),
        ("min-fresh=30", 30_000, Reuse::Fresh),
        ("min-fresh=30", 30_001, Reuse::Asked),
        ("no-cache", 0, Reuse::Asked),
        ("max-stale=10", 70_000, Reuse::Stale),
        ("max-stale=10", 70_001, Reuse::Revalidate),
        ("max-stale", 9_000_000, Reuse::Stale),
        ("max-stale, min-fresh=1", 70_000, Reuse::Revalidate),
    ] {
        assert_eq!(judged(MINUTE, request, age), expected, "{request} at {age}");
    }
}

#[test]
fn some_answers_are_never_used_stale_rfc_9111_4_2_4() {
    for what in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
        let answer = &[("cache-control", what)][..];
        assert_eq!(judged(answer, "max-stale", 70_000), Reuse::Revalidate, "{what}");
    }
    let each_time = &[("cache-control", "max-age=60, no-cache"), ("etag", "\"v\"")][..];
    assert_eq!(judged(each_time, "", 0), Reuse::Revalidate, "section 5.2.2.4");
}

#[test]
fn stale_within_its_window_rfc_5861() {
    let answer = &[("cache-control", "max-age=60, stale-while-revalidate=10, stale-if-error=20")][..];
    assert_eq!(judged(answer, "", 69_999), Reuse::StaleWhileRevalidating);
    assert_eq!(judged(answer, "", 70_000), Reuse::Revalidate);
    assert!(stored(answer).does_on_error(NOW + 79_999) && !stored(answer).does_on_error(NOW + 80_000));
    let strict = &[("cache-control", "max-age=60, must-revalidate, stale-while-revalidate=10, stale-if-error=20")][..];
    assert_eq!(judged(strict, "", 60_000), Reuse::Revalidate);
    assert!(!stored(strict).does_on_error(NOW + 60_000));
}

#[test]
fn a_soft_purge_makes_stale() {
    let answer = stored(&[("cache-control", "max-age=60, stale-while-revalidate=10")]);
    answer.outdate(NOW + 5000);
    assert_eq!(judge(&answer, &Asked::default(), NOW + 6000), Reuse::StaleWhileRevalidating);
    assert_eq!(judge(&answer, &Asked::default(), NOW + 16_000), Reuse::Revalidate);
    let plain = stored(MINUTE);
    plain.outdate(NOW + 5000);
    assert_eq!(judge(&plain, &Asked::default(), NOW + 5000), Reuse::Revalidate);
}
