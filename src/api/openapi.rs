//! The OpenAPI 3.1 document, from the table of operations and the schemas of the bodies.
//!
//! Schemas come from poem-openapi, which speaks OpenAPI 3.0; what 3.1 says differently is put right here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use poem_openapi::OpenApiService;
use poem_openapi::registry::Registry;
use serde_json::{Map, Value, json};

use super::operation::{Content, Kind, Operation, Parameter, Place, Tag, schema};
use super::problem::{Code, PROBLEM_JSON};
use super::query::{MAX_LIST_BYTES, MAX_VALUE_BYTES};
use super::{rest, yaml};
use crate::model::Interval;

const DESCRIPTION: &str = "\
Crypto market data, collected from exchanges in their own protocols, kept as candles that are provably complete, and \
served to any number of clients.

- **Times** in answers are Unix milliseconds; ranges are half-open, `[start, end)`.
- **Numbers** have the exchange's digits. What an exchange does not give is `null`, never invented.
- **simulated** is true for everything that comes from the built-in simulator.
- **Refusals** are `application/problem+json` (RFC 9457) with a stable `code`. A parameter that is unknown, given twice or \
empty is refused. Those with status 503 say in `Retry-After` when to try again. Beside what each operation lists: \
`not_found` (404), `method_not_allowed` (405), `too_large` (413).
- Every answer has an **X-Request-Id**: the client's own, of at most 64 visible ASCII characters, or a new one.

## WebSockets
These paths are WebSockets and so stand outside of the list below:

- `/ws/subscribe/{symbol}?exchange=…`
- `/ws/realtime?exchange=…&symbol=…`

Both send the ticker of a market as a JSON text, as `/v1/ticker` gives it without `age_ms` and `stale`: at once, and at \
every change. A slow client gets the newest and skips what lies between. Before the service ends it sends \
`{\"type\":\"shutdown\",\"in_ms\":…}` and then closes with 1001. An unknown market is refused before the upgrade with the \
same problems as `/v1/ticker`; a plain `GET` gets `upgrade_required` (426).";

/// What is served, made once at the first request.
pub(super) static PAGES: LazyLock<Pages> = LazyLock::new(Pages::new);

/// The document in each of its forms.
pub(super) struct Pages {
    pub json: String,
    pub yaml: String,
    pub html: String,
}

impl Pages {
    fn new() -> Self {
        let document = openapi_document();
        // The page shows the document from inside of a script, which no `<` in a text may end.
        let shown = document.to_string().replace('<', "\\u003c");
        let service = OpenApiService::new((), "", "");
        let html = service.swagger_ui_html().replacen(&service.spec(), &shown, 1);
        let html = html.replacen("<title>Swagger UI</title>", "<title>candlewick</title>", 1);
        Self { json: openapi_json(), yaml: openapi_yaml(), html }
    }
}

/// The document as JSON, indented, as it is committed.
#[must_use]
pub fn openapi_json() -> String {
    format!("{:#}\n", openapi_document())
}

/// The document as YAML.
#[must_use]
pub fn openapi_yaml() -> String {
    yaml::to_string(&openapi_document())
}

/// The document; the same at every call.
#[must_use]
pub fn openapi_document() -> Value {
    let mut registry = Registry::new();
    schema::<rest::ProblemSchema>(&mut registry);
    let mut paths: BTreeMap<String, Value> = BTreeMap::new();
    for (operation, tag) in rest::OPERATIONS.iter().filter_map(|operation| Some((operation, operation.tag?))) {
        paths.insert(operation.path.to_owned(), json!({ "get": describe(operation, tag, &mut registry) }));
    }
    let schemas = registry.schemas.iter().map(|(name, schema)| {
        let mut schema = serde_json::to_value(schema).unwrap_or_default();
        modernize(&mut schema, name != "Problem");
        (name.clone(), schema)
    });
    let mut schemas: Map<String, Value> = schemas.collect();
    schemas["Problem"]["properties"]["code"]["enum"] = json!(Code::ALL.map(Code::as_str));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "candlewick",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": Tag::ALL.map(|tag| json!({ "name": tag.name(), "description": tag.description() })),
        "security": [],
        "paths": paths,
        "components": { "schemas": schemas, "headers": { "X-Request-Id": {
            "description": "Names this request in the log.",
            "schema": { "type": "string", "maxLength": 64 },
        } } },
    })
}

