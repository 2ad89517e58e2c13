//! The OpenAPI 3.1 document.
//!
//! The framework writes OpenAPI 3.0; what 3.1 says differently is put right here, and examples are added.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::LazyLock;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, Registry};
use poem_openapi::{ExtraHeader, LicenseObject, OpenApi, OpenApiService};
use serde_json::{Value, json};

use super::access::{Access, Terms};
use super::guard::Guarded;
use super::problem::{Code, PROBLEM_JSON, Problem};
use super::rest::Api;

const DESCRIPTION: &str = "\
Crypto market data, collected from exchanges in their own protocols, kept as candles that are provably complete, and \
served to any number of clients.

- **Times** in answers are Unix milliseconds; ranges are half-open, `[start, end)`.
- **Numbers** have the exchange's digits. What an exchange does not give is `null`, never invented.
- **simulated** is true for everything that comes from the built-in simulator.
- **Refusals** are `application/problem+json` (RFC 9457) with a stable `code`. A parameter that is unknown, given twice or \
empty is refused. Those with status 503 say in `Retry-After` when to try again. Beside what each operation lists: \
`not_found` (404), `method_not_allowed` (405), `too_large` (413).
- **Keys** are sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Reading needs one where the service says so \
(`unauthorized`, 401); changing always does, with the scope `admin` (`forbidden`, 403), except from the service's own machine \
where `auth.open_on_loopback` is true: by default where it listens on loopback and trusts no proxy. A request that a proxy \
or a page of another site sends always needs the key.
- **Limits**: each client, by its key or else its address, has so much a minute, and each operation costs some of it: \
`RateLimit-Policy` says how much there is, `RateLimit` what is left (`r`) and in how many seconds all is (`t`). Past it: \
`rate_limited` (429), with `Retry-After`.
- Every answer has an **X-Request-Id**: the client's own, of at most 64 visible ASCII characters, or a new one.

## Streams
These paths stay open and so stand outside of the list below; `/asyncapi.json` describes them:

- `/v1/stream`: a WebSocket with any number of topics: tickers, trades, candles, states of exchanges
- `/v1/events?topics=…`: the same as server-sent events
- `/ws/subscribe/{symbol}?exchange=…`, `/ws/realtime?exchange=…&symbol=…`: WebSockets with the ticker of one market

The last two send the ticker of a market as a JSON text, as `/v1/ticker` gives it without `age_ms` and `stale`: at once, and at \
every change. A slow client gets the newest and skips what lies between. Before the service ends it sends \
`{\"type\":\"shutdown\",\"in_ms\":…}` and then closes with 1001. An unknown market is refused before the upgrade with the \
same problems as `/v1/ticker`; a plain `GET` gets `upgrade_required` (426).";

/// What the answers of operations look like, by the schema or the media type.
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

/// The members that are left out where they have no value, each with its schema.
const LEFT_OUT: [(&str, &str); 5] = [
    ("Problem", "errors"),
    ("Candle", "filled"),
    ("NewBackfill", "exchange"),
    ("NewBackfill", "interval"),
    ("NewBackfill", "until"),
];

/// What clients send: a member that may be left out may be null as well.
const TAKEN: &str = "NewBackfill";

/// What is served, made once at the first request.
pub(super) static PAGES: LazyLock<Pages> = LazyLock::new(Pages::new);

/// The document in each of its forms.
pub(super) struct Pages {
    pub json: String,
    pub yaml: String,
    pub html: String,
    pub asyncapi: String,
}

impl Pages {
    fn new() -> Self {
        let document = openapi_document();
        // The page shows the document from inside of a script, which no `<` in a text may end.
        let shown = document.to_string().replace('<', "\\u003c");
        let described = described();
        let html = described.swagger_ui_html().replacen(&described.spec(), &shown, 1);
        let html = html.replacen("<title>Swagger UI</title>", "<title>candlewick</title>", 1);
        Self { json: openapi_json(), yaml: openapi_yaml(), html, asyncapi: super::asyncapi_json() }
    }
}

/// The document as JSON, indented, as it is committed.
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
    serde_yaml::to_string(&openapi_document()).expect("JSON can be written as YAML")
}

/// The document; the same at every call.
///
/// # Panics
/// Never: the framework writes JSON.
#[must_use]
pub fn openapi_document() -> Value {
    modern(serde_json::from_str(&described().spec()).expect("the framework writes JSON"))
}

/// An API with its title page.
pub(super) fn service<T: OpenApi>(api: T) -> OpenApiService<T, ()> {
    let licence = "MIT OR Apache-2.0";
    OpenApiService::new(api, "candlewick", env!("CARGO_PKG_VERSION"))
        .summary(env!("CARGO_PKG_DESCRIPTION"))
        .description(DESCRIPTION)
        .license(LicenseObject::new(licence).identifier(licence))
        .server("/")
        .extra_response_header::<String, _>(
            ExtraHeader::new("X-Request-Id").description("Names this request in the log."),
        )
        .extra_response_header::<Option<String>, _>(
            ExtraHeader::new("RateLimit").description("What is left of the client's limit, and when all of it is."),
        )
        .extra_response_header::<Option<String>, _>(
            ExtraHeader::new("RateLimit-Policy").description("The client's limit, and for how many seconds it is."),
        )
}

