//! A request, as short as a test needs it.

use document::Report;
use filter::{Captures, Client, View};
use pingora_http::RequestHeader;

/// Sees a request for `target` whose path captured `captured` under the names that go with it.
pub(crate) fn view<T>(target: &str, captured: &[&str], use_it: impl FnOnce(&View<'_>) -> T) -> T {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.append_header("X-Tenant", "a&b <c>\"/..").unwrap();
    head.append_header("X-Up", "..").unwrap();
    let client = Client::local("public".into());
    let mut captures = Captures::new();
    for text in captured {
        let start = path.rfind(text).expect("a capture is part of the path");
        captures.push(start, start + text.len());
    }
    use_it(&View {
        generation: 1,
        identity: None,
        head: &head,
        client: &client,
        host: "api.example.com",
        path,
        query,
        captures: &captures,
    })
}

pub(crate) fn names(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|name| (*name).into()).collect()
}

/// Every message of a report, with the label and help of each.
pub(crate) fn told(report: &Report) -> Vec<String> {
    let line = |diagnostic: &document::Diagnostic| {
        let labels: Vec<_> = diagnostic.labels.iter().map(|label| label.text.as_str()).collect();
        format!("{}: {} ({})", diagnostic.code, diagnostic.message, labels.join("; "))
    };
    report.diagnostics().iter().map(line).collect()
}
