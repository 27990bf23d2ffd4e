//! All patterns of all hosts as one tree of segments, in which a lookup walks down once.

use std::cmp::Reverse;

use filter::Captures;
use regex::RegexSet;
use smallvec::SmallVec;

use crate::{
    edges::Edges,
    node::{Entry, NOWHERE, Node, Run},
    spelling::Spelling,
};

/// The tree. Its first nodes are the roots of the hosts, in the order of `regexes`.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(super) edges: Edges,
    pub(super) nodes: Box<[Node]>,
    /// The routes of all nodes and regexes; each run sorted, the more specific first.
    pub(super) entries: Box<[Entry]>,
    /// The regexes of each host.
    pub(super) regexes: Box<[Regexes]>,
    pub(super) hosts: Hosts,
}

/// Which kinds of host the routes name, so that a kind that none names costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hosts {
    pub exact: bool,
    pub below: bool,
    pub any: Option<u32>,
}

/// Hosts are edges too: from this node lead the exact names …
pub(super) const EXACT_HOSTS: u32 = u32::MAX - 1;
/// … and from this one the domains of wildcards.
pub(super) const WILDCARD_HOSTS: u32 = u32::MAX - 2;
/// The regular expressions of one host, the more specific first.
#[derive(Debug, Clone, Default)]
pub(super) struct Regexes {
    pub set: RegexSet,
    pub runs: Box<[Run]>,
}

/// What a lookup found, and how its captures are to be taken.
pub(crate) enum Found {
    /// Placeholders, and where the part that `*` stands for begins.
    Segments { entry: Entry, rest: Option<usize> },
    /// By the route's own regular expression.
    Regex(Entry),
}

/// The routes passed whose patterns take everything below, and where in the path.
type Passed = SmallVec<[(Run, usize); 8]>;

impl Tree {
    /// The most specific route for `host` and `path` that `admits` lets through.
    pub fn find(&self, host: &str, path: &str, admits: &impl Fn(&Entry) -> bool) -> Option<Found> {
        if self.hosts.exact
            && let Some(root) = self.edges.get(EXACT_HOSTS, host)
            && let Some(found) = self.search(root.id, path, admits)
        {
            return Some(found);
        }
        if self.hosts.below {
            let mut rest = host;
            while let Some((label, domain)) = rest.split_once('.') {
                if (!label.is_empty() || rest.len() < host.len())
                    && let Some(root) = self.edges.get(WILDCARD_HOSTS, domain)
                    && let Some(found) = self.search(root.id, path, admits)
                {
                    return Some(found);
                }
                rest = domain;
            }
        }
        self.search(self.hosts.any?, path, admits)
    }

    /// The most specific route of one host.
    fn search(&self, root: u32, path: &str, admits: &impl Fn(&Entry) -> bool) -> Option<Found> {
        let mut passed = Passed::new();
        if let Some(entry) = self.walk(&self.nodes[root as usize], path, 0, &mut passed, admits) {
            return Some(Found::Segments { entry, rest: None });
        }
        // The longest first; among equals the one reached by more text, which the walk passed first.
        if passed.len() > 1 {
            passed.sort_by_key(|&(_, position)| Reverse(position));
        }
        let below = passed.iter().find_map(|&(run, position)| Some((self.first(run, admits)?, position)));
        if let Some((entry, position)) = below {
            return Some(Found::Segments { entry, rest: Some(position) });
        }
        let regexes = &self.regexes[root as usize];
        if regexes.runs.is_empty() || !regexes.set.is_match(path) {
            return None;
        }
        let matches = regexes.set.matches(path);
        matches.iter().find_map(|index| self.first(regexes.runs[index], admits)).map(Found::Regex)
    }

    /// Goes down along `path` from `position`, by text before placeholders, to a route whose pattern ends where the path
    /// does.
    fn walk(
        &self,
        node: &Node,
        path: &str,
        position: usize,
        passed: &mut Passed,
        admits: &impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        if !matches!(node.below, Run::None) {
            passed.push((node.below, position));
        }
        if position == path.len() {
            return self.first(node.own, admits);
        }
        if !node.leads_on && node.any == NOWHERE {
            return None;
        }
        let rest = path.get(position + 1..)?;
        let end = position + 1 + memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len());
        let segment = &path[position + 1..end];
        if node.leads_on
            && let Some(next) = self.edges.get(node.id, segment)
            && let Some(found) = self.walk(next, path, end, passed, admits)
        {
            return Some(found);
        }
        if node.any == NOWHERE || segment.is_empty() {
            return None;
        }
        self.walk(&self.nodes[node.any as usize], path, end, passed, admits)
    }

    fn first(&self, run: Run, admits: &impl Fn(&Entry) -> bool) -> Option<Entry> {
        match run {
            Run::None => None,
            Run::One(route) => Some(Entry::plain(route)),
            Run::Many { start, length } => {
                let entries = &self.entries[start as usize..(start + length) as usize];
                entries.iter().find(|entry| admits(entry)).copied()
            }
        }
    }
}

impl Found {
    pub fn entry(&self) -> &Entry {
        match self {
            Found::Segments { entry, .. } | Found::Regex(entry) => entry,
        }
    }
}

/// Takes the segments out of `path` that placeholders stand for, and what `*` stands for.
pub(crate) fn capture(taken: u64, rest: Option<usize>, path: &Spelling<'_>, captures: &mut Captures) {
    let text = path.as_str();
    let (mut left, mut start) = (taken, 1);
    while left != 0 {
        let tail = text.get(start..).unwrap_or("");
        let end = start + memchr::memchr(b'/', tail.as_bytes()).unwrap_or(tail.len());
        if left & 1 == 1 {
            captures.push(path.origin(start), path.origin(end));
        }
        left >>= 1;
        start = end + 1;
    }
    if let Some(rest) = rest {
        captures.push(path.origin(rest), path.origin(text.len()));
    }
}
