//! The configuration as it may be shown: short forms spelt out, defaults applied, secrets left out.

mod secrets;

use std::path::PathBuf;

use document::{
    At,
    tree::{Node, Origin, Value as Written},
};
use serde_json::{Map, Value};

use self::secrets::Secrets;
use crate::Loaded;

/// What stands in the place of a secret.
pub const REDACTED: &str = "<redacted>";

/// The sections in the order of the manual.
const SECTIONS: [&str; 12] = [
    "server",
    "listeners",
    "upstreams",
    "routes",
    "auth",
    "access",
    "limits",
    "cache",
    "redis",
    "logging",
    "admin",
    "tests",
];

/// The whole configuration as JSON: what a short form stands for is spelt out, routes have what `defaults` says, and the
/// files that were included are part of it. What was filled in from variables and files is shown as written (`${…}`), and
/// a secret that stands in a file as `"<redacted>"`.
pub fn effective(loaded: &Loaded) -> Value {
    sections(&Shown { loaded, secrets: Some(Secrets::new()) })
}

/// The same with everything that is in it, secrets included. To be compared with another one, and never shown.
pub fn plain(loaded: &Loaded) -> Value {
    sections(&Shown { loaded, secrets: None })
}

fn sections(shown: &Shown<'_>) -> Value {
    let loaded = shown.loaded;
    let Some(root) = loaded.document.root().as_table() else { return Value::Null };
    let section = |name: &str| {
        let node = root.get(name)?;
        Some((name.to_owned(), shown.node(node, &At::root().key(name))))
    };
    Value::Object(SECTIONS.into_iter().filter_map(section).collect())
}

/// The secrets that stand in the files themselves, each with its place.
pub fn secrets(loaded: &Loaded) -> Vec<(At, &str)> {
    let mut found = Vec::new();
    Secrets::new().walk(loaded.document.root(), &At::root(), &mut |at, node| {
        if masked(loaded, node).as_deref() == Some(REDACTED) {
            found.extend(node.as_str().map(|secret| (at.clone(), secret)));
        }
    });
    found
}

/// The files as written, by their names. `${…}` stands where it stands, and a secret in clear is `"<redacted>"`.
pub fn sources(loaded: &Loaded) -> Vec<(PathBuf, String)> {
    let document = &loaded.document;
    let mut places = Vec::new();
    Secrets::new().walk(document.root(), &At::root(), &mut |_, node| {
        if masked(loaded, node).as_deref() == Some(REDACTED) {
            places.push(node.span.clone());
        }
    });
    let cut = |(name, text): (&str, &str)| {
        let mut spans: Vec<_> = places
            .iter()
            .filter_map(|span| document.locate(span))
            .filter(|at| at.file == name)
            .map(|at| at.span)
            .collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.start));
        spans.dedup();
        let mut text = text.to_owned();
        for span in spans {
            text.replace_range(span, &format!("{REDACTED:?}"));
        }
        (PathBuf::from(name), text)
    };
    document.texts().map(cut).collect()
}

/// What is shown of a secret: the placeholders that it is made of, or that there is one. `None`: it is no text.
fn masked(loaded: &Loaded, node: &Node) -> Option<String> {
    node.as_str()?;
    let text = written(loaded, node).filter(|_| node.origin != Origin::Written);
    let placeholder = |text: &String| {
        let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        // A default stands in the file for all to read, and so does what stands beside a placeholder.
        inner.is_some_and(|inner| !inner.contains(['{', '}']) && !inner.contains(":-"))
    };
    Some(text.filter(placeholder).unwrap_or_else(|| REDACTED.into()))
}

/// The text of a value before anything was filled in.
fn written(loaded: &Loaded, node: &Node) -> Option<String> {
    let line = format!("it = {}", loaded.document.written(&node.span));
    line.parse::<toml::Table>().ok()?.get("it")?.as_str().map(str::to_owned)
}

struct Shown<'a> {
    loaded: &'a Loaded,
    /// What is not shown; `None` where everything is.
    secrets: Option<Secrets>,
}

impl Shown<'_> {
    fn node(&self, node: &Node, at: &At) -> Value {
        match &node.value {
            Written::Table(table) => {
                let mut entries: Vec<_> = table.entries.iter().collect();
                if at.keys().len() == 1 {
                    // Order never counts; sorted, two files that say the same are shown the same.
                    entries.sort_by(|one, other| one.key.cmp(&other.key));
                }
                let entry =
                    |entry: &&document::tree::Entry| (entry.key.clone(), self.node(&entry.node, &at.key(&entry.key)));
                Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
            Written::List(list) => {
                Value::Array(list.iter().enumerate().map(|(index, node)| self.node(node, &at.index(index))).collect())
            }
            Written::String(text) => Value::String(self.text(node, text, at)),
            Written::Integer(number) => Value::from(*number),
            Written::Float(number) => Value::from(*number),
            Written::Boolean(on) => Value::Bool(*on),
            Written::Datetime(moment) => Value::String(moment.clone()),
        }
    }

    fn text(&self, node: &Node, text: &str, at: &At) -> String {
        let Some(secrets) = &self.secrets else { return text.to_owned() };
        if secrets.contain(at) {
            return masked(self.loaded, node).unwrap_or_else(|| REDACTED.into());
        }
        match node.origin {
            // The name of an upstream that was written in place: logs and metrics have it too.
            Origin::FilledIn if matches!(at.keys(), [section, _, key] if section == "routes" && key == "upstream") => {
                text.to_owned()
            }
            Origin::Written => text.to_owned(),
            _ => written(self.loaded, node).unwrap_or_else(|| REDACTED.into()),
        }
    }
}

#[cfg(test)]
mod tests;
