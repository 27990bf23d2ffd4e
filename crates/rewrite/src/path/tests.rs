//! Rewritten paths: always one slash, never out of the template.

use super::*;
use crate::testing::{names, told, view};

fn compile(text: &str) -> Result<Path, Vec<String>> {
    let mut report = Report::new();
    Path::compile(text, filter::template::Scope::all(&names(&["rest", "id"])), &At::root(), &mut report)
        .ok_or_else(|| told(&report))
}

fn render(text: &str, target: &str, captured: &[&str]) -> Option<String> {
    let path = compile(text).unwrap();
    let mut out = "before".to_string();
    let rendered = view(target, captured, |view| path.render(view, &mut out));
    assert!(path.may_stray() || rendered.is_ok());
    let rest = out.strip_prefix("before").unwrap().to_string();
    match rendered {
        Ok(()) => Some(rest),
        Err(reason) => {
            assert_eq!((reason, rest.as_str()), (Reason::BadPath, ""));
            None
        }
    }
}

#[test]
fn a_rendered_path_begins_with_exactly_one_slash() {
    let all = |text, expected: &str| {
        assert_eq!(render(text, "/users/7/x", &["/7/x", "7"]).as_deref(), Some(expected), "{text}")
    };
    all("/v1{rest}", "/v1/7/x");
    all("{rest}", "/7/x");
    all("/{rest}", "/7/x");
    all("/a/{rest}", "/a/7/x");
    all("{path}", "/users/7/x");
    all("{id}", "/7");
    all("/old/{id}/größe x", "/old/7/gr%C3%B6%C3%9Fe%20x");
    assert_eq!(render("{rest}", "/users", &[""]).as_deref(), Some("/"));
    assert_eq!(render("/v1{rest}", "/users", &[""]).as_deref(), Some("/v1"));
    assert_eq!(render("/v1/{query.v}{header.Absent}", "/?v=a%20b", &[]).as_deref(), Some("/v1/a%20b"));
}

#[test]
fn what_a_client_sends_stays_where_the_template_puts_it() {
    assert_eq!(render("/t/{header.X-Tenant}", "/", &[]).as_deref(), None, "an encoded slash");
    assert_eq!(render("/t/{header.X-Up}/x", "/", &[]), None);
    assert_eq!(render("/t/.{rest}", "/a/b", &["/b"]), None);
    assert_eq!(render("/files/{id}", "/f../secret", &["", "../secret"]), None);
    assert_eq!(render("/files/{query.f}", "/?f=%2e%2e", &[]), None);
    assert_eq!(render("/files/{query.f}", "/?f=a%2Fb", &[]), None);
    assert_eq!(render("/files/{query.f}", "/?f=%zz", &[]), None);
    assert_eq!(render("/files/{query.f}", "/?f=a?b%3Fc", &[]).as_deref(), Some("/files/a%3Fb%3Fc"));
}

#[test]
fn a_path_that_is_wrong_for_everybody_is_refused_at_load() {
    for text in ["/a/../b", "/./x", "/a%2Fb", "/%zz", "/%2e%2e/x"] {
        assert_eq!(compile(text).unwrap_err().len(), 1, "{text}");
    }
    assert_eq!(compile("/{name}").unwrap_err(), ["E0109: there is no placeholder `{name}` (`{name}`)"]);
}
