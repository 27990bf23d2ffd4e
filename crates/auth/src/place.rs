//! Where in a request a credential stands.

use std::borrow::Cow;

use filter::{View, query};
use http::{HeaderName, HeaderValue, header};
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
    /// The cookies of a session.
    Cookies(Cookies),
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
            Self::Cookies(own) => own.session(request).map_or(Found::Nothing, Found::One),
        }
    }

    /// Takes the credential out of a head.
    pub fn clear(&self, head: &mut RequestHeader) {
        match self {
            Self::Field(name) => drop(head.remove_header(name)),
            Self::Authorization(_) => drop(head.remove_header(&header::AUTHORIZATION)),
            Self::Cookies(own) => without_cookies(head, own),
            Self::Query(_) => {}
        }
    }
}

fn without_cookies(head: &mut RequestHeader, own: &Cookies) {
    let is_shown = |field: &HeaderValue| field.to_str().is_ok_and(|text| text.contains(own.name()));
    if !head.headers.get_all(header::COOKIE).into_iter().any(is_shown) {
        return;
    }
    let fields: Vec<HeaderValue> = head.headers.get_all(header::COOKIE).into_iter().cloned().collect();
    head.remove_header(&header::COOKIE);
    for field in fields {
        let kept = match field.to_str() {
            Ok(text) => own.without(text).and_then(|kept| HeaderValue::try_from(kept).ok()),
            Err(_) => Some(field),
        };
        if let Some(kept) = kept {
            // It was a field of this head.
            let _ = head.append_header(header::COOKIE, kept);
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

#[cfg(test)]
mod tests;
