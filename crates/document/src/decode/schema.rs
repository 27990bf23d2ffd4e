//! Which keys a table knows, read from the JSON schema of its type.

use serde_json::Value;

/// The keys of the table at `path`, in the order of the manual.
pub(super) fn keys(schema: &Value, path: &[String]) -> Vec<String> {
    let mut found = vec![schema];
    for key in path {
        let forms: Vec<_> = found.iter().flat_map(|one| forms(schema, one)).collect();
        found = forms.into_iter().flat_map(|form| below(form, key)).collect();
    }
    let mut keys = Vec::new();
    for form in found.iter().flat_map(|one| forms(schema, one)) {
        for key in form.get("properties").and_then(Value::as_object).into_iter().flat_map(|table| table.keys()) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    keys
}

/// Follows references and alternatives until only plain schemas are left.
fn forms<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut plain = Vec::new();
    let mut open = vec![schema];
    // A reference may lead in circles; no real schema has this many alternatives.
    for _ in 0..256 {
        let Some(next) = open.pop() else { break };
        if let Some(target) = next.get("$ref").and_then(Value::as_str) {
            open.extend(target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)));
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            open.extend(next.get(choice).and_then(Value::as_array).into_iter().flatten());
        }
        plain.push(next);
    }
    plain
}

fn below<'s>(form: &'s Value, key: &str) -> Vec<&'s Value> {
    if let Some(property) = form.get("properties").and_then(|properties| properties.get(key)) {
        return vec![property];
    }
    ["additionalProperties", "items"].into_iter().filter_map(|word| form.get(word)).collect()
}
