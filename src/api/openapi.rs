//! The OpenAPI 3.1 document.
//!
//! The framework generates OpenAPI 3.0. This module converts it to 3.1 and adds examples.

use std::collections::HashMap;
use std::marker::PhantomData;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, Registry};
use poem_openapi::{ExtraHeader, LicenseObject, OpenApi, OpenApiService};
use serde_json::{Value, json};

use super::access::{Access, AccessPolicy};
use super::operation::WithMiddleware;
use super::problem::{Code, PROBLEM_JSON, Problem};
use super::rest::Api;

const DESCRIPTION: &str = "\
Crypto market data, collected from exchanges over their own protocols. candlewick stores candles, records which time \
ranges are complete, and serves any number of clients.

- **Times** in responses are Unix milliseconds. Ranges are half-open: `[start, end)`.
- **Numbers** have the exchange's digits. A value that the exchange does not provide is `null`.
- **simulated** is true for all data from the built-in simulator.
- **Errors** are `application/problem+json` (RFC 9457) with a stable `code`. Unknown, repeated and empty parameters \
are rejected. With status 429 and 503, `Retry-After` states when to retry. Besides the errors listed for an \
operation, every request can fail with `not_found` (404), `method_not_allowed` (405) or `too_large` (413).
- **API keys** are sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Reading needs a key if the service \
requires one (`unauthorized`, 401). Changes always need a key with the scope `admin` (`forbidden`, 403), with one \
exception: requests from the machine of the service need no key if `auth.open_on_loopback` is true. That is the \
default if the service listens on loopback and trusts no proxy. A request that a proxy or a page of another site \
sends always needs the key.
- **Rate limits**: each client, identified by its key or else by its address, has a number of units per minute. Each \
operation costs some units. `RateLimit-Policy` states the limit; `RateLimit` states the units left (`r`) and the \
seconds until all units are available again (`t`). Above the limit: `rate_limited` (429) with `Retry-After`.
- Every response has an **X-Request-Id**: the id that the client sent (at most 64 visible ASCII characters), or a new \
one.

## Streams
The following paths are streams. They are not listed below; `/asyncapi.json` describes them:

- `/v1/stream`: a WebSocket with any number of topics: tickers, trades, candles, exchange states
- `/v1/events?topics=…`: the same as server-sent events
- `/ws/subscribe/{symbol}?exchange=…`, `/ws/realtime?exchange=…&symbol=…`: legacy WebSockets with the ticker of one \
market

The legacy WebSockets send the ticker of a market as JSON text, as `/v1/ticker` returns it without `age_ms` and \
`stale`: once after connecting and after every change. A slow client gets the latest ticker and skips those in \
between. Before the service shuts down it sends `{\"type\":\"shutdown\",\"in_ms\":…}` and then closes with 1001. An \
unknown market is rejected before the upgrade with the same problems as `/v1/ticker`; a plain `GET` gets \
`upgrade_required` (426).";

/// Example bodies, by schema name or media type.
const EXAMPLES: [(&str, &str); 16] = [
    ("NewBackfill", include_str!("rest/examples/new_backfill.json")),
    ("Backfill", include_str!("rest/examples/backfill.json")),
    ("Backfills", include_str!("rest/examples/backfills.json")),
    ("Coverage", include_str!("rest/examples/coverage.json")),
    ("Exchange", include_str!("rest/examples/exchange.json")),
    ("Exchanges", include_str!("rest/examples/exchanges.json")),
    ("Health", include_str!("rest/examples/health.json")),
    ("History", include_str!("rest/examples/history.json")),
    ("Instruments", include_str!("rest/examples/instruments.json")),
    ("Live", include_str!("rest/examples/live.json")),
    ("Ready", include_str!("rest/examples/ready.json")),
    ("Ticker", include_str!("rest/examples/ticker.json")),
    ("Ticket", include_str!("rest/examples/ticket.json")),
    ("Tickers", include_str!("rest/examples/tickers.json")),
    ("text/csv", include_str!("rest/examples/history.csv")),
    ("application/x-ndjson", include_str!("rest/examples/history.ndjson")),
];

/// Members that are omitted if they have no value: schema name and member name.
const OMITTED_MEMBERS: [(&str, &str); 5] = [
    ("Problem", "errors"),
    ("Candle", "filled"),
    ("NewBackfill", "exchange"),
    ("NewBackfill", "interval"),
    ("NewBackfill", "until"),
];

/// The schema of a request body. Its optional members may also be null.
const REQUEST_SCHEMA: &str = "NewBackfill";

/// The document as indented JSON, as committed in `openapi.json`.
#[must_use]
pub fn openapi_json() -> String {
    format!("{:#}\n", openapi_document())
}

