//! Which keys hold secrets: those whose type is `Secret`, and header fields that carry credentials.

use document::{
    At,
    tree::{Node, Value as Written},
};
use serde_json::Value;

use crate::manual;

/// Fields whose values let somebody in.
const FIELDS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
];

/// Knows the schema of the document.
pub(super) struct Secrets {
    schema: Value,
}

impl Secrets {
    pub fn new() -> Self {
        Self { schema: manual::schema() }
    }

    /// Whether what stands at `at` is a secret.
    pub fn contain(&self, at: &At) -> bool {
        let keys = at.keys();
        if let Some(field) = keys.iter().rposition(|key| !is_index(key)).and_then(|index| field_at(keys, index)) {
            return field;
        }
        let mut schemas = vec![&self.schema];
        for key in keys {
            schemas =
                schemas.into_iter().flat_map(|schema| self.forms(schema)).flat_map(|form| below(form, key)).collect();
        }
        let is_secret = |form: &Value| form.get("format").is_some_and(|format| format == "secret");
        schemas.into_iter().flat_map(|schema| self.forms(schema)).any(is_secret)
    }

    /// Shows every secret below `node`, which stands at `at`.
    pub fn walk<'n>(&self, node: &'n Node, at: &At, visit: &mut impl FnMut(&At, &'n Node)) {
        match &node.value {
            Written::Table(table) => {
                table.entries.iter().for_each(|entry| self.walk(&entry.node, &at.key(&entry.key), visit));
            }
            Written::List(list) => {
                list.iter().enumerate().for_each(|(index, node)| self.walk(node, &at.index(index), visit));
            }
            _ if self.contain(at) => visit(at, node),
            _ => {}
        }
    }

    /// Follows references and alternatives.
    fn forms<'s>(&'s self, schema: &'s Value) -> Vec<&'s Value> {
        let mut plain = Vec::new();
        let mut open = vec![schema];
        // A reference may lead in circles; no real schema has this many alternatives.
        for _ in 0..256 {
            let Some(next) = open.pop() else { break };
            if let Some(target) = next.get("$ref").and_then(Value::as_str) {
                open.extend(target.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer)));
            }
            for choice in ["anyOf", "oneOf", "allOf"] {
                open.extend(next.get(choice).and_then(Value::as_array).into_iter().flatten());
            }
            plain.push(next);
        }
        plain
    }
}

/// Whether the key at `index` is a header field that carries credentials, in a table of fields: `set.Authorization`.
/// `None` where it is another key.
fn field_at(keys: &[String], index: usize) -> Option<bool> {
    let table = keys.get(index.checked_sub(1)?)?;
    let fields = matches!(table.as_str(), "set" | "add" | "headers" | "header");
    (fields && FIELDS.contains(&keys[index].to_ascii_lowercase().as_str())).then_some(true)
}

fn is_index(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

fn below<'s>(form: &'s Value, key: &str) -> Vec<&'s Value> {
    if let Some(property) = form.get("properties").and_then(|properties| properties.get(key)) {
        return vec![property];
    }
    ["additionalProperties", "items"].into_iter().filter_map(|word| form.get(word)).collect()
}
