//! A sample file with every key, commented out.

use std::{collections::HashSet, fmt::Write};

use super::view::{View, example, without_example};

/// What stands at the top.
const START: &str = "\
# maitred.toml: a sample with every key of this release.
# Lines that begin with `#` and a letter or bracket are settings to uncomment; the others explain.
";

/// What works as it is, by the section that it belongs to.
const WORKING: [(&str, &str); 2] =
    [("listen", "listen = \":8080\"\n"), ("routes", "[routes]\n\"/*\" = \"http://localhost:3000\"\n\n")];

fn working(name: &str) -> Option<&'static str> {
    WORKING.iter().find(|(section, _)| *section == name).map(|(_, text)| *text)
}

/// A commented sample file, generated from the schema. It is itself a configuration that loads.
pub fn sample() -> String {
    let schema = super::schema();
    let root = View { root: &schema, schema: &schema };
    let mut sample = Sample { text: START.into(), described: HashSet::new() };
    for (name, section) in root.keys().into_iter().flatten() {
        match section_header(name) {
            Some(header) => sample.section(name, header, root.at(section)),
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
        "auth" => "auth.customers",
        "limits" => "limits.partners",
        "tests" => "tests.orders",
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
        self.comment(&without_example(key.description()));
        if let Some(text) = working(name) {
            self.text.push_str(text);
        } else if let Some(example) = example(name, key.description()) {
            let _ = writeln!(self.text, "#{example}");
        }
    }

    fn section(&mut self, name: &str, header: &str, section: View<'s>) {
        let table = section.named().unwrap_or(section);
        self.text.push_str("\n# ──────────────────────────────────────────────────────────────────────────────\n");
        self.comment(&without_example(section.description()));
        self.text.push_str(working(name).unwrap_or_default());
        if section.named().is_some() {
            self.comment(&without_example(table.description()));
        }
        if let Some(definition) = table.definition()
            && !self.described.insert(definition)
        {
            let _ = writeln!(self.text, "#[{header}]\n# Its keys are those shown above.");
            return;
        }
        let _ = writeln!(self.text, "#[{header}]");
        for (key, schema) in table.keys().into_iter().flatten() {
            let view = table.at(schema);
            self.text.push('\n');
            self.comment(&without_example(view.description()));
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
