//! What holds for the whole document.

use super::*;

/// Every reference anywhere in a value.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_operation_is_there_with_what_it_takes_and_gives() {
    let document = document("1.2.3");
    assert_eq!((&document["openapi"], &document["info"]["version"]), (&"3.1.0".into(), &"1.2.3".into()));
    for operation in OPERATIONS {
        let described = &document["paths"][operation.path][operation.verb.as_str().to_ascii_lowercase()];
        assert_eq!(described["operationId"], operation.name);
        let responses = described["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')) && responses.contains_key("default"));
        assert_eq!(described.get("requestBody").is_some(), operation.body.is_some(), "{}", operation.name);
        assert_eq!(described.get("security").is_some(), operation.is_guarded(), "{}", operation.name);
        let in_path = |parameter: &&Value| parameter["in"] == "path";
        let parameters = described["parameters"].as_array().map_or(0, |all| all.iter().filter(in_path).count());
        assert_eq!(parameters, operation.path.matches('{').count(), "{}", operation.path);
    }
}

#[test]
fn every_reference_leads_somewhere_and_no_schema_is_left_over() {
    let document = document("1.2.3");
    let mut found = Vec::new();
    references(&document, &mut found);
    let named = |reference: &str| reference.strip_prefix("#/components/schemas/").map(str::to_owned);
    for reference in &found {
        let name = named(reference).unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document["components"]["schemas"].get(&name).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(found.iter().any(|reference| named(reference).as_deref() == Some(name)), "nobody uses {name}");
    }
}
