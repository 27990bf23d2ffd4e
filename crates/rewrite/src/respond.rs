//! Answers that stand in the configuration.

use bytes::Bytes;
use document::{At, Code, Diagnostic, Report};
use filter::{
    Admit, Body, Reply, Template, View,
    template::{Escape, Scope},
};
use http::{HeaderName, StatusCode, header};

use crate::{RespondConfig, template};

/// A fixed answer, with placeholders filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    status: StatusCode,
    headers: Box<[(HeaderName, Template)]>,
    body: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Nothing,
    /// The same bytes for everybody.
    Fixed(Bytes),
    Filled(Template, Escape),
}

/// The type of a body that names none.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

impl Respond {
    /// Compiles a route's `respond`, which stands at `at`.
    pub fn compile(written: &RespondConfig, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Self> {
        let errors = report.errors();
        let status = status(written.status, at, report);
        let mut headers = Vec::new();
        for (name, value) in written.headers.iter().flatten() {
            let place = at.key("headers").key(name);
            let name = field(name, &place, report);
            let value = template::parse(value, &scope, &place, report);
            headers.extend(name.zip(value));
        }
        let body = match &written.body {
            Some(text) => body(text, &mut headers, &scope, &at.key("body"), report)?,
            None => Content::Nothing,
        };
        // RFC 9110 sections 15.3.5 and 15.4.5.
        if let (Some(status @ (204 | 304)), Some(_)) = (written.status, &written.body) {
            let diagnostic = Diagnostic::new(Code::E0107, format!("an answer with status {status} has no body"));
            report.push(
                diagnostic.label(at.key("body").name(), "delete this").label(at.key("status"), "or choose another"),
            );
        }
        (report.errors() == errors).then_some(())?;
        Some(Self { status: status?, headers: headers.into(), body })
    }
}

impl Admit for Respond {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let body = match &self.body {
            Content::Nothing => Body::Empty,
            Content::Fixed(bytes) => Body::Bytes(bytes.clone()),
            Content::Filled(template, escape) => {
                let mut text = String::new();
                template.render_as(*escape, request, &mut text);
                Body::Bytes(text.into())
            }
        };
        let mut reply = Reply::answer(self.status, body);
        for (name, value) in &self.headers {
            reply.headers.extend(value.render_header(request).map(|value| (name.clone(), value)));
        }
        Err(reply)
    }
}

fn status(written: Option<u16>, at: &At, report: &mut Report) -> Option<StatusCode> {
    let status = written.unwrap_or(200);
    if (200..600).contains(&status) {
        return StatusCode::from_u16(status).ok();
    }
    let message = format!("{status} is not the status of an answer");
    report.add(Code::E0103, &at.key("status"), message, "expected 200 to 599");
    None
}

/// A header that an answer may carry; those that frame it are ours.
fn field(text: &str, at: &At, report: &mut Report) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        report.add(Code::E0108, &at.name(), format!("`{text}` is not a header name"), "no answer can have it");
        return None;
    };
    let framing = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TRAILER,
        header::TE,
        header::DATE,
    ];
    if framing.contains(&name) || name == "keep-alive" {
        report.add(Code::E0108, &at.name(), format!("maitred sets `{text}` itself"), "delete this");
        return None;
    }
    Some(name)
}

/// The body, and its type where none was given.
fn body(
    text: &str,
    headers: &mut Vec<(HeaderName, Template)>,
    scope: &Scope<'_>,
    at: &At,
    report: &mut Report,
) -> Option<Content> {
    let given = headers.iter().find(|(name, _)| *name == header::CONTENT_TYPE).map(|(_, value)| value.clone());
    let kind = match given {
        Some(kind) => kind,
        None => {
            let kind = template::parse(PLAIN_TEXT, scope, at, report)?;
            headers.push((header::CONTENT_TYPE, kind.clone()));
            kind
        }
    };
    let template = template::parse(text, scope, at, report)?;
    Some(match template.as_literal() {
        Some(text) => Content::Fixed(Bytes::copy_from_slice(text.as_bytes())),
        None => Content::Filled(template, escape(kind.as_literal())),
    })
}

/// How values are made harmless in a body of this type. A type that only the request decides is treated as HTML.
fn escape(kind: Option<&str>) -> Escape {
    let Some(kind) = kind else { return Escape::Html };
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if kind.ends_with("json") {
        Escape::Json
    } else if kind.ends_with("html") || kind.ends_with("xml") {
        Escape::Html
    } else {
        Escape::Nothing
    }
}

#[cfg(test)]
mod tests;
