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
    /// Those that a client gets who asks for this URL; without a query, for any of its queries.
    Url(Address),
    /// Those whose URL begins so, with as much of the query as tells them apart.
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

    /// The same with its path in the one normal form that requests are known by, which `normal` knows.
    pub fn normalised<P: AsRef<str>>(self, normal: impl Fn(&str) -> Option<P>) -> Result<Self, String> {
        Ok(match self {
            Self::Url(address) => Self::Url(address.normalised("", normal)?),
            Self::Prefix(address) if address.query.is_some() => Self::Prefix(address.normalised("", normal)?),
            // It may end in the middle of a segment: the form is the one that it has with something behind it.
            Self::Prefix(address) => Self::Prefix(address.normalised("x", normal)?),
            other => other,
        })
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
        let Label { url, apart, .. } = label;
        match self {
            Self::All => true,
            Self::Tag(tag) => label.tags.contains(tag),
            Self::Url(address) => {
                let asks = |query: &str| match apart.narrowed(Some(query)) {
                    Some(narrowed) => Some(&*narrowed) == url.query.as_deref(),
                    None => Some(query) == url.query.as_deref(),
                };
                address.path == url.path && address.is_of(label) && address.query.as_deref().is_none_or(asks)
            }
            Self::Prefix(address) => {
                let begins = match &address.query {
                    None => url.path.starts_with(&*address.path),
                    Some(query) => {
                        url.path == address.path && url.query.as_ref().is_some_and(|own| own.starts_with(&**query))
                    }
                };
                begins && address.is_of(label)
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
    /// Whether an answer is of this origin, as far as origins tell it apart.
    fn is_of(&self, label: &Label) -> bool {
        let Some((scheme, host)) = self.origin.as_ref().and_then(|origin| origin.split_once("://")) else {
            return true;
        };
        let is_scheme = |origin: &str| origin.split_once("://").is_some_and(|(own, _)| own == scheme);
        (!label.apart.host || *label.url.host == *host) && (!label.apart.scheme || is_scheme(&label.url.origin))
    }

    fn normalised<P: AsRef<str>>(self, rest: &str, normal: impl Fn(&str) -> Option<P>) -> Result<Self, String> {
        let path = normal(&format!("{}{rest}", self.path));
        let path = path.as_ref().and_then(|path| path.as_ref().strip_suffix(rest));
        let path = path.ok_or_else(|| format!("no request has a path such as {:?}", self.path))?.into();
        Ok(Self { path, ..self })
    }

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
