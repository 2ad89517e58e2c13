//! Coinbase's protocol: one subscribe message per channel, sequence numbers, snapshots, errors and rate limits.

use super::*;

const COINBASE: ExchangeId = ExchangeId::COINBASE;

/// Opens a socket, subscribes to heartbeats and one channel of BTC-USD, and checks the acknowledgements.
async fn subscribe<'a>(fixture: &'a SimulatorFixture, channel: &str) -> Socket<'a> {
    let mut socket = fixture.socket("/").await;
    socket.send(json!({"type": "subscribe", "channel": "heartbeats"})).await;
    assert_eq!(socket.receive().await.unwrap()["events"][0]["subscriptions"], json!({"heartbeats": ["heartbeats"]}));
    socket.send(json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channel": channel})).await;
    let snapshot = socket.receive().await.unwrap();
    assert_eq!((&snapshot["channel"], &snapshot["events"][0]["type"]), (&json!(channel), &json!("snapshot")));
    let all = json!({"heartbeats": ["heartbeats"], channel: ["BTC-USD"]});
    assert_eq!(socket.receive().await.unwrap()["events"][0]["subscriptions"], all);
    socket
}

#[tokio::test]
async fn messages_are_numbered_and_heartbeats_come_every_second() {
    let fixture = fixture().await;
    let mut socket = subscribe(&fixture, "market_trades").await;
    let frames = socket.receive_for(60_000).await;
    let numbers: Vec<i64> = frames.iter().map(|frame| frame["sequence_num"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(frames.iter().filter(|frame| frame["channel"] == "heartbeats").count(), 60);
    assert!(frames.iter().any(|frame| frame["channel"] == "market_trades"));
}

#[tokio::test]
async fn trades_match_rest_candles() {
    let fixture = fixture().await;
    let mut socket = subscribe(&fixture, "market_trades").await;
    socket.receive_for(50_000).await;
    let frames = socket.receive_for(60_000).await;
    let rows: Vec<Value> = frames
        .iter()
        .filter(|frame| frame["channel"] == "market_trades")
        .flat_map(|frame| frame["events"][0]["trades"].as_array().unwrap().iter().rev().cloned().collect::<Vec<_>>())
        .collect();
    let open = START.millis() / MINUTE * MINUTE + MINUTE;
    let expected = fixture.expected_candle(COINBASE, "BTC/USD", open);
    let sum: Decimal = rows.iter().map(|row| decimal(&row["size"])).sum();
    assert_eq!((sum, decimal(&rows.last().unwrap()["price"])), (expected.volume, expected.close));
    let (start, end) = (open / 1_000, open / 1_000 + 59);
    let path =
        format!("/api/v3/brokerage/market/products/BTC-USD/candles?start={start}&end={end}&granularity=ONE_MINUTE");
    let candle = &fixture.json(&path).await["candles"][0];
    let values = ["open", "high", "low", "close", "volume"].map(|name| decimal(&candle[name]));
    assert_eq!(values, candle_values(&expected).0);
}

#[tokio::test]
async fn idle_sockets_are_closed_and_invalid_requests_get_errors() {
    let fixture = fixture().await;
    let mut idle = fixture.socket("/").await;
    assert_eq!(idle.receive_message().await, None);
    assert!(fixture.clock.now().since(START) >= Duration::from_secs(5));
    let mut socket = fixture.socket("/").await;
    for invalid in [
        json!({"type": "subscribe", "product_ids": ["BTC-USD", "NO-USD"], "channel": "ticker"}),
        json!({"type": "subscribe", "channel": "level2"}),
        json!({"type": "fly", "channel": "ticker"}),
        json!([]),
    ] {
        fixture.clock.advance(Duration::from_millis(200)).await;
        socket.send(invalid.clone()).await;
        assert_eq!(socket.receive().await.unwrap()["type"], "error", "{invalid}");
    }
}

#[tokio::test]
async fn lost_message_leaves_gap_in_sequence_numbers() {
    let fixture = fixture().await;
    let mut socket = subscribe(&fixture, "market_trades").await;
    fixture.inject(COINBASE, FaultKind::SkipCandle, 30_000);
    let frames = socket.receive_for(60_000).await;
    let numbers: Vec<i64> = frames.iter().map(|frame| frame["sequence_num"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).any(|pair| pair[1] > pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn ten_rest_requests_per_second_are_allowed_per_address() {
    let fixture = fixture().await;
    for _ in 0..10 {
        assert_eq!(fixture.get("/api/v3/brokerage/time").await.unwrap().status(), 200);
    }
    assert_eq!(fixture.get("/api/v3/brokerage/time").await.unwrap().status(), 429);
    assert_eq!(fixture.simulator.stats(COINBASE).limit_violations, 1);
    fixture.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(fixture.get("/api/v3/brokerage/time").await.unwrap().status(), 200);
}
