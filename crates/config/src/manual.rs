//! What is derived from the types: the schema, the reference manual, the sample file, the pages of the errors.

mod reference;
mod sample;
mod view;

use document::Code;
use schemars::schema_for;
use serde_json::{Value, json};

pub use reference::reference;
pub use sample::sample;

use crate::config::Sections;

/// The JSON schema (2020-12) of `maitred.toml`, which editors complete and check by.
pub fn schema() -> Value {
    let mut schema = schema_for!(Sections).to_value();
    tidy(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "maitred.toml".into());
    }
    schema
}

/// TOML has no null, and unknown keys are errors: the schema says so.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            for choice in ["anyOf", "oneOf"] {
                if let Some(Value::Array(forms)) = object.get_mut(choice) {
                    forms.retain(|form| *form != json!({ "type": "null" }));
                    if forms.len() == 1
                        && let Some(Value::Object(only)) = forms.pop()
                    {
                        object.remove(choice);
                        only.into_iter().for_each(|(key, value)| {
                            object.entry(key).or_insert(value);
                        });
                    }
                }
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if object.get("properties").is_some_and(Value::is_object) && object.get("type").is_some() {
                object.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        _ => {}
    }
}

/// The manual's pages of errors and warnings: for each a file name and its Markdown.
pub fn error_pages() -> Vec<(String, String)> {
    let page = |code: &Code| {
        let kind = if code.is_warning() {
            "a warning: the configuration is used"
        } else {
            "an error: the configuration is refused"
        };
        (format!("{code}.md"), format!("# {code}: {}\n\n{}\n\nThis is {kind}.\n", code.title(), code.explanation()))
    };
    Code::ALL.iter().map(page).collect()
}

#[cfg(test)]
mod tests;
