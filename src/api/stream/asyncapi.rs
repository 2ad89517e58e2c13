//! The document of the streams: AsyncAPI 3.0, at `/asyncapi.json`.

use serde_json::{Map, Value, json};

use super::feed::MAX_SNAPSHOT;
use crate::api::openapi_document;
use crate::model::{FeedState, Interval};

/// The document as the service gives it.
#[must_use]
pub fn asyncapi_json() -> String {
    format!("{:#}\n", asyncapi_document())
}

/// The document; the same at every call.
#[must_use]
pub fn asyncapi_document() -> Value {
    let messages = messages();
    let refer = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"$ref": format!("#/channels/stream/messages/{name}")})).collect()
    };
    let in_channel = |names: &[&str]| -> Value {
        let entry = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}));
        Value::Object(names.iter().map(entry).collect())
    };
    let tickers = ["ticker", "trade", "candle", "gap", "snapshot", "status", "shutdown"];
    let kept = |address: &str, parameters: Value| {
        json!({
            "address": address,
            "title": "The ticker of one market",
            "description": "The plain ticker object, at once and at every change. Kept for those who use it; `/v1/stream` does more.",
            "parameters": parameters,
            "messages": {"plainTicker": {"$ref": "#/components/messages/plainTicker"}},
        })
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "candlewick streams",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "title": "Any number of topics on one socket",
                "messages": in_channel(&[CLIENT, ANSWERS, &FRAMES].concat()),
                "bindings": {"ws": {"method": "GET"}},
            },
            "events": {
                "address": "/v1/events",
                "title": "The same frames as server-sent events",
                "description": EVENTS,
                "messages": in_channel(&tickers),
                "bindings": {"http": {}},
            },
            "subscribeTicker": kept("/ws/subscribe/{symbol}", json!({"symbol": {"description": "Such as `BTC-USDT`."}})),
            "realtimeTicker": kept("/ws/realtime", json!({})),
        },
        "operations": {
            "request": {"action": "receive", "channel": {"$ref": "#/channels/stream"}, "messages": refer(CLIENT),
                "reply": {"channel": {"$ref": "#/channels/stream"}, "messages": refer(ANSWERS)}},
            "push": {"action": "send", "channel": {"$ref": "#/channels/stream"}, "messages": refer(&FRAMES)},
            "pushEvents": {"action": "send", "channel": {"$ref": "#/channels/events"}},
            "pushTicker": {"action": "send", "channel": {"$ref": "#/channels/subscribeTicker"}},
            "pushRealtimeTicker": {"action": "send", "channel": {"$ref": "#/channels/realtimeTicker"}},
        },
        "components": {"messages": messages, "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "apiKey": {"type": "httpApiKey", "in": "header", "name": "X-API-Key"},
            "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket"},
        }},
    })
}

const ABOUT: &str = "Live market data. Subscribe to topics, such as `candles:binance:BTC/USDT:1m`, and get a snapshot, then every \
event with its place in the topic: an `epoch` and a number `seq` that grows by one. What is missing is told as a `gap` with its \
numbers; tickers may skip numbers without one, since only the newest matters. A client that lost its connection sends the last place \
as `resume`, on any replica, and gets what it missed, or a gap and a snapshot.\n\nMessages are JSON texts of at most 64 KiB, at most 20 \
a second. A client that is too slow for trades or candles gets a `gap` with the reason `slow_client`; one that never catches up is \
closed with 1008, one that floods, too; a message that is too long closes with 1009; the end of the service is announced by \
`shutdown` and closes with 1001.\n\nWhere the service asks for a key, it has the scope `stream`: `Authorization: Bearer KEY`, `X-API-Key: KEY`, or, \
from a page in a browser, `?ticket=…` with a ticket of `POST /v1/tickets`. Without one the answer to the upgrade is 401.";

const EVENTS: &str = "`GET /v1/events?topics=ticker:binance:BTC/USDT,candles:kraken:BTC/USD:1m` with at most 32 topics; `status:binance` is \
one, too; `snapshot=n` asks for n values at the start. `id` is the list of `epoch.seq` in the order of the topics, `-` where nothing was \
told, so that `Last-Event-ID` resumes all of them, or `resume` in the query of a new stream. Comments are heartbeats.";

