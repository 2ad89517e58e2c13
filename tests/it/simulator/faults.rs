//! The scripted faults and their effects on a client.

use super::*;
use crate::support::{adapter, markets};

#[tokio::test]
async fn dropped_sockets_end_without_close_frame() {
    let fixture = fixture().await;
    let (mut binance, mut kraken) =
        (fixture.subscribe_binance(&["btcusdt@trade"]).await, fixture.subscribe_kraken("trade").await);
    fixture.inject(BINANCE, FaultKind::Drop, 60_000);
    fixture.clock.advance(Duration::from_secs(1)).await;
    while let Some(frame) = binance.receive().await {
        assert_eq!(frame["close"], Value::Null);
    }
    let error = connect_async(format!("ws://{}/stream", fixture.address)).await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(fixture.get("/api/v3/ping").await.unwrap().status(), 200, "REST is unaffected");
    fixture.clock.advance(Duration::from_mins(1)).await;
    fixture.subscribe_binance(&["btcusdt@trade"]).await;
    assert!(kraken.receive().await.is_some(), "the other exchange is unaffected");
}

#[tokio::test]
async fn outage_rejects_all_connections() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_kraken("trade").await;
    fixture.inject(KRAKEN, FaultKind::Dark, 5_000);
    assert!(fixture.get("/0/public/Time").await.is_err());
    assert!(connect_async(format!("ws://{}/v2", fixture.address)).await.is_err());
    fixture.clock.advance(Duration::from_secs(1)).await;
    while socket.receive().await.is_some() {}
    assert_eq!(fixture.get("/api/v3/ping").await.unwrap().status(), 200);
    fixture.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(fixture.json("/0/public/Time").await["error"], json!([]));
    fixture.subscribe_kraken("trade").await;
    fixture.inject(KRAKEN, FaultKind::Dark, 0);
    fixture.clock.advance(Duration::from_secs(9)).await;
    assert!(fixture.get("/0/public/Time").await.is_err(), "a one-time fault affects one request");
    assert!(fixture.get("/0/public/Time").await.is_ok());
}

#[tokio::test]
async fn silent_sockets_stay_open_and_send_nothing() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_kraken("trade").await;
    socket.receive_for(0).await;
    fixture.inject(KRAKEN, FaultKind::Silent, 30_000);
    assert_eq!(socket.receive_for(29_000).await, Vec::<Value>::new(), "there are no heartbeats either");
    assert!(!socket.receive_for(10_000).await.is_empty());
    fixture.inject(KRAKEN, FaultKind::Silent, 0);
    socket.receive_for(500).await;
    assert_eq!(socket.receive_for(120_000).await, Vec::<Value>::new());
    assert!(!fixture.subscribe_kraken("trade").await.receive_for(2_000).await.is_empty(), "new sockets are unaffected");
}

#[tokio::test]
async fn malformed_frames_and_bodies_are_injected() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_binance(&["btcusdt@trade"]).await;
    fixture.inject(BINANCE, FaultKind::Malformed, 20_000);
    let frames = socket.receive_for(20_000).await;
    let broken = frames.iter().filter(|frame| frame["broken"].is_string()).count();
    assert!(broken > 1 && broken * 2 <= frames.len() + 1, "{broken} of {}", frames.len());
    fixture.inject(BINANCE, FaultKind::Malformed, 1_000);
    assert!(serde_json::from_str::<Value>(&fixture.text("/api/v3/time").await).is_err());
}

#[tokio::test]
async fn rest_faults_return_scripted_status() {
    let fixture = fixture().await;
    for (fault, status) in [(FaultKind::Http429, 429), (FaultKind::Http418, 418), (FaultKind::Http500, 500)] {
        for exchange in ExchangeId::all() {
            let profile = adapter(exchange).profile();
            let path = profile.probe_path;
            fixture.inject(exchange, fault, 0);
            let response = fixture.get(path).await.unwrap();
            let header = profile.reset_header.unwrap_or("retry-after");
            assert_eq!((response.status().as_u16(), response.headers().contains_key(header)), (status, status != 500));
            assert_eq!(fixture.get(path).await.unwrap().status(), 200, "a one-time fault affects one request");
        }
    }
}

