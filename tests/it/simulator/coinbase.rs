//! Coinbase's dialect: one message a channel, numbers, snapshots of old trades, the maker's side.

use super::*;

const COINBASE: ExchangeId = ExchangeId::Coinbase;

/// A socket that listens to one channel of BTC-USD.
async fn listening<'a>(world: &'a World, channel: &str) -> Socket<'a> {
    let mut socket = world.socket("/").await;
    socket.say(json!({"type": "subscribe", "channel": "heartbeats"})).await;
    assert_eq!(socket.hear().await.unwrap()["events"][0]["subscriptions"], json!({"heartbeats": ["heartbeats"]}));
    socket.say(json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channel": channel})).await;
    let snapshot = socket.hear().await.unwrap();
    assert_eq!((&snapshot["channel"], &snapshot["events"][0]["type"]), (&json!(channel), &json!("snapshot")));
    let all = json!({"heartbeats": ["heartbeats"], channel: ["BTC-USD"]});
    assert_eq!(socket.hear().await.unwrap()["events"][0]["subscriptions"], all);
    socket
}

#[tokio::test]
async fn all_messages_are_numbered_and_heartbeats_come_each_second() {
    let world = world().await;
    let mut socket = listening(&world, "market_trades").await;
    let heard = socket.during(60_000).await;
    let numbers: Vec<i64> = heard.iter().map(|frame| frame["sequence_num"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(heard.iter().filter(|frame| frame["channel"] == "heartbeats").count(), 60);
    assert!(heard.iter().any(|frame| frame["channel"] == "market_trades"));
}

#[tokio::test]
async fn trades_agree_with_the_candles_of_rest() {
    let world = world().await;
    let mut socket = listening(&world, "market_trades").await;
    socket.during(50_000).await;
    let heard = socket.during(60_000).await;
    let rows: Vec<Value> = heard
        .iter()
        .filter(|frame| frame["channel"] == "market_trades")
        .flat_map(|frame| frame["events"][0]["trades"].as_array().unwrap().iter().rev().cloned().collect::<Vec<_>>())
        .collect();
    let open = START.millis() / MINUTE * MINUTE + MINUTE;
    let truth = world.truth(COINBASE, "BTC/USD", open);
    let sum: Decimal = rows.iter().map(|row| decimal(&row["size"])).sum();
    assert_eq!((sum, decimal(&rows.last().unwrap()["price"])), (truth.volume, truth.close));
    let (start, end) = (open / 1_000, open / 1_000 + 59);
    let path =
        format!("/api/v3/brokerage/market/products/BTC-USD/candles?start={start}&end={end}&granularity=ONE_MINUTE");
    let candle = &world.json(&path).await["candles"][0];
    let told = ["open", "high", "low", "close", "volume"].map(|name| decimal(&candle[name]));
    assert_eq!(told, essence(&truth).0);
}

#[tokio::test]
async fn who_says_nothing_is_cut_and_what_is_wrong_is_said() {
    let world = world().await;
    let mut absent = world.socket("/").await;
    assert_eq!(absent.message().await, None);
    assert!(world.clock.now().since(START) >= Duration::from_secs(5));
    let mut socket = world.socket("/").await;
    for wrong in [
        json!({"type": "subscribe", "product_ids": ["BTC-USD", "NO-USD"], "channel": "ticker"}),
        json!({"type": "subscribe", "channel": "level2"}),
        json!({"type": "fly", "channel": "ticker"}),
        json!([]),
    ] {
        world.clock.advance(Duration::from_millis(200)).await;
        socket.say(wrong.clone()).await;
        assert_eq!(socket.hear().await.unwrap()["type"], "error", "{wrong}");
    }
}

#[tokio::test]
async fn a_message_that_gets_lost_had_a_number() {
    let world = world().await;
    let mut socket = listening(&world, "market_trades").await;
    world.inject(COINBASE, FaultKind::SkipCandle, 30_000);
    let heard = socket.during(60_000).await;
    let numbers: Vec<i64> = heard.iter().map(|frame| frame["sequence_num"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).any(|pair| pair[1] > pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn an_address_has_ten_requests_a_second() {
    let world = world().await;
    for _ in 0..10 {
        assert_eq!(world.get("/api/v3/brokerage/time").await.unwrap().status(), 200);
    }
    assert_eq!(world.get("/api/v3/brokerage/time").await.unwrap().status(), 429);
    assert_eq!(world.simulator.stats(COINBASE).limit_violations, 1);
    world.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(world.get("/api/v3/brokerage/time").await.unwrap().status(), 200);
}
