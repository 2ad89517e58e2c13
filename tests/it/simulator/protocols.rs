//! Acknowledgements, rejections, rate limits and shutdown of Binance and Kraken.

use super::*;

#[tokio::test]
async fn binance_acknowledges_and_rejects_requests() {
    let fixture = fixture().await;
    let mut socket = fixture.socket("/ws").await;
    socket.send(json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nosuch@trade"], "id": "a"})).await;
    assert_eq!(socket.receive().await, Some(json!({"result": null, "id": "a"})));
    assert_eq!(socket.receive().await.unwrap()["e"], "trade", "raw streams are not wrapped");
    socket.send(json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 2})).await;
    socket.receive_until(|frame| frame["id"] == 2).await;
    socket.send(json!({"method": "LIST_SUBSCRIPTIONS", "id": 3})).await;
    assert_eq!(socket.receive().await, Some(json!({"result": ["nosuch@trade"], "id": 3})));
    for (text, code) in
        [("{", 3), ("{\"method\":\"FLY\",\"id\":1}", 2), ("{\"method\":\"SUBSCRIBE\",\"params\":[1],\"id\":1}", 2)]
    {
        fixture.clock.advance(Duration::from_secs(1)).await;
        socket.stream.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.receive().await.unwrap()["code"], code, "{text}");
    }
    let too_many: Vec<String> = (0..1_025).map(|n| format!("x{n}@trade")).collect();
    fixture.clock.advance(Duration::from_secs(1)).await;
    socket.send(json!({"method": "SUBSCRIBE", "params": too_many, "id": 4})).await;
    assert_eq!(socket.receive().await, Some(json!({"close": 1008})));
}

#[tokio::test]
async fn binance_closes_sockets_over_message_rate_or_without_pong() {
    let fixture = fixture().await;
    let mut over_rate = fixture.socket("/ws").await;
    for id in 0..12 {
        over_rate.send(json!({"method": "LIST_SUBSCRIPTIONS", "id": id})).await;
    }
    let frames = over_rate.receive_until(|frame| frame["close"] == 1008).await;
    assert_eq!((frames.len(), fixture.simulator.stats(ExchangeId::BINANCE).messages_over_rate), (7, 1));

    let mut idle = fixture.subscribe_binance(&[]).await;
    // Nothing reads this socket, so the pings get no pong.
    fixture.clock.advance(Duration::from_secs(90)).await;
    assert_eq!(fixture.simulator.stats(ExchangeId::BINANCE).sockets_open, 0);
    while idle.receive().await.is_some_and(|frame| frame["close"] != 1008) {}

    let mut active = fixture.subscribe_binance(&["btcusdt@kline_1m"]).await;
    for _ in 0..3 {
        active.receive_until(is_closed_kline).await;
    }
    let stats = fixture.simulator.stats(ExchangeId::BINANCE);
    assert_eq!((stats.sockets_opened, stats.sockets_open), (3, 1));
}

