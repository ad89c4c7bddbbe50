//! The OpenAPI 3.1 document, made from the route table and the types the handlers really use.
//!
//! Nothing is written down twice: a route that is not in the table is not served, and one that is cannot be missing
//! here. The document is what the CLI, the console and the tests go by. Next: `routes.rs`.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::error::ErrorBody;
use super::routes::{Gives, Guard, PREFIX, ROUTES, Route};

/// The whole document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>().to_value();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut generator, &error);
        let path = paths.entry(format!("{PREFIX}{}", route.path)).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Postern",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, error: &Value) -> Value {
    let (kind, schema) = match &route.gives {
        Gives::Json(shape) => ("application/json", shape(generator).to_value()),
        Gives::Lines(shape) => ("application/x-ndjson", shape(generator).to_value()),
        Gives::Text(kind) | Gives::Bytes(kind) => (*kind, json!({ "type": "string" })),
    };
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route),
        "responses": {
            "200": { "description": "Done", "content": { kind: { "schema": schema } } },
            "default": {
                "description": "Refused or failed",
                "content": { "application/json": { "schema": error } },
            },
        },
        "x-postern-actions": actions(&route.guard),
        "x-postern-leaves-entry": route.leaves_entry,
    });
    if let (Some(shape), Value::Object(operation)) = (route.takes, &mut operation) {
        let schema = shape(generator).to_value();
        let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation.insert("requestBody".to_owned(), body);
    }
    if let (Guard::Open, Value::Object(operation)) = (&route.guard, &mut operation) {
        operation.insert("security".to_owned(), json!([]));
    }
    operation
}

/// The actions policy is asked about.
fn actions(guard: &Guard) -> Vec<&'static str> {
    match guard {
        Guard::Open | Guard::SignedIn => Vec::new(),
        Guard::Bastion(action) => vec![action.as_str()],
        Guard::Object(actions) => actions.iter().map(crate::model::Action::as_str).collect(),
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.query.iter().map(|(name, description, kind)| {
        json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
    });
    in_path.chain(in_query).collect()
}

/// `POST /people/{person}/roles` is `post_people_person_roles`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '-']).filter(|part| !part.is_empty());
    let words = words.map(|part| part.trim_matches(['{', '}']));
    std::iter::once(route.method.as_str().to_ascii_lowercase().as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}
