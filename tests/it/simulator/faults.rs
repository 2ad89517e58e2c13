//! Every scripted fault, as a client meets it.

use super::*;

#[tokio::test]
async fn dropped_sockets_end_without_a_word() {
    let world = world().await;
    let (mut binance, mut kraken) = (world.binance(&["btcusdt@trade"]).await, world.kraken("trade").await);
    world.inject(BINANCE, FaultKind::Drop, 60_000);
    world.clock.advance(Duration::from_secs(1)).await;
    while let Some(frame) = binance.hear().await {
        assert_eq!(frame["close"], Value::Null);
    }
    let refused = connect_async(format!("ws://{}/stream", world.address)).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 200, "REST goes on");
    world.clock.advance(Duration::from_mins(1)).await;
    world.binance(&["btcusdt@trade"]).await;
    assert!(kraken.hear().await.is_some(), "the other exchange goes on");
}

#[tokio::test]
async fn darkness_refuses_everything() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    world.inject(KRAKEN, FaultKind::Dark, 5_000);
    assert!(world.get("/0/public/Time").await.is_err());
    assert!(connect_async(format!("ws://{}/v2", world.address)).await.is_err());
    world.clock.advance(Duration::from_secs(1)).await;
    while socket.hear().await.is_some() {}
    assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 200);
    world.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(world.json("/0/public/Time").await["error"], json!([]));
    world.kraken("trade").await;
    world.inject(KRAKEN, FaultKind::Dark, 0);
    world.clock.advance(Duration::from_secs(9)).await;
    assert!(world.get("/0/public/Time").await.is_err(), "once means one request");
    assert!(world.get("/0/public/Time").await.is_ok());
}

#[tokio::test]
async fn silent_sockets_stay_and_say_nothing() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    socket.during(0).await;
    world.inject(KRAKEN, FaultKind::Silent, 30_000);
    assert_eq!(socket.during(29_000).await, Vec::<Value>::new(), "not even heartbeats");
    assert!(!socket.during(10_000).await.is_empty());
    world.inject(KRAKEN, FaultKind::Silent, 0);
    socket.during(500).await;
    assert_eq!(socket.during(120_000).await, Vec::<Value>::new());
    assert!(!world.kraken("trade").await.during(2_000).await.is_empty(), "new ones speak");
}

#[tokio::test]
async fn malformed_frames_and_bodies_are_mixed_in() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::Malformed, 20_000);
    let heard = socket.during(20_000).await;
    let broken = heard.iter().filter(|frame| frame["broken"].is_string()).count();
    assert!(broken > 1 && broken * 2 <= heard.len() + 1, "{broken} of {}", heard.len());
    world.inject(BINANCE, FaultKind::Malformed, 1_000);
    assert!(serde_json::from_str::<Value>(&world.text("/api/v3/time").await).is_err());
}

#[tokio::test]
async fn rest_fails_as_scripted() {
    let world = world().await;
    for (fault, status) in [(FaultKind::Http429, 429), (FaultKind::Http418, 418), (FaultKind::Http500, 500)] {
        for exchange in ExchangeId::ALL {
            let path = candlewick::exchanges::exchange(exchange).profile().probe_path;
            world.inject(exchange, fault, 0);
            let reply = world.get(path).await.unwrap();
            // Bybit names the end of the window instead.
            let header = if exchange == ExchangeId::Bybit { "x-bapi-limit-reset-timestamp" } else { "retry-after" };
            assert_eq!((reply.status().as_u16(), reply.headers().contains_key(header)), (status, status != 500));
            assert_eq!(world.get(path).await.unwrap().status(), 200, "once means one request");
        }
    }
}

#[tokio::test]
async fn what_stands_in_front_of_an_exchange_answers_with_pages() {
    let world = world().await;
    let path = "/api/v3/exchangeInfo";
    for (fault, status, type_) in [
        (FaultKind::Firewall403, 403, "text/html"),
        (FaultKind::NotFound404, 404, "text/html"),
        (FaultKind::HtmlError, 200, "text/html"),
        (FaultKind::Region451, 451, "application/json;charset=UTF-8"),
    ] {
        world.inject(BINANCE, fault, 0);
        let reply = world.get(path).await.unwrap();
        assert_eq!((reply.status().as_u16(), reply.headers()["content-type"].to_str().unwrap()), (status, type_));
        assert_eq!(world.get(path).await.unwrap().status(), 200, "once means one request");
    }
    world.inject(BINANCE, FaultKind::TruncatedBody, 0);
    let reply = world.get(path).await.unwrap();
    let length: usize = reply.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert!(length > 100 && reply.text().await.is_err(), "the connection ends in the middle of {length} bytes");
}

