//! Where redirects lead, and where they must not.

use super::*;
use crate::testing::{names, told, view};

fn compile(written: &str) -> Result<Redirect, Vec<String>> {
    let mut report = Report::new();
    let written: RedirectConfig = serde_json::from_str(written).unwrap();
    let compiled =
        Redirect::compile(&written, filter::template::Scope::all(&names(&["id", "rest"])), &At::root(), &mut report);
    assert_eq!(compiled.is_none(), report.has_errors());
    compiled.ok_or_else(|| told(&report))
}

fn answer(written: &str, target: &str, captured: &[&str]) -> (u16, String) {
    let redirect = compile(written).unwrap();
    let reply = view(target, captured, |view| redirect.admit(view).unwrap_err());
    let location = reply.headers.iter().find(|(name, _)| *name == header::LOCATION);
    (reply.status.as_u16(), location.map_or_else(String::new, |(_, value)| value.to_str().unwrap().to_string()))
}

fn location(to: &str) -> String {
    answer(&format!("{to:?}"), "/old/7/x?a=1", &["7", "/x"]).1
}

#[test]
fn the_location_is_filled_in_and_the_query_kept_unless_there_is_one() {
    assert_eq!(location("https://new.example.com{path}"), "https://new.example.com/old/7/x?a=1");
    assert_eq!(location("https://new.example.com"), "https://new.example.com/?a=1");
    assert_eq!(location("{scheme}://{host}:8443/v2{rest}"), "http://api.example.com:8443/v2/x?a=1");
    assert_eq!(location("https://www.{host}{path}"), "https://www.api.example.com/old/7/x?a=1");
    assert_eq!(location("/new/{id}"), "/new/7?a=1");
    assert_eq!(location("/new?id={id}"), "/new?id=7");
    assert_eq!(location("/new?t={header.X-Tenant}"), "/new?t=a%26b%20%3Cc%3E%22/..");
    assert_eq!(location("/new?{query}&b=2"), "/new?a=1&b=2");
    assert_eq!(location("/new?"), "/new");
    assert_eq!(location("/new#top"), "/new?a=1#top");
    assert_eq!(location("/größe?ä=ö#ü"), "/gr%C3%B6%C3%9Fe?%C3%A4=%C3%B6#%C3%BC");
}

#[test]
fn the_status_is_308_unless_given() {
    assert_eq!(answer(r#""/new""#, "/", &[]), (308, "/new".into()));
    assert_eq!(answer(r#"{ "to": "/new", "status": 302 }"#, "/", &[]), (302, "/new".into()));
}

#[test]
fn no_request_chooses_where_it_is_sent() {
    // The path of /old//evil.com and the like is normalised, and what is left cannot make two slashes.
    assert_eq!(answer(r#""/{rest}""#, "/old/evil.com", &["", "/evil.com"]).1, "/evil.com");
    assert_eq!(answer(r#""{rest}""#, "/old", &["", ""]).1, "/");
    assert_eq!(answer(r#""/{header.X-Absent}{rest}""#, "/old/evil.com", &["", "/evil.com"]).1, "/evil.com");
    for to in [
        "https://new.example.com{id}",
        "https://{id}/x",
        "https://{header.Host}/",
        "https://a@b/",
        "https://{host}.{id}/",
        "//evil.com/{path}",
        "{id}",
        "{query.next}",
        "evil.com",
        "javascript:alert(1)",
        "javascript://x/",
        "https:///x",
        "",
        "{path}",
    ] {
        assert!(compile(&format!("{to:?}")).is_err(), "{to}");
    }
}

#[test]
fn line_breaks_never_reach_the_head() {
    assert_eq!(location("/a?b\r\nX: c#d\n"), "/a?b%0D%0AX:%20c#d%0A");
    assert!(compile(r#""/a\r\nX: b""#).is_err());
    let redirect = compile(r#""/new""#).unwrap();
    let reply = view("/?a\r\nX: b\0", &[], |view| redirect.admit(view).unwrap_err());
    assert_eq!(reply.headers[0].1, "/new?a%0D%0AX:%20b%00");
}

#[test]
fn mistakes_are_reported() {
    assert_eq!(compile("{}").unwrap_err(), ["E0106: a redirect needs a location (`to` is missing)"]);
    assert_eq!(
        compile(r#"{ "to": "https://new.example.com{id}", "status": 200 }"#).unwrap_err(),
        [
            "E0103: 200 is not the status of a redirect (expected 301, 302, 303, 307 or 308)",
            "E0108: a redirect's location is not safe or not complete (a request could choose the host with this)",
        ]
    );
    assert_eq!(compile(r#""/{nope}""#).unwrap_err(), ["E0109: there is no placeholder `{nope}` (`{nope}`)"]);
}
