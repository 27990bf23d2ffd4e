//! The OpenAPI document, made from the table of operations.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::operations::{OPERATIONS, Operation};

/// The document. Schemas of OpenAPI 3.1 are those of JSON Schema 2020-12.
pub(crate) fn document(version: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.verb.as_str().to_ascii_lowercase()] = describe(operation, &mut generator);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "maitred admin API",
            "version": version,
            "description": "What maitred says of itself and can be told to do, on its admin addresses.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:9911", "description": "The default address of `[admin]`." }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "`admin.token`. Needed for changes over TCP, and for everything but probes on addresses \
                                that other machines can reach; never on a unix socket.",
            }},
        },
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let answer = &operation.answer;
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            (if operation.name == "stop" { "202" } else { "200" }): {
                "description": answer.about,
                "content": { (answer.media): { "schema": (answer.schema)(generator) } },
            },
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
    });
    let mut parameters: Vec<Value> = operation
        .query
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name, "in": "query", "required": false, "description": parameter.about,
                "schema": { "type": "string" },
            })
        })
        .collect();
    for name in operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = &operation.body {
        let schema = (body.schema)(generator);
        described["requestBody"] =
            json!({ "required": body.required, "content": { (body.media): { "schema": schema } } });
    }
    if operation.is_guarded() {
        described["security"] = json!([{ "token": [] }, {}]);
    }
    described
}

/// The schema of a refusal.
fn problem() -> Value {
    json!({
        "title": "problem",
        "description": "Why something was not done (RFC 9457). A refused reload has the members of `Reloaded` besides.",
        "type": "object",
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "In a sentence." },
        },
        "required": ["type", "title", "status", "detail"],
    })
}

#[cfg(test)]
mod tests;
