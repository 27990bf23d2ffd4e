//! From the tree to the types of the concerns: every mistake of a table, not just the first.

mod deserializer;
mod error;
mod schema;

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

pub(crate) use deserializer::SECRET;
use deserializer::{NodeDeserializer, Walk};
use error::{Error, Kind};

use crate::{
    At, Code, Diagnostic, Document, Report, nearest,
    tree::{Node, Origin, Value},
};

/// So many mistakes of one table are enough to read at once.
const LIMIT: usize = 100;

/// What messages call things, which only the owner of the keys knows.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary {
    /// What the table at a path is: "an upstream". `None`: a table without a word of its own.
    pub noun: fn(&At) -> Option<&'static str>,
    /// Words of other programs, each with what may have been meant.
    pub synonyms: &'static [(&'static str, &'static [&'static str])],
    /// A sentence about a key that is refused for a reason of its own.
    pub remark: fn(&At) -> Option<String>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self { noun: |_| None, synonyms: &[], remark: |_| None }
    }
}

impl Document {
    /// Reads the value at `at` as a `T`. What cannot be read is reported and left out, so that one look finds all
    /// mistakes; `None` only when nothing of it can be read.
    pub fn decode<T: DeserializeOwned + JsonSchema>(
        &self,
        at: &At,
        vocabulary: &Vocabulary,
        report: &mut Report,
    ) -> Option<T> {
        self.decode_part(at, &schemars::schema_for!(T), vocabulary, report)
    }

    /// As [`Document::decode`], for a table whose keys several types share: `T` takes its own, and only what the whole
    /// table does not know by its `schema` is unknown.
    pub fn decode_part<T: DeserializeOwned>(
        &self,
        at: &At,
        schema: &Schema,
        vocabulary: &Vocabulary,
        report: &mut Report,
    ) -> Option<T> {
        self.decode_node(self.get(at)?, at, schema, vocabulary, report)
    }

    /// As [`Document::decode_part`], for a `node` that the caller has at hand: `at` is not looked up again, which counts
    /// where there are thousands.
    pub fn decode_node<T: DeserializeOwned>(
        &self,
        node: &Node,
        at: &At,
        schema: &Schema,
        vocabulary: &Vocabulary,
        report: &mut Report,
    ) -> Option<T> {
        if node.origin == Origin::Refused {
            return None;
        }
        let mut walk = Walk::default();
        loop {
            let outcome = T::deserialize(NodeDeserializer { node, walk: &walk });
            let error = match outcome {
                Ok(value) => {
                    unknown(at, walk.unknown.take(), schema, vocabulary, report);
                    self.secrets(at, walk.secrets.take(), report);
                    walk.refused.take().iter().for_each(|path| report.damaged(below(at, path)));
                    return Some(value);
                }
                Err(error) => error,
            };
            let path = error.path.clone().unwrap_or_default();
            let place = below(at, &path);
            report.damaged(place.parent());
            report.push(self.complaint(&place, &error));
            if path.is_empty() || walk.skip.len() >= LIMIT || !walk.skip.insert(path) {
                report.damaged(at.clone());
                return None;
            }
            walk = Walk { skip: walk.skip, ..Walk::default() };
        }
    }

    fn secrets(&self, at: &At, paths: Vec<Vec<String>>, report: &mut Report) {
        for path in paths {
            let place = below(at, &path);
            report.push(
                Diagnostic::new(Code::W0601, format!("{} stands in the file in clear", name(&place)))
                    .label(&place, "everybody who can read the file can read this")
                    .help("take it from `${VARIABLE}` or `${file:/path}`"),
            );
        }
    }

    fn complaint(&self, at: &At, error: &Error) -> Diagnostic {
        let node = self.get(at);
        let found = node.map_or_else(|| "nothing".into(), Node::describe);
        let name = name(at);
        match &error.kind {
            Kind::Type { expected } => Diagnostic::new(Code::E0101, format!("wrong type for {name}"))
                .label(at, format!("expected {expected}, found {found}")),
            Kind::Range { expected } => Diagnostic::new(Code::E0103, format!("value out of range for {name}"))
                .label(at, format!("expected {expected}, found {found}")),
            Kind::Unit { expected } => missing_unit(at, expected, node),
            Kind::Word { found, known } => unknown_word(at, &name, found, known),
            Kind::Missing { key } => {
                Diagnostic::new(Code::E0106, format!("{name} has no `{key}`")).label(at, format!("`{key}` is missing"))
            }
            Kind::Other { message } => {
                let message = match node {
                    Some(node) if node.origin == Origin::FilledIn => self.hide(node, message),
                    _ => message.clone(),
                };
                Diagnostic::new(Code::E0108, format!("invalid value for {name}")).label(at, message)
            }
        }
    }

