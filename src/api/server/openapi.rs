//! The `OpenAPI` 3.1 document: the operations as the server knows them, with the schemas of the types that it speaks.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use super::{operation::Operation, operation::schema, operations};
use crate::api::wire::{Code, Problem};

pub(super) const PATH: &str = "/api/v1/openapi.json";

/// What any operation may say. 405 and 404 of an address that is none are no operation's.
const ALWAYS: &[Code] =
    &[Code::Malformed, Code::NotAuthenticated, Code::TooMany, Code::Internal, Code::Unavailable];

/// Any object.
#[derive(Debug)]
pub(super) struct Anything;

impl JsonSchema for Anything {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// A schema that is a document of its own, as part of this one: its definitions become this document's, behind `prefix`.
pub(super) fn embedded(document: &Value, prefix: &str, generator: &mut SchemaGenerator) -> Schema {
    let text = document.to_string().replace("#/$defs/", &format!("#/components/schemas/{prefix}"));
    let mut whole: Map<String, Value> = serde_json::from_str(&text).expect("it was JSON a line ago");
    whole.remove("$schema");
    if let Some(Value::Object(definitions)) = whole.remove("$defs") {
        for (name, definition) in definitions {
            generator.definitions_mut().insert(format!("{prefix}{name}"), definition);
        }
    }
    whole.into()
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        let described = describe(&operation, &mut generator);
        paths.entry(operation.path).or_default().insert(operation.method.as_str().to_lowercase(), described);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bellwether: operators' API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What people do to rollouts, halts and tokens. Answers only ever gain fields.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "bw_…, from `bellwether operator add`" },
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let needs = operation
        .needs
        .map_or_else(|| "Any token opens it.".to_owned(), |scope| format!("Needs the scope {scope}."));
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "description": if operation.public { "Needs no token.".to_owned() } else { needs },
        "parameters": parameters(operation, generator),
        "responses": responses(operation, generator),
    });
    if operation.public {
        described["security"] = json!([]);
    }
    if let Some(body) = operation.body {
        described["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": body(generator) } },
        });
    }
    described
}

fn parameters(operation: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": path_schema(name) }))
        .collect();
    for parameter in operation.query {
        let schema = (parameter.schema)(generator);
        let (name, description) = (parameter.name, parameter.description);
        all.push(json!({ "name": name, "in": "query", "description": description, "schema": schema }));
    }
    if operation.mutates() {
        all.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "The same key with the same request has the same answer, for a day",
            "schema": { "type": "string", "pattern": "^[!-~]{1,128}$" },
        }));
    }
    all
}

fn path_schema(name: &str) -> Value {
    match name {
        "campaign" => json!({
            "type": "string", "format": "uuid", "examples": ["6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11"],
        }),
        "id" => json!({ "type": "string", "pattern": "^[0-9a-f]{16}$", "examples": ["0123456789abcdef"] }),
        _ => json!({ "type": "string", "minLength": 1, "maxLength": 64, "examples": ["ada"] }),
    }
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    for (status, answer) in operation.answers {
        let mut answered = json!({
            "description": "Done",
            "content": { "application/json": { "schema": answer(generator) } },
        });
        if !operation.links.is_empty() {
            answered["links"] = links(operation);
        }
        all.insert(status.to_string(), answered);
    }
    let says = ALWAYS.iter().chain(operation.says);
    let forbidden = operation.needs.is_some().then_some(&Code::NotAllowed);
    let changes: &[Code] =
        if operation.mutates() { &[Code::TooLarge, Code::Conflict, Code::KeyReused] } else { &[] };
    let codes: BTreeSet<Code> = says.chain(forbidden).chain(changes).copied().collect();
    let codes = codes.into_iter().filter(|_| !operation.public);
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code.title());
    }
    for (status, titles) in by_status {
        let problem = schema::<Problem>(generator);
        all.insert(
            status.to_string(),
            json!({
                "description": titles.join("; or "),
                "content": { "application/problem+json": { "schema": problem } },
            }),
        );
    }
    Value::Object(all)
}

fn links(operation: &Operation) -> Value {
    let link = |link: &super::operation::Link| {
        let from = format!("$response.body#{}", link.from);
        (link.to.to_owned(), json!({ "operationId": link.to, "parameters": { link.parameter: from } }))
    };
    Value::Object(operation.links.iter().map(link).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_operation_once_and_all_that_it_refers_to() {
        let document = document();
        let text = document.to_string();
        let names: BTreeSet<_> = operations().iter().map(|operation| operation.name).collect();
        assert_eq!(names.len(), operations().len(), "a name stands for one operation");
        for operation in operations() {
            let path = document["paths"][operation.path].as_object().expect("its path is there");
            assert!(path.contains_key(&operation.method.as_str().to_lowercase()), "{}", operation.name);
            for link in operation.links {
                assert!(names.contains(link.to), "{} leads to {}", operation.name, link.to);
            }
        }
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().expect("it ends");
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }
}
