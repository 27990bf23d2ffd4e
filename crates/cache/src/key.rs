//! What answers are kept under.

use std::fmt;

use filter::{
    Identity, Scheme, View,
    query::{HIDDEN, shown},
    template::Input,
};
use http::{HeaderMap, HeaderName};
use xxhash_rust::xxh3::xxh3_128;

use crate::policy::Policy;

/// What an answer is kept under, before `Vary`: the route, the caller, and the parts of the request that count. Each part
/// is written with its length, so that no two requests have the same key by accident or on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) Box<[u8]>);

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Scheme,
    Host,
    Path,
    Query,
    /// All parameters but these, in the order of their names. A `*` at the end stands for any rest.
    Sorted(Box<[Box<str>]>),
    Parameter(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("scheme"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Query => f.write_str("query"),
            Self::Sorted(without) if without.is_empty() => f.write_str("query:*"),
            Self::Sorted(without) => {
                let names: Vec<String> = without.iter().map(|name| format!("query:!{name}")).collect();
                f.write_str(&names.join(" + "))
            }
            Self::Parameter(name) => write!(f, "query:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl Part {
    /// Whether the request has it.
    pub(crate) fn is_in(&self, request: &View<'_>) -> bool {
        match self {
            Self::Scheme | Self::Host | Self::Path => true,
            Self::Query | Self::Sorted(_) => request.query.is_some(),
            Self::Parameter(name) => request.query_parameter(name).is_some(),
            Self::Header(name) => request.head.headers.contains_key(name),
            Self::Cookie(name) => request.cookie(name).is_some(),
        }
    }

    /// What of the request it is, in words, but for what is `secret`.
    pub(crate) fn describe(&self, request: &View<'_>, secret: &dyn Fn(&Input<'_>) -> bool) -> String {
        let value = match self {
            Self::Scheme => Some(request.client.scheme.as_str().to_owned()),
            Self::Host => Some(format!("{}:{}", request.host, request.client.port)),
            Self::Path => Some(request.path.to_owned()),
            Self::Query => request.query.map(|query| shown(query, secret)),
            Self::Sorted(without) => sorted(request, without).map(|query| shown(&query, secret)),
            Self::Parameter(name) => request.query_parameter(name).map(str::to_owned),
            Self::Header(name) => {
                selecting(&request.head.headers, name).map(|value| String::from_utf8_lossy(&value).into_owned())
            }
            Self::Cookie(name) => request.cookie(name).map(str::to_owned),
        };
        let is_secret = match self {
            Self::Parameter(name) => secret(&Input::Parameter(name)),
            Self::Header(name) => secret(&Input::Header(name)),
            Self::Cookie(name) => secret(&Input::Cookie(name)),
            Self::Scheme | Self::Host | Self::Path | Self::Query | Self::Sorted(_) => false,
        };
        match value {
            Some(_) if is_secret => format!("{self} {HIDDEN}"),
            Some(value) => format!("{self} {value:?}"),
            None => format!("no {self}"),
        }
    }

    fn write(&self, request: &View<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Scheme => put(out, Some(request.client.scheme.as_str().as_bytes())),
            Self::Host => {
                put(out, Some(request.host.as_bytes()));
                put(out, Some(&request.client.port.to_be_bytes()));
                // The origin is told it as the client wrote it, and may write it into its links.
                put(out, written_port(request).map(str::as_bytes));
            }
            Self::Path => put(out, Some(request.path.as_bytes())),
            Self::Query => put(out, request.query.map(str::as_bytes)),
            Self::Sorted(without) => put(out, sorted(request, without).as_deref().map(str::as_bytes)),
            Self::Parameter(name) => put(out, request.query_parameter(name).map(str::as_bytes)),
            Self::Header(name) => put(out, selecting(&request.head.headers, name).as_deref()),
            Self::Cookie(name) => put(out, request.cookie(name).map(str::as_bytes)),
        }
    }
}

impl Key {
    /// A number for it, the same in every process.
    pub(crate) fn hash(&self) -> u128 {
        xxh3_128(&self.0)
    }

    /// The same among the answers to requests for what a trusted proxy has told to be the host.
    #[must_use]
    pub fn of_host(self, told: &str) -> Self {
        let mut out = self.0.into_vec();
        // No name of an upstream is absent.
        put(&mut out, None);
        put(&mut out, Some(told.as_bytes()));
        Self(out.into())
    }

