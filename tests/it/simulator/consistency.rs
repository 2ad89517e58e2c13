//! The same seed gives the same bytes, and streams are consistent with REST candles.

use super::*;

#[tokio::test]
async fn same_seed_gives_same_bytes() {
    let [one, same, other] = [1, 1, 2].map(|seed| fixture_with(Clock::manual(START), seed));
    let (one, same, other) = (one.await, same.await, other.await);
    for path in [
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000",
        "/api/v3/klines?symbol=ETHBTC&interval=1d&limit=3",
        "/api/v3/ticker/24hr?symbol=ADAUSDT",
        "/api/v3/ticker/bookTicker",
        "/0/public/OHLC?pair=XBTUSD",
        "/0/public/Ticker?pair=XBTUSDT,SOLUSD",
        "/api/v5/market/candles?instId=BTC-USDT&bar=1Dutc",
        "/api/v5/market/ticker?instId=SOL-BTC",
    ] {
        let bytes = one.text(path).await;
        assert_eq!(bytes, same.text(path).await, "{path}");
        assert_ne!(bytes, other.text(path).await, "{path}");
    }
    let streams = ["btcusdt@trade", "btcusdt@kline_1m", "btcusdt@ticker", "btcusdt@bookTicker"];
    let mut frames = Vec::new();
    for fixture in [&one, &same] {
        frames.push(fixture.subscribe_binance(&streams).await.receive_until(is_closed_kline).await);
    }
    assert!(frames[0].len() > 100);
    assert_eq!(frames[0], frames[1]);
}

#[tokio::test]
async fn binance_streams_match_rest_candles() {
    let fixture = fixture().await;
    let mut socket =
        fixture.subscribe_binance(&["ethusdt@trade", "ethusdt@aggTrade", "ethusdt@kline_1m", "ethusdt@ticker"]).await;
    socket.receive_until(is_closed_kline).await;
    let frames = socket.receive_until(is_closed_kline).await;
    let candle = &frames.last().unwrap()["data"]["k"];
    let open = candle["t"].as_i64().unwrap();
    let expected = fixture.expected_candle(BINANCE, "ETH/USDT", open);
    let values = ["o", "h", "l", "c", "v"].map(|name| decimal(&candle[name]));
    assert_eq!((values, candle["n"].as_u64()), candle_values(&expected));
    assert_eq!(decimal(&candle["q"]), expected.quote_volume.unwrap());

    for (kind, id) in [("trade", "t"), ("aggTrade", "a")] {
        let trades: Vec<&Value> = frames.iter().map(|frame| &frame["data"]).filter(|data| data["e"] == kind).collect();
        assert_eq!(trades.len() as u64, expected.trades.unwrap());
        assert_eq!(trades.iter().map(|trade| decimal(&trade["q"])).sum::<Decimal>(), expected.volume);
        assert!(trades.is_sorted_by_key(|trade| trade[id].as_i64()));
    }
    let path = format!("/api/v3/klines?symbol=ETHUSDT&interval=1m&startTime={open}&endTime={open}");
    let row = &fixture.json(&path).await[0];
    assert_eq!([1, 2, 3, 4, 5].map(|column| decimal(&row[column])), values);

    let ticker = frames.iter().rev().find(|frame| frame["data"]["e"] == "24hrTicker").unwrap();
    let (at, start) = (ticker["data"]["E"].as_i64().unwrap(), ticker["data"]["O"].as_i64().unwrap());
    assert_eq!(start, at / MINUTE * MINUTE - 1_440 * MINUTE);
    let high = ticker["data"]["h"].clone();
    let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(at / MINUTE * MINUTE));
    let day = fixture.simulator.market().candles(BINANCE, &"ETH/USDT".parse().unwrap(), Interval::M1, range);
    assert!(decimal(&high) >= aggregate(range.start(), &day).unwrap().high);
}

#[tokio::test]
async fn kraken_stream_matches_rest_candles() {
    let fixture = fixture().await;
    let mut socket = fixture.subscribe_kraken("ohlc").await;
    let begins_at = |frame: &Value, time: &str| {
        frame["data"][0]["interval_begin"].as_str().is_some_and(|begin| begin.contains(time))
    };
    socket.receive_until(|frame| begins_at(frame, "21:01:00")).await;
    let frames = socket.receive_until(|frame| begins_at(frame, "21:02:00")).await;
    let last = frames.iter().rev().find(|frame| begins_at(frame, "21:01:00")).unwrap();
    let candle = &last["data"][0];
    let expected = fixture.expected_candle(KRAKEN, "BTC/USD", START.millis() / MINUTE * MINUTE + MINUTE);
    let values = ["open", "high", "low", "close", "volume"].map(|name| decimal(&candle[name]));
    assert_eq!((values, candle["trades"].as_u64()), candle_values(&expected));
    let history = fixture.json("/0/public/OHLC?pair=XBTUSD").await;
    let rows = history["result"]["XXBTZUSD"].as_array().unwrap();
    let row = rows.iter().find(|row| row[0] == expected.timestamp.millis() / 1_000).unwrap();
    assert_eq!([1, 2, 3, 4, 6].map(|column| decimal(&row[column])), values);
}

#[tokio::test]
async fn scaled_clock_streams_one_minute_per_100_ms() {
    let fixture = fixture_with(Clock::scaled(600.0), 1).await;
    let (mut stream, _) = connect_async(format!("ws://{}/ws/btcusdt@kline_1m", fixture.address)).await.unwrap();
    let mut closed: Vec<i64> = Vec::new();
    while closed.len() < 3 {
        if let Message::Text(text) = stream.next().await.unwrap().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["k"]["x"] == true {
                let open = frame["k"]["t"].as_i64().unwrap();
                assert_eq!(decimal(&frame["k"]["v"]), fixture.expected_candle(BINANCE, "BTC/USDT", open).volume);
                closed.push(open);
            }
        }
    }
    assert!(closed.windows(2).all(|pair| pair[1] == pair[0] + MINUTE), "no candle is missing: {closed:?}");
}