/// What clients send, how that is answered, and what is sent unasked.
const CLIENT: &[&str] = &["subscribe", "unsubscribe", "list", "ping"];
const ANSWERS: &[&str] = &["subscribed", "unsubscribed", "topics", "pong", "error"];
const FRAMES: [&str; 8] = ["snapshot", "ticker", "trade", "candle", "gap", "status", "heartbeat", "shutdown"];

fn message(summary: &str, properties: &Value, required: &[&str], examples: &[Value]) -> Value {
    let examples: Vec<Value> = examples.iter().map(|example| json!({"payload": example})).collect();
    json!({
        "summary": summary,
        "payload": {"type": "object", "properties": properties, "required": required, "additionalProperties": false},
        "examples": examples,
    })
}

fn one(value: &str) -> Value {
    json!({"const": value})
}

fn texts(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

fn id() -> Value {
    json!({"type": ["integer", "number", "string"], "description": "Chosen by the client; the answer carries it."})
}

fn epoch() -> Value {
    json!({"type": ["string", "null"], "description": "The run of numbers that `seq` belongs to; null before the first event."})
}

fn number(description: &str) -> Value {
    json!({"type": ["integer", "null"], "description": description})
}

fn millis(description: &str) -> Value {
    json!({"type": "integer", "description": format!("{description}, in Unix milliseconds.")})
}

/// An event: its type, its place, and data.
fn event(kind: &str, data: &Value, example: &Value) -> Value {
    let topic = match kind {
        "ticker" => "ticker:binance:BTC/USDT",
        "trade" => "trades:binance:BTC/USDT",
        _ => "candles:binance:BTC/USDT:1m",
    };
    let properties = json!({"type": one(kind), "topic": {"type": "string"}, "epoch": {"type": "string"},
        "seq": {"type": "integer", "description": "Grows by one with each event of the topic."}, "data": data});
    let example = json!({"type": kind, "topic": topic, "epoch": "k3f9.1c2d", "seq": 1813, "data": example});
    message("New data of a topic.", &properties, &["type", "topic", "epoch", "seq", "data"], &[example])
}

/// An object of the OpenAPI document, as streams carry it.
fn schema(known: &Value, name: &str, without: &[&str], with: &[(&str, Value)]) -> Value {
    let mut schema = known[name].clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|name, _| !without.contains(&name.as_str()));
        properties.extend(with.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        schema["required"] = properties.keys().cloned().collect();
    }
    schema["additionalProperties"] = false.into();
    schema
}

/// A ticker as streams carry it.
fn ticker(known: &Value) -> Value {
    schema(known, "Ticker", &["age_ms", "stale"], &[])
}

fn market() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string"});
    vec![("exchange", text()), ("symbol", text()), ("simulated", json!({"type": "boolean"}))]
}

fn candle(known: &Value) -> Value {
    let mut with = market();
    with.push(("interval", intervals()));
    schema(known, "Candle", &["filled"], &with)
}

fn intervals() -> Value {
    json!({"type": "string", "enum": Interval::ALL.map(Interval::as_str)})
}

