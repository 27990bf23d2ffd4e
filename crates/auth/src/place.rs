//! Where in a request a credential stands.

mod cookies;

use std::borrow::Cow;

use filter::{View, query, template::Input};
use http::{HeaderName, HeaderValue, Uri, header};
use pingora_http::RequestHeader;

use crate::oidc::Cookies;

/// A place that a credential may stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The whole value of a field.
    Field(HeaderName),
    /// `Authorization`, after this scheme.
    Authorization(&'static str),
    /// A parameter of the query.
    Query(Box<str>),
    /// One cookie.
    Cookie(Box<str>),
    /// The cookies of a session.
    Session(Cookies),
}

/// What stands there.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// Nothing that is meant for the policy.
    Nothing,
    /// More than one, or nothing readable: whoever reads the other one than we do is deceived.
    Unclear,
    /// The credential.
    One(Cow<'r, str>),
}

impl Place {
    /// Looks for the credential.
    pub fn find<'r>(&self, request: &View<'r>) -> Found<'r> {
        match self {
            Self::Field(name) => only(request.head.headers.get_all(name).iter(), Some),
            Self::Authorization(scheme) => {
                only(request.head.headers.get_all(header::AUTHORIZATION).iter(), |value| after(scheme, value))
            }
            Self::Query(name) => in_query(name, request.query.unwrap_or("")),
            Self::Cookie(name) => cookies::find(request.head, name),
            Self::Session(own) => own.session(request).map_or(Found::Nothing, Found::One),
        }
    }

    /// Whether this part of a request is the credential, or has it in it.
    pub fn is_in(&self, part: &Input<'_>) -> bool {
        match (self, part) {
            (Self::Field(name), Input::Header(part)) => name == *part,
            (Self::Authorization(_), Input::Header(part)) => **part == header::AUTHORIZATION,
            (Self::Query(name), Input::Parameter(part)) => *query::decode(part) == *name.as_bytes(),
            (Self::Query(_), Input::Query) => true,
            (Self::Cookie(_) | Self::Session(_), Input::Header(part)) => **part == header::COOKIE,
            (Self::Cookie(name), Input::Cookie(part)) => **name == **part,
            (Self::Session(own), Input::Cookie(part)) => own.has(part),
            _ => false,
        }
    }

    /// Whether it has to be looked for in the fields of a head at all.
    pub fn may_be_in(&self, head: &RequestHeader) -> bool {
        match self {
            Self::Field(name) => head.headers.contains_key(name),
            Self::Authorization(_) => head.headers.contains_key(header::AUTHORIZATION),
            Self::Cookie(_) | Self::Session(_) => head.headers.contains_key(header::COOKIE),
            Self::Query(_) => false,
        }
    }

    /// Takes the credential out of a head.
    pub fn clear(&self, head: &mut RequestHeader) {
        match self {
            Self::Field(name) => drop(head.remove_header(name)),
            Self::Authorization(_) => drop(head.remove_header(&header::AUTHORIZATION)),
            Self::Cookie(name) => cookies::remove(head, |own| own == name.as_bytes()),
            Self::Session(own) => cookies::remove(head, |name| str::from_utf8(name).is_ok_and(|name| own.has(name))),
            Self::Query(_) => {}
        }
    }
}

/// The one field that is there; two of them are unclear even where only one is meant for us.
fn only<'r>(mut values: impl Iterator<Item = &'r HeaderValue>, part: impl Fn(&'r str) -> Option<&'r str>) -> Found<'r> {
    let (Some(first), more) = (values.next(), values.next().is_some()) else { return Found::Nothing };
    match first.to_str() {
        Err(_) => Found::Unclear,
        Ok(text) => match part(text.trim()) {
            None => Found::Nothing,
            Some(_) if more => Found::Unclear,
            Some("") => Found::Unclear,
            Some(found) => Found::One(found.into()),
        },
    }
}

/// What follows the scheme, whose case does not count (RFC 9110 section 11.1).
fn after<'t>(scheme: &str, text: &'t str) -> Option<&'t str> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim_start())
}

fn in_query<'r>(name: &str, text: &'r str) -> Found<'r> {
    let mut found = Found::Nothing;
    for (key, value) in query::parameters(text) {
        if *query::decode(key) != *name.as_bytes() {
            continue;
        }
        found = match (found, query::decode(value)) {
            (Found::Nothing, Cow::Borrowed(value)) if !value.is_empty() => {
                std::str::from_utf8(value).map_or(Found::Unclear, |value| Found::One(value.into()))
            }
            (Found::Nothing, Cow::Owned(value)) if !value.is_empty() => {
                String::from_utf8(value).map_or(Found::Unclear, |value| Found::One(value.into()))
            }
            _ => Found::Unclear,
        };
    }
    found
}

/// The query without the parameters called `names`.
pub fn without<'q>(text: &'q str, names: &[Box<str>]) -> Cow<'q, str> {
    let is_hidden = |pair: &str| {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        names.iter().any(|name| *query::decode(key) == *name.as_bytes())
    };
    if names.is_empty() || !text.split('&').any(is_hidden) {
        return text.into();
    }
    text.split('&').filter(|pair| !is_hidden(pair)).collect::<Vec<_>>().join("&").into()
}

/// Gives the target of a head another query in place of its own; without its `?` where that is empty.
pub fn ask_with(query: &str, head: &mut RequestHeader) {
    let mark = if query.is_empty() { "" } else { "?" };
    if head.uri.authority().is_none() {
        // Over HTTP/1 the target may be a whole URL, which is more than the URI knows.
        let raw = head.raw_path();
        let path = raw.split(|byte| *byte == b'?').next().unwrap_or_default();
        let target = [path, mark.as_bytes(), query.as_bytes()].concat();
        // It was valid, and is so without a part of its query.
        let _ = head.set_raw_path(&target);
        return;
    }
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = format!("{}{mark}{query}", head.uri.path()).parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        head.set_uri(uri);
    }
}

#[cfg(test)]
mod tests;
