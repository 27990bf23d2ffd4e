//! What answers are kept under.

use std::{cell::RefCell, fmt};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use filter::{
    Identity, Scheme, View, cookies,
    query::{HIDDEN, shown},
    template::Input,
};
use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;

use crate::{policy::Policy, stored::Stored};

/// What an answer is kept under, before `Vary`: the route, the caller, and the parts of the request that count. Each part
/// is written with its length, so that no two requests have the same key by accident or on purpose. It is in memory alone: what is
/// written down is what it is sealed to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) Box<[u8]>);

/// Nothing of what it is made of.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", self.hash())
    }
}

/// A key as it is written down: by nobody to be read, and that of no other key. It has names of users in it, and what the origin
/// is told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed([u8; SHA256_OUTPUT_LEN]);

impl Sealed {
    fn of(text: &[u8]) -> Self {
        let mut sealed = [0; SHA256_OUTPUT_LEN];
        sealed.copy_from_slice(digest(&SHA256, text).as_ref());
        Self(sealed)
    }

    /// What was written down.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        text.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A number for the key, the same in every process.
    pub(crate) fn hash(&self) -> u128 {
        self.0.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

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
            Self::Cookie(name) => cookies_of(request, name).next().is_some(),
        }
    }

    /// What of the request it is, in words, but for what is `secret`.
    pub(crate) fn describe(&self, request: &View<'_>, secret: &dyn Fn(&Input<'_>) -> bool) -> String {
        let value = match self {
            Self::Scheme => Some(request.client.scheme.as_str().to_owned()),
            Self::Host => Some(format!("{}:{}", request.host, request.client.port)),
            Self::Path => Some(request.path.to_owned()),
            Self::Query => request.query.map(|query| shown(query, secret)),
            Self::Sorted(without) => sorted(request.query, without).map(|query| shown(&query, secret)),
            Self::Parameter(name) => request.query_parameter(name).map(str::to_owned),
            Self::Header(name) => {
                value_of(&request.head.headers, name).map(|value| String::from_utf8_lossy(&value).into_owned())
            }
            Self::Cookie(name) => {
                let value = |piece| cookies::parts(piece).1.unwrap_or_default();
                let values = cookies_of(request, name).map(value).collect::<Vec<_>>().join(&b"; "[..]);
                self.is_in(request).then(|| String::from_utf8_lossy(&values).into_owned())
            }
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
            Self::Sorted(without) => put(out, sorted(request.query, without).as_deref().map(str::as_bytes)),
            Self::Parameter(name) => put(out, request.query_parameter(name).map(str::as_bytes)),
            Self::Header(name) => put(out, selecting(&request.head.headers, name).as_deref()),
            Self::Cookie(name) => {
                // All of that name, as they are written: which of them counts, and whether quotes do, origins know best.
                let written = cookies_of(request, name).collect::<Vec<_>>().join(&b';');
                put(out, (!written.is_empty()).then(|| Sealed::of(&written)).as_ref().map(Sealed::bytes));
            }
        }
    }
}

impl Key {
    /// It as it is written down.
    pub(crate) fn sealed(&self) -> Sealed {
        Sealed::of(&self.0)
    }