/// The document as YAML.
///
/// # Panics
/// Never: JSON can be written as YAML.
#[must_use]
pub fn openapi_yaml() -> String {
    serde_norway::to_string(&openapi_document()).expect("JSON can be written as YAML")
}

/// The document; every call returns the same.
///
/// # Panics
/// Never: the framework generates JSON.
#[must_use]
pub fn openapi_document() -> Value {
    upgrade_document(serde_json::from_str(&spec_service().spec()).expect("the framework generates JSON"))
}

/// An API with title, description and common response headers.
pub(super) fn service<T: OpenApi>(api: T) -> OpenApiService<T, ()> {
    let license = "MIT OR Apache-2.0";
    OpenApiService::new(api, "candlewick", env!("CARGO_PKG_VERSION"))
        .summary(env!("CARGO_PKG_DESCRIPTION"))
        .description(DESCRIPTION)
        .license(LicenseObject::new(license).identifier(license))
        .server("/")
        .extra_response_header::<String, _>(
            ExtraHeader::new("X-Request-Id").description("Identifies this request in the log."),
        )
        .extra_response_header::<Option<String>, _>(
            ExtraHeader::new("RateLimit").description("Units left, and seconds until all units are available."),
        )
        .extra_response_header::<Option<String>, _>(
            ExtraHeader::new("RateLimit-Policy").description("The client's rate limit, and its window in seconds."),
        )
}

/// The page with the interactive documentation of this document.
pub(super) fn openapi_page() -> String {
    // The page embeds the document in a script, which a `<` in a text could end.
    let escaped = openapi_document().to_string().replace('<', "\\u003c");
    let service = spec_service();
    let html = service.swagger_ui_html().replacen(&service.spec(), &escaped, 1);
    html.replacen("<title>Swagger UI</title>", "<title>candlewick</title>", 1)
}

/// The service as needed to generate the document: types only, without state.
fn spec_service() -> OpenApiService<SpecOnly<WithMiddleware<Api>>, ()> {
    service(SpecOnly(PhantomData))
}

struct SpecOnly<T>(PhantomData<T>);

impl<T: OpenApi> OpenApi for SpecOnly<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// Converts a document from OpenAPI 3.0 to 3.1 and adds examples.
fn upgrade_document(mut document: Value) -> Value {
    document["openapi"] = "3.1.0".into();
    document["security"] = json!([]);
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, created with `candlewick keys create`.",
        },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key." },
    });
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.sort_by_key(|tag| tag["name"] == "Legacy paths");
    }
    for (name, schema) in members(&mut document["components"]["schemas"]) {
        upgrade_schema(schema, name);
    }
    for operation in members(&mut document["paths"]).flat_map(|(_, path)| members(path)).map(|(_, operation)| operation)
    {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        describe_access(operation, AccessPolicy::for_operation(&id));
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            drop_defaults(parameter);
            let example = parameter["schema"].as_object_mut().and_then(|schema| schema.remove("example"));
            if let (Some(example), Some(parameter)) = (example, parameter.as_object_mut()) {
                parameter.insert("example".to_owned(), example);
            }
        }
        if let Some(body) = operation.get_mut("requestBody") {
            upgrade_contents(&mut body["content"], "");
        }
        for (_, response) in members(&mut operation["responses"]) {
            rename(&mut response["headers"], header_name);
            members(&mut response["headers"]).for_each(|(_, header)| drop_defaults(header));
            if response["content"].is_null() {
                continue;
            }
            let description = response["description"].as_str().unwrap_or_default().to_owned();
            upgrade_contents(&mut response["content"], &description);
        }
    }
    document
}

/// Describes the keys that an operation accepts, and its rate-limit cost.
fn describe_access(operation: &mut Value, policy: AccessPolicy) {
    let (none, keys) = (json!({}), [json!({ "bearer": [] }), json!({ "apiKey": [] })]);
    operation["security"] = match policy.access {
        Access::Public => json!([]),
        // Whether a key is required depends on the configuration.
        Access::Read | Access::Stream => json!([none, keys[0], keys[1]]),
        Access::Ticket | Access::Admin => json!(keys),
    };
    let cost = match policy.cost {
        0 => "Not rate-limited.".to_owned(),
        cost => format!("Rate-limit cost: {cost}."),
    };
    let description = operation["description"].as_str().unwrap_or_default();
    operation["description"] = format!("{description}\n\n{cost}").trim().into();
}

