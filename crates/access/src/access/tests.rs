//! What may enter, and what may not.

use bytes::Bytes;
use document::{At, Code, Report};
use filter::{Captures, Client, Inspect};
use pingora_http::RequestHeader;

use super::*;

fn access(json: &str) -> Access {
    let config = serde_json::from_str(json).unwrap();
    Access::compile(&config, &At::root().key("routes").key("a"), &mut Report::new()).unwrap()
}

/// What is said of a request with this head.
fn said<T>(head: &RequestHeader, says: impl FnOnce(&View<'_>) -> T) -> T {
    let (client, captures) = (Client::local("public".into()), Captures::new());
    says(&View {
        generation: 1,
        identity: None,
        head,
        client: &client,
        host: "",
        path: "/",
        query: None,
        captures: &captures,
    })
}

fn judged(json: &str, head: &RequestHeader) -> Option<Reason> {
    let access = access(json);
    let verdict = said(head, |view| access.judge(view)).err().map(|reply| reply.reason);
    assert_eq!(said(head, |view| access.admit(view)).err().map(|reply| reply.reason), verdict);
    verdict
}

fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("POST", b"/", None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

#[test]
fn a_body_that_announces_too_much_is_refused() {
    let length = |length: &str| request(&[("Content-Length", length)]);
    let ten = 10 * 1024 * 1024;
    assert_eq!(judged("{}", &length(&ten.to_string())), None);
    assert_eq!(judged("{}", &length(&(ten + 1).to_string())), Some(Reason::BodyTooLarge));
    assert_eq!(judged(r#"{ "max_body": "1B" }"#, &length("2")), Some(Reason::BodyTooLarge));
    assert_eq!(judged(r#"{ "max_body": "0B" }"#, &length("0")), None);
    assert_eq!(judged(r#"{ "max_body": false }"#, &length("99999999999")), None);
    assert_eq!(judged("{}", &length("99999999999999999999999")), Some(Reason::BodyTooLarge));
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    for values in [&["5", "6"][..], &["5,6"], &["-1"], &["+5"], &["5x"], &[""], &["5,"]] {
        let fields: Vec<_> = values.iter().map(|value| ("Content-Length", *value)).collect();
        assert_eq!(judged("{}", &request(&fields)), Some(Reason::BadRequest), "{values:?}");
    }
    assert_eq!(judged("{}", &request(&[("Content-Length", "5, 5"), ("Content-Length", "5")])), None);
}

#[test]
fn long_targets_are_refused() {
    let long =
        |length: usize| RequestHeader::build("GET", format!("/{}", "a".repeat(length - 1)).as_bytes(), None).unwrap();
    assert_eq!(judged("{}", &long(8192)), None);
    assert_eq!(judged("{}", &long(8193)), Some(Reason::UrlTooLong));
    assert_eq!(judged(r#"{ "max_url": "16B" }"#, &long(17)), Some(Reason::UrlTooLong));
}

#[test]
fn large_heads_are_refused() {
    let value = "v".repeat(100);
    assert_eq!(judged(r#"{ "max_header": "107B" }"#, &request(&[("abc", &value)])), None);
    assert_eq!(judged(r#"{ "max_header": "106B" }"#, &request(&[("abc", &value)])), Some(Reason::HeaderTooLarge));
    assert_eq!(judged("{}", &request(&vec![("a", "b"); 100])), None);
    assert_eq!(judged("{}", &request(&vec![("a", "b"); 101])), Some(Reason::HeaderTooLarge));
}

#[test]
fn the_only_expectation_is_to_continue() {
    assert_eq!(judged("{}", &request(&[("Expect", "100-Continue")])), None);
    assert_eq!(judged("{}", &request(&[("Expect", "200-ok")])), Some(Reason::BadExpectation));
    assert_eq!(judged("{}", &request(&[("Expect", "100-continue, x")])), Some(Reason::BadExpectation));
    let mut old = request(&[("Expect", "200-ok")]);
    old.set_version(Version::HTTP_10);
    assert_eq!(judged("{}", &old), None);
}

#[test]
fn the_only_transfer_coding_is_chunked() {
    assert_eq!(judged("{}", &request(&[("Transfer-Encoding", "Chunked")])), None);
    for values in [&["gzip, chunked"][..], &["chunked", "chunked"], &["identity"], &["chunked;x=1"], &["\u{b}chunked"]]
    {
        let mut head = request(&[]);
        for value in values {
            let _ = head.append_header("Transfer-Encoding", *value);
        }
        let expected = if head.headers.is_empty() { None } else { Some(Reason::BadRequest) };
        assert_eq!(judged("{}", &head), expected, "{values:?}");
    }
}

#[test]
fn connection_may_not_name_half_the_alphabet() {
    assert_eq!(judged("{}", &request(&[("Connection", &vec!["a"; 32].join(","))])), None);
    assert_eq!(judged("{}", &request(&[("Connection", &vec!["a"; 33].join(","))])), Some(Reason::BadRequest));
}

#[test]
fn a_body_of_unknown_length_ends_where_it_is_too_large() {
    let mut limit = access(r#"{ "max_body": "5B" }"#).body_limit().unwrap();
    let mut pass = |text: &'static str, last| limit.chunk(&mut Some(Bytes::from_static(text.as_bytes())), last).is_ok();
    assert!(pass("abc", false) && pass("", false) && pass("de", false));
    assert!(!pass("f", false) && !pass("g", true));
    let mut limit = access(r#"{ "max_body": "0B" }"#).body_limit().unwrap();
    assert!(limit.chunk(&mut None, true).is_ok());
    assert_eq!(access(r#"{ "max_body": false }"#).body_limit(), None);
    assert_eq!(access("{}").max_body(Mode::Enforce), Some(10 << 20));
}

/// What of a request is refused, and what in shadow would be.
fn both(json: &str, head: &RequestHeader) -> (Option<Reason>, Reason) {
    (judged(json, head), said(head, |view| access(json).would_refuse(view)))
}

#[test]
fn what_is_in_shadow_passes_and_what_is_not_is_kept_to() {
    let large = request(&[("Content-Length", "2"), ("Content-Type", "text/plain"), ("a", "b")]);
    let shadow = |size: &str| format!(r#"{{ "size": "{size}", "mode": "shadow" }}"#);
    let one = shadow("1B");
    for (key, written, reason) in [
        ("max_body", one.as_str(), Reason::BodyTooLarge),
        ("max_header", &one, Reason::HeaderTooLarge),
        ("max_url", &one, Reason::None),
        ("content_type", r#"{ "allow": "image/*", "mode": "shadow" }"#, Reason::ContentTypeRefused),
        ("content_type", r#"{ "allow": ["text/plain"], "mode": "shadow" }"#, Reason::None),
    ] {
        assert_eq!(both(&format!(r#"{{ "{key}": {written} }}"#), &large), (None, reason), "{key}");
    }
    let mixed = format!(r#"{{ "max_body": "1B", "max_header": {one} }}"#);
    assert_eq!(both(&mixed, &large), (Some(Reason::BodyTooLarge), Reason::HeaderTooLarge));
    let enforced = r#"{ "max_body": { "size": "1B", "mode": "enforce" } }"#;
    assert_eq!(both(enforced, &large), (Some(Reason::BodyTooLarge), Reason::None));
    // Framing and the number of fields are nobody's to try out.
    let contrary = request(&[("Content-Length", "1"), ("Content-Length", "2")]);
    assert_eq!(both(&format!(r#"{{ "max_body": {one} }}"#), &contrary), (Some(Reason::BadRequest), Reason::None));
    let endless = RequestHeader::build("GET", format!("/{}", "a".repeat(63 << 10)).as_bytes(), None).unwrap();
    let told = both(&format!(r#"{{ "max_url": {one} }}"#), &endless);
    assert_eq!(told, (Some(Reason::UrlTooLong), Reason::UrlTooLong));
    let many = request(&vec![("a", "b"); 101]);
    assert_eq!(both(&format!(r#"{{ "max_header": {} }}"#, shadow("256KiB")), &many).0, Some(Reason::HeaderTooLarge));
    assert_eq!(access(&format!(r#"{{ "max_body": {one} }}"#)).max_body(Mode::Enforce), None);
    assert_eq!(access(&format!(r#"{{ "max_body": {one} }}"#)).body_limit().unwrap().mode(), Mode::Shadow);
}

#[test]
fn limits_beyond_what_can_be_read_are_mistakes() {
    let config = serde_json::from_str(r#"{ "max_header": "1MiB", "max_url": "0B" }"#).unwrap();
    let mut report = Report::new();
    assert_eq!(Access::compile(&config, &At::root(), &mut report), None);
    let codes: Vec<_> = report.diagnostics().iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::E0103, Code::E0103]);
}
