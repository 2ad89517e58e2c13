//! The messages of the AsyncAPI document.

use serde_json::{Map, Value, json};

use crate::api::openapi::openapi_document;
use crate::api::stream::client_feed::MAX_SNAPSHOT;
use crate::model::{FeedState, Interval};

/// The topic of the examples.
const TOPIC: &str = "candles:binance:BTC/USDT:1m";

/// All messages by name.
pub fn messages() -> Value {
    let schemas = openapi_document()["components"]["schemas"].take();
    let ticker = ticker(&schemas);
    let mut messages = requests();
    messages.extend(replies());
    messages.extend(events(&schemas, &ticker));
    let plain = json!({"summary": "The plain ticker.", "payload": ticker, "examples": [{"payload": ticker_example()}]});
    messages.insert("plainTicker".to_owned(), plain);
    messages.into()
}

/// The requests of clients.
fn requests() -> Map<String, Value> {
    let sequence_id = json!({"type": "object", "properties": {"epoch": {"type": "string"}, "seq": {"type": "integer"}},
        "required": ["epoch", "seq"], "additionalProperties": false});
    members(json!({
        "subscribe": message("Subscribes to topics of one channel.", &json!({
            "op": constant("subscribe"), "id": id(),
            "channel": {"type": "string", "enum": ["ticker", "trades", "candles", "status"]},
            "exchange": {"type": "string", "description": "Default: the first enabled exchange that lists the symbol; for `status`: all."},
            "symbols": string_array("Markets, in any accepted notation. Not for `status`."),
            "interval": intervals(),
            "snapshot": {"type": "integer", "minimum": 0, "maximum": MAX_SNAPSHOT, "default": 1, "description": "Number of latest values at the start."},
            "resume": {"oneOf": [sequence_id, {"type": "array", "items": {"oneOf": [sequence_id, {"type": "null"}]}}],
                "description": "The last sequence id that the client received: one for a single symbol, or a list in the order of `symbols`."},
            "conflate_ms": {"type": "integer", "minimum": 0, "description": "For tickers: minimum interval between values, in milliseconds."},
        }), &["op", "channel"], &[
            json!({"op": "subscribe", "id": 1, "channel": "candles", "exchange": "binance", "symbols": ["BTC/USDT"], "interval": "1m", "snapshot": 50}),
            json!({"op": "subscribe", "id": "t", "channel": "ticker", "exchange": "binance", "symbols": ["BTC/USDT", "X/Y"], "conflate_ms": 250}),
            json!({"op": "subscribe", "channel": "trades", "exchange": "binance", "symbols": ["BTC/USDT"], "resume": {"epoch": "k3f9.1c2d", "seq": 1812}}),
            json!({"op": "subscribe", "channel": "status", "exchange": "binance"}),
        ]),
        "unsubscribe": message("Unsubscribes from topics.", &json!({"op": constant("unsubscribe"), "id": id(), "topics": string_array("Topic names as in `subscribed`.")}),
            &["op", "topics"], &[json!({"op": "unsubscribe", "id": 2, "topics": [TOPIC]})]),
        "list": message("Requests the topics of this connection.", &json!({"op": constant("list"), "id": id()}), &["op"], &[json!({"op": "list", "id": 3})]),
        "ping": message("Requests a `pong`.", &json!({"op": constant("ping"), "id": id()}), &["op"], &[json!({"op": "ping", "id": 4})]),
    }))
}

