//! The AsyncAPI 3.0 document of the streams, served at `/asyncapi.json`.

mod messages;

use serde_json::{Value, json};

/// The document as indented JSON, as served.
#[must_use]
pub fn asyncapi_json() -> String {
    format!("{:#}\n", asyncapi_document())
}

/// The document; every call returns the same.
#[must_use]
pub fn asyncapi_document() -> Value {
    let messages = messages::messages();
    let message_refs = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"$ref": format!("#/channels/stream/messages/{name}")})).collect()
    };
    let in_channel = |names: &[&str]| -> Value {
        let entry = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}));
        Value::Object(names.iter().map(entry).collect())
    };
    let event_messages = ["ticker", "trade", "candle", "gap", "snapshot", "status", "shutdown"];
    let legacy_channel = |address: &str, parameters: Value| {
        json!({
            "address": address,
            "title": "The ticker of one market",
            "description": "The plain ticker object, once after connecting and after every change. A legacy endpoint for \
                existing clients; use `/v1/stream` instead.",
            "parameters": parameters,
            "messages": {"plainTicker": {"$ref": "#/components/messages/plainTicker"}},
        })
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "candlewick streams",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "title": "Any number of topics on one socket",
                "messages": in_channel(&[REQUESTS, REPLIES, &EVENTS].concat()),
                "bindings": {"ws": {"method": "GET"}},
            },
            "events": {
                "address": "/v1/events",
                "title": "The same frames as server-sent events",
                "description": EVENTS_DESCRIPTION,
                "messages": in_channel(&event_messages),
                "bindings": {"http": {}},
            },
            "subscribeTicker": legacy_channel("/ws/subscribe/{symbol}", json!({"symbol": {"description": "Such as `BTC-USDT`."}})),
            "realtimeTicker": legacy_channel("/ws/realtime", json!({})),
        },
        "operations": {
            "request": {"action": "receive", "channel": {"$ref": "#/channels/stream"}, "messages": message_refs(REQUESTS),
                "reply": {"channel": {"$ref": "#/channels/stream"}, "messages": message_refs(REPLIES)}},
            "push": {"action": "send", "channel": {"$ref": "#/channels/stream"}, "messages": message_refs(&EVENTS)},
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

const DESCRIPTION: &str = "\
Live market data. A client subscribes to topics, such as `candles:binance:BTC/USDT:1m`, and receives a snapshot \
followed by every event. Each event has a sequence id in its topic: an `epoch` and a number `seq` that grows by one. \
Missing events are reported as a `gap` with their numbers. Tickers may skip numbers without a gap, because only the \
latest value matters. After a reconnect to any replica, a client sends the last sequence id as `resume` and receives \
the missed events, or a gap and a snapshot.\n\n\
Messages are JSON texts of at most 64 KiB. A client may send at most 20 messages per second. A client that reads \
trades or candles too slowly receives a `gap` with the reason `slow_client`. The socket closes with 1008 if the \
client never catches up or if too many of its messages are rejected, with 1009 after a message that is too long, and \
with 1001 after `shutdown` when the service shuts down.\n\n\
If the service requires a key, it needs the scope `stream`: send `Authorization: Bearer KEY` or `X-API-Key: KEY`, \
or, from a page in a browser, `?ticket=…` with a ticket of `POST /v1/tickets`. Without a key, the upgrade fails with \
401.";

const EVENTS_DESCRIPTION: &str = "\
`GET /v1/events?topics=ticker:binance:BTC/USDT,candles:kraken:BTC/USD:1m` with at most 32 topics, including status \
topics such as `status:binance`. `snapshot=n` requests n values per topic at the start. The `id` of an event lists \
`epoch.seq` of all topics in their order, with `-` for topics without events. `Last-Event-ID`, or `resume` in the \
query of a new stream, resumes all topics. Comments are heartbeats.";

/// Names of the messages: requests of clients, replies, and events.
const REQUESTS: &[&str] = &["subscribe", "unsubscribe", "list", "ping"];
const REPLIES: &[&str] = &["subscribed", "unsubscribed", "topics", "pong", "error"];
const EVENTS: [&str; 8] = ["snapshot", "ticker", "trade", "candle", "gap", "status", "heartbeat", "shutdown"];
