//! `/v1/stream`, message by message.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::sockets::{Socket, next};
use super::*;

/// A client of `/v1/stream`.
struct Client(Socket);

impl House {
    async fn stream(&self) -> Client {
        Client(self.connect("/v1/stream").await)
    }

    /// An event, as a collector would put it on the bus.
    async fn publish(&self, topic: &str, seq: u64, data: &Value) {
        let kind = BusEventKind::Data(Bytes::from(data.to_string()));
        self.put_event(topic, BusEvent { epoch: "1.e".into(), seq, kind }).await;
    }

    async fn put_event(&self, topic: &str, event: BusEvent) {
        self.cache.bus.publish(&topic.parse().unwrap(), event).await.unwrap();
    }
}

impl Client {
    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next frame that is no heartbeat.
    async fn hear(&mut self) -> Value {
        loop {
            let frame = next(&mut self.0).await;
            if frame["type"] != "heartbeat" {
                return frame;
            }
        }
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.hear().await
    }

    /// Whether the socket was closed, and with which code.
    async fn closed(&mut self) -> Option<CloseCode> {
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
async fn a_ticker_is_shown_at_once_and_then_as_it_changes() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let answer = client.ask(&subscribe("ticker")).await;
    assert_eq!(answer, json!({"type": "subscribed", "id": 1, "topics": [TICKER], "rejected": []}));
    let snapshot = client.hear().await;
    assert_eq!((&snapshot["type"], &snapshot["topic"]), (&json!("snapshot"), &json!(TICKER)));
    assert_eq!(snapshot["data"][0]["last"], 67_000);
    house.put_ticker(2, 67_001).await;
    let tick = client.hear().await;
    assert_eq!((&tick["type"], &tick["topic"], &tick["epoch"]), (&json!("ticker"), &json!(TICKER), &json!("1.e")));
    assert_eq!((&tick["seq"], &tick["data"]["last"]), (&json!(2), &json!(67_001)));
    assert!(tick["data"].get("age_ms").is_none() && tick["data"]["exchange"] == "binance");
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_had_is_rejected_and_the_rest_is_subscribed() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let answer = client
        .ask(&json!({"op": "subscribe", "id": "a", "channel": "candles", "exchange": "binance", "interval": "5m",
            "symbols": ["btc-usdt", "X/Y", "", "ETHUSDT"], "snapshot": 0}))
        .await;
    let rejected = json!([{"symbol": "X/Y", "code": "unknown_symbol"}, {"symbol": "", "code": "invalid_parameter"}]);
    let topics = ["candles:binance:BTC/USDT:5m", "candles:binance:ETH/USDT:5m"];
    assert_eq!(answer, json!({"type": "subscribed", "id": "a", "topics": topics, "rejected": rejected}));
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
        let answer = client.ask(&message).await;
        assert_eq!((&answer["topics"], &answer["rejected"][0]["code"]), (&json!([]), &json!(code)), "{message}");
    }
    let list = client.ask(&json!({"op": "list", "id": 3})).await;
    assert_eq!(list, json!({"type": "topics", "id": 3, "topics": topics}));
    let left = client.ask(&json!({"op": "unsubscribe", "id": 2, "topics": [topics[0], "ticker:okx:A/B", "?"]})).await;
    assert_eq!(left["topics"], json!([topics[0]]));
    assert_eq!(left["rejected"][1], json!({"topic": "?", "code": "not_subscribed"}));
    let pong = client.ask(&json!({"op": "ping", "id": 4})).await;
    assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(4)));
    assert!(pong["timestamp"].is_i64());
    house.close().await;
}

#[tokio::test]
async fn history_meets_the_stream_without_a_seam() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let mut wish = subscribe("candles");
    wish["snapshot"] = 10.into();
    client.ask(&wish).await;
    let snapshot = client.hear().await;
    let shown = snapshot["data"].as_array().unwrap();
    assert_eq!(shown.len(), 10);
    assert!(shown.iter().all(|candle| candle["symbol"] == "BTC/USDT" && candle["interval"] == "1m"));
    house.publish(MINUTES_TOPIC, 7, &json!({"x": 1})).await;
    let candle = client.hear().await;
    assert_eq!((&candle["type"], &candle["seq"]), (&json!("candle"), &json!(7)));
    house.close().await;
}

