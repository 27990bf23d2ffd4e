//! What a concern may know of a request.

use pingora_http::RequestHeader;

use crate::{Captures, Client, Identity, query::first};

/// A request as a concern sees it: borrowed, read-only, small.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Which configuration it runs on.
    pub generation: u64,
    /// The head as the client sent it. Its target is the raw one: match on [`path`](View::path) instead.
    pub head: &'a RequestHeader,
    /// Who sent it.
    pub client: &'a Client,
    /// Who is known to have sent it; `None` before authentication, and where nobody asks.
    pub identity: Option<&'a Identity>,
    /// The host asked for, in lower case, without a port.
    pub host: &'a str,
    /// The path, normalised once (RFC 3986 section 6.2.2): what rules judge is what the origin is sent.
    pub path: &'a str,
    /// The query without its `?`, as it came.
    pub query: Option<&'a str>,
    /// What the route's pattern captured from [`path`](View::path).
    pub captures: &'a Captures,
}

impl<'a> View<'a> {
    /// The same request, known to be from `identity`.
    #[must_use]
    pub fn by(self, identity: Option<&'a Identity>) -> Self {
        Self { identity, ..self }
    }

    /// The first value of the header `name`, when it is text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&'a str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The value of the cookie `name` (RFC 6265 section 5.4), without surrounding quotes.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let lines = self.head.headers.get_all(http::header::COOKIE).into_iter();
        lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';')).find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    }

    /// The raw (still percent-encoded) value of the first query parameter `name`; `""` where it has no `=`.
    pub fn query_parameter(&self, name: &str) -> Option<&'a str> {
        first(self.query?, name)
    }
}

/// The authority that the head names: the target's own (HTTP/2, absolute form), else the Host field's.
pub fn authority_of(head: &RequestHeader) -> &str {
    if let Some(authority) = head.uri.authority() {
        return authority.as_str();
    }
    let target = head.raw_path();
    if !target.starts_with(b"/")
        && let Some((_, after)) = std::str::from_utf8(target).ok().and_then(|target| target.split_once("://"))
    {
        return after.split(['/', '?']).next().unwrap_or("");
    }
    head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("").trim()
}
