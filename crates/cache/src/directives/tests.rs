//! Directives in all their forms, good and bad.

use super::*;

fn fields(name: HeaderName, lines: &[&str]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(name.clone(), line.parse().unwrap());
    }
    fields
}

fn said(lines: &[&str]) -> Said {
    Said::of(&fields(header::CACHE_CONTROL, lines), &[]).0
}

fn asked(lines: &[&str]) -> Asked {
    Asked::of(&fields(header::CACHE_CONTROL, lines))
}

#[test]
fn directives_are_read_whatever_their_case_lines_and_quotes_rfc_9111_5_2() {
    for lines in [
        &["max-age=60, public"][..],
        &["Max-Age=60,PUBLIC"],
        &["public", "max-age=60"],
        &[" , public ,, max-age=\"60\" ,"],
        &["public, max-age= 60"],
        &["ext=\"a, no-store\", public, max-age=60"],
        &["ext=\"a\\\", no-store\", public, max-age=60"],
    ] {
        let said = said(lines);
        assert_eq!((said.public, said.max_age, said.no_store), (true, Delta::Seconds(60), false), "{lines:?}");
    }
}

#[test]
fn numbers_that_cannot_be_read_make_stale_rfc_9111_4_2_1() {
    for text in ["max-age", "max-age=", "max-age=abc", "max-age=-1", "max-age=1.5", "max-age=60s", "max-age=\"\""] {
        assert_eq!(said(&[text]).max_age, Delta::Unreadable, "{text}");
    }
    assert_eq!(Delta::Unreadable.seconds(), Some(0));
}

#[test]
fn large_numbers_count_as_for_ever_rfc_9111_1_2_2() {
    for text in ["max-age=2147483648", "max-age=99999999999999999999999999"] {
        assert_eq!(said(&[text]).max_age, Delta::Seconds(FOREVER), "{text}");
    }
    assert_eq!(said(&["max-age=0060"]).max_age, Delta::Seconds(60));
}

#[test]
fn of_several_values_the_first_counts_rfc_9111_4_2_1() {
    assert_eq!(said(&["max-age=1, max-age=9"]).max_age, Delta::Seconds(1));
    assert_eq!(said(&["max-age=x", "max-age=9"]).max_age, Delta::Unreadable);
}

#[test]
fn some_directives_reach_fields_only_rfc_9111_5_2_2_4_and_7() {
    assert_eq!(said(&["no-cache"]).no_cache, Reach::Whole);
    assert_eq!(
        said(&["no-cache=\"x-a, X-B\""]).no_cache,
        Reach::Fields(vec!["x-a".parse().unwrap(), "x-b".parse().unwrap()])
    );
    assert_eq!(said(&["private=\"x-a\", private"]).private, Reach::Whole);
    assert_eq!(said(&["private=\"not a name\""]).private, Reach::Whole);
    assert_eq!(said(&["private=\"x-a\", no-cache=x-b"]).withheld().count(), 2);
}

#[test]
fn targeted_directives_take_the_place_of_all_others_rfc_9213_2_2() {
    let mut fields = fields(header::CACHE_CONTROL, &["no-store"]);
    fields.append("cdn-cache-control", "max-age=60".parse().unwrap());
    let (said, targeted) = Said::of(&fields, &[HeaderName::from_static("cdn-cache-control")]);
    assert!(targeted && !said.no_store && said.max_age == Delta::Seconds(60));
    fields.insert("cdn-cache-control", "".parse().unwrap());
    assert!(Said::of(&fields, &[HeaderName::from_static("cdn-cache-control")]).0.no_store, "an empty one says nothing");
}

#[test]
fn stale_is_forbidden_by_each_of_these_rfc_9111_4_2_4() {
    for text in ["must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache"] {
        assert!(said(&[text]).forbids_stale(), "{text}");
    }
    assert!(!said(&["max-age=1, no-cache=x-a, immutable"]).forbids_stale());
}

#[test]
fn requests_ask_too_rfc_9111_5_2_1() {
    let it = asked(&["no-store, no-cache, only-if-cached, max-age=5, min-fresh=6, max-stale=7"]);
    assert!(it.no_store && it.no_cache && it.only_if_cached);
    assert_eq!((it.max_age, it.min_fresh, it.max_stale), (Some(5), Some(6), Some(7)));
    assert_eq!(asked(&["max-stale"]).max_stale, Some(FOREVER));
    assert_eq!(asked(&["max-age=x"]).max_age, Some(0));
    assert_eq!(asked(&[]), Asked::default());
}

#[test]
fn pragma_counts_where_there_is_no_cache_control_rfc_9111_5_4() {
    let mut fields = fields(header::PRAGMA, &["no-cache"]);
    assert!(Asked::of(&fields).no_cache);
    fields.insert(header::CACHE_CONTROL, "max-age=5".parse().unwrap());
    assert!(!Asked::of(&fields).no_cache);
}

#[test]
fn what_is_said_to_cdns_is_a_dictionary_rfc_9213_2_1() {
    let cdn = |lines: &[&str]| {
        let mut fields = fields(HeaderName::from_static("cdn-cache-control"), lines);
        fields.insert(header::CACHE_CONTROL, "private".parse().unwrap());
        Said::of(&fields, &[HeaderName::from_static("cdn-cache-control")])
    };
    let (said, targeted) = cdn(&["no-store;x=1", "max-age=60;y"]);
    assert!((said.no_store, said.max_age, targeted) == (true, Delta::Seconds(60), true), "parameters are passed over");
    assert_eq!(cdn(&["max-age=1, max-age=9"]).0.max_age, Delta::Seconds(9), "the last one counts");
    assert!(!cdn(&["no-store=?0, max-age=60"]).0.no_store);
    for none in ["", "max-age=", "max-age=60,,", "Max-Age=60", "max-age=60, \"x"] {
        assert_eq!(cdn(&[none]), (Said { private: Reach::Whole, ..Said::default() }, false), "{none:?} does not count");
    }
}

#[test]
fn of_several_targets_the_first_that_is_valid_counts_rfc_9213_2_2() {
    let [own, cdn] = ["maitred-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    let seconds = |lines: &[(&HeaderName, &str)], targets: &[HeaderName]| {
        let mut fields = HeaderMap::new();
        fields.insert(header::CACHE_CONTROL, "max-age=1".parse().unwrap());
        for (name, line) in lines {
            fields.append(*name, line.parse().unwrap());
        }
        Said::of(&fields, targets).0.max_age.seconds()
    };
    let both = [own.clone(), cdn.clone()];
    for (lines, targets, expected) in [
        (&[(&cdn, "max-age=2"), (&own, "max-age=3")][..], &both[..], 3),
        (&[(&cdn, "max-age=2"), (&own, "max-age=3")], &both[1..], 2),
        (&[(&cdn, "max-age=2"), (&own, "max-age=3")], &[], 1),
        (&[(&cdn, "max-age=2")], &both, 2),
        (&[(&cdn, "max-age=2"), (&own, "")], &both, 2),
        (&[(&cdn, "max-age=2"), (&own, "max-age=3, max age")], &both, 2),
        (&[(&cdn, "=2"), (&own, "?")], &both, 1),
        (&[(&own, "public"), (&own, "max-age=3")], &both, 3),
    ] {
        assert_eq!(seconds(lines, targets), Some(expected), "{lines:?} {targets:?}");
    }
}
