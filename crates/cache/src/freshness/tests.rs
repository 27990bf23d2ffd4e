//! Ages and lifetimes, each with its section.

use super::*;
use crate::{CacheConfig, CacheTable};

const NOW: Millis = 1_800_000_000_000;
const TIMES: Times = Times { asked: NOW, answered: NOW };

fn dated(millis: Millis) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis))
}

fn policy(table: CacheTable) -> Policy {
    let mut report = document::Report::new();
    let at = document::At::root();
    Policy::compile(&CacheConfig::from(table), "r", "", None, false, &at, &mut report).unwrap()
}

fn freshness_of(status: u16, lines: &[(&str, &str)], policy: &Policy, times: Times) -> Freshness {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let (said, targeted) = Said::of(&fields, policy.targeted());
    Freshness::of(&said, targeted, StatusCode::from_u16(status).unwrap(), &fields, policy, times)
}

fn lifetime(lines: &[(&str, &str)]) -> Millis {
    freshness_of(200, lines, &policy(CacheTable::default()), TIMES).lifetime
}

#[test]
fn what_is_said_counts_in_this_order_rfc_9111_4_2_1() {
    let (date, later) = (dated(NOW), dated(NOW + 90_000));
    let dates = [("date", date.as_str()), ("expires", later.as_str())];
    let with = |line: &'static str| lifetime(&[dates[0], dates[1], ("cache-control", line)]);
    assert_eq!(with("max-age=10, s-maxage=20"), 20_000);
    assert_eq!(with("max-age=10"), 10_000);
    assert_eq!(with("public"), 90_000);
    assert_eq!(lifetime(&[("cache-control", "max-age=10"), ("cdn-cache-control", "max-age=30")]), 30_000);
}

#[test]
fn what_cannot_be_read_is_stale_rfc_9111_4_2_1_and_5_3() {
    let later = dated(NOW + 90_000);
    assert_eq!(lifetime(&[("cache-control", "max-age=x"), ("expires", &later)]), 0);
    for expires in ["0", "-1", "soon", "Thu, 01 Dec 1994"] {
        assert_eq!(lifetime(&[("expires", expires), ("last-modified", &dated(NOW - 100_000_000))]), 0, "{expires}");
    }
    assert_eq!(lifetime(&[("date", &dated(NOW)), ("expires", &dated(NOW - 90_000))]), 0);
}

#[test]
fn dates_are_read_in_all_three_forms_rfc_9110_5_6_7() {
    for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(read(text.as_bytes()), Some(784_111_777_000), "{text}");
    }
}

#[test]
fn a_tenth_of_its_age_is_guessed_rfc_9111_4_2_2() {
    let changed = |ago: Millis| dated(NOW - ago);
    assert_eq!(lifetime(&[("last-modified", &changed(1_000_000))]), 100_000);
    assert_eq!(lifetime(&[("last-modified", &changed(1_000_000_000_000))]), LONGEST_GUESS);
    assert_eq!(lifetime(&[("last-modified", &dated(NOW + 1_000_000))]), 0, "changed in the future");
    assert_eq!(lifetime(&[]), 0);
    let own = policy(CacheTable::default());
    let guess = |status, cc| {
        freshness_of(status, &[("last-modified", &changed(1_000_000)), ("cache-control", cc)], &own, TIMES).lifetime
    };
    assert_eq!((guess(404, "x"), guess(500, "x"), guess(500, "public")), (100_000, 0, 100_000));
}

#[test]
fn the_initial_age_is_the_largest_that_anything_tells_rfc_9111_4_2_3() {
    let own = policy(CacheTable::default());
    let times = Times { asked: NOW - 2000, answered: NOW };
    let age = |lines: &[(&str, &str)]| freshness_of(200, lines, &own, times).age(NOW + 5000);
    assert_eq!(age(&[]), 7000, "the delay counts");
    assert_eq!(age(&[("age", "10")]), 17_000);
    assert_eq!(age(&[("date", &dated(NOW - 30_000)), ("age", "10")]), 35_000);
    assert_eq!(age(&[("date", &dated(NOW - 30_000)), ("age", "100")]), 107_000);
    assert_eq!(age(&[("age", "x")]), 7000);
    assert_eq!(age(&[("date", &dated(NOW + 90_000))]), 7000, "a clock that is ahead");
}

#[test]
fn policies_fill_in_what_is_not_said() {
    let minute = Some(document::Duration::seconds(60));
    let own = policy(CacheTable {
        ttl: minute,
        status: Some(
            [("404".to_owned(), document::Duration::seconds(5)), ("5xx".to_owned(), document::Duration::seconds(1))]
                .into(),
        ),
        ..CacheTable::default()
    });
    let of = |status, lines: &[(&str, &str)]| freshness_of(status, lines, &own, TIMES).lifetime;
    assert_eq!((of(200, &[]), of(404, &[]), of(503, &[]), of(410, &[])), (60_000, 5000, 1000, 0));
    assert_eq!(of(200, &[("cache-control", "max-age=7")]), 7000);
    let over = policy(CacheTable { ttl: minute, replace: Some(true), ..CacheTable::default() });
    assert_eq!(freshness_of(200, &[("cache-control", "max-age=7")], &over, TIMES).lifetime, 60_000);
}