#[tokio::test]
async fn a_snapshot_claims_no_more_than_it_shows() {
    let house = House::open().await;
    let series = Series { exchange: ExchangeId::Binance, symbol: btc(), interval: Interval::M1 };
    // A candle that changes all the time; its volume is the number of the event that tells it.
    let (cache, clock) = (house.cache.clone(), house.clock.clone());
    let busy = tokio::spawn(async move {
        for seq in 1.. {
            let open = Candle { closed: false, volume: seq.into(), ..candle(Interval::M1.floor(clock.now())) };
            cache.candles.put(&series, open, Position { token: 1, seq }).await.unwrap();
            let kind = BusEventKind::Data(Bytes::from_static(b"{}"));
            let event = BusEvent { epoch: "1.e".into(), seq, kind };
            cache.bus.publish(&Topic::Candles(series.clone()), event).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..10 {
        let mut client = house.stream().await;
        client.ask(&subscribe("candles")).await;
        let snapshot = client.hear().await;
        let shown = snapshot["data"][0]["volume"].as_u64().unwrap();
        // Before the first event was heard there is no number.
        let Some(told) = snapshot["seq"].as_u64() else { continue };
        assert!(told <= shown, "{snapshot}");
        let next = client.hear().await;
        let follows = next.get("seq").or(next.get("from_seq")).and_then(Value::as_u64);
        assert_eq!(follows, Some(told + 1), "no number is left out: {next}");
    }
    busy.abort();
    house.close().await;
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let mut wish = subscribe("trades");
    wish["snapshot"] = 0.into();
    client.ask(&wish).await;
    for seq in 1..=3 {
        house.publish(TRADES, seq, &json!({"n": seq})).await;
        assert_eq!(client.hear().await["seq"], seq);
    }
    drop(client);
    for seq in 4..=6 {
        house.publish(TRADES, seq, &json!({"n": seq})).await;
    }
    let mut back = house.stream().await;
    wish["resume"] = json!({"epoch": "1.e", "seq": 3});
    back.ask(&wish).await;
    for seq in 4..=6 {
        assert_eq!(back.hear().await["data"]["n"], seq);
    }
    // Another that was away for too long, or knew another epoch.
    for (place, from, reason) in
        [(json!({"epoch": "1.e", "seq": 0}), None, ""), (json!({"epoch": "0.d", "seq": 9}), Some(1), "new_epoch")]
    {
        let mut late = house.stream().await;
        wish["resume"] = place;
        late.ask(&wish).await;
        let first = late.hear().await;
        match from {
            None => assert_eq!(first["seq"], 1, "all of it is still here"),
            Some(from) => {
                let gap = json!({"type": "gap", "topic": TRADES, "epoch": "1.e", "from_seq": from, "to_seq": 6, "reason": reason});
                assert_eq!(first, gap);
                let snapshot = late.hear().await;
                assert_eq!((&snapshot["seq"], &snapshot["data"][0]["n"]), (&json!(6), &json!(6)));
            }
        }
    }
    house.close().await;
}

#[tokio::test]
async fn an_upstream_gap_reaches_the_client_with_its_number() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let mut wish = subscribe("trades");
    wish["snapshot"] = 0.into();
    client.ask(&wish).await;
    let kind = BusEventKind::Gap(candlewick::model::GapReason::UpstreamDisconnect);
    house.put_event(TRADES, BusEvent { epoch: "1.e".into(), seq: 5, kind }).await;
    let gap = client.hear().await;
    assert_eq!(
        (&gap["from_seq"], &gap["to_seq"], &gap["reason"]),
        (&json!(5), &json!(5), &json!("upstream_disconnect"))
    );
    house.close().await;
}

#[tokio::test]
async fn the_state_of_an_exchange_is_told_at_once_and_when_it_changes() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let wish = json!({"op": "subscribe", "id": 1, "channel": "status", "exchange": "binance"});
    let answer = client.ask(&wish).await;
    assert_eq!(answer["topics"], json!(["status:binance"]));
    let status = client.hear().await;
    assert_eq!(
        (&status["type"], &status["exchange"], &status["state"]),
        (&json!("status"), &json!("binance"), &json!("live"))
    );
    let known = house.cache.states.get(ExchangeId::Binance).await.unwrap().unwrap();
    let ended = candlewick::model::EndedSymbol { symbol: btc(), since: house.clock.now(), detail: "gone".to_owned() };
    let changed = ExchangeState { state: FeedState::Stale, ended: vec![ended], ..ExchangeState::clone(&known) };
    house.cache.states.put(changed).await.unwrap();
    let status = client.hear().await;
    assert_eq!((&status["state"], &status["ended"][0]["symbol"]), (&json!("stale"), &json!("BTC/USDT")));
    let left = client.ask(&json!({"op": "unsubscribe", "topics": ["status:binance"]})).await;
    assert_eq!(left["topics"], json!(["status:binance"]));
    let nope = client.ask(&json!({"op": "subscribe", "id": 9, "channel": "status", "exchange": "nope"})).await;
    assert_eq!((&nope["type"], &nope["id"], &nope["code"]), (&json!("error"), &json!(9), &json!("unknown_exchange")));
    house.close().await;
}

#[tokio::test]
async fn a_socket_without_traffic_has_a_heartbeat() {
    let house = House::open().await;
    let mut client = house.stream().await;
    for n in 1..=2 {
        let beat = next(&mut client.0).await;
        assert_eq!((&beat["type"], &beat["n"]), (&json!("heartbeat"), &json!(n)));
        assert!(beat["timestamp"].is_i64());
    }
    house.close().await;
}

#[tokio::test]
async fn an_error_keeps_the_subscriptions_as_they_were() {
    let house = House::open().await;
    let mut client = house.stream().await;
    let mut wish = subscribe("trades");
    wish["snapshot"] = 0.into();
    client.ask(&wish).await;
    for (message, id) in [
        (Message::text("{"), Value::Null),
        (Message::text(r#"{"op":"fly","id":7}"#), json!(7)),
        (Message::text(r#"{"op":"subscribe","id":8,"channel":"trades","symbols":[]}"#), json!(8)),
        (Message::binary(vec![1, 2, 3]), Value::Null),
        (Message::text("x".repeat(60_000)), Value::Null),
    ] {
        client.0.send(message).await.unwrap();
        let error = client.hear().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("invalid_message")), "{error}");
        assert_eq!(error.get("id").unwrap_or(&Value::Null), &id);
    }
    house.publish(TRADES, 1, &json!({})).await;
    assert_eq!(client.hear().await["seq"], 1);
    house.close().await;
}

#[tokio::test]
async fn a_frame_of_a_megabyte_and_a_flood_end_the_connection() {
    let house = House::open().await;
    let mut client = house.stream().await;
    client.0.feed(Message::text("x".repeat(1_000_000))).await.unwrap();
    // The server may have hung up before all of it was sent.
    let _ = client.0.flush().await;
    assert!(matches!(client.closed().await, Some(CloseCode::Size) | None));

    let mut client = house.stream().await;
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
    house.close().await;
}

#[tokio::test]
async fn topics_of_a_connection_and_connections_of_an_address_are_bounded() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config =
        ApiConfig { max_topics: 2, max_sockets_each: 1, notice: Duration::from_millis(100), ..ApiConfig::default() };
    let house = House::with(store, config).await;
    let mut client = house.stream().await;
    let symbols: Vec<String> =
        (0..5_000).map(|n| if n < 2 { ["BTC/USDT", "ETH/USDT"][n].to_owned() } else { format!("C{n}/X") }).collect();
    let answer = client
        .ask(&json!({"op": "subscribe", "channel": "ticker", "exchange": "binance", "symbols": symbols, "snapshot": 0}))
        .await;
    assert_eq!(answer["topics"].as_array().unwrap().len(), 2);
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 4_998);
    assert_eq!(answer["rejected"][4_000]["code"], "too_many_topics");
    let again = client.ask(&subscribe("trades")).await;
    assert_eq!(again["rejected"][0]["code"], "too_many_topics");
    match tokio_tungstenite::connect_async(format!("ws://{}/v1/stream", house.address)).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("{other:?}"),
    }
    house.close().await;
}

