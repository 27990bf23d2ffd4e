//! `${VAR}`, `${VAR:-default}`, `${file:/path}` and `$$` in text.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    Code, Diagnostic, Document, Report,
    tree::{Node, Origin, Table, Value},
};

/// Values shorter than this are not hidden in messages: they are too likely to be part of other words.
const HIDDEN_FROM: usize = 6;

/// Where what is filled in comes from.
pub struct Environment<'a> {
    /// The value of a variable, or `None` when it is not set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
}

impl Environment<'static> {
    /// The process's own environment and the file system.
    pub fn of_process(folder: impl Into<PathBuf>) -> Self {
        Self {
            variable: &|name| std::env::var(name).ok(),
            file: &|path| std::fs::read_to_string(path),
            folder: folder.into(),
        }
    }
}

/// What one placeholder was filled in with.
struct Piece {
    value: String,
    written: String,
    /// Whether it comes from outside; a default stands in the file for all to read.
    hidden: bool,
}

/// What is wrong with one placeholder.
struct Mistake {
    code: Code,
    message: String,
    range: Range<usize>,
    label: String,
    help: Option<String>,
}

impl Document {
    /// Fills in every placeholder in the text values of a file's tree.
    pub fn fill_in(&mut self, tree: &mut Table, environment: &Environment<'_>, report: &mut Report) {
        for entry in &mut tree.entries {
            entry.node.walk(&mut |node| self.fill_in_one(node, environment, report));
        }
    }

    fn fill_in_one(&mut self, node: &mut Node, environment: &Environment<'_>, report: &mut Report) {
        let Value::String(text) = &node.value else { return };
        if !text.contains('$') {
            return;
        }
        let (filled, pieces, mistakes) = expand(text, environment);
        for mistake in mistakes {
            report.push(self.explain(mistake, text, &node.span));
            node.origin = Origin::Refused;
        }
        for Piece { value, written, hidden } in pieces {
            if hidden && value.len() >= HIDDEN_FROM && !self.filled.iter().any(|(known, _)| *known == value) {
                self.filled.push((value, written));
            }
            if node.origin == Origin::Written {
                node.origin = Origin::FilledIn;
            }
        }
        node.value = Value::String(filled);
    }

    fn explain(&self, mistake: Mistake, text: &str, span: &Range<usize>) -> Diagnostic {
        // Without an escape, the text stands in the file as it is, and the very placeholder can be underlined.
        let place = match self.written(span).find(text) {
            Some(start) => span.start + start + mistake.range.start..span.start + start + mistake.range.end,
            None => span.clone(),
        };
        let diagnostic = Diagnostic::new(mistake.code, mistake.message).label(place, mistake.label);
        match mistake.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

/// The text with its placeholders filled in, what came from where, and what is wrong.
fn expand(text: &str, environment: &Environment<'_>) -> (String, Vec<Piece>, Vec<Mistake>) {
    let (mut filled, mut pieces, mut mistakes) = (String::with_capacity(text.len()), Vec::new(), Vec::new());
    let mut position = 0;
    while let Some(dollar) = text[position..].find('$').map(|found| position + found) {
        filled.push_str(&text[position..dollar]);
        let after = &text[dollar + 1..];
        if after.starts_with('$') {
            filled.push('$');
            position = dollar + 2;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(length) = inner.find('}') else {
                mistakes.push(unclosed(dollar..text.len()));
                return (filled, pieces, mistakes);
            };
            position = dollar + 2 + length + 1;
            match value_of(&inner[..length], dollar..position, environment) {
                Ok(piece) => {
                    filled.push_str(&piece.value);
                    pieces.push(Piece { written: text[dollar..position].to_owned(), ..piece });
                }
                Err(mistake) => mistakes.push(mistake),
            }
        } else {
            // A lone dollar sign is one: `~^/v[0-9]+$` is a regular expression, not a mistake.
            filled.push('$');
            position = dollar + 1;
        }
    }
    filled.push_str(&text[position..]);
    (filled, pieces, mistakes)
}

fn unclosed(range: Range<usize>) -> Mistake {
    Mistake {
        code: Code::E0603,
        message: "`${` is not closed".into(),
        range,
        label: "expected `}`".into(),
        help: Some("write `$$` for a literal dollar sign".into()),
    }
}

fn value_of(inner: &str, range: Range<usize>, environment: &Environment<'_>) -> Result<Piece, Mistake> {
    let piece = |value: String, hidden| Piece { value, written: String::new(), hidden };
    if let Some(path) = inner.strip_prefix("file:") {
        let read = (environment.file)(&environment.folder.join(path));
        return read.map(|text| piece(text.trim_end_matches(['\r', '\n']).to_owned(), true)).map_err(|error| Mistake {
            code: Code::E0601,
            message: format!("cannot read `{path}`"),
            range,
            label: error.to_string(),
            help: None,
        });
    }
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
    let valid = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        return Err(Mistake {
            code: Code::E0603,
            message: format!("`${{{inner}}}` is not a placeholder"),
            range,
            label: "not the name of a variable".into(),
            help: Some(
                "write `${NAME}`, `${NAME:-default}` or `${file:/path}`, and `$$` for a literal dollar sign".into(),
            ),
        });
    }
    // As in a shell, `:-` also stands in for a variable that is set to nothing.
    let set = (environment.variable)(name).filter(|value| !(value.is_empty() && default.is_some()));
    set.map(|value| piece(value, true)).or(default.map(|text| piece(text.to_owned(), false))).ok_or_else(|| Mistake {
        code: Code::E0602,
        message: format!("the environment variable `{name}` is not set"),
        range,
        label: "nothing to put here".into(),
        help: Some(format!("set `{name}`, or give a default: `${{{name}:-…}}`")),
    })
}

#[cfg(test)]
mod tests;