#[tokio::test]
async fn slow_answers_come_late() {
    let world = world().await;
    world.inject(KRAKEN, FaultKind::Slow, 0);
    let reply = world.get("/0/public/Time");
    tokio::pin!(reply);
    let status = loop {
        tokio::select! {
            biased;
            reply = &mut reply => break reply.unwrap().status(),
            () = world.clock.advance(Duration::from_millis(100)) => {}
        }
    };
    assert_eq!(status, 200);
    assert!(world.clock.now().since(START) >= Duration::from_secs(4));
}

#[tokio::test]
async fn a_skipped_candle_is_in_rest_only() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@kline_1m", "btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::SkipCandle, 0);
    let heard = socket.until(closes).await;
    let first = START.millis() / MINUTE * MINUTE;
    assert_eq!(heard.last().unwrap()["data"]["k"]["t"], first + MINUTE);
    assert!(heard.iter().all(|frame| frame["data"]["k"]["t"] != first));
    assert!(heard.iter().any(|frame| frame["data"]["e"] == "trade"), "trades go on");
    let path = format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={first}&limit=1");
    assert_eq!(world.json(&path).await[0][0], first);
}

#[tokio::test]
async fn a_late_trade_changes_a_closed_candle() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@kline_1m", "btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::LateTrade, 0);
    let told = socket.until(closes).await.pop().unwrap()["data"]["k"].clone();
    let open = told["t"].as_i64().unwrap();
    let late =
        socket.until(|frame| frame["data"]["e"] == "trade" && frame["data"]["T"].as_i64() < Some(open + MINUTE)).await;
    assert_eq!(late.last().unwrap()["data"]["T"], open + MINUTE - 1);
    let path = format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={open}&limit=2");
    let row = world.json(&path).await[0].clone();
    assert_eq!(row[8].as_i64().unwrap(), told["n"].as_i64().unwrap() + 1);
    assert_ne!(row[4], told["c"]);
    assert_eq!(decimal(&row[5]), world.truth(BINANCE, "BTC/USDT", open).volume);
    let next = socket.until(closes).await.pop().unwrap()["data"]["k"].clone();
    assert_eq!(decimal(&next["v"]), world.truth(BINANCE, "BTC/USDT", open + MINUTE).volume, "only one minute changes");
}

#[tokio::test]
async fn duplicates_come_twice() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    world.inject(KRAKEN, FaultKind::Duplicate, 60_000);
    let heard = socket.during(40_000).await;
    let trades: Vec<&Value> = heard.iter().filter(|frame| frame["channel"] == "trade").collect();
    assert!(trades.len() > 3);
    assert!(trades.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]));
}

