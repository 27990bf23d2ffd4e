//! Reading a template: which placeholders there are, and which of them a place may use.

use std::ops::Range;

use http::HeaderName;

use super::Piece;

/// What the placeholders of a template may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'c> {
    /// The names of what the route's path captures, in the order of [`Captures`](crate::Captures). `{1}` is the first
    /// of them, whatever its name.
    pub captures: &'c [Box<str>],
    /// Which facts of the request may be used.
    pub places: &'c [Place],
}

/// A fact of the request that a placeholder may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `{scheme}`: `http` or `https`.
    Scheme,
    /// `{host}`: the host asked for, without a port.
    Host,
    /// `{port}`: the port that the client connected to.
    Port,
    /// `{method}`.
    Method,
    /// `{path}`: the whole normalised path.
    Path,
    /// `{query}`: the whole query without its `?`.
    Query,
    /// `{client_ip}`: the client's address, seen through trusted proxies.
    ClientIp,
    /// `{request_id}`.
    RequestId,
    /// `{generation}`: the number of the configuration that the request runs on.
    Generation,
    /// `{header.NAME}`: a request header.
    Header,
    /// `{cookie.NAME}`: a cookie.
    Cookie,
    /// `{query.NAME}`: a query parameter, as it came.
    QueryParameter,
    /// `{user}`: who is known to call, on a route with `auth`.
    User,
    /// `{claim.NAME}`: a claim of whoever calls, on a route with `auth`.
    Claim,
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the text, in bytes.
    pub range: Range<usize>,
    /// What is wrong, without a full stop.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

impl<'c> Scope<'c> {
    /// Captures, and every fact of the request.
    pub const fn all(captures: &'c [Box<str>]) -> Self {
        Self { captures, places: Place::ALL }
    }

    /// The same but for who calls: for a route that does not ask.
    pub const fn nameless(captures: &'c [Box<str>]) -> Self {
        Self { captures, places: Place::NAMELESS }
    }
}

impl Place {
    /// Every fact there is.
    pub const ALL: &'static [Place] = &[
        Place::Scheme,
        Place::Host,
        Place::Port,
        Place::Method,
        Place::Path,
        Place::Query,
        Place::ClientIp,
        Place::RequestId,
        Place::Generation,
        Place::Header,
        Place::Cookie,
        Place::QueryParameter,
        Place::User,
        Place::Claim,
    ];

    /// Every fact that is known without asking who calls: all but the last two.
    const NAMELESS: &'static [Place] = Place::ALL.split_at(Place::ALL.len() - 2).0;

    /// The placeholder as written in a template.
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Scheme => "{scheme}",
            Place::Host => "{host}",
            Place::Port => "{port}",
            Place::Method => "{method}",
            Place::Path => "{path}",
            Place::Query => "{query}",
            Place::ClientIp => "{client_ip}",
            Place::RequestId => "{request_id}",
            Place::Generation => "{generation}",
            Place::Header => "{header.NAME}",
            Place::Cookie => "{cookie.NAME}",
            Place::QueryParameter => "{query.NAME}",
            Place::User => "{user}",
            Place::Claim => "{claim.NAME}",
        }
    }

    /// Whether `name` means a fact of the request wherever it stands, now or in a later release, so that a path
    /// pattern may not capture under it: `{user}` must never be what the client wrote into the path.
    pub fn is_reserved(name: &str) -> bool {
        let plain = Place::ALL.iter().any(|place| place.as_str().trim_matches(['{', '}']) == name);
        plain || matches!(name, "claim" | "header" | "cookie" | "rest")
    }
}

/// Splits `text` into stretches of text and placeholders.
pub(super) fn pieces(text: &str, scope: &Scope<'_>) -> Result<Vec<Piece>, Mistake> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(['{', '}']) {
        let brace = at + found;
        plain.push_str(&text[at..brace]);
        let rest = &text[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            plain.push_str(&rest[..1]);
            at = brace + 2;
            continue;
        }
        let end = if rest.starts_with('{') { rest.find('}') } else { None };
        let Some(end) = end else { return Err(unbalanced(text, brace)) };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
        }
        let name = &rest[1..end];
        let range = brace..brace + end + 1;
        pieces.push(placeholder(name, scope).map_err(|(message, help)| Mistake { range, message, help })?);
        at = brace + end + 1;
    }
    plain.push_str(&text[at..]);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    Ok(pieces)
}

