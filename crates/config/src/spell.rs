//! Short forms, spelt out in the tree before anything is decoded: each part keeps the place where it is written.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

use document::{
    Code, Diagnostic, Document, Report,
    tree::{Entry, Node, Table, Value},
};

use crate::{
    load::{at, section},
    names,
};

/// Spells out `listen`, routes whose key is their match, tests whose key is their request, and upstreams written in place.
pub(crate) fn out(document: &mut Document, report: &mut Report) {
    listen(document, report);
    if let Some(routes) = section(document, "routes") {
        routes.entries.iter_mut().for_each(|entry| route(entry, report));
    }
    if let Some(tests) = section(document, "tests") {
        tests.entries.iter_mut().for_each(|entry| test(entry, report));
    }
    upstreams(document);
}

fn entry(key: &str, key_span: Range<usize>, node: Node) -> Entry {
    Entry { key: key.into(), key_span, node }
}

/// `listen = ":8080"` is the listener `http` with that address.
fn listen(document: &mut Document, report: &mut Report) {
    let Some(root) = document.root_mut().as_table_mut() else { return };
    let Some(listen) = root.remove("listen") else { return };
    let key_span = listen.key_span;
    let address = entry("address", key_span.clone(), listen.node);
    let table = Node::new(address.node.span.clone(), Value::Table(Table { entries: vec![address] }));
    if root.get("listeners").is_none() {
        root.entries.push(entry(
            "listeners",
            key_span.clone(),
            Node::new(key_span.clone(), Value::Table(Table::default())),
        ));
    }
    let Some(listeners) = root.entry_mut("listeners").and_then(|entry| entry.node.as_table_mut()) else { return };
    match listeners.entry("http") {
        Some(other) => report.push(
            Diagnostic::new(Code::E0202, "the listener `http` is defined twice")
                .label(key_span, "`listen` is short for the listener `http`…")
                .label(other.key_span.clone(), "…which is defined here")
                .help("give the address to one of them only"),
        ),
        None => listeners.entries.push(entry("http", key_span, table)),
    }
}

/// `"api.example.com/users/*" = "users"`: the key is the match, the value the destination or the rest of the route.
fn route(written: &mut Entry, report: &mut Report) {
    let Entry { key, key_span, node } = written;
    let Some(slash) = key.find('/') else { return };
    if let Value::String(_) = &node.value {
        let upstream = entry("upstream", key_span.clone(), node.clone());
        node.value = Value::Table(Table { entries: vec![upstream] });
    }
    let Some(table) = node.as_table_mut() else { return };
    // A regular expression has slashes of its own; a host never begins with `~`.
    let (host, path) = if key.starts_with('~') { ("", key.as_str()) } else { key.split_at(slash) };
    for (name, text) in [("host", host), ("path", path)] {
        match table.entry(name) {
            _ if text.is_empty() => {}
            Some(Entry { node: Node { value: Value::String(same), .. }, .. }) if same == text => {}
            Some(other) => report.push(
                Diagnostic::new(Code::E0107, format!("the {name} of the route `{key}` is given twice"))
                    .label(other.key_span.clone(), format!("a second {name}"))
                    .label(key_span.clone(), "the key is what the route matches")
                    .help(format!("delete `{name}`, or give the route a name and write what it matches inside")),
            ),
            None => {
                let value = Node::new(key_span.clone(), Value::String(text.into()));
                table.entries.push(entry(name, key_span.clone(), value));
            }
        }
    }
}

/// `"GET /orders" = "orders"`: the key is the request, the value what is expected or the rest of the test.
fn test(written: &mut Entry, report: &mut Report) {
    let Entry { key, key_span, node } = written;
    if !key.contains('/') {
        return;
    }
    if let Value::String(_) | Value::Integer(_) = &node.value {
        let expect = entry("expect", key_span.clone(), node.clone());
        node.value = Value::Table(Table { entries: vec![expect] });
    }
    let Some(table) = node.as_table_mut() else { return };
    match table.entry("request") {
        Some(Entry { node: Node { value: Value::String(same), .. }, .. }) if same == key => {}
        Some(other) => report.push(
            Diagnostic::new(Code::E0107, format!("the request of the test `{key}` is given twice"))
                .label(other.key_span.clone(), "a second request")
                .label(key_span.clone(), "the key is what is asked for")
                .help("delete `request`, or give the test a name"),
        ),
        None => {
            let request = Node::new(key_span.clone(), Value::String(key.clone()));
            table.entries.push(entry("request", key_span.clone(), request));
        }
    }
}

