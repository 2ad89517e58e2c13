//! Bybit's protocol: at most ten arguments per request, all-or-nothing subscribe requests, two candles in a message,
//! and status 403 for an exceeded rate limit.

use super::*;

const BYBIT: ExchangeId = ExchangeId::BYBIT;

/// Opens a socket, subscribes to these topics and checks the acknowledgement.
async fn subscribe<'a>(fixture: &'a SimulatorFixture, topics: &[&str]) -> Socket<'a> {
    let mut socket = fixture.socket("/v5/public/spot").await;
    socket.send(json!({"req_id": "7", "op": "subscribe", "args": topics})).await;
    let ack = socket.receive().await.unwrap();
    assert_eq!((&ack["success"], &ack["req_id"], &ack["op"]), (&json!(true), &json!("7"), &json!("subscribe")));
    socket
}

#[tokio::test]
async fn streams_match_rest_candles() {
    let fixture = fixture().await;
    let mut socket = subscribe(&fixture, &["publicTrade.ETHUSDT", "kline.1.ETHUSDT"]).await;
    let has_two_candles =
        |frame: &Value| frame["topic"] == "kline.1.ETHUSDT" && frame["data"].as_array().unwrap().len() == 2;
    socket.receive_until(has_two_candles).await;
    let frames = socket.receive_until(has_two_candles).await;
    let closed = &frames.last().unwrap()["data"][0];
    assert_eq!((&closed["confirm"], &frames.last().unwrap()["data"][1]["confirm"]), (&json!(true), &json!(false)));
    let open = closed["start"].as_i64().unwrap();
    let expected = fixture.expected_candle(BYBIT, "ETH/USDT", open);
    let values = ["open", "high", "low", "close", "volume"].map(|name| decimal(&closed[name]));
    assert_eq!(values, candle_values(&expected).0);
    let traded: Decimal = frames
        .iter()
        .filter(|frame| frame["topic"] == "publicTrade.ETHUSDT")
        .flat_map(|frame| frame["data"].as_array().unwrap().clone())
        .map(|trade| decimal(&trade["v"]))
        .sum();
    assert_eq!(traded, expected.volume);
    let path = format!("/v5/market/kline?category=spot&symbol=ETHUSDT&interval=1&start={open}&end={open}");
    let row = fixture.json(&path).await["result"]["list"][0].clone();
    assert_eq!([1, 2, 3, 4, 5].map(|column| decimal(&row[column])), values);
}

#[tokio::test]
async fn subscribe_requests_are_all_or_nothing() {
    let fixture = fixture().await;
    let mut socket = fixture.socket("/v5/public/spot").await;
    let eleven: Vec<String> = (0..11).map(|n| format!("tickers.A{n}")).collect();
    for (args, reason) in [
        (json!(["tickers.BTCUSDT", "tickers.NOUSDT"]), "Invalid symbol :[tickers.NOUSDT]"),
        (json!(eleven), "args size >10"),
        (json!(["kline.1m.BTCUSDT"]), "Invalid symbol"),
    ] {
        socket.send(json!({"req_id": "9", "op": "subscribe", "args": args})).await;
        let reply = socket.receive().await.unwrap();
        assert_eq!((&reply["success"], &reply["req_id"]), (&json!(false), &json!("9")));
        assert!(reply["ret_msg"].as_str().unwrap().starts_with(reason), "{reply}");
    }
    assert_eq!(socket.receive_for(5_000).await, Vec::<Value>::new(), "there is no subscription");
    socket.send(json!({"op": "ping"})).await;
    assert_eq!(socket.receive().await.unwrap()["ret_msg"], "pong");
    socket.send(json!({"op": "fly"})).await;
    assert_eq!(socket.receive().await.unwrap()["success"], false);
}

#[tokio::test]
async fn order_book_is_repeated_and_ticker_has_no_bid() {
    let fixture = fixture().await;
    let mut socket = subscribe(&fixture, &["tickers.BTCUSDT", "orderbook.1.BTCUSDT"]).await;
    let frames = socket.receive_for(30_000).await;
    let of_topic = |topic: &str| frames.iter().filter(|frame| frame["topic"] == topic).collect::<Vec<_>>();
    assert!(of_topic("orderbook.1.BTCUSDT").len() >= 10);
    assert!(of_topic("tickers.BTCUSDT").iter().all(|frame| frame["data"]["bid1Price"].is_null()));
    assert!(!of_topic("tickers.BTCUSDT").is_empty());
}

#[tokio::test]
async fn exceeded_rate_limit_returns_403() {
    let fixture = fixture().await;
    for _ in 0..600 {
        assert_eq!(fixture.get("/v5/market/time").await.unwrap().status(), 200);
    }
    let rejected = fixture.get("/v5/market/time").await.unwrap();
    assert_eq!(rejected.status(), 403);
    assert!(rejected.text().await.unwrap().contains("access too frequent"));
}