    /// The same among the answers to who has shown the certificate with this SHA-256.
    #[must_use]
    pub fn of_certificate(self, fingerprint: &str) -> Self {
        let mut out = self.0.into_vec();
        // What follows one that is absent is a host, which is not, and no name of an upstream is absent.
        put(&mut out, None);
        put(&mut out, None);
        put(&mut out, Some(fingerprint.as_bytes()));
        Self(out.into())
    }

    /// The same among the answers of one upstream, where a route has several.
    #[must_use]
    pub fn of_upstream(self, name: &str) -> Self {
        let mut out = self.0.into_vec();
        put(&mut out, Some(name.as_bytes()));
        Self(out.into())
    }

    pub(crate) fn of(policy: &Policy, request: &View<'_>) -> Option<Self> {
        let mut out = Vec::with_capacity(128);
        put(&mut out, Some(policy.route.as_bytes()));
        out.extend_from_slice(&policy.origin.to_be_bytes());
        // What follows is never taken for a caller where there is none.
        out.push(u8::from(request.identity.is_some()));
        if let Some(identity) = request.identity {
            caller(identity, &mut out)?;
        }
        for part in &policy.key {
            part.write(request, &mut out);
        }
        for name in &policy.vary {
            put(&mut out, selecting(&request.head.headers, name).as_deref());
        }
        Some(Self(out.into()))
    }
}

/// The query without these parameters, the others in the order of their names; those of one name stay in theirs. `None`
/// where none is left.
pub(crate) fn sorted(request: &View<'_>, without: &[Box<str>]) -> Option<String> {
    let is_meant = |name: &str| {
        without.iter().any(|one| match one.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => **one == *name,
        })
    };
    let mut pairs: Vec<&str> = request.query?.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.retain(|pair| !is_meant(name_of(pair)));
    pairs.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// The name of a parameter with or without a value.
fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// What tells a caller from all others.
fn caller(identity: &Identity, out: &mut Vec<u8>) -> Option<()> {
    if identity.user.is_none() && identity.key.is_none() {
        return None;
    }
    put(out, Some(identity.policy.as_bytes()));
    put(out, identity.user.as_deref().map(str::as_bytes));
    put(out, identity.key.as_deref().map(str::as_bytes));
    // What the origin is told of it, which may change with the roles of one and the same user.
    for (name, value) in &identity.fields {
        put(out, Some(name.as_str().as_bytes()));
        put(out, Some(value.as_bytes()));
    }
    Some(())
}

/// The port that the client wrote behind the host, where it is not the one that goes without saying.
fn written_port<'r>(request: &View<'r>) -> Option<&'r str> {
    let usual = if request.client.scheme == Scheme::Https { "443" } else { "80" };
    let (_, port) = filter::authority_of(request.head).rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port != usual).then_some(port)
}

/// A part with its length before it; what is absent differs from what is empty.
fn put(out: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(u32::MAX, |part| u32::try_from(part.len()).unwrap_or(u32::MAX - 1));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part.unwrap_or_default());
}

/// The value of a request header as far as answers depend on it: several lines are one list, and what means the same is
/// the same (RFC 9111 section 4.1). `None` where it is absent.
pub(crate) fn selecting(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = fields.get_all(name).into_iter();
    let first = lines.next()?;
    if name == http::header::ACCEPT_ENCODING {
        return Some(crate::encoding::accepted(fields).into_bytes());
    }
    let mut value = Vec::with_capacity(first.len());
    for line in std::iter::once(first).chain(lines) {
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let member = member.trim_ascii();
            if !value.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(member);
        }
    }
    if name == http::header::ACCEPT_LANGUAGE || name == http::header::ACCEPT {
        value.retain(|byte| !matches!(byte, b' ' | b'\t'));
        value.make_ascii_lowercase();
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_no_host_and_no_upstream() {
        let key = || Key(b"a".as_slice().into());
        let keys = [
            key(),
            key().of_certificate("x"),
            key().of_host("x"),
            key().of_upstream("x"),
            key().of_host("x").of_certificate("x"),
            key().of_host("x").of_upstream("x"),
            key().of_certificate("x").of_upstream("x"),
            key().of_host("x").of_certificate("x").of_upstream("x"),
        ];
        let different: std::collections::HashSet<&Key> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }
}
