//! Text with placeholders, compiled when the configuration is loaded: `/v1{rest}?id={id}`.

mod escape;
mod parse;

use http::{HeaderName, HeaderValue};

pub use escape::Escape;
pub use parse::{Mistake, Place, Scope};

use crate::{Claim, Short, View};
use escape::Source;

/// A text whose placeholders were resolved when the configuration was loaded.
///
/// `{id}`, `{rest}` and `{1}` are what the route's path captured, as they stand in the normalised path; `{scheme}`,
/// `{host}`, `{port}`, `{method}`, `{path}`, `{query}`, `{client_ip}`, `{request_id}`, `{generation}`, `{header.X}`, `{cookie.X}` and
/// `{query.q}` are of the request; `{user}` and `{claim.X}` are of whoever is known to send it. What is absent is the empty string. `{{` and `}}` are literal braces.
///
/// ```
/// use maitred_filter::template::{Scope, Template};
///
/// let captures = ["rest".into()];
/// let template = Template::parse("/v1{rest}", &Scope::all(&captures))?;
/// assert_eq!(template.as_literal(), None);
/// assert!(Template::parse("/v1{id}", &Scope::all(&captures)).is_err());
/// # Ok::<(), maitred_filter::template::Mistake>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Box<[Piece]>,
    /// The whole as a header value, where there is nothing to fill in.
    fixed: Option<HeaderValue>,
}

/// A stretch of text, or a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Capture(usize),
    Scheme,
    Host,
    Port,
    Method,
    Path,
    Query,
    ClientIp,
    RequestId,
    Generation,
    Header(HeaderName),
    Cookie(Box<str>),
    QueryParameter(Box<str>),
    User,
    Claim(Box<str>),
}

/// A part of a request that a template is filled in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'t> {
    /// Its scheme.
    Scheme,
    /// Its host.
    Host,
    /// The port that it came to.
    Port,
    /// Its query.
    Query,
    /// Where it came from.
    ClientIp,
    /// A header field.
    Header(&'t HeaderName),
    /// A cookie.
    Cookie(&'t str),
    /// A parameter of its query.
    Parameter(&'t str),
}

impl Template {
    /// Compiles `text`; `scope` says which placeholders this place may use.
    pub fn parse(text: &str, scope: &Scope<'_>) -> Result<Self, Mistake> {
        let pieces = parse::pieces(text, scope)?;
        let fixed = fixed(&pieces);
        Ok(Self { pieces: pieces.into(), fixed })
    }

    /// The text, when there is nothing to fill in.
    pub fn as_literal(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What clients choose, of all that it is filled in with, but for method and path.
    pub fn inputs(&self) -> impl Iterator<Item = Input<'_>> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Scheme => Some(Input::Scheme),
            Piece::Host => Some(Input::Host),
            Piece::Port => Some(Input::Port),
            Piece::Query => Some(Input::Query),
            Piece::ClientIp => Some(Input::ClientIp),
            Piece::Header(name) => Some(Input::Header(name)),
            Piece::Cookie(name) => Some(Input::Cookie(name)),
            Piece::QueryParameter(name) => Some(Input::Parameter(name)),
            _ => None,
        })
    }

    /// Changes the text around the placeholders, for a place where text has to be encoded too.
    #[must_use]
    pub fn map_text(mut self, change: impl Fn(&str) -> String) -> Self {
        for piece in &mut self.pieces {
            if let Piece::Text(text) = piece {
                *text = change(text).into();
            }
        }
        self.fixed = fixed(&self.pieces);
        self
    }

    /// Appends the text to `out`, every value as it stands.
    pub fn render(&self, view: &View<'_>, out: &mut String) {
        self.render_as(Escape::Nothing, view, out);
    }

    /// Appends the text to `out`, with the values of placeholders escaped for where they go. The text around them is
    /// the operator's and is never escaped.
    pub fn render_as(&self, escape: Escape, view: &View<'_>, out: &mut String) {
        for piece in &self.pieces {
            piece.render(escape, view, out);
        }
    }

    /// The text as the value of a header field (RFC 9110 section 5.5). Control bytes are dropped, so that no value can
    /// end the field or the head. `None` when placeholders came out as nothing at all: then there is no field to send.
    pub fn render_header(&self, view: &View<'_>) -> Option<HeaderValue> {
        if self.fixed.is_some() {
            return self.fixed.clone();
        }
        let mut text = String::new();
        self.render(view, &mut text);
        if text.is_empty() { None } else { header_value(text) }
    }

    /// The same as bytes for a line of HTTP/1, which may be kept in `room` meanwhile.
    pub fn render_line<'t>(&'t self, view: &View<'_>, room: &'t mut String) -> Option<&'t [u8]> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.as_bytes());
        }
        room.clear();
        self.render(view, room);
        let is_nothing = room.is_empty();
        drop_controls(room);
        (!is_nothing).then_some(room.as_bytes())
    }
}

/// The whole as a header value, where there is nothing to fill in.
fn fixed(pieces: &[Piece]) -> Option<HeaderValue> {
    match pieces {
        [] => Some(HeaderValue::from_static("")),
        [Piece::Text(text)] => header_value(text.to_string()),
        _ => None,
    }
}

/// Text as a header value, without its control bytes.
fn header_value(mut text: String) -> Option<HeaderValue> {
    drop_controls(&mut text);
    HeaderValue::try_from(text).ok()
}

fn drop_controls(text: &mut String) {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        text.retain(|c| !c.is_ascii_control());
    }
}

impl Piece {
    fn render(&self, escape: Escape, view: &View<'_>, out: &mut String) {
        let (source, value) = match self {
            Piece::Text(text) => return out.push_str(text),
            Piece::Port => return out.push_str(Short::of_number(view.client.port).as_str()),
            Piece::Generation => return out.push_str(Short::of_number(view.generation).as_str()),
            Piece::ClientIp => {
                if let Some(address) = view.client.address {
                    out.push_str(Short::of_address(address).as_str());
                }
                return;
            }
            Piece::Capture(index) => (Source::Path, view.captures.get(*index, view.path)),
            Piece::Path => (Source::Path, view.path),
            Piece::Scheme => (Source::Plain, view.client.scheme.as_str()),
            Piece::Host => (Source::Plain, view.host),
            Piece::Method => (Source::Plain, view.head.method.as_str()),
            Piece::RequestId => (Source::Plain, view.client.request_id.as_str()),
            Piece::Query => (Source::Query, view.query.unwrap_or("")),
            Piece::QueryParameter(name) => (Source::Parameter, view.query_parameter(name).unwrap_or("")),
            Piece::Header(name) => (Source::Foreign, view.header(name).unwrap_or("")),
            Piece::Cookie(name) => (Source::Foreign, view.cookie(name).unwrap_or("")),
            Piece::User => (Source::Foreign, view.identity.and_then(|by| by.user.as_deref()).unwrap_or("")),
            Piece::Claim(name) => {
                (Source::Foreign, view.identity.and_then(|by| by.claim(name)).map_or("", Claim::as_str))
            }
        };
        escape.append(source, value, out);
    }
}

#[cfg(test)]
mod tests;