/// Removes media type parameters, converts schemas and adds examples.
fn upgrade_contents(contents: &mut Value, description: &str) {
    rename(contents, |media| media.split(';').next().unwrap_or_default().to_owned());
    for (media, content) in members(contents) {
        upgrade_schema(&mut content["schema"], "");
        // Describes the content of the YAML document, not its text.
        if media == "application/yaml" {
            content["schema"] = json!({ "type": "object" });
        }
        add_examples(media, content, description);
        if media == "application/json" && content["schema"]["$ref"] == "#/components/schemas/History" {
            content["schema"] = json!({ "anyOf": [content["schema"], candle_rows()] });
        }
    }
}

/// The schema of a history with `format=array`: `[[timestamp, open, high, low, close, volume], …]`.
fn candle_rows() -> Value {
    let row = json!({ "type": "array", "items": { "type": "number" }, "minItems": 6, "maxItems": 6 });
    json!({ "type": "array", "items": row, "description": "With `format=array`: time, open, high, low, close, volume." })
}

fn members(object: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    object.as_object_mut().into_iter().flatten()
}

fn rename(object: &mut Value, name: impl Fn(&str) -> String) {
    if let Value::Object(members) = object {
        *members = std::mem::take(members).into_iter().map(|(old, value)| (name(&old), value)).collect();
    }
}

/// Converts a header name from the framework's `X-REQUEST-ID` to the usual `X-Request-Id`.
fn header_name(name: &str) -> String {
    if let Some(known) = ["ETag", "RateLimit", "RateLimit-Policy", "WWW-Authenticate"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
    {
        return known.to_owned();
    }
    let parts = name.split('-').map(|part| part[..1].to_owned() + &part[1..].to_lowercase());
    parts.collect::<Vec<_>>().join("-")
}

/// Removes members with default values.
fn drop_defaults(object: &mut Value) {
    if let Some(members) = object.as_object_mut() {
        members.remove("explode");
        members.retain(|name, value| name != "deprecated" || *value != Value::Bool(false));
    }
}

/// Adds the examples of a body. For a problem: one example per code that the description names.
fn add_examples(media: &str, content: &mut Value, description: &str) {
    if media == PROBLEM_JSON {
        let named = Code::ALL.into_iter().filter(|code| description.contains(&format!("`{}`", code.as_str())));
        let examples = named.map(|code| (code.as_str().to_owned(), json!({ "value": problem(code) })));
        content["examples"] = Value::Object(examples.collect());
        return;
    }
    let schema = content["schema"]["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let example = EXAMPLES.iter().find(|(name, _)| *name == media || Some(*name) == schema);
    if let Some((_, example)) = example {
        let is_json = media.ends_with("/json");
        let parsed = is_json.then(|| serde_json::from_str(example).ok()).flatten();
        content["example"] = parsed.unwrap_or_else(|| (*example).into());
    }
}

fn problem(code: Code) -> Value {
    let bytes = match code {
        Code::InvalidParameter => include_bytes!("rest/examples/problem.json").to_vec(),
        _ => Problem::new(code, "What happened, and what to do about it.").json(),
    };
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Converts a schema from OpenAPI 3.0 to 3.1. An optional member is always present and may be null, unless it is in
/// [`OMITTED_MEMBERS`].
fn upgrade_schema(schema: &mut Value, schema_name: &str) {
    let Some(object) = schema.as_object_mut() else { return };
    // OpenAPI 3.1 allows a description beside a reference.
    if let Some([reference, description]) = object.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && let (Some(reference), Some(description)) =
            (reference.get("$ref").cloned(), description.get("description").cloned())
    {
        object.remove("allOf");
        object.insert("$ref".to_owned(), reference);
        object.insert("description".to_owned(), description);
        return;
    }
    // Numbers have exact decimal digits, which `double` would not promise. Files are returned as text.
    if object.get("format").is_some_and(|format| format == "double" || format == "binary") {
        object.remove("format");
    }
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = Vec::new();
    for (name, property) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        upgrade_schema(property, "");
        if OMITTED_MEMBERS.contains(&(schema_name, name)) {
            if schema_name == REQUEST_SCHEMA {
                allow_null(property);
            }
            continue;
        }
        if !required.iter().any(|one| one == name) {
            allow_null(property);
        }
        names.push(Value::from(name.clone()));
    }
    if !names.is_empty() {
        object.insert("required".to_owned(), names.into());
    }
    if let Some(items) = object.get_mut("items") {
        upgrade_schema(items, "");
    }
}

fn allow_null(property: &mut Value) {
    match property.get_mut("oneOf").and_then(Value::as_array_mut) {
        Some(choices) => choices.push(json!({ "type": "null" })),
        None => property["type"] = json!([property["type"], "null"]),
    }
}

#[cfg(test)]
mod tests;
