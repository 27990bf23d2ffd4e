//! A path made of text and placeholders that can be trusted with what clients put into it.

use document::{At, Code, Diagnostic, Report};
use filter::{
    Reason, Template, View,
    template::{Escape, Scope},
};

use crate::template;

/// A path template. What it renders begins with exactly one slash, has no empty and no dot segments, and cannot end in
/// the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    template: Template,
    /// Whether what is filled in could make it another path than the text says.
    may_stray: bool,
}

impl Path {
    /// Compiles `text`, which the caller has seen to begin with a slash or with a placeholder that does.
    pub fn compile(text: &str, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Self> {
        let template = template::parse(text, &scope, at, report)?.map_text(encode);
        if let Some(literal) = template.as_literal()
            && let Err(what) = check(&settle(literal))
        {
            let diagnostic = Diagnostic::new(Code::E0108, "a path cannot be used as it stands here");
            report.push(diagnostic.label(at, what).help("write the path that is meant, without dot segments"));
            return None;
        }
        Some(Self { template, may_stray: may_stray(text) })
    }

    /// What it is made of.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Whether [`render`](Path::render) can refuse a request.
    pub fn may_stray(&self) -> bool {
        self.may_stray
    }

    /// Appends the path to `out`. Refused is what placeholders made into another path than the template says: a dot
    /// segment that climbs, an encoded slash that an origin may take for one.
    pub fn render(&self, view: &View<'_>, out: &mut String) -> Result<(), Reason> {
        let start = out.len();
        self.template.render_as(Escape::Path, view, out);
        let path = &out[start..];
        if !path.starts_with('/') || path.contains("//") {
            let settled = settle(path);
            out.truncate(start);
            out.push_str(&settled);
        }
        check(&out[start..]).map_err(|_| {
            out.truncate(start);
            Reason::BadPath
        })
    }
}

/// Whole stretches of a normal path stay normal wherever they are put, unless text makes a dot segment of them.
fn may_stray(text: &str) -> bool {
    text.contains(".{") || text.replace("{path}", "").replace("{rest}", "").contains('{')
}

/// One slash at the beginning, and nowhere two in a row.
fn settle(path: &str) -> String {
    let mut settled = String::with_capacity(path.len() + 1);
    settled.push('/');
    for c in path.chars() {
        if c != '/' || !settled.ends_with('/') {
            settled.push(c);
        }
    }
    settled
}

/// Whether an origin can take the path only for what it says.
fn check(path: &str) -> Result<(), &'static str> {
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if path.contains("/.") && path.split('/').any(dots) {
        return Err("a segment that is `.` or `..`");
    }
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let triplet = rest.get(at + 1..at + 3).unwrap_or("");
        match u8::from_str_radix(triplet, 16) {
            Ok(byte) if byte.is_ascii_control() || matches!(byte, b'/' | b'\\') => {
                return Err("an encoded slash, backslash or control character");
            }
            // A dot in disguise is only ever written to slip by.
            Ok(b'.') => return Err("an encoded dot"),
            Ok(_) if !triplet.starts_with('+') => {}
            _ => return Err("a `%` without two hexadecimal digits"),
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// Text of the configuration as it stands in a path (RFC 3986 section 3.3): what may not is percent-encoded.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
