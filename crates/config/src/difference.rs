//! What differs between two configurations, in the words of whoever runs them.

use std::{collections::BTreeSet, fmt};

use document::At;
use serde_json::{Map, Value};

use crate::to_toml_value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A named table that is new: a listener, upstream, route or test.
    Added(Named),
    /// A named table that is gone.
    Removed(Named),
    /// A value that is another one.
    Changed {
        /// Where.
        at: At,
        /// What it was; `None` where nothing was written.
        from: Option<Value>,
        /// What it is; `None` where nothing is written any more.
        to: Option<Value>,
    },
    /// A secret that is another one. Neither is shown.
    Secret {
        /// Where.
        at: At,
    },
}

/// A named table of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it is: `route`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

impl Change {
    /// What it is about.
    pub fn at(&self) -> At {
        match self {
            Self::Added(it) | Self::Removed(it) => {
                let section = NAMED.iter().find(|(_, kind)| *kind == it.kind).map_or("", |(section, _)| *section);
                At::root().key(section).key(&it.name)
            }
            Self::Changed { at, .. } | Self::Secret { at } => at.clone(),
        }
    }

    /// How long two lists are that differ in length. One value stands for a list of one.
    pub fn lengths(&self) -> Option<(usize, usize)> {
        match self {
            Self::Changed { from: Some(from), to: Some(to), .. } => lengths(from, to),
            _ => None,
        }
    }
}

/// Sections whose entries have names, with the word for one of them.
pub const NAMED: [(&str, &str); 6] = [
    ("listeners", "listener"),
    ("upstreams", "upstream"),
    ("routes", "route"),
    ("auth", "policy"),
    ("limits", "limit"),
    ("tests", "test"),
];

/// Everything that differs between two configurations as [`effective`](crate::effective()) shows them, in the order of
/// sections and names. A value and a list of it alone are the same.
pub fn difference(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for section in keys(before, after) {
        let at = At::root().key(section);
        let sides = (before.get(section), after.get(section));
        match NAMED.iter().find(|(name, _)| *name == section) {
            Some((_, kind)) => named(kind, &at, sides, &mut changes),
            None => values(&at, sides, &mut changes),
        }
    }
    changes
}

/// Sections and keys of both sides, sorted.
fn keys<'v>(before: &'v Value, after: &'v Value) -> BTreeSet<&'v str> {
    let of = |value: &'v Value| value.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    of(before).chain(of(after)).collect()
}

type Sides<'v> = (Option<&'v Value>, Option<&'v Value>);

fn named(kind: &'static str, at: &At, (before, after): Sides<'_>, changes: &mut Vec<Change>) {
    let nothing = Value::Null;
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    for name in keys(before, after) {
        let it = || Named { kind, name: name.to_owned() };
        match (before.get(name), after.get(name)) {
            (None, _) => changes.push(Change::Added(it())),
            (_, None) => changes.push(Change::Removed(it())),
            sides => values(&at.key(name), sides, changes),
        }
    }
}

fn values(at: &At, sides: Sides<'_>, changes: &mut Vec<Change>) {
    if let (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) = sides {
        for key in keys(before, after) {
            values(&at.key(key), (before.get(key), after.get(key)), changes);
        }
        return;
    }
    let same = match sides {
        (Some(before), Some(after)) => alike(before, after),
        (before, after) => before == after,
    };
    if !same {
        changes.push(Change::Changed { at: at.clone(), from: sides.0.cloned(), to: sides.1.cloned() });
    }
}

/// Whether two values mean the same: one value stands for a list of one.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(list), single) | (single, Value::Array(list)) if !single.is_array() => {
            matches!(&list[..], [only] if alike(only, single))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        _ => one == other,
    }
}

/// How long two lists are that differ in length. One value stands for a list of one.
fn lengths(from: &Value, to: &Value) -> Option<(usize, usize)> {
    let length = |value: &Value| value.as_array().map_or(1, Vec::len);
    let lists = from.is_array() || to.is_array();
    (lists && length(from) != length(to)).then(|| (length(from), length(to)))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(it) => write!(f, "+ {} {}", it.kind, it.name),
            Self::Removed(it) => write!(f, "- {} {}", it.kind, it.name),
            Self::Secret { at } => write!(f, "~ {at}: changed (secret)"),
            Self::Changed { at, from: Some(from), to: Some(to) } => match lengths(from, to) {
                Some((before, after)) => write!(f, "~ {at}: {before} → {after}"),
                None => write!(f, "~ {at}: {} → {}", short(from), short(to)),
            },
            Self::Changed { at, from, to } => {
                let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "default".into(), short);
                write!(f, "~ {at}: {} → {}", side(from), side(to))
            }
        }
    }
}

/// A value in at most some sixty letters.
fn short(value: &Value) -> String {
    let text = to_toml_value(value);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
