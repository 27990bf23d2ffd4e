//! Preflights and actual answers.

use document::{At, Report};
use filter::{Captures, Client};

use super::*;

fn cors(json: &str) -> Cors {
    let mut report = Report::new();
    let config = serde_json::from_str(json).unwrap();
    Cors::compile(&config, &At::root().key("cors"), &mut report).unwrap_or_else(|| panic!("{report:?}"))
}

fn request(method: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build(method, b"/", None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

fn with_view<T>(head: &RequestHeader, then: impl FnOnce(&View<'_>) -> T) -> T {
    let (client, captures) = (Client::local("public".into()), Captures::new());
    then(&View {
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

/// The fields of the answer to a preflight from `origin`, sorted.
fn preflight(json: &str, origin: &str, more: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let mut fields = vec![("Origin", origin), ("Access-Control-Request-Method", "PUT")];
    fields.extend(more);
    let reply = with_view(&request("OPTIONS", &fields), |view| cors(json).admit(view)).unwrap_err();
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert!(matches!(reply.body, Body::Empty));
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let mut fields: Vec<_> = reply.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    fields.sort();
    fields
}

/// The fields of an actual answer to `origin`, which the origin server gave `fields`.
fn answered(json: &str, origin: Option<&str>, fields: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let asked = origin.map(|origin| ("Origin", origin));
    let mut head = ResponseHeader::build(500, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    with_view(&request("GET", asked.as_slice()), |view| {
        let cors = cors(json);
        assert!(cors.admit(view).is_ok());
        cors.amend(&mut head, view);
    });
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let mut fields: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    fields.sort();
    fields
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const APP: &str = "https://app.example.com";
const THREE: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

#[test]
fn a_preflight_is_answered_in_full() {
    let json = r#"{ "origins": "https://app.example.com", "methods": ["GET", "PUT"], "headers": ["X-A", "X-B"],
                    "credentials": true, "max_age": "10m", "expose": "X-C" }"#;
    let expected = [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "X-A, X-B"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-origin", APP),
        ("access-control-max-age", "600"),
        ("vary", THREE),
    ];
    assert_eq!(preflight(json, APP, &[]), pairs(&expected));
}

#[test]
fn a_stranger_is_told_nothing() {
    let json = r#"{ "origins": "https://app.example.com", "private_network": true }"#;
    let more = [("Access-Control-Request-Private-Network", "true")];
    let vary = format!("{THREE}, Access-Control-Request-Private-Network");
    assert_eq!(preflight(json, "https://evil.test", &more), pairs(&[("vary", &vary)]));
}

#[test]
fn a_star_permits_what_is_asked_for_if_it_can_be_sent_back() {
    let json = r#"{ "origins": "*", "methods": "*", "headers": "*" }"#;
    let found = preflight(json, "https://any.test", &[("Access-Control-Request-Headers", "x-a, x-b")]);
    let expected = [
        ("access-control-allow-headers", "x-a, x-b"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-origin", "*"),
        ("vary", THREE),
    ];
    assert_eq!(found, pairs(&expected));
    let found = preflight(json, "https://any.test", &[("Access-Control-Request-Headers", "x-a; <b>")]);
    assert!(!found.iter().any(|(name, _)| name == "access-control-allow-headers"));
}

#[test]
fn defaults_are_the_usual_methods_and_two_headers() {
    let found = preflight(r#"{ "origins": "*" }"#, "https://any.test", &[]);
    assert!(found.contains(&("access-control-allow-headers".into(), "Authorization, Content-Type".into())));
    assert!(found.iter().any(|(name, value)| name == "access-control-allow-methods" && value.contains("PATCH")));
    assert!(!found.iter().any(|(name, _)| name == "access-control-max-age"));
}

#[test]
fn a_private_network_opens_only_where_it_is_asked_and_allowed() {
    let asks = [("Access-Control-Request-Private-Network", "true")];
    let opens = |json: &str, more: &[(&'static str, &str)]| {
        preflight(json, APP, more).iter().any(|(name, _)| name == "access-control-allow-private-network")
    };
    assert!(opens(r#"{ "origins": "*", "private_network": true }"#, &asks));
    assert!(!opens(r#"{ "origins": "*", "private_network": true }"#, &[]));
    assert!(!opens(r#"{ "origins": "*" }"#, &asks));
}

#[test]
fn an_options_request_that_is_no_preflight_passes() {
    for fields in [&[][..], &[("Origin", APP)], &[("Access-Control-Request-Method", "PUT")]] {
        assert!(with_view(&request("OPTIONS", fields), |view| cors(r#"{ "origins": "*" }"#).admit(view)).is_ok());
    }
    let asked = [("Origin", APP), ("Access-Control-Request-Method", "PUT")];
    assert_eq!(preflight_method(&request("OPTIONS", &asked)), Some(Method::PUT));
    assert_eq!(preflight_method(&request("GET", &asked)), None);
}

#[test]
fn actual_answers_have_our_fields_and_none_of_the_origin_servers() {
    let json = r#"{ "origins": "https://app.example.com", "credentials": true, "expose": ["X-Request-Id", "ETag"] }"#;
    let upstream = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Origin", "https://old.test"),
        ("Access-Control-Allow-Methods", "TRACE"),
        ("Vary", "Accept-Encoding"),
    ];
    let expected = [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-origin", APP),
        ("access-control-expose-headers", "X-Request-Id, ETag"),
        ("vary", "Accept-Encoding"),
        ("vary", "Origin"),
    ];
    assert_eq!(answered(json, Some(APP), &upstream), pairs(&expected));
    assert_eq!(answered(json, Some("https://evil.test"), &upstream), pairs(&expected[3..]));
    assert_eq!(answered(json, None, &upstream), pairs(&expected[3..]));
}

#[test]
fn vary_is_not_repeated() {
    let json = r#"{ "origins": "https://app.example.com" }"#;
    for vary in ["origin", "Accept, ORIGIN", "*"] {
        assert_eq!(answered(json, None, &[("Vary", vary)]), pairs(&[("vary", vary)]));
    }
    assert_eq!(answered(r#"{ "origins": "*" }"#, None, &[]), pairs(&[("access-control-allow-origin", "*")]));
}

#[test]
fn the_answer_to_a_preflight_is_left_alone() {
    let cors = cors(r#"{ "origins": "*" }"#);
    let mut head = ResponseHeader::build(204, None).unwrap();
    head.insert_header("Access-Control-Allow-Methods", "GET").unwrap();
    let asked = request("OPTIONS", &[("Origin", APP), ("Access-Control-Request-Method", "PUT")]);
    with_view(&asked, |view| cors.amend(&mut head, view));
    assert_eq!(head.headers.len(), 1);
}

#[test]
fn two_origins_are_none() {
    let cors = cors(r#"{ "origins": ["https://app.example.com"] }"#);
    let head = request("GET", &[("Origin", APP), ("Origin", APP)]);
    assert_eq!(cors.permitted(&head.headers), None);
}

#[test]
fn origins_match_whole() {
    let json = r#"{ "origins": ["https://b.test", "https://app.example.com", "https://*.example.org:8443",
        "~https://pr-[0-9]+\\.example\\.net", "null"] }"#;
    let cors = cors(json);
    for known in [
        APP,
        "https://b.test",
        "https://a.example.org:8443",
        "https://a.b.example.org:8443",
        "https://pr-7.example.net",
        "null",
    ] {
        assert!(cors.origins.contain(known.as_bytes()), "{known}");
    }
    for stranger in [
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.evil.test",
        "https://evil-app.example.com",
        "https://example.org:8443",
        "https://.example.org:8443",
        "https://evil.test/.example.org:8443",
        "https://evil.test:1.example.org:8443",
        "https://user@a.example.org:8443",
        "https://a.example.org",
        "https://pr-7.example.net.evil.test",
        "xhttps://pr-7.example.net",
        "",
    ] {
        assert!(!cors.origins.contain(stranger.as_bytes()), "{stranger}");
    }
    assert!(!super::tests::cors(r#"{ "origins": "*" }"#).origins.contain(b"null"));
}
