//! The `/v1/stream` protocol.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::sockets::{Socket, next};
use super::*;

/// A client of `/v1/stream`.
struct Client(Socket);

impl TestService {
    async fn stream(&self) -> Client {
        Client(self.connect("/v1/stream").await)
    }

    /// Publishes an event on the bus, as a collector does.
    async fn publish(&self, topic: &str, seq: u64, data: &Value) {
        let kind = BusEventKind::Data(Bytes::from(data.to_string()));
        self.publish_event(topic, BusEvent { epoch: "1.e".into(), seq, kind }).await;
    }

    async fn publish_event(&self, topic: &str, event: BusEvent) {
        self.cache.bus.publish(&topic.parse().unwrap(), event).await.unwrap();
    }
}

impl Client {
    async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Receives the next frame that is not a heartbeat.
    async fn receive(&mut self) -> Value {
        loop {
            let frame = next(&mut self.0).await;
            if frame["type"] != "heartbeat" {
                return frame;
            }
        }
    }

    async fn request(&mut self, message: &Value) -> Value {
        self.send(message).await;
        self.receive().await
    }

    /// Reads until the socket ends. Returns the close code, if any.
    async fn close_code(&mut self) -> Option<CloseCode> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

const TRADES: &str = "trades:binance:BTC/USDT";
const TICKER: &str = "ticker:binance:BTC/USDT";
const MINUTES_TOPIC: &str = "candles:binance:BTC/USDT:1m";

fn subscribe(channel: &str) -> Value {
    json!({"op": "subscribe", "id": 1, "channel": channel, "exchange": "binance", "symbols": ["BTC/USDT"]})
}

#[tokio::test]
async fn subscribe_sends_snapshot_then_updates() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let response = client.request(&subscribe("ticker")).await;
    assert_eq!(response, json!({"type": "subscribed", "id": 1, "topics": [TICKER], "rejected": []}));
    let snapshot = client.receive().await;
    assert_eq!((&snapshot["type"], &snapshot["topic"]), (&json!("snapshot"), &json!(TICKER)));
    assert_eq!(snapshot["data"][0]["last"], 67_000);
    service.publish_ticker(2, 67_001).await;
    let tick = client.receive().await;
    assert_eq!((&tick["type"], &tick["topic"], &tick["epoch"]), (&json!("ticker"), &json!(TICKER), &json!("1.e")));
    assert_eq!((&tick["seq"], &tick["data"]["last"]), (&json!(2), &json!(67_001)));
    assert!(tick["data"].get("age_ms").is_none() && tick["data"]["exchange"] == "binance");
    service.shut_down().await;
}

#[tokio::test]
async fn partial_subscribe_reports_rejected_symbols() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let response = client
        .request(&json!({"op": "subscribe", "id": "a", "channel": "candles", "exchange": "binance", "interval": "5m",
            "symbols": ["btc-usdt", "X/Y", "", "ETHUSDT"], "snapshot": 0}))
        .await;
    let rejected = json!([{"symbol": "X/Y", "code": "unknown_symbol"}, {"symbol": "", "code": "invalid_parameter"}]);
    let topics = ["candles:binance:BTC/USDT:5m", "candles:binance:ETH/USDT:5m"];
    assert_eq!(response, json!({"type": "subscribed", "id": "a", "topics": topics, "rejected": rejected}));
    for (message, code) in [
        (
            json!({"op": "subscribe", "channel": "candles", "exchange": "binance", "symbols": ["BTC/USDT"], "interval": "3d"}),
            "unsupported_interval",
        ),
        (
            json!({"op": "subscribe", "channel": "ticker", "exchange": "nope", "symbols": ["BTC/USDT"]}),
            "unknown_exchange",
        ),
        (json!({"op": "subscribe", "channel": "ticker", "exchange": "kraken", "symbols": ["BTC/USD"]}), "not_ready"),
    ] {
        let response = client.request(&message).await;
        assert_eq!((&response["topics"], &response["rejected"][0]["code"]), (&json!([]), &json!(code)), "{message}");
    }
    let list = client.request(&json!({"op": "list", "id": 3})).await;
    assert_eq!(list, json!({"type": "topics", "id": 3, "topics": topics}));
    let unsubscribed =
        client.request(&json!({"op": "unsubscribe", "id": 2, "topics": [topics[0], "ticker:okx:A/B", "?"]})).await;
    assert_eq!(unsubscribed["topics"], json!([topics[0]]));
    assert_eq!(unsubscribed["rejected"][1], json!({"topic": "?", "code": "not_subscribed"}));
    let pong = client.request(&json!({"op": "ping", "id": 4})).await;
    assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(4)));
    assert!(pong["timestamp"].is_i64());
    service.shut_down().await;
}

