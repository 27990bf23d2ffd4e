//! What a purge means.

use crate::stored::Stored;

/// Which answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All of them.
    All,
    /// Those of one URL; without a query, of all its queries.
    Url(Address),
    /// Those whose URL begins so.
    Prefix(Address),
    /// Those with this tag.
    Tag(Box<str>),
}

/// A URL with its origin, or a path on every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `https://example.com`, in lower case.
    origin: Option<Box<str>>,
    path: Box<str>,
    query: Option<Box<str>>,
}

impl Selector {
    /// Reads a URL or a path, which stands for a prefix where it ends in `*`.
    pub fn url(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*') {
            Some(prefix) => Self::prefix(prefix),
            None => Address::read(text).map(Self::Url),
        }
    }

    /// Reads the beginning of a URL or of a path.
    pub fn prefix(text: &str) -> Result<Self, String> {
        Address::read(text).map(Self::Prefix)
    }

    /// Whether an answer is meant.
    pub(crate) fn means(&self, stored: &Stored) -> bool {
        let url = stored.url();
        let on = |address: &Address| address.origin.as_ref().is_none_or(|origin| *origin == url.origin);
        match self {
            Self::All => true,
            Self::Tag(tag) => stored.has_tag(tag),
            Self::Url(address) => {
                on(address)
                    && address.path == url.path
                    && address.query.as_ref().is_none_or(|query| Some(query) == url.query.as_ref())
            }
            Self::Prefix(address) => {
                let begins = match &address.query {
                    None => url.path.starts_with(&*address.path),
                    Some(query) => {
                        url.path == address.path && url.query.as_ref().is_some_and(|own| own.starts_with(&**query))
                    }
                };
                on(address) && begins
            }
        }
    }
}

impl Address {
    fn read(text: &str) -> Result<Self, String> {
        let (origin, rest) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) => {
                let path = rest.find(['/', '?']).unwrap_or(rest.len());
                let host = rest[..path].to_ascii_lowercase();
                let (scheme, host) = (scheme.to_ascii_lowercase(), without_port(&host));
                (Some(format!("{scheme}://{host}").into()), &rest[path..])
            }
        };
        let rest = if rest.is_empty() && origin.is_some() { "/" } else { rest };
        if !rest.starts_with('/') {
            return Err(format!(
                "expected a URL such as `https://example.com/a` or a path such as `/a`, found {text:?}"
            ));
        }
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query.into())));
        Ok(Self { origin, path: path.into(), query })
    }
}

/// Answers are told apart by host, whatever port they came in by.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
