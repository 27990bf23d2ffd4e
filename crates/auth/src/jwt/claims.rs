//! Claims as facts by name.

use filter::{Claim, Claims};
use serde_json::{Map, Value};

/// How deep objects within objects are looked into.
const DEPTH: usize = 4;

/// Every claim by name; one within another is called by both names with a dot between them. A name that has the dot of
/// itself comes first.
pub(crate) fn flat(claims: &Map<String, Value>) -> Claims {
    let mut all = Vec::new();
    below("", claims, DEPTH, &mut all);
    all.into_iter().collect()
}

fn below(prefix: &str, object: &Map<String, Value>, depth: usize, all: &mut Vec<(Box<str>, Claim)>) {
    for (name, value) in object {
        let claim = match value {
            Value::Null | Value::Object(_) => continue,
            Value::Array(list) => Claim::list(list.iter().filter_map(text)),
            one => match text(one) {
                Some(text) => Claim::one(text),
                None => continue,
            },
        };
        all.push((format!("{prefix}{name}").into(), claim));
    }
    if depth > 0 {
        for (name, value) in object {
            if let Value::Object(inner) = value {
                below(&format!("{prefix}{name}."), inner, depth - 1, all);
            }
        }
    }
}

fn text(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        _ => None,
    }
}

/// The words of a scope (RFC 6749 section 3.3), or the members of a list.
pub(crate) fn words(value: &Value) -> Box<[Box<str>]> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().map(Into::into).collect(),
        Value::Array(list) => list.iter().filter_map(text).collect(),
        _ => Box::default(),
    }
}

/// The values of a claim.
pub(crate) fn members(claim: &Claim) -> Box<[Box<str>]> {
    claim.values().map(Into::into).collect()
}