#[tokio::test]
async fn candle_snapshot_contains_history_before_updates() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let mut request = subscribe("candles");
    request["snapshot"] = 10.into();
    client.request(&request).await;
    let snapshot = client.receive().await;
    let candles = snapshot["data"].as_array().unwrap();
    assert_eq!(candles.len(), 10);
    assert!(candles.iter().all(|candle| candle["symbol"] == "BTC/USDT" && candle["interval"] == "1m"));
    service.publish(MINUTES_TOPIC, 7, &json!({"x": 1})).await;
    let candle = client.receive().await;
    assert_eq!((&candle["type"], &candle["seq"]), (&json!("candle"), &json!(7)));
    service.shut_down().await;
}

#[tokio::test]
async fn snapshot_sequence_number_matches_its_data() {
    let service = TestService::start().await;
    let series = Series { exchange: ExchangeId::BINANCE, symbol: btc(), interval: Interval::M1 };
    // A candle that changes continuously. Its volume equals the sequence number of its event.
    let (cache, clock) = (service.cache.clone(), service.clock.clone());
    let publisher = tokio::spawn(async move {
        for seq in 1.. {
            let open = Candle { closed: false, volume: seq.into(), ..candle(Interval::M1.floor(clock.now())) };
            cache.candles.put(&series, open, Version { token: 1, seq }).await.unwrap();
            let kind = BusEventKind::Data(Bytes::from_static(b"{}"));
            let event = BusEvent { epoch: "1.e".into(), seq, kind };
            cache.bus.publish(&Topic::Candles(series.clone()), event).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..10 {
        let mut client = service.stream().await;
        client.request(&subscribe("candles")).await;
        let snapshot = client.receive().await;
        let volume = snapshot["data"][0]["volume"].as_u64().unwrap();
        // Before the hub receives the first event, the snapshot has no sequence number.
        let Some(seq) = snapshot["seq"].as_u64() else { continue };
        assert!(seq <= volume, "{snapshot}");
        let next = client.receive().await;
        let next_seq = next.get("seq").or(next.get("from_seq")).and_then(Value::as_u64);
        assert_eq!(next_seq, Some(seq + 1), "no sequence number is skipped: {next}");
    }
    publisher.abort();
    service.shut_down().await;
}

#[tokio::test]
async fn resume_replays_missed_events() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let mut request = subscribe("trades");
    request["snapshot"] = 0.into();
    client.request(&request).await;
    for seq in 1..=3 {
        service.publish(TRADES, seq, &json!({"n": seq})).await;
        assert_eq!(client.receive().await["seq"], seq);
    }
    drop(client);
    for seq in 4..=6 {
        service.publish(TRADES, seq, &json!({"n": seq})).await;
    }
    let mut resumed = service.stream().await;
    request["resume"] = json!({"epoch": "1.e", "seq": 3});
    resumed.request(&request).await;
    for seq in 4..=6 {
        assert_eq!(resumed.receive().await["data"]["n"], seq);
    }
    // Resume from before the first event, and with another epoch.
    for (position, gap_from, reason) in
        [(json!({"epoch": "1.e", "seq": 0}), None, ""), (json!({"epoch": "0.d", "seq": 9}), Some(1), "new_epoch")]
    {
        let mut late = service.stream().await;
        request["resume"] = position;
        late.request(&request).await;
        let first = late.receive().await;
        match gap_from {
            None => assert_eq!(first["seq"], 1, "all events are still buffered"),
            Some(from) => {
                let gap = json!({"type": "gap", "topic": TRADES, "epoch": "1.e", "from_seq": from, "to_seq": 6, "reason": reason});
                assert_eq!(first, gap);
                let snapshot = late.receive().await;
                assert_eq!((&snapshot["seq"], &snapshot["data"][0]["n"]), (&json!(6), &json!(6)));
            }
        }
    }
    service.shut_down().await;
}

#[tokio::test]
async fn upstream_gap_is_sent_with_its_sequence_number() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let mut request = subscribe("trades");
    request["snapshot"] = 0.into();
    client.request(&request).await;
    let kind = BusEventKind::Gap(candlewick::model::GapReason::UpstreamDisconnect);
    service.publish_event(TRADES, BusEvent { epoch: "1.e".into(), seq: 5, kind }).await;
    let gap = client.receive().await;
    assert_eq!(
        (&gap["from_seq"], &gap["to_seq"], &gap["reason"]),
        (&json!(5), &json!(5), &json!("upstream_disconnect"))
    );
    service.shut_down().await;
}

#[tokio::test]
async fn status_topic_sends_current_state_and_changes() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let request = json!({"op": "subscribe", "id": 1, "channel": "status", "exchange": "binance"});
    let response = client.request(&request).await;
    assert_eq!(response["topics"], json!(["status:binance"]));
    let status = client.receive().await;
    assert_eq!(
        (&status["type"], &status["exchange"], &status["state"]),
        (&json!("status"), &json!("binance"), &json!("live"))
    );
    let known = service.cache.states.get(ExchangeId::BINANCE).await.unwrap().unwrap();
    let ended = candlewick::model::EndedSymbol { symbol: btc(), since: service.clock.now(), detail: "gone".to_owned() };
    let changed = ExchangeState { state: FeedState::Stale, ended: vec![ended], ..ExchangeState::clone(&known) };
    service.cache.states.put(changed).await.unwrap();
    let status = client.receive().await;
    assert_eq!((&status["state"], &status["ended"][0]["symbol"]), (&json!("stale"), &json!("BTC/USDT")));
    let unsubscribed = client.request(&json!({"op": "unsubscribe", "topics": ["status:binance"]})).await;
    assert_eq!(unsubscribed["topics"], json!(["status:binance"]));
    let unknown = client.request(&json!({"op": "subscribe", "id": 9, "channel": "status", "exchange": "nope"})).await;
    assert_eq!(
        (&unknown["type"], &unknown["id"], &unknown["code"]),
        (&json!("error"), &json!(9), &json!("unknown_exchange"))
    );
    service.shut_down().await;
}

