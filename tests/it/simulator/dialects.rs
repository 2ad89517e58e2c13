//! Each exchange's own way to acknowledge, refuse, meter and take its leave.

use super::*;

#[tokio::test]
async fn binance_acknowledges_and_refuses_in_its_own_way() {
    let world = world().await;
    let mut socket = world.socket("/ws").await;
    socket.say(json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nosuch@trade"], "id": "a"})).await;
    assert_eq!(socket.hear().await, Some(json!({"result": null, "id": "a"})));
    assert_eq!(socket.hear().await.unwrap()["e"], "trade", "raw streams are not wrapped");
    socket.say(json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 2})).await;
    socket.until(|frame| frame["id"] == 2).await;
    socket.say(json!({"method": "LIST_SUBSCRIPTIONS", "id": 3})).await;
    assert_eq!(socket.hear().await, Some(json!({"result": ["nosuch@trade"], "id": 3})));
    for (text, code) in
        [("{", 3), ("{\"method\":\"FLY\",\"id\":1}", 2), ("{\"method\":\"SUBSCRIBE\",\"params\":[1],\"id\":1}", 2)]
    {
        world.clock.advance(Duration::from_secs(1)).await;
        socket.stream.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.hear().await.unwrap()["code"], code, "{text}");
    }
    let too_many: Vec<String> = (0..1_025).map(|n| format!("x{n}@trade")).collect();
    world.clock.advance(Duration::from_secs(1)).await;
    socket.say(json!({"method": "SUBSCRIBE", "params": too_many, "id": 4})).await;
    assert_eq!(socket.hear().await, Some(json!({"close": 1008})));
}

#[tokio::test]
async fn binance_cuts_who_talks_too_much_and_who_does_not_answer() {
    let world = world().await;
    let mut loud = world.socket("/ws").await;
    for id in 0..12 {
        loud.say(json!({"method": "LIST_SUBSCRIPTIONS", "id": id})).await;
    }
    let heard = loud.until(|frame| frame["close"] == 1008).await;
    assert_eq!((heard.len(), world.simulator.stats(ExchangeId::Binance).messages_over_rate), (7, 1));

    let mut absent = world.binance(&[]).await;
    // Nobody reads, so nobody answers the pings.
    world.clock.advance(Duration::from_secs(90)).await;
    assert_eq!(world.simulator.stats(ExchangeId::Binance).sockets_open, 0);
    while absent.hear().await.is_some_and(|frame| frame["close"] != 1008) {}

    let mut present = world.binance(&["btcusdt@kline_1m"]).await;
    for _ in 0..3 {
        present.until(closes).await;
    }
    let stats = world.simulator.stats(ExchangeId::Binance);
    assert_eq!((stats.sockets_opened, stats.sockets_open), (3, 1));
}

#[tokio::test]
async fn kraken_acknowledges_and_refuses_in_its_own_way() {
    let world = world().await;
    let mut socket = world.socket("/v2").await;
    socket.hear().await;
    let params = json!({"channel": "ticker", "symbol": ["BTC/USD", "XBT/USD"], "event_trigger": "bbo"});
    socket.say(json!({"method": "subscribe", "params": params})).await;
    let ack = socket.hear().await.unwrap();
    assert_eq!((&ack["success"], &ack["result"]["event_trigger"]), (&json!(true), &json!("bbo")));
    let snapshot = socket.hear().await.unwrap();
    assert_eq!((&snapshot["type"], &snapshot["data"][0]["symbol"]), (&json!("snapshot"), &json!("BTC/USD")));
    let refusal = socket.hear().await.unwrap();
    assert_eq!((&refusal["success"], &refusal["symbol"]), (&json!(false), &json!("XBT/USD")));
    assert_eq!(refusal["error"], "Currency pair not supported XBT/USD");
    let update = socket.hear().await.unwrap();
    assert!(update["type"] == "update" && decimal(&update["data"][0]["bid"]) < decimal(&update["data"][0]["ask"]));
    socket.say(json!({"method": "ping", "req_id": 101})).await;
    let pong = socket.until(|frame| frame["method"] == "pong").await;
    assert_eq!(pong.last().unwrap()["req_id"], 101);
    for channel in ["trade", "ohlc"] {
        let params = json!({"channel": channel, "symbol": ["SOL/USDT"], "snapshot": true});
        socket.say(json!({"method": "subscribe", "params": params})).await;
        let snapshot = socket.until(|frame| frame["channel"] == channel).await.pop().unwrap();
        assert_eq!(snapshot["type"], "snapshot");
        let expected = if channel == "trade" { 50..=50 } else { 2..=10 };
        assert!(expected.contains(&snapshot["data"].as_array().unwrap().len()));
    }
    let mut quiet = world.kraken("trade").await;
    let heard = quiet.during(30_000).await;
    assert!(heard.iter().filter(|frame| frame["channel"] == "heartbeat").count() > 10);
}

#[tokio::test]
async fn binance_meters_warns_and_bans() {
    let world = world().await;
    for used in 1..=75 {
        let reply = world.get("/api/v3/ticker/24hr").await.unwrap();
        assert_eq!((reply.status().as_u16(), &reply.headers()["x-mbx-used-weight-1m"]), (200, &(used * 80).into()));
    }
    let warned = world.get("/api/v3/ping").await.unwrap();
    assert_eq!((warned.status().as_u16(), warned.headers()["retry-after"].as_bytes()), (429, &b"50"[..]));
    assert!(warned.text().await.unwrap().contains("-1003"));
    for _ in 0..9 {
        assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 429);
    }
    let banned = world.get("/api/v3/ping").await.unwrap();
    assert_eq!((banned.status().as_u16(), banned.headers()["retry-after"].as_bytes()), (418, &b"120"[..]));
    let stats = world.simulator.stats(ExchangeId::Binance);
    assert_eq!((stats.rest_requests, stats.limit_violations, stats.bans), (86, 11, 1));
    world.clock.advance(Duration::from_mins(2)).await;
    assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 200);
}

#[tokio::test]
async fn kraken_says_its_errors_with_status_200() {
    let world = world().await;
    let reply = world.get("/0/public/OHLC?pair=NOSUCH").await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.text().await.unwrap(), r#"{"error":["EQuery:Unknown asset pair"]}"#);
    for _ in 0..15 {
        assert_eq!(world.json("/0/public/Time").await["error"], json!([]));
    }
    assert_eq!(world.json("/0/public/Time").await, json!({"error": ["EGeneral:Too many requests"]}));
    assert_eq!(world.json("/0/public/OHLC?pair=XBTUSD").await["error"], json!([]), "pairs are metered apart");
    assert_eq!(world.simulator.stats(ExchangeId::Kraken).limit_violations, 1);
    assert_eq!(world.get("/nothing").await.unwrap().status(), 404);
}

#[tokio::test]
async fn stopping_says_goodbye() {
    let clock = Clock::manual(START);
    let simulator = Simulator::new(SimulatorConfig::default(), clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (serving, stopping) = (simulator.clone(), stop.clone());
    let served = tokio::spawn(async move { serving.serve(listener, stopping).await });
    let (mut stream, _) = connect_async(format!("ws://{address}/v2")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    stop.cancel();
    let Message::Close(Some(frame)) = stream.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(stream.next().await.is_none());
    served.await.unwrap().unwrap();
    assert_eq!(simulator.stats(ExchangeId::Kraken).sockets_open, 0);
}