#[tokio::test]
async fn proxy_faults_replace_or_truncate_responses() {
    let fixture = fixture().await;
    let path = "/api/v3/exchangeInfo";
    for (fault, status, content_type) in [
        (FaultKind::Firewall403, 403, "text/html"),
        (FaultKind::NotFound404, 404, "text/html"),
        (FaultKind::HtmlError, 200, "text/html"),
        (FaultKind::Region451, 451, "application/json;charset=UTF-8"),
    ] {
        fixture.inject(BINANCE, fault, 0);
        let response = fixture.get(path).await.unwrap();
        let actual_type = response.headers()["content-type"].to_str().unwrap();
        assert_eq!((response.status().as_u16(), actual_type), (status, content_type));
        assert_eq!(fixture.get(path).await.unwrap().status(), 200, "a one-time fault affects one request");
    }
    fixture.inject(BINANCE, FaultKind::TruncatedBody, 0);
    let response = fixture.get(path).await.unwrap();
    let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert!(length > 100 && response.text().await.is_err(), "the connection ends in the middle of {length} bytes");
}

#[tokio::test]
async fn slow_fault_delays_response() {
    let fixture = fixture().await;
    fixture.inject(KRAKEN, FaultKind::Slow, 0);
    let response = fixture.get("/0/public/Time");
    tokio::pin!(response);
    let status = loop {
        tokio::select! {
            biased;
            response = &mut response => break response.unwrap().status(),
            () = fixture.clock.advance(Duration::from_millis(100)) => {}
        }
    };
    assert_eq!(status, 200);
    assert!(fixture.clock.now().since(START) >= Duration::from_secs(4));
}

#[tokio::test]
async fn skipped_candle_is_only_in_rest() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_binance(&["btcusdt@kline_1m", "btcusdt@trade"]).await;
    fixture.inject(BINANCE, FaultKind::SkipCandle, 0);
    let frames = socket.receive_until(is_closed_kline).await;
    let first = START.millis() / MINUTE * MINUTE;
    assert_eq!(frames.last().unwrap()["data"]["k"]["t"], first + MINUTE);
    assert!(frames.iter().all(|frame| frame["data"]["k"]["t"] != first));
    assert!(frames.iter().any(|frame| frame["data"]["e"] == "trade"), "trades are unaffected");
    let path = format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={first}&limit=1");
    assert_eq!(fixture.json(&path).await[0][0], first);
}

#[tokio::test]
async fn late_trade_changes_closed_candle() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_binance(&["btcusdt@kline_1m", "btcusdt@trade"]).await;
    fixture.inject(BINANCE, FaultKind::LateTrade, 0);
    let closed = socket.receive_until(is_closed_kline).await.pop().unwrap()["data"]["k"].clone();
    let open = closed["t"].as_i64().unwrap();
    let late = socket
        .receive_until(|frame| frame["data"]["e"] == "trade" && frame["data"]["T"].as_i64() < Some(open + MINUTE))
        .await;
    assert_eq!(late.last().unwrap()["data"]["T"], open + MINUTE - 1);
    let path = format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={open}&limit=2");
    let row = fixture.json(&path).await[0].clone();
    assert_eq!(row[8].as_i64().unwrap(), closed["n"].as_i64().unwrap() + 1);
    assert_ne!(row[4], closed["c"]);
    assert_eq!(decimal(&row[5]), fixture.expected_candle(BINANCE, "BTC/USDT", open).volume);
    let next = socket.receive_until(is_closed_kline).await.pop().unwrap()["data"]["k"].clone();
    assert_eq!(
        decimal(&next["v"]),
        fixture.expected_candle(BINANCE, "BTC/USDT", open + MINUTE).volume,
        "only one minute changes"
    );
}

#[tokio::test]
async fn duplicate_fault_sends_trades_twice() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_kraken("trade").await;
    fixture.inject(KRAKEN, FaultKind::Duplicate, 60_000);
    let frames = socket.receive_for(40_000).await;
    let trades: Vec<&Value> = frames.iter().filter(|frame| frame["channel"] == "trade").collect();
    assert!(trades.len() > 3);
    assert!(trades.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]));
}