    /// The message with the written text in the place of what was filled in, however short that is.
    fn hide(&self, node: &Node, message: &str) -> String {
        match node.as_str().filter(|text| !text.is_empty()) {
            Some(text) => message.replace(text, self.written(&node.span).trim_matches(['"', '\''])),
            None => message.into(),
        }
    }
}

fn unknown(at: &At, paths: Vec<Vec<String>>, schema: &Schema, vocabulary: &Vocabulary, report: &mut Report) {
    for path in paths {
        let Some((key, table)) = path.split_last() else { continue };
        let known = schema::keys(schema.as_value(), table);
        if !known.contains(key) {
            // What was meant by it may be what is then missing.
            report.damaged(below(at, table));
            report.push(unknown_key(&below(at, &path), &known, vocabulary));
        }
    }
}

fn below(at: &At, path: &[String]) -> At {
    path.iter().fold(at.clone(), |at, key| at.key(key))
}

/// The entry as a message names it: `` `timeout` in `routes.users` ``.
fn name(at: &At) -> String {
    let parent = at.parent();
    let last = at.last();
    let element = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    match (parent.keys().is_empty(), element) {
        (true, _) => format!("`{at}`"),
        (false, true) => format!("`{}[{last}]`{}", parent.last(), within(&parent.parent())),
        (false, false) => format!("`{last}`{}", within(&parent)),
    }
}

fn within(at: &At) -> String {
    if at.keys().is_empty() { String::new() } else { format!(" in `{at}`") }
}

fn unknown_key(at: &At, known: &[String], vocabulary: &Vocabulary) -> Diagnostic {
    let key = at.last();
    let noun = (vocabulary.noun)(&at.parent());
    let what = if at.parent().keys().is_empty() { "section" } else { "key" };
    let diagnostic = Diagnostic::new(Code::E0102, format!("unknown {what} `{key}`{}", within(&at.parent())));
    if let Some(remark) = (vocabulary.remark)(at) {
        return diagnostic.label(at.name(), "not known yet").help(remark);
    }
    let label = match noun {
        Some(noun) => format!("not a {what} of {noun}"),
        None => format!("not a {what} of this table"),
    };
    let diagnostic = diagnostic.label(at.name(), label);
    let synonym = vocabulary.synonyms.iter().find(|(word, _)| word.eq_ignore_ascii_case(key));
    let meant = synonym.and_then(|(_, ours)| ours.iter().copied().find(|ours| known.iter().any(|key| key == ours)));
    if let Some(meant) = meant {
        return diagnostic.help("here this is called").patch(at.name(), meant);
    }
    let refused = |ours: &&'static str| (vocabulary.remark)(&at.parent().key(*ours)).map(|remark| (*ours, remark));
    if let Some((ours, remark)) = synonym.and_then(|(_, ours)| ours.iter().find_map(refused)) {
        return diagnostic.note(format!("here this is called `{ours}`")).help(remark);
    }
    match nearest(key, known.iter().map(String::as_str)) {
        Some(meant) => diagnostic.help(format!("a {what} with a similar name exists")).patch(at.name(), meant),
        None if known.is_empty() => diagnostic,
        None => diagnostic.help(format!("known {what}s are {}", listed(known.iter().map(String::as_str)))),
    }
}

fn unknown_word(at: &At, name: &str, found: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::E0108, format!("invalid value for {name}"))
        .label(at, format!("expected one of {}", listed(known.iter().copied())));
    match nearest(found, known.iter().copied()) {
        Some(meant) => diagnostic.help("did you mean").patch(at, format!("{meant:?}")),
        None => diagnostic,
    }
}

fn missing_unit(at: &At, expected: &str, node: Option<&Node>) -> Diagnostic {
    let is_size = expected.contains("a size");
    let what = if is_size { "a size" } else { "a duration" };
    let diagnostic = Diagnostic::new(Code::E0104, format!("{what} needs a unit")).label(at, expected);
    let Some(Value::Integer(number @ 0..)) = node.map(|node| &node.value) else { return diagnostic };
    let number = number.unsigned_abs();
    let (unit, text) = if is_size {
        ("bytes", crate::Size(number).to_string())
    } else if number >= 1000 {
        ("milliseconds", crate::Duration::millis(number).to_string())
    } else {
        ("seconds", crate::Duration::seconds(number).to_string())
    };
    diagnostic.help(format!("if this was meant as {unit}, write")).patch(at, format!("{text:?}"))
}

fn listed<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