/// The replies to requests.
fn replies() -> Map<String, Value> {
    let rejected = |key: &str| {
        json!({"type": "array", "description": "Rejected elements with reasons.", "items": {"type": "object",
            "properties": {key: {"type": "string"}, "code": {"type": "string"}}, "required": [key, "code"], "additionalProperties": false}})
    };
    members(json!({
        "subscribed": message("Reply to `subscribe`.", &json!({"type": constant("subscribed"), "id": id(), "topics": string_array("The new topics."), "rejected": rejected("symbol")}),
            &["type", "topics", "rejected"], &[json!({"type": "subscribed", "id": 1, "topics": [TOPIC], "rejected": [{"symbol": "X/Y", "code": "unknown_symbol"}]})]),
        "unsubscribed": message("Reply to `unsubscribe`.", &json!({"type": constant("unsubscribed"), "id": id(), "topics": string_array("The removed topics."), "rejected": rejected("topic")}),
            &["type", "topics", "rejected"], &[json!({"type": "unsubscribed", "id": 2, "topics": [TOPIC], "rejected": []})]),
        "topics": message("Reply to `list`: the topics of this connection.", &json!({"type": constant("topics"), "id": id(), "topics": string_array("The subscribed topics.")}),
            &["type", "topics"], &[json!({"type": "topics", "id": 3, "topics": [TOPIC]})]),
        "pong": message("Reply to `ping`.", &json!({"type": constant("pong"), "id": id(), "timestamp": millis("Current time")}), &["type", "timestamp"],
            &[json!({"type": "pong", "id": 4, "timestamp": 1_763_672_400_160_i64})]),
        "error": message("A request failed. The subscriptions are unchanged.", &json!({"type": constant("error"), "id": id(),
            "code": {"type": "string", "description": "`invalid_message`, `rate_limited`, or a problem code of the REST API."}, "detail": {"type": "string"}}),
            &["type", "code", "detail"], &[json!({"type": "error", "id": 1, "code": "invalid_message", "detail": "`symbols` needs at least one market"})]),
    }))
}

/// The messages that the service sends without a request.
fn events(schemas: &Value, ticker: &Value) -> Map<String, Value> {
    let (trade, candle, candle_example) = (trade(), candle(schemas), candle_example());
    members(json!({
        "snapshot": message("The latest values of a topic. The following events begin after `seq`.", &json!({"type": constant("snapshot"), "topic": {"type": "string"},
            "epoch": epoch(), "seq": number("The last event that the values include; null before the first event."),
            "data": {"type": "array", "items": {"oneOf": [ticker, trade, candle]}}}),
            &["type", "topic", "epoch", "seq", "data"], &[json!({"type": "snapshot", "topic": TOPIC, "epoch": "k3f9.1c2d", "seq": 1812, "data": [candle_example]})]),
        "ticker": event("ticker", ticker, &ticker_example()),
        "trade": event("trade", &trade, &trade_example()),
        "candle": event("candle", &candle, &candle_example),
        "gap": message("Events of a topic that this client will not receive.", &json!({"type": constant("gap"), "topic": {"type": "string"}, "epoch": epoch(),
            "from_seq": number("The first missed number; null if no event was received before."),
            "to_seq": number("The last missed number. If it is null, the gap ends before the next frame of the topic."),
            "reason": {"type": "string", "enum": ["upstream_disconnect", "slow_client", "resume_expired", "bus_lost", "new_epoch"]}}),
            &["type", "topic", "epoch", "from_seq", "to_seq", "reason"],
            &[json!({"type": "gap", "topic": TOPIC, "epoch": "k3f9.1c2d", "from_seq": 1814, "to_seq": 1830, "reason": "slow_client"})]),
        "status": message("The state of an exchange, at the start and after every change.", &json!({"type": constant("status"), "exchange": {"type": "string"},
            "state": {"type": "string", "enum": FeedState::ALL.map(FeedState::as_str)}, "since": millis("Time of the last change of the state"), "simulated": {"type": "boolean"},
            "ended": {"type": "array", "description": "Markets that are no longer collected, because the exchange does not list or trade them any more.", "items": {"type": "object",
                "properties": {"symbol": {"type": "string"}, "since": millis("Time since when it is not collected"), "detail": {"type": "string"}},
                "required": ["symbol", "since", "detail"], "additionalProperties": false}}}),
            &["type", "exchange", "state", "since", "simulated", "ended"],
            &[json!({"type": "status", "exchange": "binance", "state": "live", "since": 1_763_672_300_000_i64, "simulated": false, "ended": []})]),
        "heartbeat": message("Sent every second without other traffic.", &json!({"type": constant("heartbeat"), "n": {"type": "integer"}, "timestamp": millis("Current time")}),
            &["type", "n", "timestamp"], &[json!({"type": "heartbeat", "n": 42, "timestamp": 1_763_672_400_160_i64})]),
        "shutdown": message("The service shuts down: connect to another replica. The socket closes with 1001 after `in_ms` milliseconds.", &json!({"type": constant("shutdown"), "in_ms": {"type": "integer"}}),
            &["type", "in_ms"], &[json!({"type": "shutdown", "in_ms": 5000})]),
    }))
}