    /// A number for it, the same in every process.
    pub(crate) fn hash(&self) -> u128 {
        self.sealed().hash()
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
pub(crate) fn sorted(query: Option<&str>, without: &[Box<str>]) -> Option<String> {
    let is_meant = |name: &str| {
        without.iter().any(|one| match one.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => **one == *name,
        })
    };
    let mut pairs: Vec<&str> = query?.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.retain(|pair| !is_meant(name_of(pair)));
    pairs.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// The cookies of that name, as they are written but for the spaces before them.
fn cookies_of<'r>(request: &View<'r>, name: &str) -> impl Iterator<Item = &'r [u8]> {
    let is_meant = move |piece: &&[u8]| cookies::parts(piece).0 == name.as_bytes();
    cookies::all(&request.head.headers).filter(is_meant).map(<[u8]>::trim_ascii_start)
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

/// What tells answers apart of a request header: its [value](value_of), or its SHA-256 where it may let somebody in, so that it
/// is nowhere to be read where the answer is. `None` where it is absent.
pub(crate) fn selecting(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let value = value_of(fields, name)?;
    Some(if is_harmless(name) { value } else { Sealed::of(&value).bytes().to_vec() })
}

/// A request, and what tells answers to it apart, as far as any has been looked at: there may be many under one key.
pub(crate) struct Selecting<'r> {
    request: &'r HeaderMap,
    authorized: bool,
    /// What was found out.
    known: RefCell<Values>,
}

/// Names with what the request says under them. Most answers depend on one or two.
type Values = SmallVec<[(HeaderName, Option<Vec<u8>>); 2]>;

impl<'r> Selecting<'r> {
    pub(crate) fn of(request: &'r HeaderMap) -> Self {
        let authorized = request.contains_key(header::AUTHORIZATION);
        Self { request, authorized, known: RefCell::default() }
    }

    /// Whether an answer that depends on these values may be given.
    pub(crate) fn gets(&self, selecting: &[(HeaderName, Option<Vec<u8>>)], for_authorized: bool) -> bool {
        (!self.authorized || for_authorized) && selecting.iter().all(|(name, value)| self.has(name, value.as_deref()))
    }

    /// Whether an answer to the `other` request is one to this as well, as far as `known` tells, another answer under the same key.
    pub(crate) fn is_like(&self, other: &HeaderMap, known: &Stored) -> bool {
        (known.for_authorized() || self.authorized == other.contains_key(header::AUTHORIZATION))
            && known.selecting().iter().all(|(name, _)| self.has(name, selecting(other, name).as_deref()))
    }

    fn has(&self, name: &HeaderName, value: Option<&[u8]>) -> bool {
        let mut known = self.known.borrow_mut();
        if let Some((_, own)) = known.iter().find(|(one, _)| one == name) {
            return own.as_deref() == value;
        }
        let own = selecting(self.request, name);
        let has = own.as_deref() == value;
        known.push((name.clone(), own));
        has
    }
}

/// Fields that say what a client can read and what it is, and let nobody in. Most answers that vary do so by them. What others
/// mean nobody knows.
fn is_harmless(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT
            | header::ACCEPT_CHARSET
            | header::ACCEPT_ENCODING
            | header::ACCEPT_LANGUAGE
            | header::ORIGIN
            | header::USER_AGENT
    )
}

