//! A sample file with every key, commented out.

use std::{collections::HashSet, fmt::Write};

use super::view::{View, example, prose};

/// What stands at the top and works as it is.
const START: &str = "\
# maitred.toml: a sample with every key of this release.
# Lines that begin with `#` and a letter are settings to uncomment; the others explain.

listen = \":8080\"

[routes]
\"/*\" = \"http://localhost:3000\"
";

/// A commented sample file, generated from the schema. It is itself a configuration that loads.
pub fn sample() -> String {
    let schema = super::schema();
    let root = View { root: &schema, schema: &schema };
    let mut sample = Sample { text: START.into(), described: HashSet::new() };
    for (name, section) in root.keys().into_iter().flatten() {
        match section_header(name) {
            Some(header) => sample.section(header, root.at(section)),
            None => sample.top(name, root.at(section)),
        }
    }
    sample.text
}

/// The table that shows a section; `None`: a key of the top.
fn section_header(name: &str) -> Option<&str> {
    Some(match name {
        "listen" | "include" => return None,
        "listeners" => "listeners.public",
        "upstreams" => "upstreams.users",
        "routes" => "routes.users",
        other => other,
    })
}

struct Sample<'s> {
    text: String,
    described: HashSet<&'s str>,
}

impl<'s> Sample<'s> {
    fn top(&mut self, name: &str, key: View<'s>) {
        self.text.push('\n');
        self.comment(&prose(key.description()));
        if let Some(example) = example(name, key.description()) {
            let _ = writeln!(self.text, "#{example}");
        }
    }

    fn section(&mut self, header: &str, section: View<'s>) {
        let table = section.named().unwrap_or(section);
        self.text.push_str("\n# ──────────────────────────────────────────────────────────────────────────────\n");
        self.comment(&without_code(section.description()));
        if section.named().is_some() {
            self.comment(&without_code(table.description()));
        }
        if let Some(reference) = table.reference()
            && !self.described.insert(reference)
        {
            let _ = writeln!(self.text, "#[{header}]");
            return;
        }
        let _ = writeln!(self.text, "#[{header}]");
        for (key, schema) in table.keys().into_iter().flatten() {
            let view = table.at(schema);
            self.text.push('\n');
            self.comment(&without_code(view.description()));
            if let Some(example) = example(key, view.description()) {
                let _ = writeln!(self.text, "#{example}");
            }
        }
    }

    fn comment(&mut self, prose: &str) {
        for line in prose.lines() {
            let _ = writeln!(self.text, "{}", format!("# {line}").trim_end());
        }
    }
}

/// A description without its blocks of code, which show tables that the sample shows itself.
fn without_code(description: &str) -> String {
    let outside = description.split("```").step_by(2);
    outside.map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}
