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
        own.or_else(|| self.resolved().schema.get("description").and_then(Value::as_str)).unwrap_or_default()
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

    /// The types that a value may have, in words.
    pub fn types(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for form in self.forms() {
            for word in form.type_words() {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        words.join(" or ")
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
            ("string", Some("secret")) => "secret".into(),
            ("integer", _) => match (self.schema.get("minimum"), self.schema.get("maximum")) {
                (Some(least), Some(most)) => format!("whole number from {least} to {most}"),
                _ => "whole number".into(),
            },
            ("boolean", _) => "`true` or `false`".into(),
            ("array", _) => match self.schema.get("items") {
                Some(items) if self.at(items).keys().is_none() => format!("list of {}", self.at(items).types()),
                _ => "list of tables".into(),
            },
            ("object", _) => match self.schema.get("additionalProperties").filter(|value| value.is_object()) {
                Some(values) if self.at(values).keys().is_none() => {
                    format!("table by name of {}", self.at(values).types())
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
        self.forms().into_iter().filter_map(word).collect()
    }
}

/// The paragraphs of a description without the code that only shows the whole table.
pub(super) fn prose(description: &str) -> String {
    description.trim().to_owned()
}

/// The example of a key as a line of TOML, out of the sentence `` Example: `…` `` of its description.
pub(super) fn example(key: &str, description: &str) -> Option<String> {
    let after = description.split_once("Example: `").or_else(|| description.split_once("Example:\n`"))?.1;
    let example = &after[..after.find('`')?];
    let assigns = example.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    Some(if assigns { example.into() } else { format!("{key} = {example}") })
}
