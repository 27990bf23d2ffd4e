//! Conditions and ranges, each with its section.

use super::*;
use crate::testing::{self, NOW};

const TAGGED: &[(&str, &str)] = &[
    ("etag", "\"v\""),
    ("date", "Sun, 06 Nov 1994 08:49:39 GMT"),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("cache-control", "max-age=60"),
];

fn selected(lines: &[(&'static str, &str)]) -> Selected {
    select(&Method::GET, &testing::head(lines).headers, &testing::stored(TAGGED), Some(NOW))
}

#[test]
fn tags_are_compared_weakly_rfc_9110_13_1_2() {
    for text in ["\"v\"", "W/\"v\"", "\"a\", W/\"v\"", "*", "\"a,b\",\"v\""] {
        assert_eq!(selected(&[("if-none-match", text)]), Selected::NotModified, "{text}");
    }
    for text in ["\"w\"", "v", "\"v", "\"a,\"v\""] {
        assert_eq!(selected(&[("if-none-match", text)]), Selected::Whole, "{text}");
    }
    let both = [("if-none-match", "\"w\""), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(selected(&both), Selected::Whole, "RFC 9110 section 13.2.2: the tag decides");
}

#[test]
fn dates_are_compared_where_they_can_be_read_rfc_9110_13_1_3() {
    assert_eq!(selected(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]), Selected::NotModified);
    assert_eq!(selected(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:38 GMT")]), Selected::NotModified);
    assert_eq!(selected(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]), Selected::Whole);
    assert_eq!(selected(&[("if-modified-since", "yesterday")]), Selected::Whole);
}

#[test]
fn without_a_date_of_change_the_date_of_the_answer_counts_rfc_9111_4_3_2() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:39 GMT");
    // When it came, where it says no date that can be read: the moment of all tests, Fri, 15 Jan 2027 08:00:00 GMT.
    for (lines, since, expected) in [
        (&[date][..], "Sun, 06 Nov 1994 08:49:39 GMT", Selected::NotModified),
        (&[date], "Sun, 06 Nov 1994 08:49:40 GMT", Selected::NotModified),
        (&[date], "Sun, 06 Nov 1994 08:49:38 GMT", Selected::Whole),
        (&[date], "yesterday", Selected::Whole),
        (&[], "Fri, 15 Jan 2027 08:00:00 GMT", Selected::NotModified),
        (&[], "Fri, 15 Jan 2027 07:59:59 GMT", Selected::Whole),
        (&[("date", "0")], "Fri, 15 Jan 2027 08:00:00 GMT", Selected::NotModified),
        // What says when it was changed, though nobody can read it, is not older than it says.
        (&[date, ("last-modified", "0")], "Sun, 06 Nov 1994 08:49:39 GMT", Selected::Whole),
        (
            &[date, ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
            "Sun, 06 Nov 1994 08:49:38 GMT",
            Selected::NotModified,
        ),
    ] {
        let lines = [lines, &[("cache-control", "max-age=60")]].concat();
        let request = testing::head(&[("if-modified-since", since)]);
        assert_eq!(
            select(&Method::GET, &request.headers, &testing::stored(&lines), Some(NOW)),
            expected,
            "{lines:?} since {since}"
        );
        let tagged = testing::head(&[("if-modified-since", since), ("if-none-match", "\"x\"")]);
        assert_eq!(
            select(&Method::GET, &tagged.headers, &testing::stored(&lines), Some(NOW)),
            Selected::Whole,
            "the tag decides"
        );
    }
}

#[test]
fn the_date_of_an_answer_says_nothing_to_the_request_that_it_was_made_for_nor_of_the_future() {
    let plain: &[_] = &[("date", "Fri, 15 Jan 2027 08:00:00 GMT"), ("cache-control", "max-age=60")];
    let dated: &[_] = &[("last-modified", "Fri, 15 Jan 2027 08:00:00 GMT"), ("cache-control", "max-age=60")];
    let (today, tomorrow) = ("Fri, 15 Jan 2027 08:00:00 GMT", "Sat, 16 Jan 2027 08:00:00 GMT");
    for (lines, since, now, expected) in [
        (plain, today, Some(NOW), Selected::NotModified),
        (plain, today, None, Selected::Whole),
        (plain, tomorrow, Some(NOW), Selected::Whole),
        (plain, tomorrow, None, Selected::Whole),
        (dated, today, None, Selected::NotModified),
        (dated, tomorrow, Some(NOW), Selected::NotModified),
    ] {
        let request = testing::head(&[("if-modified-since", since)]);
        let selected = select(&Method::GET, &request.headers, &testing::stored(lines), now);
        assert_eq!(selected, expected, "{lines:?} since {since} at {now:?}");
    }
}

#[test]
fn ranges_rfc_9110_14_1_2() {
    for (text, expected) in [
        ("bytes=0-0", Selected::Part(0, 1)),
        ("bytes=0-9", Selected::Part(0, 10)),
        ("bytes=9-", Selected::Part(9, 10)),
        ("bytes=-1", Selected::Part(9, 10)),
        ("bytes=-99", Selected::Part(0, 10)),
        ("bytes=3-99999999999999999999999999", Selected::Part(3, 10)),
        ("BYTES = 3-4", Selected::Part(3, 5)),
        ("bytes=10-", Selected::Unsatisfiable(10)),
        ("bytes=-0", Selected::Unsatisfiable(10)),
        ("bytes=5-4", Selected::Whole),
        ("bytes=", Selected::Whole),
        ("bytes=-", Selected::Whole),
        ("bytes=a-b", Selected::Whole),
        ("bytes=1-b", Selected::Whole),
        ("bytes=0-1,3-4", Selected::Whole),
        ("pages=0-1", Selected::Whole),
    ] {
        assert_eq!(selected(&[("range", text)]), expected, "{text}");
    }
    let head = testing::head(&[("range", "bytes=0-1")]);
    assert_eq!(
        select(&Method::HEAD, &head.headers, &testing::stored(TAGGED), Some(NOW)),
        Selected::Whole,
        "section 14.2: GET only"
    );
}

#[test]
fn a_part_has_to_fit_rfc_9110_13_1_5() {
    for (condition, fits) in [
        ("\"v\"", true),
        ("W/\"v\"", false),
        ("\"w\"", false),
        ("Sun, 06 Nov 1994 08:49:37 GMT", true),
        ("Sun, 06 Nov 1994 08:49:38 GMT", false),
        ("never", false),
    ] {
        let expected = if fits { Selected::Part(0, 2) } else { Selected::Whole };
        assert_eq!(selected(&[("range", "bytes=0-1"), ("if-range", condition)]), expected, "{condition}");
    }
}

#[test]
fn some_conditions_are_for_the_origin_rfc_9111_4_3_2() {
    assert!(is_for_origin(&testing::head(&[("if-match", "*")]).headers));
    assert!(is_for_origin(&testing::head(&[("if-unmodified-since", "x")]).headers));
    assert!(!is_for_origin(&testing::head(&[("if-none-match", "*")]).headers));
}