#[tokio::test]
async fn idle_socket_receives_heartbeats() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    for n in 1..=2 {
        let heartbeat = next(&mut client.0).await;
        assert_eq!((&heartbeat["type"], &heartbeat["n"]), (&json!("heartbeat"), &json!(n)));
        assert!(heartbeat["timestamp"].is_i64());
    }
    service.shut_down().await;
}

#[tokio::test]
async fn invalid_message_leaves_subscriptions_unchanged() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    let mut request = subscribe("trades");
    request["snapshot"] = 0.into();
    client.request(&request).await;
    for (message, id) in [
        (Message::text("{"), Value::Null),
        (Message::text(r#"{"op":"fly","id":7}"#), json!(7)),
        (Message::text(r#"{"op":"subscribe","id":8,"channel":"trades","symbols":[]}"#), json!(8)),
        (Message::binary(vec![1, 2, 3]), Value::Null),
        (Message::text("x".repeat(60_000)), Value::Null),
    ] {
        client.0.send(message).await.unwrap();
        let error = client.receive().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("invalid_message")), "{error}");
        assert_eq!(error.get("id").unwrap_or(&Value::Null), &id);
    }
    service.publish(TRADES, 1, &json!({})).await;
    assert_eq!(client.receive().await["seq"], 1);
    service.shut_down().await;
}

#[tokio::test]
async fn oversized_frame_or_message_flood_closes_connection() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    client.0.feed(Message::text("x".repeat(1_000_000))).await.unwrap();
    // The server may close the connection before all of it is sent.
    let _ = client.0.flush().await;
    assert!(matches!(client.close_code().await, Some(CloseCode::Size) | None));

    let mut client = service.stream().await;
    let mut limited = 0;
    for _ in 0..300 {
        if client.0.feed(Message::text(r#"{"op":"ping"}"#)).await.is_err() {
            break;
        }
    }
    let _ = client.0.flush().await;
    let code = loop {
        match client.0.next().await {
            Some(Ok(Message::Text(text))) => limited += usize::from(text.contains("rate_limited")),
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    assert!(matches!(code, Some(CloseCode::Policy) | None), "{code:?}");
    assert!(limited >= 100, "{limited}");
    service.shut_down().await;
}

#[tokio::test]
async fn topics_and_sockets_per_address_are_limited() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = ApiConfig {
        max_topics: 2,
        max_sockets_per_client: 1,
        shutdown_notice: Duration::from_millis(100),
        ..ApiConfig::default()
    };
    let service = TestService::with_store(store, config).await;
    let mut client = service.stream().await;
    let symbols: Vec<String> =
        (0..5_000).map(|n| if n < 2 { ["BTC/USDT", "ETH/USDT"][n].to_owned() } else { format!("C{n}/X") }).collect();
    let response = client
        .request(
            &json!({"op": "subscribe", "channel": "ticker", "exchange": "binance", "symbols": symbols, "snapshot": 0}),
        )
        .await;
    assert_eq!(response["topics"].as_array().unwrap().len(), 2);
    assert_eq!(response["rejected"].as_array().unwrap().len(), 4_998);
    assert_eq!(response["rejected"][4_000]["code"], "too_many_topics");
    let response = client.request(&subscribe("trades")).await;
    assert_eq!(response["rejected"][0]["code"], "too_many_topics");
    match tokio_tungstenite::connect_async(format!("ws://{}/v1/stream", service.address)).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("{other:?}"),
    }
    service.shut_down().await;
}

#[tokio::test]
async fn new_market_is_rejected_when_collector_is_full() {
    let service = TestService::start().await;
    let known = service.cache.states.get(ExchangeId::BINANCE).await.unwrap().unwrap();
    service.cache.states.put(ExchangeState { on_demand_capacity: 0, ..ExchangeState::clone(&known) }).await.unwrap();
    let mut client = service.stream().await;
    let response = client
        .request(&json!({"op": "subscribe", "channel": "trades", "exchange": "binance", "symbols": ["BTC/USDT", "ETH/USDT"]}))
        .await;
    assert_eq!(response["topics"], json!([TRADES]));
    assert_eq!(response["rejected"], json!([{"symbol": "ETH/USDT", "code": "too_many_symbols"}]));
    service.shut_down().await;
}

#[tokio::test]
async fn drain_notifies_and_closes_stream() {
    let service = TestService::start().await;
    let mut client = service.stream().await;
    client.request(&subscribe("trades")).await;
    client.receive().await;
    service.lifecycle.drain();
    assert_eq!(client.receive().await, json!({"type": "shutdown", "in_ms": 200}));
    assert_eq!(client.close_code().await, Some(CloseCode::Away));
    service.shut_down().await;
}

#[tokio::test]
async fn slow_client_is_disconnected_without_affecting_others() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config =
        ApiConfig { shutdown_notice: Duration::from_millis(100), max_behind_bytes: 1 << 20, ..ApiConfig::default() };
    let service = TestService::with_store(store, config).await;
    let (mut slow, mut reader) = (service.stream().await, service.stream().await);
    let mut request = subscribe("trades");
    request["snapshot"] = 0.into();
    slow.request(&request).await;
    reader.request(&request).await;
    let filler = "x".repeat(2_000);
    // Far more data than the socket buffers of one machine hold.
    let last = 20_000;
    for seq in 1..=last {
        service.publish(TRADES, seq, &json!({"f": filler})).await;
        assert_eq!(reader.receive().await["seq"], seq, "the other client receives each event");
    }
    let (mut next_seq, mut code) = (1, None);
    loop {
        match slow.0.next().await {
            Some(Ok(Message::Text(text))) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                match frame["type"].as_str().unwrap() {
                    "trade" => {
                        assert_eq!(frame["seq"], next_seq);
                        next_seq += 1;
                    }
                    "gap" => {
                        assert_eq!((&frame["from_seq"], &frame["reason"]), (&json!(next_seq), &json!("slow_client")));
                        next_seq = frame["to_seq"].as_u64().unwrap() + 1;
                    }
                    _ => {}
                }
            }
            Some(Ok(Message::Close(frame))) => {
                code = frame.map(|frame| frame.code);
                break;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    assert_eq!(code, Some(CloseCode::Policy));
    assert!(next_seq < last, "the slow client did not receive all events: {next_seq}");
    service.shut_down().await;
}
