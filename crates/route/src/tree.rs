//! All patterns of all hosts as one tree of segments, in which a lookup walks down once.

use std::cmp::Reverse;

use filter::Captures;
use regex::RegexSet;
use smallvec::SmallVec;

use crate::{edges::Edges, spelling::Spelling};

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
/// No such node.
pub(super) const NO_NODE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Routes whose pattern ends here.
    pub own: Run,
    /// Routes whose pattern takes this and everything below.
    pub below: Run,
    /// Where any segment that is not empty leads, or [`NO_NODE`].
    pub any: u32,
}

/// Some of the entries.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub start: u32,
    pub length: u32,
}

/// A route as the tree knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub route: u32,
    /// Whether it has conditions besides host and path.
    pub conditional: bool,
    /// A bit for every segment that a placeholder takes.
    pub taken: u64,
}

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

/// Nodes passed whose patterns take everything below, and where in the path.
type Passed = SmallVec<[(u32, usize); 8]>;

impl Tree {
    /// The most specific route for `host` and `path` that `admits` lets through.
    pub fn find(&self, host: &str, path: &str, admits: &impl Fn(&Entry) -> bool) -> Option<Found> {
        if self.hosts.exact
            && let Some(root) = self.edges.get(EXACT_HOSTS, host)
            && let Some(found) = self.search(root, path, admits)
        {
            return Some(found);
        }
        if self.hosts.below {
            let mut rest = host;
            while let Some((label, domain)) = rest.split_once('.') {
                if (!label.is_empty() || rest.len() < host.len())
                    && let Some(root) = self.edges.get(WILDCARD_HOSTS, domain)
                    && let Some(found) = self.search(root, path, admits)
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
        if let Some(entry) = self.walk(root, path, 0, &mut passed, admits) {
            return Some(Found::Segments { entry, rest: None });
        }
        // The longest first; among equals the one reached by more text, which the walk passed first.
        passed.sort_by_key(|&(_, position)| Reverse(position));
        for (node, position) in passed {
            if let Some(entry) = self.first(self.nodes[node as usize].below, admits) {
                return Some(Found::Segments { entry, rest: Some(position) });
            }
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
        node: u32,
        path: &str,
        position: usize,
        passed: &mut Passed,
        admits: &impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let Node { own, below, any } = self.nodes[node as usize];
        if below.length > 0 {
            passed.push((node, position));
        }
        if position == path.len() {
            return self.first(own, admits);
        }
        let rest = path.get(position + 1..)?;
        let end = position + 1 + rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let segment = &path[position + 1..end];
        if let Some(next) = self.edges.get(node, segment)
            && let Some(found) = self.walk(next, path, end, passed, admits)
        {
            return Some(found);
        }
        if any != NO_NODE && !segment.is_empty() { self.walk(any, path, end, passed, admits) } else { None }
    }

    fn first(&self, run: Run, admits: &impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entries = &self.entries[run.start as usize..(run.start + run.length) as usize];
        entries.iter().find(|entry| admits(entry)).copied()
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
        let end = start + tail.bytes().position(|byte| byte == b'/').unwrap_or(tail.len());
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
