//! What differs between two configurations, in words.

use document::{
    At, Document,
    tree::{Node, Table, Value},
};

/// Sections of named things, and what one of them is called.
const NAMED: [(&str, &str); 5] =
    [("listeners", "listener"), ("upstreams", "upstream"), ("routes", "route"), ("auth", "policy"), ("tests", "test")];

/// How many names stand in a line before the rest is only counted.
const NAMES: usize = 4;

/// What only a new process can obey.
const RESTART: [(&str, &str); 1] = [("server", "threads")];

/// What changed from `old` to `new`: `+1 route (invoices)`, `~1 upstream (users: 2 → 3 backends)`, `~logging`.
pub fn between(old: &Document, new: &Document) -> Vec<String> {
    let mut changes = Vec::new();
    for (section, noun) in NAMED {
        let (old, new) = (table(old, section), table(new, section));
        let added = names(new).filter(|(name, _)| get(old, name).is_none()).map(|(name, _)| name.to_owned());
        changes.extend(line('+', noun, added.collect()));
        let differs = |(name, node): (&str, &Node)| {
            let before = get(old, name).filter(|before| !before.says_the_same(node))?;
            Some(detail(name, before, node))
        };
        changes.extend(line('~', noun, names(new).filter_map(differs).collect()));
        let removed = names(old).filter(|(name, _)| get(new, name).is_none()).map(|(name, _)| name.to_owned());
        changes.extend(line('-', noun, removed.collect()));
    }
    changes.extend(others(old, new));
    changes
}

/// The settings that differ and wait for a new process: `server.threads`.
pub fn waiting(old: &Document, new: &Document) -> Vec<String> {
    let differs = |(section, key): &&(&str, &str)| {
        let at = At::root().key(*section).key(*key);
        !same(old.get(&at), new.get(&at))
    };
    RESTART.iter().filter(differs).map(|(section, key)| format!("{section}.{key}")).collect()
}

/// Sections that are one thing each.
fn others<'d>(old: &'d Document, new: &'d Document) -> Vec<String> {
    // What these two say has gone into other sections.
    let is_other =
        |name: &&str| !NAMED.iter().any(|(named, _)| named == name) && !matches!(*name, "include" | "defaults");
    let sections = |document: &'d Document| document.root().as_table().into_iter().flat_map(|root| &root.entries);
    let mut all: Vec<&str> =
        sections(old).chain(sections(new)).map(|entry| entry.key.as_str()).filter(is_other).collect();
    all.sort_unstable();
    all.dedup();
    let at = |name: &str| At::root().key(name);
    all.retain(|name| {
        !same(without_restart(old.get(&at(name)), name).as_ref(), without_restart(new.get(&at(name)), name).as_ref())
    });
    all.into_iter().map(|name| format!("~{name}")).collect()
}

/// A section without what is told of by [`waiting`].
fn without_restart(section: Option<&Node>, name: &str) -> Option<Node> {
    let mut section = section?.clone();
    if let Some(table) = section.as_table_mut() {
        table.entries.retain(|entry| !RESTART.contains(&(name, entry.key.as_str())));
        if table.entries.is_empty() {
            return None;
        }
    }
    Some(section)
}

fn same(one: Option<&Node>, two: Option<&Node>) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(one), Some(two)) => one.says_the_same(two),
        _ => false,
    }
}

fn table<'d>(document: &'d Document, section: &str) -> Option<&'d Table> {
    document.root().as_table()?.get(section)?.as_table()
}

fn names(table: Option<&Table>) -> impl Iterator<Item = (&str, &Node)> {
    table.into_iter().flat_map(|table| &table.entries).map(|entry| (entry.key.as_str(), &entry.node))
}

fn get<'t>(table: Option<&'t Table>, name: &str) -> Option<&'t Node> {
    table?.get(name)
}

/// A name, with the number of backends where that is what changed.
fn detail(name: &str, old: &Node, new: &Node) -> String {
    let backends = |node: &Node| match &node.as_table()?.get("backends")?.value {
        Value::List(list) => Some(list.len()),
        _ => Some(1),
    };
    match (backends(old), backends(new)) {
        (Some(old), Some(new)) if old != new => format!("{name}: {old} → {new} backends"),
        _ => name.to_owned(),
    }
}

fn line(sign: char, noun: &str, names: Vec<String>) -> Option<String> {
    let count = names.len();
    if count == 0 {
        return None;
    }
    let nouns = match (count, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{noun}s"),
    };
    let mut shown = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    if count > NAMES {
        shown.push_str(&format!(" and {} more", count - NAMES));
    }
    Some(format!("{sign}{count} {nouns} ({shown})"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn document(text: &str) -> Document {
        config::load_text("maitred.toml", text, Path::new(".")).document
    }

    const OLD: &str = r#"
listen = ":8080"
[server]
threads = 2
[upstreams.users]
backends = ["http://10.0.0.1", "http://10.0.0.2"]
[routes]
"/users/*" = "users"
"/gone" = "users"
"#;

    #[test]
    fn the_same_in_other_words_is_no_change() {
        let other = r#"
listeners.http.address = [":8080"]
routes."/gone".upstream = "users"
routes."/users/*" = { upstream = "users" }
upstreams.users = { backends = ["http://10.0.0.1", "http://10.0.0.2"] }
server.threads = 2
"#;
        assert_eq!(between(&document(OLD), &document(other)), Vec::<String>::new());
    }

    #[test]
    fn each_change_is_named() {
        let new = OLD
            .replace("\"http://10.0.0.2\"]", "\"http://10.0.0.2\", \"http://10.0.0.3\"]")
            .replace("\"/gone\" = \"users\"", "\"/new\" = \"users\"")
            .replace("threads = 2", "threads = 3\ngrace_period = \"1s\"");
        let (old, new) = (document(OLD), document(&new));
        let expected = ["~1 upstream (users: 2 → 3 backends)", "+1 route (/new)", "-1 route (/gone)", "~server"];
        assert_eq!(between(&old, &new), expected);
        assert_eq!(waiting(&old, &new), ["server.threads"]);
        assert!(between(&old, &old).is_empty() && waiting(&old, &old).is_empty());
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..6).map(|number| format!("r{number}")).collect();
        assert_eq!(line('+', "route", names).unwrap(), "+6 routes (r0, r1, r2, r3 and 2 more)");
    }
}
