//! What a concern may know of a request.

use pingora_http::RequestHeader;

use crate::{Captures, Client, Identity, cookies, query::first};

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

    /// The value of the first cookie `name` (RFC 6265 section 5.4) that is text, without surrounding quotes.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        cookies::all(&self.head.headers).map(cookies::parts).find_map(|(own, value)| {
            let value = value.filter(|value| own == name.as_bytes() && value.is_ascii())?;
            Some(str::from_utf8(value).ok()?.trim_matches('"'))
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

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_cookie_is_found_beside_what_is_no_text() {
        let (client, captures) = (Client::local("public".into()), Captures::new());
        for (line, value) in [
            (&b"name=Jos\xc3\xa9; a=1"[..], Some("1")),
            (b"a=1;b=\xff", Some("1")),
            (b"a = \"1\" ; a=2", Some("1")),
            (b"a=\xff; a=2", Some("2")),
            (b"aa=1; a; b=a=1", None),
            (b"a=", Some("")),
        ] {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            head.append_header(header::COOKIE, HeaderValue::from_bytes(line).unwrap()).unwrap();
            let (head, client, captures) = (&head, &client, &captures);
            let view = View { generation: 1, head, client, identity: None, host: "", path: "/", query: None, captures };
            assert_eq!(view.cookie("a"), value, "{line:?}");
        }
    }
}
