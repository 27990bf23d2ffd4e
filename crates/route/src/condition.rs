//! What must hold of a request besides its host and path.

use std::{borrow::Cow, fmt};

use filter::{Scheme, View, query};
use http::{HeaderName, Method};
use regex::Regex;
use smallvec::SmallVec;

/// The conditions of one route, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Conditions {
    /// One of these methods; any when empty.
    pub methods: SmallVec<[Method; 2]>,
    /// Sorted by name, as are cookies and query parameters.
    pub headers: Vec<(HeaderName, Test)>,
    pub cookies: Vec<(Box<str>, Test)>,
    pub query: Vec<(Box<str>, Test)>,
    /// One of these listeners; any when empty.
    pub listeners: Vec<Box<str>>,
    pub scheme: Option<Scheme>,
}

/// What is asked of the values of one header, cookie or query parameter.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Is(Box<str>),
    Like(Regex),
    Present,
    Absent,
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Test::Is(one), Test::Is(other)) => one == other,
            (Test::Like(one), Test::Like(other)) => one.as_str() == other.as_str(),
            (Test::Present, Test::Present) | (Test::Absent, Test::Absent) => true,
            _ => false,
        }
    }
}

/// The first condition that does not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unmet<'c> {
    Listener,
    Scheme,
    Method,
    Header(&'c HeaderName),
    Cookie(&'c str),
    Query(&'c str),
}

impl Test {
    /// Whether one value is enough, or none is there where none may be.
    fn holds<V: AsRef<[u8]>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        match self {
            Test::Present => values.next().is_some(),
            Test::Absent => values.next().is_none(),
            Test::Is(text) => values.any(|value| value.as_ref() == text.as_bytes()),
            Test::Like(regex) => {
                values.any(|value| std::str::from_utf8(value.as_ref()).is_ok_and(|text| regex.is_match(text)))
            }
        }
    }
}

impl Conditions {
    /// Whether every request meets them that has the right method.
    pub fn only_methods(&self) -> bool {
        *self == Self { methods: self.methods.clone(), ..Self::default() }
    }

    pub fn hold(&self, view: &View<'_>) -> bool {
        self.unmet(view).is_none()
    }

    /// The first condition that does not hold; cheap ones first.
    pub fn unmet(&self, view: &View<'_>) -> Option<Unmet<'_>> {
        if !self.methods.is_empty() && !self.methods.contains(&view.head.method) {
            return Some(Unmet::Method);
        }
        if self.scheme.is_some_and(|scheme| scheme != view.client.scheme) {
            return Some(Unmet::Scheme);
        }
        if !self.listeners.is_empty() && !self.listeners.iter().any(|name| **name == *view.client.listener) {
            return Some(Unmet::Listener);
        }
        let headers = |name: &HeaderName| view.head.headers.get_all(name).into_iter();
        if let Some((name, _)) = self.headers.iter().find(|(name, test)| !test.holds(headers(name))) {
            return Some(Unmet::Header(name));
        }
        if let Some((name, _)) = self.cookies.iter().find(|(name, test)| !test.holds(view.cookie(name).into_iter())) {
            return Some(Unmet::Cookie(name));
        }
        let unmet = self.query.iter().find(|(name, test)| !test.holds(parameters(view.query, name)));
        unmet.map(|(name, _)| Unmet::Query(name))
    }

    /// How specific they are: method named, headers and cookies, query parameters, listener or scheme named.
    pub fn weight(&self) -> (bool, usize, usize, usize) {
        let place = usize::from(!self.listeners.is_empty()) + usize::from(self.scheme.is_some());
        (!self.methods.is_empty(), self.headers.len() + self.cookies.len(), self.query.len(), place)
    }

    /// Whether some request meets both, and nothing says which are the more specific.
    pub fn tie_with(&self, other: &Self) -> bool {
        overlap(&self.methods, &other.methods)
            && overlap(&self.listeners, &other.listeners)
            && self.scheme == other.scheme
            && self.headers == other.headers
            && self.cookies == other.cookies
            && self.query == other.query
    }

    /// Whether every request that meets `other` meets these too, as far as is plain to see.
    pub fn include(&self, other: &Self) -> bool {
        let among = |wanted: &[Method], found: &[Method]| found.iter().all(|method| wanted.contains(method));
        let methods = self.methods.is_empty() || (!other.methods.is_empty() && among(&self.methods, &other.methods));
        let listening = self.listeners.is_empty()
            || (!other.listeners.is_empty() && other.listeners.iter().all(|name| self.listeners.contains(name)));
        methods
            && listening
            && (self.scheme.is_none() || self.scheme == other.scheme)
            && self.headers.iter().all(|test| other.headers.contains(test))
            && self.cookies.iter().all(|test| other.cookies.contains(test))
            && self.query.iter().all(|test| other.query.contains(test))
    }
}

/// Whether two lists, of which an empty one means everything, are equally specific and have something in common.
fn overlap<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => true,
        (false, false) => one.iter().any(|item| other.contains(item)),
        _ => false,
    }
}

/// The decoded values of the query parameter `name`, which may be written encoded itself.
fn parameters<'q>(text: Option<&'q str>, name: &str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    let named = move |(key, value)| (*query::decode(key) == *name.as_bytes()).then(|| query::decode(value));
    text.into_iter().flat_map(query::parameters).filter_map(named)
}

impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmet::Listener => f.write_str("listener differs"),
            Unmet::Scheme => f.write_str("scheme differs"),
            Unmet::Method => f.write_str("method differs"),
            Unmet::Header(name) => write!(f, "header `{name}` differs"),
            Unmet::Cookie(name) => write!(f, "cookie `{name}` differs"),
            Unmet::Query(name) => write!(f, "query parameter `{name}` differs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_compared_decoded() {
        let values = |query, name| {
            let found = parameters(Some(query), name).map(|value| String::from_utf8_lossy(&value).into_owned());
            found.collect::<Vec<_>>()
        };
        assert_eq!(values("a=1&b=2&a=3", "a"), ["1", "3"]);
        assert_eq!(values("b%65ta=x%20y+z%", "beta"), ["x y z%"]);
        assert_eq!(values("flag&&x=", "flag"), [""]);
        assert_eq!(values("a=1", "b"), Vec::<String>::new());
        assert_eq!(values("", ""), Vec::<String>::new());
    }
}
