//! The reference manual, in Markdown.

use std::{collections::HashMap, fmt::Write};

use super::view::View;

/// How a file is written, which no single key says.
const INTRODUCTION: &str = "\
<!-- Generated from the types by `cargo xtask generate`; do not edit. -->

# Configuration

`maitred.toml` is a TOML 1.0 file. Every section and key of this release is here; any other is refused.

- A *duration* is text with units: `\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"1h\"`, `\"7d\"`, `\"1m30s\"`.
- A *size* is text with a unit: `\"512B\"`, `\"64KiB\"`, `\"10MiB\"`, `\"1GiB\"`; `KB`, `MB` and `GB` are powers of 1000. A *rate* is a size and `/s`.
- Where a list is taken, one value stands for a list of one.
- `${VAR}`, `${VAR:-default}` and `${file:/path}` in text are filled in when the file is read; `$$` is a dollar sign.
- In templates, placeholders such as `{id}` and `{client_ip}` are filled in for each request; `{{` and `}}` are braces.
- Names of listeners, upstreams, routes and tests are made of `a-z`, `0-9` and `-`. A route's key that contains a `/` is what
  the route matches: `\"/users/*\" = \"http://localhost:3001\"`, `\"api.example.com/users/*\" = \"users\"`, or a table. A test's
  key that contains a `/` is its request: `\"GET /users/7\" = \"users\"`.
- `maitred check` reports every mistake at once; `maitred fmt` formats the file.
";

/// The manual of every section and key, generated from the schema.
pub fn reference() -> String {
    let schema = super::schema();
    let root = View { root: &schema, schema: &schema };
    let mut manual = Manual { text: INTRODUCTION.into(), described: HashMap::new() };
    for (name, section) in root.keys().into_iter().flatten() {
        manual.section(name, root.at(section));
    }
    while manual.text.contains("\n\n\n") {
        manual.text = manual.text.replace("\n\n\n", "\n\n");
    }
    manual.text.truncate(manual.text.trim_end().len());
    manual.text + "\n"
}

struct Manual<'s> {
    text: String,
    /// Definitions whose keys have been listed, and under which path.
    described: HashMap<&'s str, String>,
}

impl<'s> Manual<'s> {
    fn section(&mut self, name: &str, section: View<'s>) {
        let _ = write!(self.text, "\n## `{name}`\n\n");
        let types = if section.keys().is_some() || section.named().is_some() { String::new() } else { section.types() };
        self.body(&types, section);
        match section.named() {
            Some(entry) => {
                if entry.description() != section.description() {
                    let _ = write!(self.text, "{}\n\n", entry.description());
                }
                self.keys(&format!("{name}.*"), entry);
            }
            None => self.keys(name, section),
        }
    }

    fn body(&mut self, types: &str, key: View<'s>) {
        if !types.is_empty() {
            let _ = write!(self.text, "*{types}*\n\n");
        }
        let description = key.description();
        if !description.is_empty() {
            let _ = write!(self.text, "{description}\n\n");
        }
        let words = key.words();
        for (word, meaning) in &words {
            let _ = writeln!(self.text, "- `{word}`: {}", meaning.replace('\n', " "));
        }
        if !words.is_empty() {
            self.text.push('\n');
        }
    }

    /// The keys of a table, and below each the keys of its own table.
    fn keys(&mut self, path: &str, table: View<'s>) {
        let Some(keys) = table.keys() else { return };
        if let Some(definition) = table.definition() {
            if let Some(elsewhere) = self.described.get(definition) {
                let _ = write!(self.text, "Its keys are those of `{elsewhere}`.\n\n");
                return;
            }
            self.described.insert(definition, path.to_owned());
        }
        for (key, schema) in keys {
            let view = table.at(schema);
            let path = format!("{path}.{key}");
            let _ = write!(self.text, "### `{path}`\n\n");
            self.body(&view.types(), view);
            match (view.keys(), view.elements()) {
                (Some(_), _) => self.keys(&path, view),
                (None, Some(elements)) => self.keys(&path, elements),
                _ => {}
            }
        }
    }
}