/// The service as far as the document goes, which asks for types and not for anything that runs.
fn described() -> OpenApiService<Described<Guarded<Api>>, ()> {
    service(Described(PhantomData))
}

struct Described<T>(PhantomData<T>);

impl<T: OpenApi> OpenApi for Described<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// Makes a document of OpenAPI 3.0 one of 3.1, and adds examples.
fn modern(mut document: Value) -> Value {
    document["openapi"] = "3.1.0".into();
    document["security"] = json!([]);
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key: `candlewick keys create` makes one.",
        },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key." },
    });
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.sort_by_key(|tag| tag["name"] == "Kept paths");
    }
    for (name, schema) in members(&mut document["components"]["schemas"]) {
        modernize(schema, name);
    }
    for operation in members(&mut document["paths"]).flat_map(|(_, path)| members(path)).map(|(_, operation)| operation)
    {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        say_terms(operation, Terms::of(&id));
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            drop_defaults(parameter);
            let example = parameter["schema"].as_object_mut().and_then(|schema| schema.remove("example"));
            if let (Some(example), Some(parameter)) = (example, parameter.as_object_mut()) {
                parameter.insert("example".to_owned(), example);
            }
        }
        if let Some(body) = operation.get_mut("requestBody") {
            modern_contents(&mut body["content"], "");
        }
        for (_, response) in members(&mut operation["responses"]) {
            rename(&mut response["headers"], header_name);
            members(&mut response["headers"]).for_each(|(_, header)| drop_defaults(header));
            if response["content"].is_null() {
                continue;
            }
            let description = response["description"].as_str().unwrap_or_default().to_owned();
            modern_contents(&mut response["content"], &description);
        }
    }
    document
}

/// Which keys an operation asks for, and what it costs.
fn say_terms(operation: &mut Value, terms: Terms) {
    let (none, keys) = (json!({}), [json!({ "bearer": [] }), json!({ "apiKey": [] })]);
    operation["security"] = match terms.access {
        Access::Open => json!([]),
        // Whether one is needed is a matter of configuration.
        Access::Read | Access::Stream => json!([none, keys[0], keys[1]]),
        Access::Ticket | Access::Change => json!(keys),
    };
    let cost = match terms.cost {
        0 => "It is not counted.".to_owned(),
        cost => format!("It costs {cost} of the client's limit."),
    };
    let told = operation["description"].as_str().unwrap_or_default();
    operation["description"] = format!("{told}\n\n{cost}").trim().into();
}

/// Media types without parameters, schemas of today, and examples.
fn modern_contents(contents: &mut Value, description: &str) {
    rename(contents, |media| media.split(';').next().unwrap_or_default().to_owned());
    for (media, content) in members(contents) {
        modernize(&mut content["schema"], "");
        // Who reads YAML gets what it says, not its text.
        if media == "application/yaml" {
            content["schema"] = json!({ "type": "object" });
        }
        add_examples(media, content, description);
        if media == "application/json" && content["schema"]["$ref"] == "#/components/schemas/History" {
            content["schema"] = json!({ "anyOf": [content["schema"], candle_rows()] });
        }
    }
}

/// What `format=array` makes of a history: `[[timestamp, open, high, low, close, volume], …]`.
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

/// `X-REQUEST-ID`, as the framework writes it, as people do.
fn header_name(loud: &str) -> String {
    if let Some(name) = ["ETag", "RateLimit", "RateLimit-Policy", "WWW-Authenticate"]
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(loud))
    {
        return name.to_owned();
    }
    let parts = loud.split('-').map(|part| part[..1].to_owned() + &part[1..].to_lowercase());
    parts.collect::<Vec<_>>().join("-")
}

/// Leaves out what says nothing.
fn drop_defaults(described: &mut Value) {
    if let Some(described) = described.as_object_mut() {
        described.remove("explode");
        described.retain(|name, value| name != "deprecated" || *value != Value::Bool(false));
    }
}

/// For a problem, one for each code that the description names.
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

/// Makes a schema of OpenAPI 3.0 one of 3.1. In ours, a member that need not have a value is there all the same, as
/// null, unless it is [`LEFT_OUT`].
fn modernize(schema: &mut Value, schema_name: &str) {
    let Some(object) = schema.as_object_mut() else { return };
    // A reference may have words of its own beside it now.
    if let Some([reference, words]) = object.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && let (Some(reference), Some(words)) = (reference.get("$ref").cloned(), words.get("description").cloned())
    {
        object.remove("allOf");
        object.insert("$ref".to_owned(), reference);
        object.insert("description".to_owned(), words);
        return;
    }
    // Digits are exact; a double is what a client may make of them. Files are texts here.
    if object.get("format").is_some_and(|format| format == "double" || format == "binary") {
        object.remove("format");
    }
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = Vec::new();
    for (name, property) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        modernize(property, "");
        if LEFT_OUT.contains(&(schema_name, name)) {
            if schema_name == TAKEN {
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
        modernize(items, "");
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