/// The members of an object.
fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn ticker_example() -> Value {
    json!({"exchange": "binance", "symbol": "BTC/USDT", "last": 67012.34, "bid": 67012.33, "bid_size": 1.2, "ask": 67012.34,
        "ask_size": 0.8, "open": 66000.1, "high": 67500, "low": 65800, "base_volume": 18234.1, "quote_volume": 1_219_000_000.5,
        "change_percent": 1.53, "timestamp": 1_763_672_400_123_i64, "received_at": 1_763_672_400_160_i64, "source": "stream", "simulated": false})
}

fn trade_example() -> Value {
    json!({"exchange": "binance", "symbol": "BTC/USDT", "id": "5900001", "price": 67012.34, "amount": 0.012, "side": "buy",
        "timestamp": 1_763_672_400_149_i64, "simulated": false})
}

fn candle_example() -> Value {
    json!({"exchange": "binance", "symbol": "BTC/USDT", "interval": "1m", "timestamp": 1_763_672_340_000_i64, "open": 67000.1,
        "high": 67020, "low": 66990, "close": 67012.34, "volume": 12.5, "quote_volume": 837_654.2, "trades": 412, "closed": true,
        "revision": 0, "simulated": false})
}

fn message(summary: &str, properties: &Value, required: &[&str], examples: &[Value]) -> Value {
    let examples: Vec<Value> = examples.iter().map(|example| json!({"payload": example})).collect();
    json!({
        "summary": summary,
        "payload": {"type": "object", "properties": properties, "required": required, "additionalProperties": false},
        "examples": examples,
    })
}

fn constant(value: &str) -> Value {
    json!({"const": value})
}

fn string_array(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

fn id() -> Value {
    json!({"type": ["integer", "number", "string"], "description": "Chosen by the client; the reply has the same id."})
}

fn epoch() -> Value {
    json!({"type": ["string", "null"], "description": "The numbering that `seq` belongs to; null before the first event."})
}

fn number(description: &str) -> Value {
    json!({"type": ["integer", "null"], "description": description})
}

fn millis(description: &str) -> Value {
    json!({"type": "integer", "description": format!("{description}, in Unix milliseconds.")})
}

/// The message of an event: type, topic, sequence id and data.
fn event(kind: &str, data: &Value, example: &Value) -> Value {
    let topic = match kind {
        "ticker" => "ticker:binance:BTC/USDT",
        "trade" => "trades:binance:BTC/USDT",
        _ => "candles:binance:BTC/USDT:1m",
    };
    let properties = json!({"type": constant(kind), "topic": {"type": "string"}, "epoch": {"type": "string"},
        "seq": {"type": "integer", "description": "Grows by one with each event of the topic."}, "data": data});
    let example = json!({"type": kind, "topic": topic, "epoch": "k3f9.1c2d", "seq": 1813, "data": example});
    message("New data of a topic.", &properties, &["type", "topic", "epoch", "seq", "data"], &[example])
}

/// A schema of the OpenAPI document, adapted to streams.
fn schema(schemas: &Value, name: &str, removed: &[&str], added: &[(&str, Value)]) -> Value {
    let mut schema = schemas[name].clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|name, _| !removed.contains(&name.as_str()));
        properties.extend(added.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        schema["required"] = properties.keys().cloned().collect();
    }
    schema["additionalProperties"] = false.into();
    schema
}

/// The schema of a ticker in streams.
fn ticker(schemas: &Value) -> Value {
    schema(schemas, "Ticker", &["age_ms", "stale"], &[])
}

fn market() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string"});
    vec![("exchange", text()), ("symbol", text()), ("simulated", json!({"type": "boolean"}))]
}

fn candle(schemas: &Value) -> Value {
    let mut added = market();
    added.push(("interval", intervals()));
    schema(schemas, "Candle", &["filled"], &added)
}

fn intervals() -> Value {
    json!({"type": "string", "enum": Interval::ALL.map(Interval::as_str)})
}

fn trade() -> Value {
    let mut properties: Map<String, Value> =
        market().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    properties.extend(
        json!({
            "id": {"type": "string", "description": "The exchange's id of the trade."},
            "price": {"type": "number", "description": "In the quote asset."},
            "amount": {"type": "number", "description": "In the base asset."},
            "side": {"type": "string", "enum": ["buy", "sell"], "description": "The taker's side."},
            "timestamp": millis("Time of the trade"),
        })
        .as_object()
        .cloned()
        .unwrap_or_default(),
    );
    let required: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}
