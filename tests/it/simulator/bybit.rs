//! Bybit's dialect: ten arguments, all or nothing, two candles in a message, and a ban that looks like a closed region.

use super::*;

const BYBIT: ExchangeId = ExchangeId::Bybit;

async fn listening<'a>(world: &'a World, topics: &[&str]) -> Socket<'a> {
    let mut socket = world.socket("/v5/public/spot").await;
    socket.say(json!({"req_id": "7", "op": "subscribe", "args": topics})).await;
    let ack = socket.hear().await.unwrap();
    assert_eq!((&ack["success"], &ack["req_id"], &ack["op"]), (&json!(true), &json!("7"), &json!("subscribe")));
    socket
}

#[tokio::test]
async fn streams_agree_with_the_candles_of_rest() {
    let world = world().await;
    let mut socket = listening(&world, &["publicTrade.ETHUSDT", "kline.1.ETHUSDT"]).await;
    let two = |frame: &Value| frame["topic"] == "kline.1.ETHUSDT" && frame["data"].as_array().unwrap().len() == 2;
    socket.until(two).await;
    let heard = socket.until(two).await;
    let closed = &heard.last().unwrap()["data"][0];
    assert_eq!((&closed["confirm"], &heard.last().unwrap()["data"][1]["confirm"]), (&json!(true), &json!(false)));
    let open = closed["start"].as_i64().unwrap();
    let truth = world.truth(BYBIT, "ETH/USDT", open);
    let told = ["open", "high", "low", "close", "volume"].map(|name| decimal(&closed[name]));
    assert_eq!(told, essence(&truth).0);
    let traded: Decimal = heard
        .iter()
        .filter(|frame| frame["topic"] == "publicTrade.ETHUSDT")
        .flat_map(|frame| frame["data"].as_array().unwrap().clone())
        .map(|trade| decimal(&trade["v"]))
        .sum();
    assert_eq!(traded, truth.volume);
    let path = format!("/v5/market/kline?category=spot&symbol=ETHUSDT&interval=1&start={open}&end={open}");
    let row = world.json(&path).await["result"]["list"][0].clone();
    assert_eq!([1, 2, 3, 4, 5].map(|place| decimal(&row[place])), told);
}

#[tokio::test]
async fn a_request_is_taken_as_a_whole_or_not_at_all() {
    let world = world().await;
    let mut socket = world.socket("/v5/public/spot").await;
    let eleven: Vec<String> = (0..11).map(|n| format!("tickers.A{n}")).collect();
    for (args, reason) in [
        (json!(["tickers.BTCUSDT", "tickers.NOUSDT"]), "Invalid symbol :[tickers.NOUSDT]"),
        (json!(eleven), "args size >10"),
        (json!(["kline.1m.BTCUSDT"]), "Invalid symbol"),
    ] {
        socket.say(json!({"req_id": "9", "op": "subscribe", "args": args})).await;
        let answer = socket.hear().await.unwrap();
        assert_eq!((&answer["success"], &answer["req_id"]), (&json!(false), &json!("9")));
        assert!(answer["ret_msg"].as_str().unwrap().starts_with(reason), "{answer}");
    }
    assert_eq!(socket.during(5_000).await, Vec::<Value>::new(), "nothing was subscribed to");
    socket.say(json!({"op": "ping"})).await;
    assert_eq!(socket.hear().await.unwrap()["ret_msg"], "pong");
    socket.say(json!({"op": "fly"})).await;
    assert_eq!(socket.hear().await.unwrap()["success"], false);
}

#[tokio::test]
async fn the_book_is_repeated_and_the_ticker_has_no_bid() {
    let world = world().await;
    let mut socket = listening(&world, &["tickers.BTCUSDT", "orderbook.1.BTCUSDT"]).await;
    let heard = socket.during(30_000).await;
    let of = |topic: &str| heard.iter().filter(|frame| frame["topic"] == topic).collect::<Vec<_>>();
    assert!(of("orderbook.1.BTCUSDT").len() >= 10);
    assert!(of("tickers.BTCUSDT").iter().all(|frame| frame["data"]["bid1Price"].is_null()));
    assert!(!of("tickers.BTCUSDT").is_empty());
}

#[tokio::test]
async fn who_asks_too_often_is_forbidden() {
    let world = world().await;
    for _ in 0..600 {
        assert_eq!(world.get("/v5/market/time").await.unwrap().status(), 200);
    }
    let refused = world.get("/v5/market/time").await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("access too frequent"));
}