/// A URL or a table where an upstream's name may stand becomes an upstream of its own.
fn upstreams(document: &mut Document) {
    let taken = section(document, "upstreams")
        .map(|upstreams| upstreams.entries.iter().map(|entry| entry.key.clone()).collect())
        .unwrap_or_default();
    let mut meant = BTreeSet::new();
    each_in_place(document, |owner, node| {
        meant.insert(identity(owner, node));
    });
    let names = names_for(meant, taken);
    let mut defined = HashSet::new();
    let mut upstreams = Vec::new();
    each_in_place(document, |owner, node| {
        let Some(name) = names.get(&identity(owner, node)) else { return };
        if defined.insert(name.clone()) {
            upstreams.push(upstream(name, node));
        }
        node.value = Value::String(name.clone());
    });
    let Some(root) = document.root_mut().as_table_mut().filter(|_| !upstreams.is_empty()) else { return };
    if root.get("upstreams").is_none() {
        let span = upstreams[0].key_span.clone();
        root.entries.push(entry("upstreams", span.clone(), Node::new(span, Value::Table(Table::default()))));
    }
    if let Some(section) = root.entry_mut("upstreams").and_then(|entry| entry.node.as_table_mut()) {
        section.entries.extend(upstreams);
    }
}

/// Shows `visit` every upstream that is written in place, with a name for the route or listener that it stands in.
fn each_in_place(document: &mut Document, mut visit: impl FnMut(&str, &mut Node)) {
    let is_in_place = |node: &Node| node.as_table().is_some() || node.as_str().is_some_and(is_url);
    let mut show = |owner: &str, table: &mut Table| {
        if let Some(node) = table.entry_mut("upstream").map(|entry| &mut entry.node).filter(|node| is_in_place(node)) {
            visit(owner, node);
        }
        if let Some(mirror) = table.entry_mut("mirror").map(|entry| &mut entry.node) {
            let inner = match mirror.as_table_mut() {
                Some(table) => table.entry_mut("upstream").map(|entry| &mut entry.node),
                None => Some(mirror),
            };
            if let Some(node) = inner.filter(|node| is_in_place(node)) {
                visit(&format!("{owner}-mirror"), node);
            }
        }
        for entry in
            table.entry_mut("sni").and_then(|sni| sni.node.as_table_mut()).into_iter().flat_map(|sni| &mut sni.entries)
        {
            if is_in_place(&entry.node) {
                visit(&format!("{owner}-{}", entry.key), &mut entry.node);
            }
        }
    };
    if let Some(defaults) = section(document, "defaults") {
        show("route-defaults", defaults);
    }
    for (name, noun) in [("routes", "route"), ("listeners", "listener")] {
        for written in section(document, name).map(|section| &mut section.entries[..]).unwrap_or_default() {
            if let Some(table) = written.node.as_table_mut() {
                show(&format!("{noun}-{}", written.key), table);
            }
        }
    }
}

/// Whether the text is a backend's URL rather than an upstream's name.
fn is_url(text: &str) -> bool {
    text.contains("://") || text.starts_with("unix:")
}

/// What an upstream without a name is told apart by: its URL, or where it stands.
fn identity(owner: &str, node: &Node) -> String {
    node.as_str().map_or_else(|| owner.to_owned(), str::to_owned)
}

/// The names of upstreams that have none: the same for the same URL as long as no other takes it, so that metrics go on
/// after a reload, whatever else the file holds.
fn names_for(meant: BTreeSet<String>, mut taken: HashSet<String>) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for identity in meant {
        let plain = names::slug(identity.strip_prefix("http://").unwrap_or(&identity));
        let mut candidates = std::iter::once(plain.clone()).chain((2..).map(|number| format!("{plain}-{number}")));
        let name = candidates.find(|name| !taken.contains(name)).unwrap_or(plain);
        taken.insert(name.clone());
        names.insert(identity, name);
    }
    names
}

fn upstream(name: &str, node: &Node) -> Entry {
    let span = node.span.clone();
    let table = match &node.value {
        Value::Table(table) => table.clone(),
        _ => Table { entries: vec![entry("backends", span.clone(), node.clone())] },
    };
    entry(name, span.clone(), Node::new(span, Value::Table(table)))
}

/// Reports names that could not stand in metrics, logs and URLs as they are.
pub(crate) fn check_names(document: &Document, report: &mut Report) {
    for (name, what) in [
        ("listeners", "a listener"),
        ("upstreams", "an upstream"),
        ("routes", "a route"),
        ("auth", "a policy"),
        ("limits", "a limit"),
        ("tests", "a test"),
    ] {
        let Some(table) = document.get(&document::At::root().key(name)).and_then(Node::as_table) else { continue };
        for entry in &table.entries {
            let shorthand = matches!(name, "routes" | "tests") && entry.key.contains('/');
            if !shorthand && !names::is_name(&entry.key) {
                let place = at(name, &entry.key).name();
                let diagnostic = Diagnostic::new(Code::E0105, format!("`{}` is not a name for {what}", entry.key))
                    .label(&place, "names are made of a-z, 0-9 and `-`");
                let slug = names::slug(&entry.key);
                report.push(if slug.is_empty() {
                    diagnostic
                } else {
                    diagnostic.help("this would be a name").patch(&place, slug)
                });
            }
        }
    }
}