/// The value of a request header as far as answers depend on it: several lines are one list, and what means the same is
/// the same (RFC 9111 section 4.1). `None` where it is absent.
fn value_of(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = fields.get_all(name).into_iter();
    let first = lines.next()?;
    if name == header::ACCEPT_ENCODING {
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
    if name == header::ACCEPT_LANGUAGE || name == header::ACCEPT {
        value.retain(|byte| !matches!(byte, b' ' | b'\t'));
        value.make_ascii_lowercase();
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use document::OneOrMany;
    use http::HeaderValue;

    use super::*;
    use crate::{
        CacheTable,
        testing::{head, policy, viewed},
    };

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

    #[test]
    fn what_values_are_of_tells_keys_apart_as_well() {
        let table = |key: &[&str], vary: &[&str]| {
            let list = |names: &[&str]| Some(OneOrMany(names.iter().map(|name| (*name).to_owned()).collect()));
            CacheTable { key: list(key), vary: list(vary), ..CacheTable::default() }
        };
        let of = |table| {
            let head = head(&[("x-a", "2"), ("x-b", "2"), ("cookie", "a=2; b=2")]);
            viewed(&head, "/a", Some("page=2&lang=2"), |view| policy(table).key(view).unwrap())
        };
        let tables = [
            table(&["path", "query:page"], &[]),
            table(&["path", "query:lang"], &[]),
            table(&["path", "query:page", "query:lang"], &[]),
            table(&["path", "query:lang", "query:page"], &[]),
            table(&["path", "header:x-a"], &[]),
            table(&["path", "header:x-b"], &[]),
            table(&["path"], &["X-A"]),
            table(&["path"], &["X-B"]),
            table(&["path", "query:!a"], &[]),
            table(&["path", "query:!b"], &[]),
        ];
        let different: std::collections::HashSet<Key> = tables.iter().cloned().map(of).collect();
        assert_eq!(different.len(), tables.len());
        // What goes without saying may be said.
        assert_eq!(of(CacheTable::default()), of(table(&["scheme", "host", "path", "query"], &[])));
        assert_eq!(of(table(&["path"], &["X-A"])), of(table(&["path"], &["x-a"])));
    }

    #[test]
    fn a_cookie_is_told_apart_by_all_that_is_written_of_it() {
        let part = Part::Cookie("lang".into());
        let of = |lines: &[&[u8]]| {
            let mut head = head(&[]);
            for line in lines {
                head.append_header(header::COOKIE, HeaderValue::from_bytes(line).unwrap()).unwrap();
            }
            viewed(&head, "/", None, |view| {
                let mut out = Vec::new();
                part.write(view, &mut out);
                (part.is_in(view), part.describe(view, &|_| false), out)
            })
        };
        let (none, fr) = (of(&[]), of(&[b"lang=fr"]));
        assert_eq!((none.0, &*none.1, fr.0, &*fr.1), (false, "no cookie:lang", true, "cookie:lang \"fr\""));
        let mut known = vec![none.clone(), fr.clone()];
        for same in [&[&b"lang=fr; x=\xff"[..]][..], &[b"x=\xff;  lang=fr;y"], &[b"slang=de", b"lang=fr"]] {
            assert_eq!(of(same), fr, "{same:?}");
        }
        assert_eq!(of(&[b"x=lang", b"langs=fr", b"\xff"]), none);
        for (lines, told) in [
            (&[&b"lang=en; lang=fr"[..]][..], "en; fr"),
            (&[b"lang=fr", b"lang=en"], "fr; en"),
            (&[b"lang =fr"], "fr"),
            (&[b"lang=\"fr\""], "\\\"fr\\\""),
            (&[b"lang=\xff"], "\u{fffd}"),
            (&[b"lang"], ""),
            (&[b"lang="], ""),
        ] {
            let own = of(lines);
            assert_eq!((own.0, own.1.clone()), (true, format!("cookie:lang \"{told}\"")), "{lines:?}");
            assert!(known.iter().all(|(.., key)| *key != own.2), "{lines:?}");
            known.push(own);
        }
    }

    #[test]
    fn what_may_let_somebody_in_tells_answers_apart_and_is_not_to_be_read() {
        let value = |name: &'static str, text: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(name, text.parse().unwrap());
            selecting(&fields, &HeaderName::from_static(name)).unwrap()
        };
        for name in ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-anything"] {
            let (one, other) = (value(name, "Bearer secret"), value(name, "Bearer other"));
            assert!(one != other && one.len() == SHA256_OUTPUT_LEN, "{name}");
            assert!(!one.windows(6).any(|part| part == b"secret"), "{name}");
            assert_eq!(one, value(name, " Bearer secret "), "{name}: what means the same is the same");
        }
        assert_eq!(value("accept-language", "DE, en"), b"de,en");
        let key = Key(b"alice".as_slice().into());
        assert!(!key.sealed().bytes().windows(5).any(|part| part == b"alice") && !format!("{key:?}").contains("alice"));
        assert_eq!(Sealed::read(key.sealed().bytes()), Some(key.sealed()));
        assert_eq!(Sealed::read(b"alice"), None);
    }
}