#[tokio::test]
async fn a_market_that_cannot_be_collected_any_more_is_rejected() {
    let house = House::open().await;
    let known = house.cache.states.get(ExchangeId::Binance).await.unwrap().unwrap();
    house.cache.states.put(ExchangeState { room: 0, ..ExchangeState::clone(&known) }).await.unwrap();
    let mut client = house.stream().await;
    let answer = client
        .ask(&json!({"op": "subscribe", "channel": "trades", "exchange": "binance", "symbols": ["BTC/USDT", "ETH/USDT"]}))
        .await;
    assert_eq!(answer["topics"], json!([TRADES]));
    assert_eq!(answer["rejected"], json!([{"symbol": "ETH/USDT", "code": "too_many_symbols"}]));
    house.close().await;
}

#[tokio::test]
async fn the_process_says_goodbye() {
    let house = House::open().await;
    let mut client = house.stream().await;
    client.ask(&subscribe("trades")).await;
    client.hear().await;
    house.life.drain();
    assert_eq!(client.hear().await, json!({"type": "shutdown", "in_ms": 200}));
    assert_eq!(client.closed().await, Some(CloseCode::Away));
    house.close().await;
}

#[tokio::test]
async fn who_stops_reading_is_cut_off_and_costs_nobody_anything() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = ApiConfig { notice: Duration::from_millis(100), max_behind_bytes: 1 << 20, ..ApiConfig::default() };
    let house = House::with(store, config).await;
    let (mut stuck, mut reader) = (house.stream().await, house.stream().await);
    let mut wish = subscribe("trades");
    wish["snapshot"] = 0.into();
    stuck.ask(&wish).await;
    reader.ask(&wish).await;
    let filler = "x".repeat(2_000);
    // Far more than the network between two processes of a machine holds.
    let last = 20_000;
    for seq in 1..=last {
        house.publish(TRADES, seq, &json!({"f": filler})).await;
        assert_eq!(reader.hear().await["seq"], seq, "the others get each");
    }
    let (mut next_seq, mut code) = (1, None);
    loop {
        match stuck.0.next().await {
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
    assert!(next_seq < last, "it was not given everything: {next_seq}");
    house.close().await;
}
