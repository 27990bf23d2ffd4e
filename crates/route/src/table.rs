//! All routes, compiled into one lookup.

use document::{At, Report};
use filter::{Captures, View};

use crate::{
    Match, compile, explain, host,
    node::{Entry, method_bit},
    rule::Rule,
    spelling::Spelling,
    tree::{self, Found, Tree},
};

/// Which route a request takes, decided by host, path, method, header, query and cookie.
///
/// Routes are kept in a tree of path segments for each host, so that ten thousand cost what ten cost. The most specific
/// candidate wins, as in the Kubernetes Gateway API; one whose conditions do not hold makes way for the next, down to
/// less specific hosts.
///
/// What patterns see is the normalised path without its path parameters (`/admin;x` is `/admin`) and with reserved
/// characters decoded (`/%40admin` is `/@admin`), so that no spelling passes a rule by. Captures are taken from the
/// normalised path itself, parameters included.
#[derive(Debug, Clone)]
pub struct Table {
    rules: Box<[Rule]>,
    /// The routes of the rules behind those of the routes themselves.
    pages: Box<[RouteId]>,
    tree: Tree,
}

/// A route, as its index in the list that the table was compiled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// What became of one route when a request looked for its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which route.
    pub id: RouteId,
    /// Whether the request takes it.
    pub won: bool,
    /// Why it won or lost: `path template + 1 header`, `same path, fewer headers`, `path differs`.
    pub why: String,
}

impl Table {
    /// Compiles the matches of all routes, given by name with their place, and reports every mistake: patterns that
    /// cannot be read, routes that nothing tells apart, routes that can never match. `listeners` are the names that a
    /// route may refer to. `None` when there is an error.
    pub fn compile(routes: &[(&str, &Match, At)], listeners: &[&str], report: &mut Report) -> Option<Self> {
        Self::with_pages(routes, &[], listeners, report)
    }

    /// The same, and routes take requests besides their own: pages that one of their policies answers.
    pub fn with_pages(
        routes: &[(&str, &Match, At)],
        pages: &[(RouteId, Match)],
        listeners: &[&str],
        report: &mut Report,
    ) -> Option<Self> {
        let mut rules = compile::rules(routes, listeners, report)?;
        for (RouteId(route), written) in pages {
            let (name, _, at) = routes.get(*route as usize)?;
            rules.push(compile::rule(name, written, at, listeners, report)?);
        }
        let tree = compile::tree(&rules, routes, report)?;
        Some(Self { rules: rules.into(), pages: pages.iter().map(|(route, _)| *route).collect(), tree })
    }

    /// The route of a rule.
    fn route(&self, rule: u32) -> RouteId {
        let routes = self.rules.len() - self.pages.len();
        let page = (rule as usize).checked_sub(routes).and_then(|page| self.pages.get(page));
        page.copied().unwrap_or(RouteId(rule))
    }

    /// The route that the request takes, and what its path captures; `captures` is cleared first.
    pub fn find(&self, view: &View<'_>, captures: &mut Captures) -> Option<RouteId> {
        captures.clear();
        let path = Spelling::of(view.path);
        let method = method_bit(&view.head.method);
        let conditions = |entry: &Entry| &self.rules[entry.route as usize].conditions;
        let admits = |entry: &Entry| entry.methods & method != 0 && (!entry.more || conditions(entry).hold(view));
        let found = self.tree.find(host::plain(view.host), path.as_str(), &admits)?;
        match found {
            Found::Segments { entry, rest } => tree::capture(entry.taken, rest, &path, captures),
            Found::Regex(entry) => self.rules[entry.route as usize].pattern.capture_groups(&path, captures),
        }
        Some(self.route(found.entry().route))
    }

    /// Why the request takes the route that it takes, and no other: the winner first, then those that could have taken
    /// it, then the rest in the order of their names.
    pub fn explain(&self, view: &View<'_>) -> Vec<Candidate> {
        let winner = self.find(view, &mut Captures::new());
        let routes = self.rules.len() - self.pages.len();
        explain::candidates(&self.rules[..routes], winner, view)
    }

    /// The names of what a route's path captures, in the order of [`Captures`].
    pub fn capture_names(&self, route: RouteId) -> &[Box<str>] {
        self.rules.get(route.0 as usize).map_or(&[], |rule| rule.pattern.captures())
    }
}

#[cfg(test)]
pub(crate) mod tests;