fn describe(operation: &Operation, tag: Tag, registry: &mut Registry) -> Value {
    let mut responses = Map::new();
    let mut headers = Map::new();
    headers.insert("X-Request-Id".to_owned(), request_id());
    for (name, description) in operation.headers {
        headers.insert((*name).to_owned(), json!({ "description": description, "schema": { "type": "string" } }));
    }
    let contents: Map<String, Value> =
        operation.contents.iter().map(|content| (content.media.to_owned(), body(content, registry))).collect();
    responses
        .insert("200".to_owned(), json!({ "description": operation.summary, "headers": headers, "content": contents }));
    if operation.conditional {
        let headers = json!({ "X-Request-Id": request_id(), "ETag": headers.get("ETag") });
        responses.insert(
            "304".to_owned(),
            json!({ "description": "The client has it already: `If-None-Match` names it.", "headers": headers }),
        );
    }
    let mut problems: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in operation.problems.iter().chain([&Code::Internal]) {
        problems.entry(code.status().as_u16()).or_default().push(*code);
    }
    for (status, codes) in problems {
        responses.insert(status.to_string(), problem(status, &codes));
    }
    json!({
        "operationId": operation.id,
        "tags": [tag.name()],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
    })
}

fn body(content: &Content, registry: &mut Registry) -> Value {
    let text = || Value::from(content.example);
    match content.schema {
        Some(schema) => json!({
            "schema": schema(registry),
            "example": serde_json::from_str(content.example).unwrap_or_else(|_| text()),
        }),
        None if content.media.ends_with("json") && !content.media.contains("nd") => {
            json!({ "schema": { "type": "object" } })
        }
        None => json!({ "schema": { "type": "string" }, "example": text() }),
    }
}

fn problem(status: u16, codes: &[Code]) -> Value {
    let mut headers = json!({ "X-Request-Id": request_id() });
    if status == 503 {
        headers["Retry-After"] = json!({
            "description": "When to try again, in seconds.",
            "schema": { "type": "integer", "minimum": 1 },
        });
    }
    let mut list = Vec::new();
    let mut examples = Map::new();
    for code in codes {
        list.push(format!("`{}`: {}.", code.as_str(), code.title()));
        let mut value = json!({
            "type": format!("urn:candlewick:problem:{}", code.as_str()),
            "title": code.title(),
            "status": status,
            "detail": "What happened, and what to do about it.",
            "code": code.as_str(),
        });
        if *code == Code::InvalidParameter {
            let example = include_str!("rest/examples/problem.json");
            value = serde_json::from_str(example).unwrap_or(value);
        }
        examples.insert(code.as_str().to_owned(), json!({ "value": value }));
    }
    json!({
        "description": list.join(" "),
        "headers": headers,
        "content": { PROBLEM_JSON: {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples,
        } },
    })
}

fn request_id() -> Value {
    json!({ "$ref": "#/components/headers/X-Request-Id" })
}

fn parameter(parameter: &Parameter) -> Value {
    let mut example = Value::from(parameter.example);
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string", "minLength": 1, "maxLength": MAX_VALUE_BYTES }),
        Kind::List => json!({ "type": "string", "minLength": 1, "maxLength": MAX_LIST_BYTES }),
        Kind::Time => json!({ "oneOf": [
            { "type": "integer", "format": "int64", "minimum": 0 },
            { "type": "string", "format": "date-time" },
        ] }),
        Kind::Interval => {
            json!({ "type": "string", "enum": Interval::ALL.map(Interval::as_str), "default": Interval::M1.as_str() })
        }
        Kind::Count { max, default } => {
            example = parameter.example.parse::<u32>().map_or(example, Value::from);
            json!({ "type": "integer", "minimum": 1, "maximum": max, "default": default })
        }
        Kind::OneOf(values) => json!({ "type": "string", "enum": values, "default": values.first() }),
    };
    json!({
        "name": parameter.name,
        "in": match parameter.place {
            Place::Path => "path",
            Place::Query => "query",
        },
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
        "example": example,
    })
}

