//! What people type, and what is meant by it.

use super::*;

fn read(text: &str) -> (String, Option<Scheme>, Option<String>, String) {
    let request = Request::parse(text).unwrap_or_else(|mistake| panic!("{text}: {}", mistake.problem));
    let Request { method, scheme, authority, target } = request;
    (method.to_string(), scheme, authority.map(Into::into), target.into())
}

#[test]
fn urls_paths_and_hosts_with_paths_are_requests() {
    let get = |scheme, host: Option<&str>, target: &str| ("GET".into(), scheme, host.map(Into::into), target.into());
    assert_eq!(read("/orders?x=1"), get(None, None, "/orders?x=1"));
    assert_eq!(read("GET /orders"), get(None, None, "/orders"));
    assert_eq!(read("get api.example.com/orders"), get(None, Some("api.example.com"), "/orders"));
    assert_eq!(read("https://a.test:8443/x"), get(Some(Scheme::Https), Some("a.test:8443"), "/x"));
    assert_eq!(read("http://a.test?x"), get(Some(Scheme::Http), Some("a.test"), "/?x"));
    assert_eq!(read("HTTP://[::1]:80/"), get(Some(Scheme::Http), Some("[::1]:80"), "/"));
    assert_eq!(read("DELETE /a//b/%2e").0, "DELETE");
    let host_and_port = |text: &str| {
        let request = Request::parse(text).unwrap();
        (request.host().map(str::to_owned), request.port())
    };
    assert_eq!(host_and_port("https://a.test:8443/x"), (Some("a.test".into()), Some(8443)));
    assert_eq!(host_and_port("http://[::1]/x"), (Some("[::1]".into()), None));
    assert_eq!(host_and_port("http://[::1]:81/x"), (Some("[::1]".into()), Some(81)));
    assert_eq!(host_and_port("/x"), (None, None));
}

#[test]
fn what_is_no_request_is_told_how_to_be_one() {
    for (text, part) in [
        ("", "nothing"),
        ("GET /a b", "more than"),
        ("orders", "neither a URL nor a path"),
        ("ftp://a.test/x", "not by `ftp`"),
        ("https://user:secret@a.test/", "no user name"),
        ("https:///x", "no host"),
        ("https://a.test:99999/", "no host"),
        ("G(T /x", "no method"),
        ("/a#b", "no fragment"),
        ("/grün", "cannot stand"),
    ] {
        let mistake = Request::parse(text).expect_err(text);
        assert!(mistake.problem.contains(part), "{text}: {}", mistake.problem);
        assert!(!mistake.help.is_empty());
    }
}

#[test]
fn a_head_names_one_host() {
    let head = |text: &str, fields: &[(HeaderName, HeaderValue)]| {
        let head = Request::parse(text).unwrap().head("localhost", fields).unwrap();
        head.headers.get_all("host").iter().map(|host| host.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(head("/x", &[]), ["localhost"]);
    assert_eq!(head("http://a.test/x", &[]), ["a.test"]);
    assert_eq!(head("http://a.test/x", &[(header::HOST, HeaderValue::from_static("b.test"))]), ["b.test"]);
}