fn trade() -> Value {
    let mut properties: Map<String, Value> =
        market().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    properties.extend(
        json!({
            "id": {"type": "string", "description": "The exchange's own."},
            "price": {"type": "number", "description": "In the quote asset."},
            "amount": {"type": "number", "description": "In the base asset."},
            "side": {"type": "string", "enum": ["buy", "sell"], "description": "The taker's."},
            "timestamp": millis("When it was made"),
        })
        .as_object()
        .cloned()
        .unwrap_or_default(),
    );
    let required: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn messages() -> Value {
    let known = openapi_document()["components"]["schemas"].take();
    let (ticker, trade, candle) = (ticker(&known), trade(), candle(&known));
    let ticker_example = json!({"exchange": "binance", "symbol": "BTC/USDT", "last": 67012.34, "bid": 67012.33, "bid_size": 1.2, "ask": 67012.34,
        "ask_size": 0.8, "open": 66000.1, "high": 67500, "low": 65800, "base_volume": 18234.1, "quote_volume": 1_219_000_000.5,
        "change_percent": 1.53, "timestamp": 1_763_672_400_123_i64, "received_at": 1_763_672_400_160_i64, "source": "stream", "simulated": false});
    let trade_example = json!({"exchange": "binance", "symbol": "BTC/USDT", "id": "5900001", "price": 67012.34, "amount": 0.012, "side": "buy",
        "timestamp": 1_763_672_400_149_i64, "simulated": false});
    let candle_example = json!({"exchange": "binance", "symbol": "BTC/USDT", "interval": "1m", "timestamp": 1_763_672_340_000_i64, "open": 67000.1,
        "high": 67020, "low": 66990, "close": 67012.34, "volume": 12.5, "quote_volume": 837_654.2, "trades": 412, "closed": true,
        "revision": 0, "simulated": false});
    let topic = "candles:binance:BTC/USDT:1m";
    let place = json!({"type": "object", "properties": {"epoch": {"type": "string"}, "seq": {"type": "integer"}},
        "required": ["epoch", "seq"], "additionalProperties": false});
    let rejected = |what: &str| {
        json!({"type": "array", "description": "What cannot be had, and why.", "items": {"type": "object",
            "properties": {what: {"type": "string"}, "code": {"type": "string"}}, "required": [what, "code"], "additionalProperties": false}})
    };
    json!({
        "subscribe": message("Subscribes to topics of one channel.", &json!({
            "op": one("subscribe"), "id": id(),
            "channel": {"type": "string", "enum": ["ticker", "trades", "candles", "status"]},
            "exchange": {"type": "string", "description": "Without it the first enabled one that lists each symbol; of `status` all."},
            "symbols": texts("Markets, in any spelling; `status` has none."),
            "interval": intervals(),
            "snapshot": {"type": "integer", "minimum": 0, "maximum": MAX_SNAPSHOT, "default": 1, "description": "So many of the newest values at the start."},
            "resume": {"oneOf": [place, {"type": "array", "items": {"oneOf": [place, {"type": "null"}]}}],
                "description": "The last place that the client knows of the only symbol, or of each, in the order of `symbols`."},
            "conflate_ms": {"type": "integer", "minimum": 0, "description": "Tickers: the newest value at most so often."},
        }), &["op", "channel"], &[
            json!({"op": "subscribe", "id": 1, "channel": "candles", "exchange": "binance", "symbols": ["BTC/USDT"], "interval": "1m", "snapshot": 50}),
            json!({"op": "subscribe", "id": "t", "channel": "ticker", "exchange": "binance", "symbols": ["BTC/USDT", "X/Y"], "conflate_ms": 250}),
            json!({"op": "subscribe", "channel": "trades", "exchange": "binance", "symbols": ["BTC/USDT"], "resume": {"epoch": "k3f9.1c2d", "seq": 1812}}),
            json!({"op": "subscribe", "channel": "status", "exchange": "binance"}),
        ]),
        "unsubscribe": message("Leaves topics.", &json!({"op": one("unsubscribe"), "id": id(), "topics": texts("As `subscribed` names them.")}),
            &["op", "topics"], &[json!({"op": "unsubscribe", "id": 2, "topics": [topic]})]),
        "list": message("Asks for the topics of this connection.", &json!({"op": one("list"), "id": id()}), &["op"], &[json!({"op": "list", "id": 3})]),
        "ping": message("Asks for a sign of life.", &json!({"op": one("ping"), "id": id()}), &["op"], &[json!({"op": "ping", "id": 4})]),
        "subscribed": message("The topics of a subscription.", &json!({"type": one("subscribed"), "id": id(), "topics": texts("What is subscribed to now."), "rejected": rejected("symbol")}),
            &["type", "topics", "rejected"], &[json!({"type": "subscribed", "id": 1, "topics": [topic], "rejected": [{"symbol": "X/Y", "code": "unknown_symbol"}]})]),
        "unsubscribed": message("The topics that were left.", &json!({"type": one("unsubscribed"), "id": id(), "topics": texts("What was left."), "rejected": rejected("topic")}),
            &["type", "topics", "rejected"], &[json!({"type": "unsubscribed", "id": 2, "topics": [topic], "rejected": []})]),
        "topics": message("The topics of this connection.", &json!({"type": one("topics"), "id": id(), "topics": texts("What is subscribed to.")}),
            &["type", "topics"], &[json!({"type": "topics", "id": 3, "topics": [topic]})]),
        "pong": message("A sign of life.", &json!({"type": one("pong"), "id": id(), "timestamp": millis("Now")}), &["type", "timestamp"],
            &[json!({"type": "pong", "id": 4, "timestamp": 1_763_672_400_160_i64})]),
        "error": message("A message that could not be followed. The subscriptions stay as they were.", &json!({"type": one("error"), "id": id(),
            "code": {"type": "string", "description": "`invalid_message`, `rate_limited`, or a code of the REST interface."}, "detail": {"type": "string"}}),
            &["type", "code", "detail"], &[json!({"type": "error", "id": 1, "code": "invalid_message", "detail": "`symbols` names at least one market"})]),
        "snapshot": message("The newest values of a topic. What follows begins after `seq`.", &json!({"type": one("snapshot"), "topic": {"type": "string"},
            "epoch": epoch(), "seq": number("Up to where the values tell everything; null before the first event."),
            "data": {"type": "array", "items": {"oneOf": [ticker, trade, candle]}}}),
            &["type", "topic", "epoch", "seq", "data"], &[json!({"type": "snapshot", "topic": topic, "epoch": "k3f9.1c2d", "seq": 1812, "data": [candle_example]})]),
        "ticker": event("ticker", &ticker, &ticker_example),
        "trade": event("trade", &trade, &trade_example),
        "candle": event("candle", &candle, &candle_example),
        "gap": message("Numbers of a topic that this client will not see.", &json!({"type": one("gap"), "topic": {"type": "string"}, "epoch": epoch(),
            "from_seq": number("The first number that was missed; null where nothing was heard before."),
            "to_seq": number("The last one; null where it is not known: up to the next frame of the topic."),
            "reason": {"type": "string", "enum": ["upstream_disconnect", "slow_client", "resume_expired", "bus_lost", "new_epoch"]}}),
            &["type", "topic", "epoch", "from_seq", "to_seq", "reason"],
            &[json!({"type": "gap", "topic": topic, "epoch": "k3f9.1c2d", "from_seq": 1814, "to_seq": 1830, "reason": "slow_client"})]),
        "status": message("How an exchange is doing, at once and at every change.", &json!({"type": one("status"), "exchange": {"type": "string"},
            "state": {"type": "string", "enum": FeedState::ALL.map(FeedState::as_str)}, "since": millis("Since when"), "simulated": {"type": "boolean"},
            "ended": {"type": "array", "description": "Markets that were collected and are gone.", "items": {"type": "object",
                "properties": {"symbol": {"type": "string"}, "since": millis("Since when"), "detail": {"type": "string"}},
                "required": ["symbol", "since", "detail"], "additionalProperties": false}}}),
            &["type", "exchange", "state", "since", "simulated", "ended"],
            &[json!({"type": "status", "exchange": "binance", "state": "live", "since": 1_763_672_300_000_i64, "simulated": false, "ended": []})]),
        "heartbeat": message("Sent each second without other traffic.", &json!({"type": one("heartbeat"), "n": {"type": "integer"}, "timestamp": millis("Now")}),
            &["type", "n", "timestamp"], &[json!({"type": "heartbeat", "n": 42, "timestamp": 1_763_672_400_160_i64})]),
        "shutdown": message("The service ends: connect elsewhere. The socket is closed with 1001 after so long.", &json!({"type": one("shutdown"), "in_ms": {"type": "integer"}}),
            &["type", "in_ms"], &[json!({"type": "shutdown", "in_ms": 5000})]),
        "plainTicker": {"summary": "The ticker alone.", "payload": ticker, "examples": [{"payload": ticker_example}]},
    })
}
