//! What an answer becomes when it is kept, and when it is made fresh.

use bytes::Bytes;

use super::*;
use crate::{CacheTable, testing};

fn whole() -> Arc<Content> {
    let content = Content::growing(None, 100, crate::room::Place::default());
    content.put_now(Bytes::from_static(b"x"));
    content.finish(Ok(()));
    content
}

const TIMES: Times = Times { asked: testing::NOW, answered: testing::NOW };

fn fresh(old: &Stored, update: &[(&'static str, &str)]) -> Option<Stored> {
    let policy = testing::policy(CacheTable::default());
    let request = testing::head(&[]);
    testing::viewed(&request, "/a", None, |view| {
        let head = testing::answer(304, update);
        old.freshened(Fetched { head, request: view, times: TIMES }, &policy).map(|(stored, _)| stored)
    })
}

#[test]
fn a_304_updates_all_but_what_is_about_the_content_rfc_9111_3_2() {
    let old = testing::stored(&[
        ("etag", "\"v\""),
        ("cache-control", "max-age=1"),
        ("content-type", "text/plain"),
        ("x-two", "1"),
        ("x-kept", "1"),
    ]);
    let update = [
        ("etag", "\"v\""),
        ("cache-control", "max-age=60"),
        ("content-type", "text/html"),
        ("content-length", "99"),
        ("content-encoding", "gzip"),
        ("x-two", "2"),
        ("x-two", "3"),
        ("x-new", "1"),
    ];
    let new = fresh(&old, &update).unwrap();
    let all = |name: &str| new.head().headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(new.status(), 200);
    assert_eq!(all("content-type"), ["text/plain"]);
    assert!(all("content-length").is_empty() && all("content-encoding").is_empty());
    assert_eq!((all("x-two"), all("x-kept"), all("x-new")), (vec!["2", "3"], vec!["1"], vec!["1"]));
    assert_eq!(new.left(testing::NOW), 60_000);
}

#[test]
fn a_cookie_of_a_304_is_for_its_requester_alone_rfc_9111_5_2_2_7() {
    let old = testing::stored(&[("etag", "\"v\""), ("cache-control", "max-age=1")]);
    let policy = testing::policy(CacheTable::default());
    let request = testing::head(&[]);
    for (control, told) in [
        ("max-age=60, private=\"set-cookie, x-user\"", vec!["set-cookie: s=1", "set-cookie: t=2", "x-user: me"]),
        ("max-age=60, no-cache=\"Set-Cookie\"", vec!["set-cookie: s=1", "set-cookie: t=2"]),
        ("max-age=60", vec![]),
    ] {
        let (stored, kept) = testing::viewed(&request, "/a", None, |view| {
            let lines = [("cache-control", control), ("set-cookie", "s=1"), ("set-cookie", "t=2"), ("x-user", "me")];
            let head = testing::answer(304, &lines);
            old.freshened(Fetched { head, request: view, times: TIMES }, &policy).unwrap()
        });
        let line = |(name, value): (HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut withheld: Vec<String> = kept.unwrap().into_iter().map(line).collect();
        withheld.sort();
        assert_eq!(withheld, told, "{control}");
        assert!(!stored.head().headers.contains_key("set-cookie"), "{control}");
    }
}

#[test]
fn a_304_about_something_else_updates_nothing_rfc_9111_4_3_4() {
    let (one, other) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT");
    let (strong, weak, dated) = (("etag", "\"v\""), ("etag", "W/\"v\""), ("last-modified", one));
    for (kept, update, is_meant) in [
        (&[strong][..], &[strong][..], true),
        (&[strong], &[("etag", "\"w\"")], false),
        (&[strong], &[weak], true),
        (&[strong], &[("etag", "W/\"w\"")], false),
        (&[weak], &[weak], true),
        (&[weak], &[("etag", "W/\"w\"")], false),
        // A strong tag in the update selects by itself, and what is kept has none.
        (&[weak], &[strong], false),
        (&[dated], &[weak], false),
        (&[dated], &[dated], true),
        (&[dated], &[("last-modified", other)], false),
        (&[strong, dated], &[strong, ("last-modified", other)], true),
        (&[strong, dated], &[("etag", "W/\"w\""), dated], false),
        (&[strong], &[dated], true),
        (&[strong, dated], &[], true),
    ] {
        let kept = [kept, &[("cache-control", "max-age=1")]].concat();
        assert_eq!(fresh(&testing::stored(&kept), update).is_some(), is_meant, "{kept:?} {update:?}");
    }
}

#[test]
fn fields_for_one_user_are_not_kept_rfc_9111_5_2_2_7() {
    let stored = testing::stored(&[
        ("cache-control", "max-age=60, private=\"x-user\", no-cache=\"x-fresh\""),
        ("x-user", "me"),
        ("x-fresh", "1"),
        ("age", "5"),
        ("content-length", "1"),
    ]);
    for gone in ["x-user", "x-fresh", "age", "content-length"] {
        assert!(!stored.head().headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn an_encoded_answer_is_for_who_can_decode_it() {
    let policy = testing::policy(CacheTable::default());
    let request = testing::head(&[("accept-encoding", "gzip, deflate")]);
    testing::viewed(&request, "/a", None, |view| {
        let head = testing::answer(200, &[("content-encoding", "gzip"), ("cache-control", "max-age=60")]);
        let (stored, _) = Stored::new(Fetched { head, request: view, times: TIMES }, whole(), &policy);
        let for_whom = |accepts: &str| stored.is_for(&testing::head(&[("accept-encoding", accepts)]).headers);
        assert!(for_whom("gzip") && for_whom("GZIP;q=0.5, identity"));
        assert!(!for_whom("br") && !for_whom("gzip;q=0") && !for_whom("gzip, br"));
        assert!(!stored.is_for(&testing::head(&[]).headers));
    });
}

#[test]
fn what_is_larger_than_may_be_is_not_kept() {
    let policy = testing::policy(CacheTable { max_object: Some(document::Size(10)), ..CacheTable::default() });
    let request = testing::head(&[]);
    testing::viewed(&request, "/a", None, |view| {
        let head = || testing::answer(200, &[("cache-control", "max-age=60")]);
        let kept = |length| {
            Stored::new(
                Fetched { head: head(), request: view, times: TIMES },
                Content::growing(Some(length), 10, crate::room::Place::default()),
                &policy,
            )
            .1
        };
        assert_eq!((kept(10), kept(11)), (Ok(Vec::new()), Err(Unkept::TooLarge)));
    });
}

#[test]
fn an_answer_without_a_date_is_of_when_it_came_rfc_9110_6_6_1() {
    let old = testing::stored(&[
        ("etag", "\"v\""),
        ("cache-control", "max-age=60"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ]);
    let new = fresh(&old, &[("etag", "\"v\"")]).unwrap();
    assert_eq!(new.left(testing::NOW), 60_000);
    assert!(freshness::date(&new.head().headers, &header::DATE).is_some_and(|date| testing::NOW - date < 1000));
}