#[tokio::test]
async fn a_refused_subscription_is_refused_once() {
    let world = world().await;
    world.inject(BINANCE, FaultKind::Refuse, 0);
    let mut socket = world.socket("/stream").await;
    let request = json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1});
    socket.say(request.clone()).await;
    let refusal = socket.hear().await.unwrap();
    assert_eq!((&refusal["code"], &refusal["id"]), (&json!(2), &json!(1)));
    socket.say(request).await;
    assert_eq!(socket.hear().await, Some(json!({"result": null, "id": 1})));

    world.inject(KRAKEN, FaultKind::Refuse, 0);
    let mut socket = world.socket("/v2").await;
    socket.hear().await;
    socket
        .say(json!({"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["ETH/USD"], "interval": 1}}))
        .await;
    assert_eq!(socket.hear().await.unwrap()["success"], false);
}

#[tokio::test]
async fn a_shutdown_is_announced_and_then_happens() {
    let world = world().await;
    let mut binance = world.binance(&["btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::ShutdownNotice, 0);
    // What began before a socket opened does not befall it.
    world.inject(KRAKEN, FaultKind::ShutdownNotice, 0);
    let mut heard = binance.until(|frame| frame.get("close").is_some()).await;
    assert_eq!(heard.pop(), Some(json!({"close": 1001})));
    assert!(heard.iter().any(|frame| frame["data"]["e"] == "serverShutdown"));
    let mut kraken = world.kraken("trade").await;
    world.simulator.inject(Fault { exchange: KRAKEN, after_ms: 1_000, fault: FaultKind::ShutdownNotice, for_ms: 0 });
    let heard = kraken.until(|frame| frame.get("close").is_some()).await;
    assert!(heard.iter().any(|frame| frame["data"][0]["system"] == "maintenance"));
}

#[tokio::test]
async fn sockets_may_ping_and_give_no_data() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    socket.during(1_000).await;
    world.inject(KRAKEN, FaultKind::PingsOnly, 30_000);
    assert_eq!(socket.during(29_000).await, Vec::<Value>::new(), "not even heartbeats");
    assert!(!socket.during(10_000).await.is_empty());
}

#[tokio::test]
async fn absurd_numbers_and_candle_rows_are_mixed_in() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@ticker"]).await;
    world.inject(BINANCE, FaultKind::AbsurdNumbers, 10_000);
    world.inject(BINANCE, FaultKind::WrongEvent, 10_000);
    let heard = socket.during(10_000).await;
    let is_absurd =
        |frame: &&Value| frame.to_string().contains("7.9e27") || frame.to_string().contains("79000000000000");
    assert!(heard.iter().filter(is_absurd).count() > 3, "{heard:?}");
    assert!(heard.iter().filter(|frame| frame["data"][1] == "16823.24").count() > 3);
    world.inject(BINANCE, FaultKind::WrongEvent, 0);
    assert_eq!(world.json("/api/v3/ticker/24hr?symbol=BTCUSDT").await[1], "16823.24");
}

#[tokio::test]
async fn a_bad_row_comes_in_each_page_and_the_others_are_read() {
    let world = world().await;
    for exchange in ExchangeId::ALL {
        let adapter = candlewick::exchanges::exchange(exchange);
        let symbol = match exchange {
            ExchangeId::Kraken | ExchangeId::Coinbase => "BTC/USD",
            _ => "BTC/USDT",
        };
        let native = match exchange {
            ExchangeId::Kraken => "XBTUSD",
            ExchangeId::Coinbase => "BTC-USD",
            ExchangeId::Okx => "BTC-USDT",
            _ => "BTCUSDT",
        };
        let instrument = candlewick::model::Instrument {
            exchange,
            symbol: symbol.parse().unwrap(),
            native: native.to_owned(),
            stream_native: None,
            price_step: None,
            amount_step: None,
            status: candlewick::model::InstrumentStatus::Trading,
        };
        let start = Timestamp::from_millis(START.millis() / MINUTE * MINUTE - 60 * MINUTE);
        let range = TimeRange::new(start, Timestamp::from_millis(start.millis() + 20 * MINUTE));
        let page = candlewick::exchanges::CandlePage {
            instrument: std::sync::Arc::new(instrument),
            interval: Interval::M1,
            range,
            asked_at: world.clock.now(),
        };
        let call = adapter.candles(&page).unwrap();
        let query: Vec<String> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = format!("{}?{}", call.path, query.join("&"));
        let read = |body: &str| {
            let reply = candlewick::exchanges::Reply { status: 200, body: body.as_bytes() };
            (call.parse)(&reply, world.clock.now()).unwrap()
        };
        let whole = read(&world.text(&path).await);
        assert!(whole.rows.len() > 3 && whole.skipped.is_empty(), "{exchange}");
        world.inject(exchange, FaultKind::BadRow, 0);
        let spoilt = read(&world.text(&path).await);
        assert_eq!(spoilt.skipped.len(), 1, "{exchange}");
        assert!(spoilt.skipped[0].reason.contains("null"), "{}", spoilt.skipped[0].reason);
        let outside = spoilt.outside.len() + 1 - whole.outside.len().min(spoilt.outside.len() + 1);
        assert!(spoilt.rows.len() >= whole.rows.len() - 1 && outside <= 1, "{exchange}");
        // An absurd number is a bad row, too, and its time is known.
        world.inject(exchange, FaultKind::AbsurdNumbers, 0);
        let absurd = read(&world.text(&path).await);
        assert_eq!(absurd.skipped.len(), 1, "{exchange}");
        assert!(absurd.skipped[0].timestamp.is_some(), "{exchange}");
    }
}

#[tokio::test]
async fn a_burst_is_20_000_frames_in_a_second() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@bookTicker"]).await;
    socket.during(1_000).await;
    world.inject(BINANCE, FaultKind::Burst, 0);
    assert!(socket.during(5_000).await.len() > 5_000);
}