/// Makes a schema of OpenAPI 3.0 one of 3.1. In ours, a member that need not have a value is there all the same, as
/// null, where `always_there`.
fn modernize(schema: &mut Value, always_there: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    // Digits are exact; a double is what a client may make of them.
    if object.get("format").is_some_and(|format| format == "double") {
        object.remove("format");
    }
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = Vec::new();
    for (name, property) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        modernize(property, always_there);
        if always_there && !required.iter().any(|one| one == name) {
            property["type"] = json!([property["type"], "null"]);
        }
        names.push(Value::from(name.clone()));
    }
    if always_there && !names.is_empty() {
        object.insert("required".to_owned(), names.into());
    }
    if let Some(items) = object.get_mut("items") {
        modernize(items, always_there);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn visit(value: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                see(object);
                object.values().for_each(|inner| visit(inner, see));
            }
            Value::Array(list) => list.iter().for_each(|inner| visit(inner, see)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_one_of_openapi_3_1() {
        let document = openapi_document();
        assert_eq!(document["openapi"], "3.1.0");
        let mut references = 0;
        visit(&document, &mut |object| {
            if let Some(reference) = object.get("$ref") {
                let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                references += 1;
            }
            assert!(!object.contains_key("nullable"), "OpenAPI 3.0 in {object:?}");
            assert!(!object.keys().any(|key| key.contains("charset")), "{object:?}");
            assert!(!object.get("exclusiveMinimum").is_some_and(Value::is_boolean), "{object:?}");
        });
        assert!(references > 50);
    }

    #[test]
    fn every_operation_says_all_that_a_client_needs() {
        let document = openapi_document();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let operation = &item["get"];
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}");
            for member in ["summary", "description"] {
                assert!(operation[member].as_str().is_some_and(|text| text.len() > 5), "{member} of {path}");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.contains_key("200") && responses.contains_key("400") && responses.contains_key("500"),
                "{path}"
            );
            for (status, response) in responses {
                assert!(response["headers"]["X-Request-Id"].is_object(), "{path} {status}");
                let contents = response["content"].as_object();
                assert_eq!(contents.is_none(), status == "304", "{path} {status}");
                let refusal = contents.is_some_and(|contents| contents.contains_key(PROBLEM_JSON));
                assert_eq!(refusal, status.as_str() >= "400", "{path} {status}");
            }
            let braces: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let parameters = operation["parameters"].as_array().unwrap();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect::<BTreeSet<_>>(), braces);
        }
        assert_eq!(ids.len(), rest::OPERATIONS.len());
    }

    #[test]
    fn a_value_that_may_be_missing_is_null() {
        let document = openapi_document();
        let ticker = &document["components"]["schemas"]["Ticker"];
        assert_eq!(ticker["properties"]["last"]["type"], json!(["number", "null"]));
        assert!(ticker["required"].as_array().unwrap().contains(&json!("last")));
        assert!(
            !document["components"]["schemas"]["Problem"]["required"].as_array().unwrap().contains(&json!("errors"))
        );
    }

    #[test]
    fn the_page_needs_no_network() {
        let html = &PAGES.html;
        assert!(html.contains("\"operationId\":\"getTicker\""), "our document is in it");
        assert!(html.contains("SwaggerUIBundle="), "the script is in it");
        for loads in ["src=\"http", "src='http", "href=\"http", "@import", "unpkg.com", "jsdelivr"] {
            let head = html.split("<body>").next().unwrap();
            let outside_of_script =
                head.split("<script").next().unwrap().to_owned() + html.rsplit("</script>").next().unwrap();
            assert!(!outside_of_script.contains(loads), "{loads}");
        }
    }

    #[test]
    fn yaml_says_the_same() {
        let yaml = openapi_yaml();
        assert!(yaml.starts_with("components:\n"));
        assert!(yaml.contains("\nopenapi: \"3.1.0\"\n"));
    }
}
