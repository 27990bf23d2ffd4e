//! Building the tree when the configuration is loaded.

use std::collections::HashMap;

use regex::{RegexSet, RegexSetBuilder};

use crate::{
    edges::Edges,
    host::Host,
    node::{EVERY_METHOD, Entry, NOWHERE, Node, OTHER_METHODS, Run, method_bit},
    pattern::{Pattern, Segment},
    rule::Rule,
    tree::{EXACT_HOSTS, Hosts, Regexes, Tree, WILDCARD_HOSTS},
};

/// A tree under construction: the same nodes, with lists that still grow.
struct Sapling<'r> {
    rules: &'r [Rule],
    nodes: Vec<Bud<'r>>,
    edges: HashMap<(u32, &'r str), u32>,
}

#[derive(Default)]
struct Bud<'r> {
    own: Vec<u32>,
    below: Vec<u32>,
    any: Option<u32>,
    leads_on: bool,
    /// Of a root: the regexes of its host.
    regexes: HashMap<&'r str, Vec<u32>>,
}

/// The tree of all rules; `None` when the regular expressions of one host are too large together.
pub(crate) fn tree(rules: &[Rule]) -> Option<Tree> {
    let mut sapling = Sapling { rules, nodes: Vec::new(), edges: HashMap::new() };
    let roots = sapling.roots();
    for (index, rule) in rules.iter().enumerate() {
        for host in &rule.hosts {
            sapling.add(roots[host], index as u32, &rule.pattern);
        }
    }
    sapling.grow(&roots)
}

impl<'r> Sapling<'r> {
    /// A root for every host that a rule names; they are the first nodes.
    fn roots(&mut self) -> HashMap<&'r Host, u32> {
        let mut roots = HashMap::new();
        for host in self.rules.iter().flat_map(|rule| &rule.hosts) {
            roots.entry(host).or_insert_with(|| {
                self.nodes.push(Bud::default());
                self.nodes.len() as u32 - 1
            });
        }
        roots
    }

    fn add(&mut self, root: u32, index: u32, pattern: &'r Pattern) {
        let list = match pattern {
            Pattern::Regex { regex, .. } => self.nodes[root as usize].regexes.entry(regex.as_str()).or_default(),
            Pattern::Segments { segments, below, .. } => {
                let node = segments.iter().fold(root, |node, segment| self.step(node, segment));
                let bud = &mut self.nodes[node as usize];
                if *below { &mut bud.below } else { &mut bud.own }
            }
        };
        // A host that a route names twice is one host.
        if list.last() != Some(&index) {
            list.push(index);
        }
    }

    /// The node that `segment` leads to, made where there is none.
    fn step(&mut self, from: u32, segment: &'r Segment) -> u32 {
        let new = self.nodes.len() as u32;
        let to = match segment {
            Segment::Literal(text) => {
                self.nodes[from as usize].leads_on = true;
                *self.edges.entry((from, text)).or_insert(new)
            }
            Segment::Any => *self.nodes[from as usize].any.get_or_insert(new),
        };
        if to == new {
            self.nodes.push(Bud::default());
        }
        to
    }

    /// Lays everything out flat, with the routes of each place in their order.
    fn grow(self, roots: &HashMap<&'r Host, u32>) -> Option<Tree> {
        let mut entries = Vec::new();
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut regexes = Vec::with_capacity(roots.len());
        for (index, bud) in self.nodes.into_iter().enumerate() {
            let own = lay(self.rules, bud.own, &mut entries);
            let below = lay(self.rules, bud.below, &mut entries);
            let any = bud.any.unwrap_or(NOWHERE);
            nodes.push(Node { id: index as u32, any, own, below, leads_on: bud.leads_on });
            if index < roots.len() {
                regexes.push(set(self.rules, bud.regexes, &mut entries)?);
            }
        }
        let (hosts, names) = hosts(roots);
        let segments = self.edges.iter().map(|(&(from, text), &to)| (from, text, to));
        let edges: Vec<_> = segments.chain(names).map(|(from, text, to)| (from, text, nodes[to as usize])).collect();
        Some(Tree {
            edges: Edges::new(edges.into_iter()),
            nodes: nodes.into(),
            entries: entries.into(),
            regexes: regexes.into(),
            hosts,
        })
    }
}

/// The routes of one place, the more specific first.
fn lay(rules: &[Rule], mut routes: Vec<u32>, entries: &mut Vec<Entry>) -> Run {
    routes.sort_by(|&one, &other| rules[one as usize].order(&rules[other as usize]));
    let start = entries.len() as u32;
    entries.extend(routes.iter().map(|&route| entry(rules, route)));
    match entries[start as usize..] {
        [] => Run::None,
        [entry] if entry.is_plain() => {
            entries.pop();
            Run::One(entry.route)
        }
        _ => Run::Many { start, length: routes.len() as u32 },
    }
}

fn entry(rules: &[Rule], route: u32) -> Entry {
    let Rule { conditions, pattern, .. } = &rules[route as usize];
    let named = conditions.methods.iter().fold(0, |bits, method| bits | method_bit(method));
    let methods = if named == 0 { EVERY_METHOD } else { named };
    // Methods that share a bit are told apart by the conditions.
    let told_apart = named & OTHER_METHODS == 0;
    let more = !told_apart || !conditions.only_methods();
    Entry { taken: pattern.taken(), route, methods, more }
}

/// The regexes of one host: the longest expression first, then in alphabetical order.
fn set(rules: &[Rule], regexes: HashMap<&str, Vec<u32>>, entries: &mut Vec<Entry>) -> Option<Regexes> {
    let mut regexes: Vec<_> = regexes.into_iter().collect();
    if regexes.is_empty() {
        return Some(Regexes { set: RegexSet::empty(), runs: Box::default() });
    }
    regexes.sort_by_key(|(text, _)| (std::cmp::Reverse(text.len()), *text));
    let set = RegexSetBuilder::new(regexes.iter().map(|(text, _)| text)).size_limit(1 << 28).build().ok()?;
    let runs = regexes.into_iter().map(|(_, routes)| lay(rules, routes, entries)).collect();
    Some(Regexes { set, runs })
}

/// The edges from the two nodes of hosts to the roots.
fn hosts<'r>(roots: &HashMap<&'r Host, u32>) -> (Hosts, Vec<(u32, &'r str, u32)>) {
    let mut hosts = Hosts::default();
    let mut edges = Vec::new();
    for (host, &root) in roots {
        match host {
            Host::Exact(name) => {
                hosts.exact = true;
                edges.push((EXACT_HOSTS, &**name, root));
            }
            Host::Below(domain) => {
                hosts.below = true;
                edges.push((WILDCARD_HOSTS, &**domain, root));
            }
            Host::Any => hosts.any = Some(root),
        }
    }
    (hosts, edges)
}
