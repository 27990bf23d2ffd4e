//! What several tests need: requests and answers written down.

use std::sync::Arc;

use bytes::Bytes;
use filter::{Captures, Client, View};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::{CacheConfig, CacheTable, Content, Fetched, Key, Millis, Policy, Stored, Times, Unkept, Withheld};

/// The moment of all tests.
pub(crate) const NOW: Millis = 1_800_000_000_000;

pub(crate) fn policy(table: CacheTable) -> Policy {
    let mut report = document::Report::new();
    Policy::compile(&CacheConfig::from(table), "r", "", None, false, &document::At::root(), &mut report).unwrap()
}

pub(crate) fn head(lines: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/a?b=1", None).unwrap();
    for (name, value) in lines {
        head.append_header(*name, *value).unwrap();
    }
    head
}

/// Calls `with` with the request as concerns see it, for `http://a.test` and this path and query.
pub(crate) fn viewed<T>(head: &RequestHeader, path: &str, query: Option<&str>, with: impl FnOnce(&View<'_>) -> T) -> T {
    let (client, captures) = (Client::local("public".into()), Captures::new());
    let view =
        View { generation: 1, head, client: &client, identity: None, host: "a.test", path, query, captures: &captures };
    with(&view)
}

pub(crate) fn answer(status: u16, lines: &[(&'static str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(status, None).unwrap();
    for (name, value) in lines {
        head.append_header(*name, *value).unwrap();
    }
    head
}

/// An answer whose content is there as a whole, and its key.
pub(crate) fn stored_for(
    request: &RequestHeader,
    path: &str,
    lines: &[(&'static str, &str)],
    asked: Millis,
    table: CacheTable,
) -> (Key, Stored, Result<Withheld, Unkept>) {
    let policy = policy(table);
    let content = Content::growing(None, policy.max_object(), crate::room::Place::default());
    content.put_now(Bytes::from_static(b"0123456789"));
    content.finish(Ok(()));
    viewed(request, path, None, |view| {
        let times = Times { asked, answered: asked };
        let (stored, kept) = Stored::new(Fetched { head: answer(200, lines), request: view, times }, content, &policy);
        (policy.key(view).unwrap(), stored, kept)
    })
}

pub(crate) fn stored(lines: &[(&'static str, &str)]) -> Arc<Stored> {
    Arc::new(stored_for(&head(&[]), "/a", lines, NOW, CacheTable::default()).1)
}
