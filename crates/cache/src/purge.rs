//! What a purge means.

use filter::View;

use crate::{
    stored::Label,
    wire::{In, Out},
};

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

    /// Those of what a request asks for, over HTTP and HTTPS.
    pub fn of(request: &View<'_>) -> [Self; 2] {
        ["http", "https"].map(|scheme| {
            Self::Url(Address {
                origin: Some(format!("{scheme}://{}", request.host).into()),
                path: request.path.into(),
                query: request.query.map(Into::into),
            })
        })
    }

    /// Whether an answer is meant.
    pub(crate) fn means(&self, label: &Label) -> bool {
        let url = &label.url;
        let on = |address: &Address| address.origin.as_ref().is_none_or(|origin| *origin == url.origin);
        match self {
            Self::All => true,
            Self::Tag(tag) => label.tags.contains(tag),
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

impl Selector {
    pub(crate) fn write(&self, out: &mut Out) {
        let (kind, address, tag) = match self {
            Self::All => (0, None, None),
            Self::Url(address) => (1, Some(address), None),
            Self::Prefix(address) => (2, Some(address), None),
            Self::Tag(tag) => (3, None, Some(tag)),
        };
        out.number(kind);
        if let Some(Address { origin, path, query }) = address {
            out.maybe(origin.as_ref().map(|origin| origin.as_bytes()));
            out.text(path.as_bytes());
            out.maybe(query.as_ref().map(|query| query.as_bytes()));
        }
        if let Some(tag) = tag {
            out.text(tag.as_bytes());
        }
    }

    pub(crate) fn take(from: &mut In<'_>) -> Option<Self> {
        Some(match from.number()? {
            0 => Self::All,
            1 => Self::Url(Address::take(from)?),
            2 => Self::Prefix(Address::take(from)?),
            3 => Self::Tag(from.string()?.into()),
            _ => return None,
        })
    }
}

impl Address {
    fn take(from: &mut In<'_>) -> Option<Self> {
        let text = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => std::str::from_utf8(bytes).ok().map(|text| Some(text.into())),
            None => Some(None),
        };
        Some(Self { origin: text(from.maybe()?)?, path: from.string()?.into(), query: text(from.maybe()?)? })
    }

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