#[tokio::test]
async fn kraken_acknowledges_and_rejects_requests() {
    let fixture = fixture().await;
    let mut socket = fixture.socket("/v2").await;
    socket.receive().await;
    let params = json!({"channel": "ticker", "symbol": ["BTC/USD", "XBT/USD"], "event_trigger": "bbo"});
    socket.send(json!({"method": "subscribe", "params": params})).await;
    let ack = socket.receive().await.unwrap();
    assert_eq!((&ack["success"], &ack["result"]["event_trigger"]), (&json!(true), &json!("bbo")));
    let snapshot = socket.receive().await.unwrap();
    assert_eq!((&snapshot["type"], &snapshot["data"][0]["symbol"]), (&json!("snapshot"), &json!("BTC/USD")));
    let rejection = socket.receive().await.unwrap();
    assert_eq!((&rejection["success"], &rejection["symbol"]), (&json!(false), &json!("XBT/USD")));
    assert_eq!(rejection["error"], "Currency pair not supported XBT/USD");
    let update = socket.receive().await.unwrap();
    assert!(update["type"] == "update" && decimal(&update["data"][0]["bid"]) < decimal(&update["data"][0]["ask"]));
    socket.send(json!({"method": "ping", "req_id": 101})).await;
    let pong = socket.receive_until(|frame| frame["method"] == "pong").await;
    assert_eq!(pong.last().unwrap()["req_id"], 101);
    for channel in ["trade", "ohlc"] {
        let params = json!({"channel": channel, "symbol": ["SOL/USDT"], "snapshot": true});
        socket.send(json!({"method": "subscribe", "params": params})).await;
        let snapshot = socket.receive_until(|frame| frame["channel"] == channel).await.pop().unwrap();
        assert_eq!(snapshot["type"], "snapshot");
        let expected = if channel == "trade" { 50..=50 } else { 2..=10 };
        assert!(expected.contains(&snapshot["data"].as_array().unwrap().len()));
    }
    let mut quiet = fixture.subscribe_kraken("trade").await;
    let frames = quiet.receive_for(30_000).await;
    assert!(frames.iter().filter(|frame| frame["channel"] == "heartbeat").count() > 10);
}

#[tokio::test]
async fn binance_counts_weight_and_bans_after_repeated_429() {
    let fixture = fixture().await;
    for used in 1..=75 {
        let response = fixture.get("/api/v3/ticker/24hr").await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-mbx-used-weight-1m"]),
            (200, &(used * 80).into())
        );
    }
    let limited = fixture.get("/api/v3/ping").await.unwrap();
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].as_bytes()), (429, &b"50"[..]));
    assert!(limited.text().await.unwrap().contains("-1003"));
    for _ in 0..9 {
        assert_eq!(fixture.get("/api/v3/ping").await.unwrap().status(), 429);
    }
    let banned = fixture.get("/api/v3/ping").await.unwrap();
    assert_eq!((banned.status().as_u16(), banned.headers()["retry-after"].as_bytes()), (418, &b"120"[..]));
    let stats = fixture.simulator.stats(ExchangeId::BINANCE);
    assert_eq!((stats.rest_requests, stats.limit_violations, stats.bans), (86, 11, 1));
    fixture.clock.advance(Duration::from_mins(2)).await;
    assert_eq!(fixture.get("/api/v3/ping").await.unwrap().status(), 200);
}

#[tokio::test]
async fn kraken_rest_errors_have_status_200() {
    let fixture = fixture().await;
    let response = fixture.get("/0/public/OHLC?pair=NOSUCH").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"error":["EQuery:Unknown asset pair"]}"#);
    for _ in 0..15 {
        assert_eq!(fixture.json("/0/public/Time").await["error"], json!([]));
    }
    assert_eq!(fixture.json("/0/public/Time").await, json!({"error": ["EGeneral:Too many requests"]}));
    assert_eq!(fixture.json("/0/public/OHLC?pair=XBTUSD").await["error"], json!([]), "each pair has a separate limit");
    assert_eq!(fixture.simulator.stats(ExchangeId::KRAKEN).limit_violations, 1);
    assert_eq!(fixture.get("/nothing").await.unwrap().status(), 404);
}

#[tokio::test]
async fn stopping_sends_close_frames() {
    let clock = Clock::manual(START);
    let simulator = Simulator::new(SimulatorConfig::default(), clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (server, stopped) = (simulator.clone(), stop.clone());
    let task = tokio::spawn(async move { server.serve(listener, stopped).await });
    let (mut stream, _) = connect_async(format!("ws://{address}/v2")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    stop.cancel();
    let Message::Close(Some(frame)) = stream.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(stream.next().await.is_none());
    task.await.unwrap().unwrap();
    assert_eq!(simulator.stats(ExchangeId::KRAKEN).sockets_open, 0);
}
