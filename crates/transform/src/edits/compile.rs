//! From edits as written to edits as made: every name and every template checked.

use std::{collections::HashMap, marker::PhantomData};

use bytes::Bytes;
use document::{At, Code, Diagnostic, OneOrMany, Report};
use filter::{
    Template,
    template::{Mistake, Scope},
};
use http::HeaderName;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{Edit, Fields, HeaderEdits, RequestEdits, ResponseConfig, ResponseEdits};

/// The keys of a table that edits a head, wherever that table has others besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written<'w> {
    /// Fields to set.
    pub set: Option<&'w Fields>,
    /// Fields to add.
    pub add: Option<&'w Fields>,
    /// Fields to remove.
    pub remove: Option<&'w OneOrMany<String>>,
}

impl<'w> From<&'w ResponseConfig> for Written<'w> {
    fn from(config: &'w ResponseConfig) -> Self {
        Self { set: config.set.as_ref(), add: config.add.as_ref(), remove: config.remove.as_ref() }
    }
}

impl RequestEdits {
    /// Compiles the edits of the table at `at`, a route's `request`; `scope` says which placeholders there are.
    /// `None` when anything is wrong.
    pub fn compile(written: Written<'_>, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Self> {
        compile::<RequestHeader>(Side::Request, written, scope, at, report)
    }
}

impl ResponseEdits {
    /// Compiles the edits of the table at `at`, a route's `response`; `scope` says which placeholders there are.
    /// `None` when anything is wrong.
    pub fn compile(written: Written<'_>, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Self> {
        compile::<ResponseHeader>(Side::Response, written, scope, at, report)
    }
}

/// Whose head is edited; a few fields belong to maitred on one side only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

fn compile<H>(
    side: Side,
    written: Written<'_>,
    scope: Scope<'_>,
    at: &At,
    report: &mut Report,
) -> Option<HeaderEdits<H>> {
    let errors = report.errors();
    let mut remove = Vec::new();
    let mut remove_prefixes = Vec::new();
    for (index, text) in written.remove.into_iter().flat_map(|names| names.iter()).enumerate() {
        let at = at.key("remove").index(index);
        match text.strip_suffix('*') {
            Some(prefix) => remove_prefixes.extend(removed_prefix(prefix, &at, report)),
            None => remove.extend(field_name(side, text, &at, report).map(|name| (name, at))),
        }
    }
    let set = fields(side, written.set, &scope, &at.key("set"), report);
    let add = fields(side, written.add, &scope, &at.key("add"), report);
    for (name, removed) in &remove {
        if let Some(edit) = set.iter().find(|edit| edit.name == name) {
            removed_and_set(removed, &at.key("set").key(String::from_utf8_lossy(&edit.written)), report);
        }
    }
    (report.errors() == errors).then(|| HeaderEdits {
        remove: remove.into_iter().map(|(name, _)| name).collect(),
        remove_prefixes: remove_prefixes.into(),
        set: set.into(),
        add: add.into(),
        head: PhantomData,
    })
}

/// Compiles the fields of one table, `set` or `add`.
fn fields(side: Side, fields: Option<&Fields>, scope: &Scope<'_>, at: &At, report: &mut Report) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut seen: HashMap<HeaderName, &String> = HashMap::new();
    for (text, values) in fields.into_iter().flatten() {
        let at = at.key(text);
        let name = field_name(side, text, &at.name(), report);
        let values: Vec<_> = values
            .iter()
            .enumerate()
            .filter_map(|(index, value)| template(value, scope, &at.index(index), report))
            .collect();
        let Some(name) = name else { continue };
        if let Some(first) = seen.insert(name.clone(), text) {
            let message = format!("the header `{text}` is given twice, as `{first}` and as `{text}`");
            report.push(
                Diagnostic::new(Code::E0107, message)
                    .label(at.name(), "the same field, since case does not count")
                    .label(at.parent().key(first).name(), "first given here")
                    .help("write its values as one list"),
            );
        }
        edits.push(Edit { name, written: Bytes::copy_from_slice(text.as_bytes()), values: values.into() });
    }
    edits
}

/// Compiles the template of a value.
fn template(text: &str, scope: &Scope<'_>, at: &At, report: &mut Report) -> Option<Template> {
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        let message = format!("a header value cannot hold the control character {bad:?}");
        report.add(Code::E0108, at, message, "not a header value");
        return None;
    }
    match Template::parse(text, scope) {
        Ok(template) => Some(template),
        Err(Mistake { message, help, range }) => {
            let label = text
                .get(range)
                .filter(|part| !part.is_empty() && part.len() < text.len())
                .map_or_else(String::new, |part| format!("`{part}`"));
            report.push(Diagnostic::new(Code::E0109, message).label(at, label).help(help));
            None
        }
    }
}

/// Checks the name of a field that is to be edited.
fn field_name(side: Side, text: &str, at: &At, report: &mut Report) -> Option<HeaderName> {
    let name = is_token(text).then(|| HeaderName::from_bytes(text.as_bytes()).ok()).flatten();
    let Some(name) = name else {
        let label = match text.bytes().find(|&byte| !is_token_byte(byte)) {
            Some(byte) => format!("{:?} cannot stand in a header name", char::from(byte)),
            None => "a header name has at least one character".into(),
        };
        report.push(
            Diagnostic::new(Code::E0108, format!("`{text}` is not a header name"))
                .label(at, label)
                .help("a header name is made of letters, digits and the characters ! # $ % & ' * + - . ^ _ ` | ~"),
        );
        return None;
    };
    match refused(side, name.as_str()) {
        Some((label, help)) => {
            report.push(
                Diagnostic::new(Code::E0108, format!("the header `{text}` cannot be edited"))
                    .label(at, label)
                    .help(help),
            );
            None
        }
        None => Some(name),
    }
}

/// Why a field is not for editing, and what to do instead.
fn refused(side: Side, name: &str) -> Option<(&'static str, &'static str)> {
    match (side, name) {
        (Side::Request, "host") => Some((
            "it decides where the request goes",
            "set `host` of the `request` table to `\"keep\"`, `\"upstream\"` or the name to send",
        )),
        (Side::Request, "traceparent" | "tracestate") => {
            Some(("maitred keeps the trace whole", "delete this; the caller's trace is continued by itself"))
        }
        (Side::Response, "date") => {
            Some(("the server writes it when the answer leaves", "delete this; send another header if you need one"))
        }
        _ if is_framing(name) => Some((
            "it says where the message ends or how the connection goes on",
            "delete this; maitred writes it for each side, and a wrong one would let requests be smuggled",
        )),
        _ => None,
    }
}

/// Fields that belong to the connection or frame the message.
pub(super) fn is_framing(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Checks a name to remove that ends in `*`, given without it.
fn removed_prefix(prefix: &str, at: &At, report: &mut Report) -> Option<Box<str>> {
    if prefix.is_empty() || !is_token(prefix) || prefix.contains('*') {
        report.push(
            Diagnostic::new(Code::E0108, format!("`{prefix}*` does not say which headers to remove"))
                .label(at, "expected the beginning of a name before the `*`")
                .help("write for example \"X-Internal-*\""),
        );
        return None;
    }
    Some(prefix.to_ascii_lowercase().into())
}

fn removed_and_set(removed: &At, set: &At, report: &mut Report) {
    report.push(
        Diagnostic::new(Code::E0107, format!("the header `{}` is removed and set", set.last()))
            .label(removed, "removed here")
            .label(set.name(), "and set here")
            .help("delete it from `remove`: `set` takes the place of whatever was there"),
    );
}

/// Whether `text` is a token (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
