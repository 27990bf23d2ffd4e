//! What may be kept, each with its section.

use super::*;
use crate::{CacheConfig, CacheTable};

fn judged(asking: Asking, status: u16, lines: &[(&str, &str)], table: CacheTable) -> Result<(), Unkept> {
    let mut report = document::Report::new();
    let policy = Policy::compile(&CacheConfig::from(table), "r", "", None, false, &document::At::root(), &mut report);
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let policy = policy.unwrap();
    let (said, targeted) = Said::of(&fields, policy.targeted());
    judge(asking, StatusCode::from_u16(status).unwrap(), (&said, targeted), &fields, &policy)
}

fn plain(status: u16, lines: &[(&str, &str)]) -> Result<(), Unkept> {
    judged(Asking::default(), status, lines, CacheTable::default())
}

#[test]
fn some_answers_are_nobodys_to_keep_rfc_9111_3() {
    for (lines, why) in [
        (&[("cache-control", "no-store")][..], Unkept::NoStore),
        (&[("cache-control", "max-age=60, NO-STORE")], Unkept::NoStore),
        (&[("cache-control", "private, max-age=60")], Unkept::Private),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], Unkept::Cookie),
        (&[("cache-control", "max-age=60"), ("vary", "accept, *")], Unkept::Vary),
        (&[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/2")], Unkept::Status),
    ] {
        assert_eq!(plain(200, lines), Err(why), "{lines:?}");
    }
    assert_eq!(plain(200, &[("cache-control", "private=\"x-user\", max-age=60")]), Ok(()));
}

#[test]
fn what_an_answer_is_told_apart_and_purged_by_cannot_be_withheld_rfc_9111_5_2_2_4() {
    let table = || CacheTable { tags: Some(document::OneOrMany(vec!["Cache-Tag".into()])), ..CacheTable::default() };
    for name in ["Vary", "cache-tag", "Cache-Groups", "content-encoding"] {
        for directive in ["private", "no-cache"] {
            let said = format!("max-age=60, {directive}=\"x-user, {name}\"");
            let lines = [("cache-control", &*said), (name, "gzip"), ("x-user", "me")];
            assert_eq!(judged(Asking::default(), 200, &lines, table()), Err(Unkept::Private), "{said}");
            let without = [lines[0], lines[2]];
            assert_eq!(judged(Asking::default(), 200, &without, table()), Ok(()), "{said}");
        }
    }
    // Nobody goes by the tags that the route does not name.
    let lines = [("cache-control", "max-age=60, private=\"cache-tag\""), ("cache-tag", "a")];
    assert_eq!(plain(200, &lines), Ok(()));
}

#[test]
fn a_vary_that_nobody_can_read_is_by_anything_rfc_9110_12_5_5() {
    let varied = |vary: &[&str]| {
        let lines: Vec<_> = vary.iter().map(|line| ("vary", *line)).collect();
        plain(200, &[&[("cache-control", "max-age=60")][..], &*lines].concat())
    };
    for vary in ["Accept-Language Cookie", "Cookie;", "\"Cookie\"", "Accept, Cookie: x", "*", " * "] {
        assert_eq!(varied(&[vary]), Err(Unkept::Vary), "{vary}");
        assert_eq!(varied(&["Accept", vary]), Err(Unkept::Vary), "{vary}");
    }
    for vary in ["", ",", "Accept, , Cookie,", " Accept\t,Cookie "] {
        assert_eq!(varied(&[vary]), Ok(()), "{vary}");
    }
}

#[test]
fn the_request_has_a_word_rfc_9111_3_5_and_5_2_1_5() {
    let fresh = &[("cache-control", "max-age=60")][..];
    let no_store = Asking { no_store: true, ..Asking::default() };
    assert_eq!(judged(no_store, 200, fresh, CacheTable::default()), Err(Unkept::NoStore));
    let authorized = Asking { authorized: true, ..Asking::default() };
    assert_eq!(judged(authorized, 200, fresh, CacheTable::default()), Err(Unkept::Authorization));
    for leave in ["public", "must-revalidate", "s-maxage=60"] {
        assert_eq!(judged(authorized, 200, &[("cache-control", leave)], CacheTable::default()), Ok(()), "{leave}");
    }
}

#[test]
fn a_status_has_to_be_known_or_its_freshness_told_rfc_9111_3() {
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(plain(status, &[]), Ok(()), "{status}");
    }
    for status in [201, 302, 303, 307, 400, 403, 500, 503] {
        assert_eq!(plain(status, &[]), Err(Unkept::NoFreshness), "{status}");
        assert_eq!(plain(status, &[("cache-control", "max-age=60")]), Ok(()), "{status}");
        assert_eq!(plain(status, &[("expires", "Thu, 01 Jan 2099 00:00:00 GMT")]), Ok(()), "{status}");
    }
    for status in [206, 304] {
        assert_eq!(plain(status, &[("cache-control", "max-age=60")]), Err(Unkept::Status), "{status}");
    }
    let table = || CacheTable {
        status: Some([("5xx".to_owned(), document::Duration::seconds(1))].into()),
        ..CacheTable::default()
    };
    assert_eq!(judged(Asking::default(), 503, &[], table()), Ok(()));
}

#[test]
fn who_must_understand_has_to_rfc_9111_5_2_2_3() {
    let lines = &[("cache-control", "must-understand, no-store, max-age=60")][..];
    assert_eq!(plain(200, lines), Ok(()));
    assert_eq!(plain(599, lines), Err(Unkept::NoStore));
    assert_eq!(plain(599, &[("cache-control", "must-understand, max-age=60")]), Err(Unkept::NoStore));
    assert_eq!(plain(599, &[("cache-control", "max-age=60")]), Ok(()));
}

#[test]
fn what_is_said_to_such_caches_alone_counts_instead_of_expires_rfc_9213_2_2() {
    let expires = ("expires", "Thu, 01 Jan 2099 00:00:00 GMT");
    assert_eq!(plain(302, &[expires, ("cdn-cache-control", "must-revalidate")]), Err(Unkept::NoFreshness));
    assert_eq!(plain(302, &[expires, ("cdn-cache-control", "")]), Ok(()), "an empty one does not count");
}

#[test]
fn what_is_about_one_request_alone_says_nothing_of_others() {
    for status in (100..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
        let is_so = [400, 401, 403, 407, 408, 417, 421, 425, 429, 431].contains(&status.as_u16());
        assert_eq!(is_about_the_request(status), is_so, "{status}");
    }
}

#[test]
fn a_class_does_not_mean_those_that_are_about_one_request() {
    let table = |status: &str, replace| CacheTable {
        status: Some([(status.to_owned(), document::Duration::seconds(9))].into()),
        replace: Some(replace),
        ..CacheTable::default()
    };
    for code in [400, 401, 403, 407, 408, 417, 421, 425, 429, 431] {
        for replace in [false, true] {
            let judged = |status: &str| judged(Asking::default(), code, &[], table(status, replace));
            assert_eq!(judged("4xx"), Err(Unkept::NoFreshness), "{code}");
            assert_eq!(judged(&code.to_string()), Ok(()), "{code} by its own number");
        }
    }
    for code in [402, 404, 405, 406, 409, 410, 418, 451] {
        assert_eq!(judged(Asking::default(), code, &[], table("4xx", false)), Ok(()), "{code}");
    }
}
