//! Targets for the origin, path and query together.

use filter::Reason;

use super::*;
use crate::testing::{names, told, view};

fn compile(text: Option<&str>, query: Option<&QueryConfig>) -> Result<Option<Rewrite>, Vec<String>> {
    let mut report = Report::new();
    let text = text.map(String::from);
    let compiled =
        Rewrite::compile(text.as_ref(), query, filter::template::Scope::all(&names(&["1"])), &At::root(), &mut report);
    assert_eq!(compiled.is_none(), report.has_errors());
    compiled.ok_or_else(|| told(&report))
}

#[test]
fn path_and_query_make_the_target() {
    let query: QueryConfig = serde_json::from_str(r#"{ "set": { "v": "2" }, "remove": "debug" }"#).unwrap();
    let target = |rewrite: &Rewrite| {
        let mut out = String::new();
        view("/a/b?x=1&debug", &["b"], |view| rewrite.target(view, &mut out));
        out
    };
    assert_eq!(target(&compile(Some("/c/{1}"), None).unwrap().unwrap()), "/c/b?x=1&debug");
    assert_eq!(target(&compile(None, Some(&query)).unwrap().unwrap()), "/a/b?x=1&v=2");
    assert_eq!(target(&compile(Some("/c/{1}"), Some(&query)).unwrap().unwrap()), "/c/b?x=1&v=2");
    assert_eq!(compile(None, None), Ok(None));
    assert_eq!(compile(None, Some(&QueryConfig::default())), Ok(None));
}

#[test]
fn a_request_that_would_stray_is_refused() {
    let rewrite = compile(Some("/public/{1}"), None).unwrap().unwrap();
    let judged = view("/f../secret", &["../secret"], |view| rewrite.judge(view).unwrap_err());
    assert_eq!(judged.reason, Reason::BadPath);
    assert!(view("/f/x", &["x"], |view| rewrite.admit(view)).is_ok());
    let mut out = String::new();
    view("/f../secret", &["../secret"], |view| rewrite.target(view, &mut out));
    assert_eq!(out, "/f../secret");
}

#[test]
fn a_rewrite_is_a_path_alone() {
    assert_eq!(
        compile(Some("v1/{1}"), None).unwrap_err(),
        ["E0108: a rewritten path begins with `/` (this begins with neither a slash nor a placeholder)"]
    );
    assert_eq!(
        compile(Some("/v1?x=1"), None).unwrap_err(),
        ["E0108: a rewrite is a path alone (this has more than a path)"]
    );
}
