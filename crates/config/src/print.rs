//! A configuration as TOML: sections and named tables with headers, everything smaller on one line where that is short.

use document::At;
use serde_json::{Map, Value};

use crate::NAMED;

/// A value that would make a line longer than this is broken up.
const WIDTH: usize = 100;

/// Remarks stand in one column up to this one.
const COLUMN: usize = 72;

/// Writes a table as TOML. `remark` may say something of the value at a path, which is written behind it as a comment.
pub fn to_toml(value: &Value, remark: &dyn Fn(&At) -> Option<String>) -> String {
    let mut printer = Printer { text: String::new(), remark };
    if let Value::Object(root) = value {
        printer.table(&At::root(), root);
    }
    printer.text
}

/// One value as TOML writes it in line.
pub fn to_toml_value(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".into(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) => number.to_string(),
        // JSON's escapes are TOML's; but TOML wants one more.
        Value::String(text) => Value::from(text.as_str()).to_string().replace('\u{7f}', "\\u007F"),
        Value::Array(list) => format!("[{}]", list.iter().map(to_toml_value).collect::<Vec<_>>().join(", ")),
        Value::Object(table) if table.is_empty() => "{}".into(),
        Value::Object(table) => {
            let entry = |(key, value): (&String, &Value)| format!("{} = {}", key_text(key), to_toml_value(value));
            format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn key_text(key: &str) -> String {
    At::root().key(key).to_string()
}

struct Printer<'r> {
    text: String,
    remark: &'r dyn Fn(&At) -> Option<String>,
}

impl Printer<'_> {
    fn table(&mut self, at: &At, table: &Map<String, Value>) {
        let (below, lines): (Vec<_>, Vec<_>) =
            table.iter().partition(|(key, value)| needs_header(&at.key(key.as_str()), value));
        let is_root = at.keys().is_empty();
        if !is_root && (!lines.is_empty() || below.is_empty()) {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            let header = format!("[{at}]");
            let line = self.with_remark(header, &at.name(), 0);
            self.text.push_str(&line);
        }
        self.entries(at, &lines);
        for (key, value) in below {
            if let Value::Object(table) = value {
                self.table(&at.key(key.as_str()), table);
            }
        }
    }

    fn entries(&mut self, at: &At, entries: &[(&String, &Value)]) {
        let key = entries.iter().map(|(key, _)| key_text(key).chars().count()).max().unwrap_or(0);
        let line = |(name, value): &(&String, &Value)| {
            let name = key_text(name);
            let pad = " ".repeat(key - name.chars().count());
            format!("{name}{pad} = {}", broken(value, name.len() + 3))
        };
        let lines: Vec<String> = entries.iter().map(line).collect();
        let column = lines.iter().map(|line| last_line(line)).filter(|width| *width <= COLUMN).max().unwrap_or(0);
        for (line, (name, _)) in lines.into_iter().zip(entries) {
            let line = self.with_remark(line, &at.key(name.as_str()), column);
            self.text.push_str(&line);
        }
    }

    fn with_remark(&self, line: String, at: &At, column: usize) -> String {
        match (self.remark)(at) {
            Some(remark) => {
                let pad = " ".repeat(column.saturating_sub(last_line(&line)));
                format!("{line}{pad}  # {remark}\n")
            }
            None => format!("{line}\n"),
        }
    }
}

fn last_line(text: &str) -> usize {
    text.lines().last().map_or(0, |line| line.chars().count())
}

/// Sections and named tables have headers, and so have tables that would make too long a line.
fn needs_header(at: &At, value: &Value) -> bool {
    let Value::Object(_) = value else { return false };
    match at.keys() {
        [_] => true,
        [section, _] if NAMED.iter().any(|(named, _)| named == section) => true,
        keys => {
            let key = keys.last().map_or(0, String::len);
            key + 3 + to_toml_value(value).chars().count() > WIDTH
        }
    }
}

/// A list that is too long for one line has a line for each element.
fn broken(value: &Value, indent: usize) -> String {
    let line = to_toml_value(value);
    match value {
        Value::Array(list) if indent + line.chars().count() > WIDTH => {
            let elements: String = list.iter().map(|value| format!("  {},\n", to_toml_value(value))).collect();
            format!("[\n{elements}]")
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests;
