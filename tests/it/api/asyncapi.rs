//! The document of the streams against the streams.

use std::collections::BTreeSet;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::schema::check;

async fn document(house: &House) -> Value {
    house.json("/asyncapi.json").await
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_example_fits_its_schema() {
    let house = House::open().await;
    let document = document(&house).await;
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        if let Some(place) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&place[1..]).is_some(), "{place}");
        }
        left.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        left.extend(value.as_array().into_iter().flatten());
    }
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            check(&message["payload"], &example["payload"]).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        }
    }
    house.close().await;
}

#[tokio::test]
async fn what_the_examples_ask_is_answered_as_described() {
    let house = House::open().await;
    let document = document(&house).await;
    let messages = &document["components"]["messages"];
    let mut seen = BTreeSet::new();
    let mut round = 1_813;
    let fits = |frame: &Value| {
        let kind = frame["type"].as_str().unwrap().to_owned();
        check(&messages[&kind]["payload"], frame).unwrap_or_else(|wrong| panic!("{kind}: {wrong}"));
        kind
    };
    for (request, answer) in
        [("subscribe", "subscribed"), ("unsubscribe", "unsubscribed"), ("list", "topics"), ("ping", "pong")]
    {
        for example in messages[request]["examples"].as_array().unwrap() {
            let url = format!("ws://{}/v1/stream", house.address);
            let mut socket = tokio_tungstenite::connect_async(url).await.unwrap().0;
            socket.send(Message::text(example["payload"].to_string())).await.unwrap();
            // Something of everything follows.
            socket.send(Message::text("nonsense")).await.unwrap();
            let mut first = true;
            let mut kinds = BTreeSet::new();
            while !kinds.contains("heartbeat") {
                let message = socket.next().await.unwrap().unwrap();
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                let kind = fits(&frame);
                if first && kind != "error" {
                    assert_eq!((kind.as_str(), &frame["id"]), (answer, &example["payload"]["id"]));
                    first = false;
                    round += 10;
                    house.events_of_all_kinds(round).await;
                }
                // What was told while a snapshot was made, it shows already.
                if kind == "snapshot" {
                    round += 10;
                    house.events_of_all_kinds(round).await;
                }
                kinds.insert(kind);
            }
            assert!(!first, "{request} has an answer");
            seen.extend(kinds);
        }
    }
    let url = format!("ws://{}/v1/stream", house.address);
    let mut last = tokio_tungstenite::connect_async(url).await.unwrap().0;
    house.life.drain();
    while !seen.contains("shutdown") {
        if let Message::Text(text) = last.next().await.unwrap().unwrap() {
            seen.insert(fits(&serde_json::from_str(&text).unwrap()));
        }
    }
    let sent = document["channels"]["stream"]["messages"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let own: BTreeSet<String> = ["subscribe", "unsubscribe", "list", "ping"].map(str::to_owned).into();
    assert_eq!(seen, &sent - &own, "every message that is described was seen");
    house.close().await;
}

impl House {
    /// A ticker, a trade, a candle and a gap, as a collector would tell them.
    async fn events_of_all_kinds(&self, seq: u64) {
        self.put_ticker(seq, 67_000).await;
        let trade = candlewick::model::Trade {
            exchange: ExchangeId::Binance,
            symbol: btc(),
            id: "1".into(),
            price: Decimal::ONE,
            amount: Decimal::ONE,
            side: candlewick::model::Side::Buy,
            timestamp: self.clock.now(),
        };
        let series = Series { exchange: ExchangeId::Binance, symbol: btc(), interval: Interval::M1 };
        let update = candlewick::model::CandleUpdate {
            series: series.clone(),
            candle: candle(Interval::M1.floor(self.clock.now())),
        };
        let trades = Topic::Trades { exchange: ExchangeId::Binance, symbol: btc() };
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
async fn the_command_prints_what_the_service_serves() {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    let printed = crate::support::process::run(folder.path(), &["asyncapi"], &[]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, document(&house).await);
    assert_eq!(printed["info"]["license"], json!({"name": "MIT OR Apache-2.0"}));
    house.close().await;
}