#[tokio::test]
async fn one_time_refuse_rejects_one_subscription() {
    let fixture = fixture().await;
    fixture.inject(BINANCE, FaultKind::Refuse, 0);
    let mut socket = fixture.socket("/stream").await;
    let request = json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1});
    socket.send(request.clone()).await;
    let rejection = socket.receive().await.unwrap();
    assert_eq!((&rejection["code"], &rejection["id"]), (&json!(2), &json!(1)));
    socket.send(request).await;
    assert_eq!(socket.receive().await, Some(json!({"result": null, "id": 1})));

    fixture.inject(KRAKEN, FaultKind::Refuse, 0);
    let mut socket = fixture.socket("/v2").await;
    socket.receive().await;
    socket
        .send(json!({"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["ETH/USD"], "interval": 1}}))
        .await;
    assert_eq!(socket.receive().await.unwrap()["success"], false);
}

#[tokio::test]
async fn shutdown_is_announced_before_close() {
    let fixture = fixture().await;
    let mut binance = fixture.subscribe_binance(&["btcusdt@trade"]).await;
    fixture.inject(BINANCE, FaultKind::ShutdownNotice, 0);
    // This fault does not affect sockets that open later.
    fixture.inject(KRAKEN, FaultKind::ShutdownNotice, 0);
    let mut frames = binance.receive_until(|frame| frame.get("close").is_some()).await;
    assert_eq!(frames.pop(), Some(json!({"close": 1001})));
    assert!(frames.iter().any(|frame| frame["data"]["e"] == "serverShutdown"));
    let mut kraken = fixture.subscribe_kraken("trade").await;
    fixture.simulator.inject(Fault { exchange: KRAKEN, after_ms: 1_000, fault: FaultKind::ShutdownNotice, for_ms: 0 });
    let frames = kraken.receive_until(|frame| frame.get("close").is_some()).await;
    assert!(frames.iter().any(|frame| frame["data"][0]["system"] == "maintenance"));
}

#[tokio::test]
async fn pings_only_sockets_send_no_data() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_kraken("trade").await;
    socket.receive_for(1_000).await;
    fixture.inject(KRAKEN, FaultKind::PingsOnly, 30_000);
    assert_eq!(socket.receive_for(29_000).await, Vec::<Value>::new(), "there are no heartbeats either");
    assert!(!socket.receive_for(10_000).await.is_empty());
}

#[tokio::test]
async fn absurd_numbers_and_wrong_events_are_injected() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_binance(&["btcusdt@ticker"]).await;
    fixture.inject(BINANCE, FaultKind::AbsurdNumbers, 10_000);
    fixture.inject(BINANCE, FaultKind::WrongEvent, 10_000);
    let frames = socket.receive_for(10_000).await;
    let is_absurd =
        |frame: &&Value| frame.to_string().contains("7.9e27") || frame.to_string().contains("79000000000000");
    assert!(frames.iter().filter(is_absurd).count() > 3, "{frames:?}");
    assert!(frames.iter().filter(|frame| frame["data"][1] == "16823.24").count() > 3);
    fixture.inject(BINANCE, FaultKind::WrongEvent, 0);
    assert_eq!(fixture.json("/api/v3/ticker/24hr?symbol=BTCUSDT").await[1], "16823.24");
}

#[tokio::test]
async fn bad_row_is_skipped_and_other_rows_are_parsed() {
    let fixture = fixture().await;
    for (exchange, symbol) in markets() {
        let adapter = adapter(exchange);
        let symbol: Symbol = symbol.parse().unwrap();
        let native = fixture.simulator.market().find(exchange, &symbol).unwrap().native;
        let instrument = candlewick::model::Instrument::new(exchange, symbol, native);
        let start = Timestamp::from_millis(START.millis() / MINUTE * MINUTE - 60 * MINUTE);
        let range = TimeRange::new(start, Timestamp::from_millis(start.millis() + 20 * MINUTE));
        let page = candlewick::exchanges::CandlePage {
            instrument: std::sync::Arc::new(instrument),
            interval: Interval::M1,
            range,
            requested_at: fixture.clock.now(),
        };
        let call = adapter.candles(&page).unwrap();
        let query: Vec<String> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = format!("{}?{}", call.path, query.join("&"));
        let parse = |body: &str| {
            let reply = candlewick::exchanges::RestResponse { status: 200, body: body.as_bytes() };
            (call.parse)(&reply, fixture.clock.now()).unwrap()
        };
        let complete = parse(&fixture.text(&path).await);
        assert!(complete.rows.len() > 3 && complete.skipped.is_empty(), "{exchange}");
        fixture.inject(exchange, FaultKind::BadRow, 0);
        let faulty = parse(&fixture.text(&path).await);
        assert_eq!(faulty.skipped.len(), 1, "{exchange}");
        assert!(faulty.skipped[0].reason.contains("null"), "{}", faulty.skipped[0].reason);
        let outside = faulty.outside_range.len() + 1 - complete.outside_range.len().min(faulty.outside_range.len() + 1);
        assert!(faulty.rows.len() >= complete.rows.len() - 1 && outside <= 1, "{exchange}");
        // A row with an absurd number is skipped as well, and its time is known.
        fixture.inject(exchange, FaultKind::AbsurdNumbers, 0);
        let absurd = parse(&fixture.text(&path).await);
        assert_eq!(absurd.skipped.len(), 1, "{exchange}");
        assert!(absurd.skipped[0].timestamp.is_some(), "{exchange}");
    }
}

#[tokio::test]
async fn burst_sends_thousands_of_frames() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_binance(&["btcusdt@bookTicker"]).await;
    socket.receive_for(1_000).await;
    fixture.inject(BINANCE, FaultKind::Burst, 0);
    assert!(socket.receive_for(5_000).await.len() > 5_000);
}
