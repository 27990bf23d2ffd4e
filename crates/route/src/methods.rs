//! Which routes are ruled by method: those that name methods, and those that take what such a route leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use crate::{Match, host::Host};

/// Where the routes are that name methods.
#[derive(Debug, Default)]
pub struct Methods {
    /// The [beginnings](beginning) of their paths by host; under no name where several hosts are meant.
    by_host: BTreeMap<Option<Box<str>>, BTreeSet<Box<str>>>,
}

impl Methods {
    /// Where those among `routes` are.
    pub fn of<'m>(routes: impl Iterator<Item = &'m Match>) -> Self {
        let mut found = Self::default();
        for written in routes.filter(|written| written.method.is_some()) {
            for host in hosts(written) {
                found.by_host.entry(host).or_default().insert(beginning(written).into());
            }
        }
        found
    }

    /// Whether it may depend on the method that this route takes a request: it names some, or may take what another one that
    /// does makes way for. Hosts and the plain beginnings of paths decide, so that it is said of too many routes before it is
    /// said of too few.
    pub fn rule(&self, written: &Match) -> bool {
        let path = beginning(written);
        let near = |hosts: Option<&BTreeSet<Box<str>>>| hosts.is_some_and(|paths| meet(paths, path));
        hosts(written).any(|host| match host {
            None => self.by_host.values().any(|paths| meet(paths, path)),
            named => near(self.by_host.get(&named)) || near(self.by_host.get(&None)),
        })
    }
}

/// The names of the hosts; `None` for a wildcard, and for all of them.
fn hosts(written: &Match) -> impl Iterator<Item = Option<Box<str>>> {
    let named = written.host.iter().flat_map(|hosts| hosts.iter());
    let named = named.map(|text| match Host::parse(text) {
        Ok(Host::Exact(name)) => Some(name),
        _ => None,
    });
    named.chain(written.host.is_none().then_some(None))
}

/// What every path that the route takes begins with.
fn beginning(written: &Match) -> &str {
    let path = written.path.as_deref().unwrap_or("/");
    if path.starts_with('~') {
        return "";
    }
    let plain = path.find(['*', '{']).map_or(path, |end| &path[..end]);
    // `/users/*` takes `/users` as well, and in a pattern a segment may be spelled in several ways.
    plain.find('%').map_or(plain, |end| &plain[..end]).trim_end_matches('/')
}

/// Whether one of `paths` begins with `path`, or the other way round.
fn meet(paths: &BTreeSet<Box<str>>, path: &str) -> bool {
    let begins = |at: usize| path.is_char_boundary(at) && paths.contains(&path[..at]);
    let mut after = paths.range::<str, _>((Bound::Included(path), Bound::Unbounded));
    (0..=path.len()).any(begins) || after.next().is_some_and(|next| next.starts_with(path))
}

#[cfg(test)]
mod tests {
    use document::OneOrMany;

    use super::*;

    fn route(host: Option<&str>, path: &str, method: Option<&str>) -> Match {
        let one = |text: &str| OneOrMany(vec![text.to_owned()]);
        Match { host: host.map(one), path: Some(path.into()), method: method.map(one), ..Match::default() }
    }

    #[test]
    fn a_route_that_takes_what_a_method_leaves_is_ruled_by_it_and_others_are_not() {
        let named =
            [route(Some("a.test"), "/admin/*", Some("DELETE")), route(Some("*.c.test"), "/c/{id}", Some("GET"))];
        let methods = Methods::of(named.iter());
        for ruled in [
            route(Some("a.test"), "/admin/*", Some("DELETE")),
            route(None, "/admin/users", None),
            route(Some("A.test"), "/admin", None),
            route(Some("a.test"), "/*", None),
            route(Some("a.test"), "~^/v[0-9]", None),
            route(Some("b.c.test"), "/c/7", None),
        ] {
            assert!(methods.rule(&ruled), "{ruled:?}");
        }
        for plain in [route(Some("a.test"), "/shop/*", None), route(Some("b.test"), "/admin/*", None)] {
            assert!(!methods.rule(&plain), "{plain:?}");
        }
        assert!(!Methods::of([route(None, "/*", None)].iter()).rule(&route(None, "/*", None)));
    }
}
