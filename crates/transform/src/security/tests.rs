//! What browsers are told.

use document::{At, Code, Report};
use filter::{Captures, Client};
use pingora_http::RequestHeader;

use super::*;

fn compiled(json: &str) -> Result<SecurityHeaders, Vec<Code>> {
    let config = serde_json::from_str(json).unwrap();
    let mut report = Report::new();
    SecurityHeaders::compile(&config, &At::root().key("security_headers"), &mut report)
        .ok_or_else(|| report.diagnostics().iter().map(|found| found.code).collect())
}

fn answered(json: &str, scheme: Scheme, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    let asked = RequestHeader::build("GET", b"/", None).unwrap();
    let client = Client { scheme, ..Client::local("public".into()) };
    let captures = Captures::new();
    let view = View {
        generation: 1,
        identity: None,
        head: &asked,
        client: &client,
        host: "",
        path: "/",
        query: None,
        captures: &captures,
    };
    compiled(json).unwrap().amend(&mut head, &view);
    head
}

#[test]
fn true_sends_five_headers_over_https_and_four_without() {
    let head = answered("true", Scheme::Https, &[]);
    assert_eq!(head.headers["x-content-type-options"], "nosniff");
    assert_eq!(head.headers["x-frame-options"], "DENY");
    assert_eq!(head.headers["content-security-policy"], "frame-ancestors 'none'");
    assert_eq!(head.headers["referrer-policy"], "strict-origin-when-cross-origin");
    assert_eq!(head.headers["strict-transport-security"], "max-age=31536000; includeSubDomains");
    assert_eq!(head.headers.len(), 5);
    let head = answered("true", Scheme::Http, &[]);
    assert!(!head.headers.contains_key("strict-transport-security"));
    assert_eq!(head.headers.len(), 4);
}

#[test]
fn what_the_origin_sent_stays_unless_told_otherwise() {
    let fields = [("X-Frame-Options", "SAMEORIGIN"), ("Content-Security-Policy", "default-src 'self'")];
    let head = answered("true", Scheme::Http, &fields);
    assert_eq!(head.headers["x-frame-options"], "SAMEORIGIN");
    assert_eq!(head.headers["content-security-policy"], "default-src 'self'");
    let head = answered(r#"{ "override": true }"#, Scheme::Http, &fields);
    assert_eq!(head.headers["x-frame-options"], "DENY");
    assert_eq!(head.headers["content-security-policy"], "frame-ancestors 'none'");
}

#[test]
fn the_origins_software_is_not_told() {
    let fields = [("Server", "Apache/2.2"), ("X-Powered-By", "PHP/5.6")];
    let head = answered("true", Scheme::Http, &fields);
    assert!(!head.headers.contains_key("server") && !head.headers.contains_key("x-powered-by"));
    let head = answered(r#"{ "hide": false }"#, Scheme::Http, &fields);
    assert_eq!(head.headers["server"], "Apache/2.2");
}

#[test]
fn every_key_does_what_it_says() {
    let json = r#"{ "hsts": "30d", "frame": "same-origin", "csp": "default-src 'self'", "referrer": "no-referrer",
        "nosniff": false, "permissions": "camera=()", "coop": "same-origin",
        "coep": "require-corp", "corp": "same-site" }"#;
    let head = answered(json, Scheme::Https, &[]);
    for (name, value) in [
        ("strict-transport-security", "max-age=2592000; includeSubDomains"),
        ("x-frame-options", "SAMEORIGIN"),
        ("content-security-policy", "default-src 'self'"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=()"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-site"),
    ] {
        assert_eq!(head.headers[name], value);
    }
    assert_eq!(head.headers.len(), 8);
    let head =
        answered(r#"{ "hsts": false, "frame": false, "referrer": false, "nosniff": false }"#, Scheme::Https, &[]);
    assert!(head.headers.is_empty());
}

#[test]
fn hsts_has_a_table_of_its_own() {
    let sent = |json: &str| {
        let head = answered(json, Scheme::Https, &[]);
        head.headers["strict-transport-security"].to_str().unwrap().to_owned()
    };
    assert_eq!(sent(r#"{ "hsts": { "subdomains": false } }"#), "max-age=31536000");
    assert_eq!(sent(r#"{ "hsts": { "preload": true } }"#), "max-age=31536000; includeSubDomains; preload");
    assert_eq!(sent(r#"{ "hsts": true }"#), "max-age=31536000; includeSubDomains");
    assert_eq!(sent(r#"{ "hsts": "0s" }"#), "max-age=0; includeSubDomains");
}

#[test]
fn mistakes_are_reported() {
    assert_eq!(compiled(r#"{ "csp": "a\nb", "permissions": " " }"#).unwrap_err(), [Code::E0108, Code::E0108]);
    assert_eq!(compiled(r#"{ "hsts": { "preload": true, "max_age": "1d" } }"#).unwrap_err(), [Code::E0107]);
    assert_eq!(compiled(r#"{ "hsts": { "preload": true, "subdomains": false } }"#).unwrap_err(), [Code::E0107]);
    assert!(serde_json::from_str::<SecurityConfig>("false").is_err());
    assert!(serde_json::from_str::<SecurityConfig>(r#"{ "frame": "allow" }"#).is_err());
}

#[test]
fn explain_can_name_them() {
    let headers = compiled("true").unwrap();
    assert_eq!(headers.describe().next(), Some(("X-Content-Type-Options", "nosniff")));
    assert_eq!(headers.describe().count(), 5);
}