fn unbalanced(text: &str, brace: usize) -> Mistake {
    let (message, range) = match text.as_bytes()[brace] {
        b'{' => ("a placeholder is not closed with `}`", brace..text.len()),
        _ => ("`}` closes nothing", brace..brace + 1),
    };
    Mistake { range, message: message.into(), help: "write `{{` or `}}` for a literal brace".into() }
}

/// The piece that `{name}` stands for, or what is wrong with it and how to mend it.
fn placeholder(name: &str, scope: &Scope<'_>) -> Result<Piece, (String, String)> {
    if let Some(index) = capture(name, scope.captures) {
        return Ok(Piece::Capture(index));
    }
    let (place, piece) =
        fact(name)?.ok_or_else(|| (format!("there is no placeholder `{{{name}}}`"), available(scope)))?;
    if matches!(place, Place::User | Place::Claim) && scope.places == Place::NAMELESS {
        let help = "add `auth`, the policy that finds out who calls, to the route";
        return Err((format!("`{{{name}}}` is nobody on a route without `auth`"), help.into()));
    }
    if !scope.places.contains(&place) {
        return Err((format!("`{{{name}}}` cannot be used here"), available(scope)));
    }
    Ok(piece)
}

/// The index of the capture called `name`, or of the `name`th one where it is a number.
fn capture(name: &str, captures: &[Box<str>]) -> Option<usize> {
    let named = captures.iter().position(|capture| **capture == *name);
    named.or_else(|| {
        let number: usize = name.parse().ok()?;
        (1..=captures.len()).contains(&number).then(|| number - 1)
    })
}

/// The fact of the request called `name`, if there is one.
fn fact(name: &str) -> Result<Option<(Place, Piece)>, (String, String)> {
    if let Some((kind, key)) = name.split_once('.') {
        return keyed(kind, key);
    }
    Ok(Some(match name {
        "scheme" => (Place::Scheme, Piece::Scheme),
        "host" => (Place::Host, Piece::Host),
        "port" => (Place::Port, Piece::Port),
        "method" => (Place::Method, Piece::Method),
        "path" => (Place::Path, Piece::Path),
        "query" => (Place::Query, Piece::Query),
        "client_ip" => (Place::ClientIp, Piece::ClientIp),
        "request_id" => (Place::RequestId, Piece::RequestId),
        "generation" => (Place::Generation, Piece::Generation),
        "user" => (Place::User, Piece::User),
        _ => return Ok(None),
    }))
}

/// A fact with a name of its own: `{header.X-Tenant}`.
fn keyed(kind: &str, key: &str) -> Result<Option<(Place, Piece)>, (String, String)> {
    let wrong = |what: &str| (format!("`{key}` is not the name of a {what}"), format!("write `{{{kind}.NAME}}`"));
    match kind {
        "header" => {
            let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| wrong("header"))?;
            Ok(Some((Place::Header, Piece::Header(name))))
        }
        // A cookie's name is a token, as a header's is (RFC 6265 section 4.1.1).
        "cookie" => match HeaderName::from_bytes(key.as_bytes()) {
            Ok(_) => Ok(Some((Place::Cookie, Piece::Cookie(key.into())))),
            Err(_) => Err(wrong("cookie")),
        },
        "claim" if key.is_empty() => Err(wrong("claim")),
        "claim" => Ok(Some((Place::Claim, Piece::Claim(key.into())))),
        "query" if key.is_empty() => Err(wrong("query parameter")),
        "query" => Ok(Some((Place::QueryParameter, Piece::QueryParameter(key.into())))),
        _ => Ok(None),
    }
}

/// What may be used instead, in words.
fn available(scope: &Scope<'_>) -> String {
    let captures = scope.captures.iter().map(|name| format!("`{{{name}}}`"));
    let facts = scope.places.iter().map(|place| format!("`{}`", place.as_str()));
    let all: Vec<_> = captures.chain(facts).collect();
    match &all[..] {
        [] => "no placeholder can be used here; write `{{` for a literal brace".into(),
        [one] => format!("this place may use {one}"),
        [most @ .., last] => format!("this place may use {} and {last}", most.join(", ")),
    }
}
