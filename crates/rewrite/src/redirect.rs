//! Sending the client elsewhere.

use document::{At, Code, Diagnostic, Report};
use filter::{
    Admit, Body, Reason, Reply, Template, View,
    template::{Escape, Place, Scope},
};
use http::{HeaderValue, StatusCode, header, uri::Authority};

use crate::{RedirectConfig, host::is_plain, path::Path, template};

/// An answer that names another place (RFC 9110 section 15.4). Whoever sends a request can fill in path and query, but
/// never choose the host: that ends before anything a client wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    status: StatusCode,
    /// Scheme and authority; the place is on the same host where there are none.
    origin: Option<Template>,
    path: Path,
    query: Query,
    fragment: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Query {
    /// The client's own.
    Kept,
    /// This one, or none where it comes out empty.
    Given(Template),
}

/// A location taken apart, as it was written.
struct Parts<'t> {
    scheme: Option<&'t str>,
    authority: &'t str,
    path: &'t str,
    query: Option<&'t str>,
    fragment: &'t str,
}

impl Redirect {
    /// Compiles a route's `redirect`, which stands at `at`.
    pub fn compile(written: &RedirectConfig, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Self> {
        let status = status(written.status, at, report);
        let Some(to) = &written.to else {
            let diagnostic = Diagnostic::new(Code::E0106, "a redirect needs a location");
            report.push(diagnostic.label(at, "`to` is missing").help("add `to = \"/new{rest}\"`"));
            return None;
        };
        let place = at.key("to");
        let parts = Parts::of(to, scope.captures);
        let (sound, errors) = (parts.check(to, &place, report), report.errors());
        let origin = parts.origin(&place, report);
        let path = Path::compile(parts.path, scope, &place, report);
        let query = match parts.query {
            None => Some(Query::Kept),
            Some(text) => {
                let template = template::parse(text, &scope, &place, report);
                template.map(|template| Query::Given(template.map_text(visible)))
            }
        };
        if !sound || report.errors() > errors {
            return None;
        }
        Some(Self { status: status?, origin, path: path?, query: query?, fragment: visible(parts.fragment).into() })
    }

    fn location(&self, view: &View<'_>) -> Result<HeaderValue, Reason> {
        let mut location = String::with_capacity(view.path.len() + 64);
        if let Some(origin) = &self.origin {
            origin.render(view, &mut location);
        }
        self.path.render(view, &mut location)?;
        let query = location.len();
        location.push('?');
        match &self.query {
            Query::Kept => location.push_str(view.query.unwrap_or("")),
            Query::Given(template) => template.render_as(Escape::Query, view, &mut location),
        }
        if location.len() == query + 1 {
            location.truncate(query);
        }
        location.push_str(&self.fragment);
        // Whatever came along in the client's query: only visible ASCII leaves, so no byte ends the field.
        if !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            location = visible(&location);
        }
        HeaderValue::try_from(location).map_err(|_| Reason::BadRequest)
    }
}

impl Admit for Redirect {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let location = self.location(request)?;
        Err(Reply::answer(self.status, Body::Empty).with(header::LOCATION, location))
    }
}

impl<'t> Parts<'t> {
    fn of(to: &'t str, captures: &[Box<str>]) -> Self {
        let (to, fragment) = to.split_at(to.find('#').unwrap_or(to.len()));
        let (to, query) = to.split_once('?').map_or((to, None), |(to, query)| (to, Some(query)));
        let Some((scheme, rest)) = to.split_once("://") else {
            return Self { scheme: None, authority: "", path: to, query, fragment };
        };
        let (authority, path) = rest.split_at(authority_end(rest, captures));
        Self { scheme: Some(scheme), authority, path, query, fragment }
    }

    /// Whether the location says for itself where it leads.
    fn check(&self, to: &str, at: &At, report: &mut Report) -> bool {
        let (code, what, help) = if self.scheme.is_none() && self.path.starts_with("//") {
            (Code::E0108, "two slashes name another host", "write one slash, or a URL with `https://`")
        } else if self.path.is_empty() && self.scheme.is_some() || begins_with_slash(self.path) {
            if to == "{path}" {
                (Code::E0108, "this leads back to the same path", "lead to another path or host")
            } else {
                return true;
            }
        } else if self.scheme.is_none() {
            (
                Code::E0108,
                "expected a path that begins with `/`, or a URL",
                "write `/new{rest}` or `https://new.example.com{path}`",
            )
        } else {
            (
                Code::E0108,
                "a request could choose the host with this",
                "end the host with a slash, `{path}` or `{rest}`",
            )
        };
        report.push(
            Diagnostic::new(code, "a redirect's location is not safe or not complete").label(at, what).help(help),
        );
        false
    }

    /// Scheme and authority, where the location names them.
    fn origin(&self, at: &At, report: &mut Report) -> Option<Template> {
        let scheme = self.scheme?;
        let sample = self.authority.replace("{host}", "host").replace("{port}", "80");
        let plain = sample.parse::<Authority>().is_ok_and(|authority| is_plain(&authority));
        if !matches!(scheme, "http" | "https" | "{scheme}") || !plain {
            let diagnostic =
                Diagnostic::new(Code::E0108, format!("a redirect leads to `{scheme}://{}`", self.authority));
            let diagnostic = diagnostic.label(at, "expected `http://` or `https://` and a host");
            report.push(diagnostic.help("only `{host}` and `{port}` can stand in the host"));
            return None;
        }
        let scope = Scope { captures: &[], places: &[Place::Scheme, Place::Host, Place::Port] };
        template::parse(&format!("{scheme}://{}", self.authority), &scope, at, report)
    }
}

/// Where the authority ends: at a slash, or at a placeholder that is part of the path.
fn authority_end(rest: &str, captures: &[Box<str>]) -> usize {
    let mut at = 0;
    while let Some(found) = rest[at..].find(['/', '{']) {
        at += found;
        let placeholder = ["{host}", "{port}"].into_iter().find(|name| rest[at..].starts_with(name));
        match placeholder {
            Some(name) if !captures.iter().any(|capture| name[1..name.len() - 1] == **capture) => at += name.len(),
            _ => return at,
        }
    }
    rest.len()
}

/// Whether a path certainly begins with a slash: `{path}` does, and `{rest}` does or is empty.
fn begins_with_slash(path: &str) -> bool {
    path.starts_with('/') || path.starts_with("{path}") || path.starts_with("{rest}")
}

fn status(written: Option<u16>, at: &At, report: &mut Report) -> Option<StatusCode> {
    match written {
        None => Some(StatusCode::PERMANENT_REDIRECT),
        Some(status @ (301 | 302 | 303 | 307 | 308)) => StatusCode::from_u16(status).ok(),
        Some(status) => {
            let diagnostic = Diagnostic::new(Code::E0103, format!("{status} is not the status of a redirect"));
            let diagnostic = diagnostic.label(at.key("status"), "expected 301, 302, 303, 307 or 308");
            report.push(diagnostic.help("308 is for good and 307 for now; both keep the method"));
            None
        }
    }
}

/// Text as it may stand in a URL: anything but visible ASCII is percent-encoded, and so is what ends a URL in text.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\') {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
