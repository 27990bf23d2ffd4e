//! One or more files, read into one tree.

use std::{collections::HashMap, ops::Range};

use toml::de::DeTable;

use crate::{
    At, Code, Diagnostic, Part, Report,
    source::{Position, Sources},
    syntax,
    tree::{self, Entry, Node, Table, Value},
};

/// The configuration as one tree, with the text of the files that it was read from.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) sources: Sources,
    pub(crate) root: Node,
    /// What was filled in from outside, and what stands in its place wherever configuration is shown.
    pub(crate) filled: Vec<(String, String)>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// Line and column of its first character.
    pub position: Position,
    /// Bytes within the file.
    pub span: Range<usize>,
}

impl Default for Document {
    fn default() -> Self {
        Self { sources: Sources::default(), root: Node::root(), filled: Vec::new() }
    }
}

impl Document {
    /// A document without a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file's text to its end, whatever is wrong with it, and keeps the text for messages. What could be read
    /// comes back as a tree of its own; [`Document::merge`] adds it to the document.
    pub fn read(&mut self, name: &str, text: &str, report: &mut Report) -> Table {
        let base = self.sources.add(name, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let tree = tree::from_toml(table.get_ref(), base);
        let errors = errors.into_iter().map(|error| {
            let span = error.span().unwrap_or(text.len()..text.len());
            (error.message().to_owned(), span)
        });
        syntax::report(&tree, errors.collect(), text, base, report);
        tree
    }

    /// Merges what a file holds. Sections meet; what stands below them in two files is an error that shows both places.
    pub fn merge(&mut self, tree: Table, report: &mut Report) {
        let Some(root) = self.root.as_table_mut() else { return };
        for entry in tree.entries {
            let at = At::root().key(&entry.key);
            match root.entry_mut(&entry.key) {
                None => root.entries.push(entry),
                Some(Entry { node: Node { value: Value::Table(section), .. }, .. })
                    if entry.node.as_table().is_some() =>
                {
                    if let Value::Table(added) = entry.node.value {
                        merge_section(section, added, &at, report);
                    }
                }
                Some(first) => report.push(defined_twice(&at, &first.key_span, &entry.key_span)),
            }
        }
    }

    /// The whole tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The whole tree, to change: what is put there keeps the place that it carries.
    pub fn root_mut(&mut self) -> &mut Node {
        &mut self.root
    }

    /// The value at a path.
    pub fn get(&self, at: &At) -> Option<&Node> {
        let mut node = &self.root;
        for key in at.keys() {
            node = child(node, key)?.1;
        }
        Some(node)
    }

    /// Whether anything is written at a path.
    pub fn contains(&self, at: &At) -> bool {
        self.get(at).is_some()
    }

    /// Where a path leads, or, when nothing is written there, the nearest thing above it that is.
    pub fn span(&self, at: &At) -> Range<usize> {
        let (mut node, mut key_span) = (&self.root, 0..0);
        let mut found = 0;
        for key in at.keys() {
            let Some((span, below)) = child(node, key) else { break };
            key_span = span.unwrap_or(key_span);
            node = below;
            found += 1;
        }
        let missing = found < at.keys().len();
        match at.part() {
            Part::Key if !missing => key_span,
            // A table without a header of its own stands where its name does.
            _ if node.span.is_empty() => key_span,
            _ => node.span.clone(),
        }
    }

    /// Where a path stands, for people.
    pub fn location(&self, at: &At) -> Option<Location<'_>> {
        self.locate(&self.span(at))
    }

    /// Where a span stands, for people.
    pub fn locate(&self, span: &Range<usize>) -> Option<Location<'_>> {
        let (file, span) = self.sources.locate(span)?;
        Some(Location { file: &file.name, position: file.position(span.start), span })
    }

    /// The text of a span as it is written, before anything was filled in.
    pub fn written(&self, span: &Range<usize>) -> &str {
        self.sources.locate(span).map_or("", |(file, span)| &file.text[span])
    }

    /// The names of the files, in the order read.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.sources.files().iter().map(|file| file.name.as_str())
    }

    /// The files that it was read from with their texts, the first one first.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.files().iter().map(|file| (file.name.as_str(), file.text.as_str()))
    }

    /// Replaces what was filled in from variables and files by the words that stand for it in the file.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, written) in &self.filled {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), written);
            }
        }
        text
    }
}

/// The entry `key` of a table or list. A value that stands for a list of one is its own element 0.
fn child<'n>(node: &'n Node, key: &str) -> Option<(Option<Range<usize>>, &'n Node)> {
    match &node.value {
        Value::Table(table) => table
            .entry(key)
            .map(|entry| (Some(entry.key_span.clone()), &entry.node))
            .or((key == "0").then_some((None, node))),
        Value::List(list) => list.get(key.parse::<usize>().ok()?).map(|node| (Some(node.span.clone()), node)),
        _ => (key == "0").then_some((None, node)),
    }
}

fn merge_section(section: &mut Table, added: Table, at: &At, report: &mut Report) {
    let mut places: HashMap<String, Range<usize>> =
        section.entries.iter().map(|entry| (entry.key.clone(), entry.key_span.clone())).collect();
    for entry in added.entries {
        match places.get(&entry.key) {
            Some(first) => report.push(defined_twice(&at.key(&entry.key), first, &entry.key_span)),
            None => {
                places.insert(entry.key.clone(), entry.key_span.clone());
                section.entries.push(entry);
            }
        }
    }
}

fn defined_twice(at: &At, first: &Range<usize>, second: &Range<usize>) -> Diagnostic {
    Diagnostic::new(Code::E0202, format!("`{at}` is defined twice"))
        .label(second.clone(), "defined again here…")
        .label(first.clone(), "…after it was defined here")
        .help("delete one of them, or give one of them another name")
}
