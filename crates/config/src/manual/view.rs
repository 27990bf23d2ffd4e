//! A schema, read for the manual.

use serde_json::{Map, Value};

/// The schema of one key, in the schema of the whole document.
#[derive(Clone, Copy)]
pub(super) struct View<'s> {
    pub root: &'s Value,
    pub schema: &'s Value,
}

impl<'s> View<'s> {
    /// The definition that it refers to, if it is only a reference.
    pub fn reference(&self) -> Option<&'s str> {
        self.schema.get("$ref").and_then(Value::as_str)
    }

    /// The definition of its table form.
    pub fn definition(&self) -> Option<&'s str> {
        let alternatives = self.schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        let forms = std::iter::once(*self).chain(alternatives.map(|form| self.at(form)));
        forms.filter(|form| form.keys().is_some()).find_map(|form| form.reference())
    }

    /// The same with references followed.
    pub fn resolved(&self) -> Self {
        let target = self.reference().and_then(|reference| self.root.pointer(reference.trim_start_matches('#')));
        target.map_or(*self, |schema| self.at(schema).resolved())
    }

    pub fn at(&self, schema: &'s Value) -> Self {
        Self { root: self.root, schema }
    }

    /// What the key is for: its own words, or else those of its type.
    pub fn description(&self) -> &'s str {
        let own = self.schema.get("description").and_then(Value::as_str);
        let of = |view: View<'s>| view.schema.get("description").and_then(Value::as_str);
        own.or_else(|| of(self.resolved())).or_else(|| self.forms().into_iter().find_map(of)).unwrap_or_default()
    }

    /// The forms that a value may have.
    pub fn forms(&self) -> Vec<View<'s>> {
        let resolved = self.resolved();
        for choice in ["anyOf", "oneOf"] {
            if let Some(Value::Array(forms)) = resolved.schema.get(choice) {
                return forms.iter().flat_map(|form| resolved.at(form).forms()).collect();
            }
        }
        vec![resolved]
    }

    /// The keys of the table form, if there is one.
    pub fn keys(&self) -> Option<&'s Map<String, Value>> {
        self.forms().into_iter().find_map(|form| form.schema.get("properties")?.as_object())
    }

    /// The value of a table whose keys are names, if it is one.
    pub fn named(&self) -> Option<View<'s>> {
        let values = self.resolved().schema.get("additionalProperties").filter(|value| value.is_object());
        values.map(|schema| self.at(schema))
    }

    /// The elements of the list form, if there is one.
    pub fn elements(&self) -> Option<View<'s>> {
        self.forms().into_iter().find_map(|form| form.schema.get("items").map(|schema| self.at(schema)))
    }

    /// The types that a value may have, in words; the short forms first, a list last.
    pub fn types(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut forms = self.forms();
        forms.sort_by_key(|form| match form.schema.get("type").and_then(Value::as_str) {
            Some("array") => 2,
            Some("object") => 1,
            _ => 0,
        });
        for form in forms {
            let list = form.schema.get("items").map(|items| self.at(items).types());
            let found = match list {
                // One value stands for a list of one.
                Some(items) if !words.is_empty() && items == words.join(" or ") => vec!["a list of them".into()],
                Some(items) => vec![format!("list of {items}")],
                None => form.type_words(),
            };
            for word in found {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        if words.iter().any(|word| word == "`true` or `false`") {
            words.retain(|word| word != "`false`");
        }
        match words.split_last() {
            Some((last, others)) if last == "a list of them" => format!("{}, or {last}", others.join(" or ")),
            _ => words.join(" or "),
        }
    }

    fn type_words(&self) -> Vec<String> {
        let schema = self.schema;
        if let Some(value) = schema.get("const") {
            return vec![format!("`{value}`")];
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return values.iter().map(|value| format!("`{value}`")).collect();
        }
        let names = match schema.get("type") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(name)) => vec![name.as_str()],
            _ => vec![],
        };
        names.into_iter().map(|name| self.type_word(name)).collect()
    }

    fn type_word(&self, name: &str) -> String {
        match (name, self.schema.get("format").and_then(Value::as_str)) {
            ("string", Some("duration")) => "duration".into(),
            ("string", Some("size")) => "size".into(),
            ("string", Some("rate")) => "rate".into(),
            ("string", Some("secret")) => "secret".into(),
            ("integer", _) => match (self.schema.get("minimum"), self.schema.get("maximum")) {
                (Some(least), Some(most)) => format!("whole number from {least} to {most}"),
                _ => "whole number".into(),
            },
            ("boolean", _) => "`true` or `false`".into(),
            ("object", _) => match self.schema.get("additionalProperties").filter(|value| value.is_object()) {
                Some(values) if self.at(values).keys().is_none() => {
                    format!("table by name, each {}", self.at(values).types())
                }
                Some(_) => "tables by name".into(),
                None => "table".into(),
            },
            (other, _) => other.into(),
        }
    }

    /// The words that the key takes, each with what it means.
    pub fn words(&self) -> Vec<(&'s Value, &'s str)> {
        let word = |form: View<'s>| {
            let meaning = form.schema.get("description").and_then(Value::as_str)?;
            Some((form.schema.get("const")?, meaning))
        };
        let words: Vec<_> = self.forms().into_iter().filter_map(word).collect();
        // A single word has the description of its type, which says nothing more than the key's own.
        if words.len() > 1 { words } else { Vec::new() }
    }
}

/// The example of a key as a line of TOML, out of the sentence `` Example: `…` `` of its description.
pub(super) fn example(key: &str, description: &str) -> Option<String> {
    let after = description.split_once("Example: `").or_else(|| description.split_once("Example:\n`"))?.1;
    let example = &after[..after.find('`')?];
    let assigns = example.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    Some(if assigns { example.into() } else { format!("{key} = {example}") })
}

/// A description without its example, where that is shown beside it, and without blocks of code.
pub(super) fn without_example(description: &str) -> String {
    let outside: Vec<_> = description.split("```").step_by(2).map(str::trim).filter(|part| !part.is_empty()).collect();
    let mut text = outside.join("\n");
    if let Some(start) = text.find("Example: `") {
        let after = &text[start + "Example: `".len()..];
        let end = after.find('`').map_or(text.len(), |end| text.len() - after.len() + end + 1);
        let rest = text[end..].trim_start_matches('.').trim().to_owned();
        text.truncate(text[..start].trim_end().len());
        if !rest.is_empty() {
            text.push('\n');
            text.push_str(&rest);
        }
    }
    text
}
