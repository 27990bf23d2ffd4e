//! Mistakes in a `cors` table, each with its code.

use super::*;

fn mistakes(json: &str) -> Vec<Code> {
    let mut report = Report::new();
    let config = serde_json::from_str(json).unwrap();
    assert!(Cors::compile(&config, &At::root().key("cors"), &mut report).is_none(), "{json}");
    report.diagnostics().iter().map(|found| found.code).collect()
}

#[test]
fn origins_are_required() {
    assert_eq!(mistakes("{}"), [Code::E0106]);
    assert_eq!(mistakes(r#"{ "origins": [] }"#), [Code::E0106]);
}

#[test]
fn never_everybody_with_credentials() {
    for origins in [r#""*""#, r#""~.*""#, r#"["https://a.test", "~https?://.+"]"#] {
        assert_eq!(mistakes(&format!(r#"{{ "origins": {origins}, "credentials": true }}"#)), [Code::E0107]);
    }
    assert_eq!(mistakes(r#"{ "origins": "https://a.test", "expose": "*", "credentials": true }"#), [Code::E0107]);
}

#[test]
fn what_is_no_origin_is_refused() {
    let json = r#"{ "origins": ["app.example.com", "https://a.test/path", "https://a.test:443", "https://a.test/",
        "https://*", "https://u@a.test", "~(", "https://a.*.test"] }"#;
    assert_eq!(mistakes(json), [Code::E0108; 8]);
    assert_eq!(mistakes(r#"{ "origins": ["*", "https://a.test"] }"#), [Code::E0107]);
}

#[test]
fn the_origin_that_was_meant_is_shown() {
    let mut report = Report::new();
    let config = serde_json::from_str(r#"{ "origins": "https://A.test:443/" }"#).unwrap();
    assert!(Cors::compile(&config, &At::root(), &mut report).is_none());
    assert_eq!(report.diagnostics()[0].help.as_deref(), Some("write \"https://a.test\""));
}

#[test]
fn methods_and_headers_are_tokens() {
    let json = r#"{ "origins": "https://a.test", "methods": ["GET", "P T"], "headers": ["X:Y"], "expose": [""] }"#;
    assert_eq!(mistakes(json), [Code::E0108; 3]);
}
