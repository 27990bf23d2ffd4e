//! Answers out of the configuration.

use super::*;
use crate::testing::{names, told, view};

fn compile(written: &str) -> Result<Respond, Vec<String>> {
    let mut report = Report::new();
    let written: RespondConfig = serde_json::from_str(written).unwrap();
    let compiled = Respond::compile(&written, filter::template::Scope::all(&names(&["id"])), &At::root(), &mut report);
    assert_eq!(compiled.is_none(), report.has_errors());
    compiled.ok_or_else(|| told(&report))
}

/// Status, type and body.
fn answer(written: &str) -> (u16, Option<String>, String) {
    let respond = compile(written).unwrap();
    let reply = view("/x/7", &["7"], |view| respond.admit(view).unwrap_err());
    let kind = reply.headers.iter().find(|(name, _)| *name == header::CONTENT_TYPE);
    let body = match reply.body {
        Body::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => String::new(),
    };
    (reply.status.as_u16(), kind.map(|(_, value)| value.to_str().unwrap().to_string()), body)
}

#[test]
fn an_answer_is_given_as_it_stands() {
    let plain = Some("text/plain; charset=utf-8".to_string());
    assert_eq!(answer(r#"{ "status": 410, "body": "gone" }"#), (410, plain.clone(), "gone".into()));
    assert_eq!(answer(r#"{ "body": "{id} <{header.X-Up}>" }"#), (200, plain, "7 <..>".into()));
    assert_eq!(answer(r#"{ "status": 204 }"#), (204, None, String::new()));
}

#[test]
fn values_are_escaped_for_the_type_of_the_body() {
    let with = |kind: &str| {
        answer(&format!(r#"{{ "body": "{{header.X-Tenant}}", "headers": {{ "Content-Type": "{kind}" }} }}"#)).2
    };
    assert_eq!(with("text/plain"), "a&b <c>\"/..");
    assert_eq!(with("Text/HTML; charset=utf-8"), "a&amp;b &lt;c&gt;&quot;/..");
    assert_eq!(with("image/svg+xml"), "a&amp;b &lt;c&gt;&quot;/..");
    assert_eq!(with("application/problem+json"), "a&b <c>\\\"/..");
    assert_eq!(with("{header.X-Up}"), "a&amp;b &lt;c&gt;&quot;/..");
}

#[test]
fn mistakes_are_reported_all_at_once() {
    let written =
        r#"{ "status": 99, "body": "{nope}", "headers": { "a b": "1", "Content-Length": "7", "X": "{nope}" } }"#;
    assert_eq!(
        compile(written).unwrap_err(),
        [
            "E0103: 99 is not the status of an answer (expected 200 to 599)",
            "E0108: maitred sets `Content-Length` itself (delete this)",
            "E0109: there is no placeholder `{nope}` (`{nope}`)",
            "E0108: `a b` is not a header name (no answer can have it)",
            "E0109: there is no placeholder `{nope}` (`{nope}`)",
        ]
    );
    assert_eq!(
        compile(r#"{ "status": 204, "body": "x" }"#).unwrap_err(),
        ["E0107: an answer with status 204 has no body (delete this; or choose another)"]
    );
}
