//! The AsyncAPI document, compared with what the streams send.

use std::collections::BTreeSet;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::schema::check;

async fn document(service: &TestService) -> Value {
    service.json("/asyncapi.json").await
}

#[tokio::test]
async fn references_resolve_and_examples_match_schemas() {
    let service = TestService::start().await;
    let document = document(&service).await;
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut pending = vec![&document];
    while let Some(value) = pending.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        pending.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        pending.extend(value.as_array().into_iter().flatten());
    }
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            check(&message["payload"], &example["payload"]).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    service.shut_down().await;
}

#[tokio::test]
async fn responses_to_examples_match_schemas() {
    let service = TestService::start().await;
    let document = document(&service).await;
    let messages = &document["components"]["messages"];
    let mut seen_types = BTreeSet::new();
    let mut seq = 1_813;
    let checked_type = |frame: &Value| {
        let kind = frame["type"].as_str().unwrap().to_owned();
        check(&messages[&kind]["payload"], frame).unwrap_or_else(|error| panic!("{kind}: {error}"));
        kind
    };
    for (request, response) in
        [("subscribe", "subscribed"), ("unsubscribe", "unsubscribed"), ("list", "topics"), ("ping", "pong")]
    {
        for example in messages[request]["examples"].as_array().unwrap() {
            let url = format!("ws://{}/v1/stream", service.address);
            let mut socket = tokio_tungstenite::connect_async(url).await.unwrap().0;
            socket.send(Message::text(example["payload"].to_string())).await.unwrap();
            // An invalid message provokes an error frame.
            socket.send(Message::text("nonsense")).await.unwrap();
            let mut first = true;
            let mut types = BTreeSet::new();
            while !types.contains("heartbeat") {
                let message = socket.next().await.unwrap().unwrap();
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                let kind = checked_type(&frame);
                if first && kind != "error" {
                    assert_eq!((kind.as_str(), &frame["id"]), (response, &example["payload"]["id"]));
                    first = false;
                    seq += 10;
                    service.publish_events_of_all_kinds(seq).await;
                }
                // A snapshot covers the events published before it, so publish more after it.
                if kind == "snapshot" {
                    seq += 10;
                    service.publish_events_of_all_kinds(seq).await;
                }
                types.insert(kind);
            }
            assert!(!first, "{request} has a response");
            seen_types.extend(types);
        }
    }
    let url = format!("ws://{}/v1/stream", service.address);
    let mut last = tokio_tungstenite::connect_async(url).await.unwrap().0;
    service.lifecycle.drain();
    while !seen_types.contains("shutdown") {
        if let Message::Text(text) = last.next().await.unwrap().unwrap() {
            seen_types.insert(checked_type(&serde_json::from_str(&text).unwrap()));
        }
    }
    let documented =
        document["channels"]["stream"]["messages"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let client_types: BTreeSet<String> = ["subscribe", "unsubscribe", "list", "ping"].map(str::to_owned).into();
    assert_eq!(seen_types, &documented - &client_types, "every documented server message was received");
    service.shut_down().await;
}

impl TestService {
    /// Publishes a ticker, a trade, a candle and a gap, as a collector does.
    async fn publish_events_of_all_kinds(&self, seq: u64) {
        self.publish_ticker(seq, 67_000).await;
        let trade = candlewick::model::Trade {
            exchange: ExchangeId::BINANCE,
            symbol: btc(),
            id: "1".into(),
            price: Decimal::ONE,
            amount: Decimal::ONE,
            side: candlewick::model::Side::Buy,
            timestamp: self.clock.now(),
        };
        let series = Series { exchange: ExchangeId::BINANCE, symbol: btc(), interval: Interval::M1 };
        let update = candlewick::model::CandleUpdate {
            series: series.clone(),
            candle: candle(Interval::M1.floor(self.clock.now())),
        };
        let trades = Topic::Trades { exchange: ExchangeId::BINANCE, symbol: btc() };
        for (seq, topic, event) in [
            (seq, &trades, Some(MarketEvent::Trade(trade))),
            (seq + 1, &trades, None),
            (seq, &Topic::Candles(series), Some(MarketEvent::Candle(update))),
        ] {
            let kind = match event {
                Some(event) => BusEventKind::Data(wire::event_data(&event, false).into()),
                None => BusEventKind::Gap(candlewick::model::GapReason::UpstreamDisconnect),
            };
            self.cache.bus.publish(topic, BusEvent { epoch: "k3f9.1c2d".into(), seq, kind }).await.unwrap();
        }
    }
}

#[tokio::test]
async fn command_prints_served_document() {
    let service = TestService::start().await;
    let folder = tempfile::tempdir().unwrap();
    let printed = crate::support::process::run(folder.path(), &["asyncapi"], &[]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, document(&service).await);
    assert_eq!(printed["info"]["license"], json!({"name": "MIT OR Apache-2.0"}));
    service.shut_down().await;
}
