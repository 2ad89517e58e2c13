//! Recordings of Binance.

use super::*;

#[test]
fn recorded_binance_frames_decode_to_events() {
    let mut session = adapter(ExchangeId::BINANCE).decoder();
    let mut counts = BTreeMap::new();
    for line in lines("ws/binance.jsonl").iter().filter(|line| line["t"] == "recv") {
        let (channel, text) = (line["ch"].as_str().unwrap(), line["data"].as_str().unwrap());
        let mut out = Outbox::default();
        assert_eq!(session.on_frame(Frame::Text(text), NOW, &mut out), Ok(()), "{text}");
        let frame: Value = serde_json::from_str(text).unwrap();
        let data = &frame["data"];
        let number = |value: &Value| Some(parse_decimal(value.as_str().unwrap()).unwrap());
        match (channel, &*out.events) {
            ("depth@100ms", []) => {}
            ("bookTicker", [MarketEvent::Ticker(ticker)]) => {
                assert_eq!(ticker.symbol.as_str().replace('/', ""), data["s"].as_str().unwrap());
                let quotes = |values: &TickerPatch| [values.bid, values.bid_size, values.ask, values.ask_size];
                assert_eq!(quotes(&ticker.values), ["b", "B", "a", "A"].map(|name| number(&data[name])));
            }
            ("aggTrade", [MarketEvent::Trade(trade)]) => {
                assert_eq!((Some(trade.price), Some(trade.amount)), (number(&data["p"]), number(&data["q"])));
                assert_eq!((trade.side.as_str() == "sell", &*trade.id), (data["m"] == true, &*data["a"].to_string()));
                assert_eq!(trade.timestamp.millis(), data["T"].as_i64().unwrap());
            }
            ("kline_1m", [MarketEvent::Candle(update)]) => {
                let (candle, kline) = (update.candle, &data["k"]);
                let values = [candle.open, candle.high, candle.low, candle.close, candle.volume].map(Some);
                assert_eq!(values, ["o", "h", "l", "c", "v"].map(|name| number(&kline[name])));
                assert_eq!((candle.closed, update.series.interval), (kline["x"] == true, Interval::M1));
            }
            (channel, events) => panic!("a {channel} frame decoded to {events:?}"),
        }
        let count: &mut [usize; 2] = counts.entry(channel.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/binance.jsonl", &counts);
    if recordings_folder().is_some() {
        let all: Vec<_> = counts.into_iter().collect();
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["aggTrade", "bookTicker", "depth@100ms", "kline_1m"]);
    }
}

#[test]
fn parses_recorded_binance_listing() {
    let http = lines("ws/binance.jsonl").into_iter().filter(|line| line["t"] == "http");
    for line in http.filter(|line| line["url"].as_str().unwrap().ends_with("/exchangeInfo")) {
        let listed = parse(&adapter(ExchangeId::BINANCE).instruments(), line["data"].as_str().unwrap()).unwrap();
        eprintln!("exchangeInfo: {} instruments", listed.len());
        assert!(listed.issues.is_empty(), "{:?}", listed.issues);
        assert!(
            listed.iter().any(|one| one.symbol.as_str() == "NKN/USDT" && one.is_trading() && one.price_step.is_some())
        );
        let guessed =
            |one: &&Instrument| adapter(ExchangeId::BINANCE).guess_symbol(&one.native) == Some(one.symbol.clone());
        let wrong: Vec<_> = listed.iter().filter(|one| !guessed(one)).map(|one| &one.native).collect();
        assert!(wrong.is_empty(), "wrongly guessed native ids: {wrong:?}");
    }
}

#[test]
fn binance_rest_replies_match_ccxt() {
    check_rest(ExchangeId::BINANCE, &[]);
}

#[test]
fn parses_binance_bodies_with_true_types() {
    let (binance, mut counts) = (adapter(ExchangeId::BINANCE), BTreeMap::new());
    for line in lines("rest_true_types/binance.jsonl") {
        let (file, body) = (line["file"].as_str().unwrap(), &line["body"]);
        let read = match file {
            "fetch_ticker.json" => {
                let patch = ticker(binance, "BTC/USDT", &body.to_string());
                assert_eq!(patch.last, Some(parse_decimal(body["lastPrice"].as_str().unwrap()).unwrap()));
                1
            }
            "fetch_tickers_non_usdt_quotes.json" => {
                let all = body.as_array().unwrap();
                for one in all {
                    let symbol = binance.guess_symbol(one["symbol"].as_str().unwrap()).unwrap();
                    let patch = ticker(binance, symbol.as_str(), &one.to_string());
                    assert!(patch.bid.is_none_or(|bid| bid > Decimal::ZERO), "{one}");
                }
                all.len()
            }
            "fetch_ohlcv.json" => {
                let rows = parse(&candles(binance, "BTC/USDT", Interval::M1), &body.to_string()).unwrap().rows;
                assert!(rows.iter().all(|row| row.closed));
                rows.len()
            }
            _ => continue,
        };
        counts.insert(file.to_owned(), [1, read]);
    }
    print_table("rest_true_types/binance.jsonl", &counts);
    assert_eq!(counts.len(), if recordings_folder().is_some() { 3 } else { 0 });
}

#[test]
fn classifies_recorded_binance_errors() {
    for line in lines("errors/binance.jsonl") {
        let status = line["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
        let body = line["body"].to_string();
        let call = &adapter(ExchangeId::BINANCE).ticker(&instrument(ExchangeId::BINANCE, "NO/USDT"))[0];
        let error = (call.parse)(&RestResponse { status, body: body.as_bytes() }, NOW).unwrap_err();
        assert_eq!(error.kind, RestErrorKind::UnknownSymbol, "{body}");
    }
}

#[test]
fn binance_requests_match_ccxt() {
    check_requests(ExchangeId::BINANCE, |actual, expected| {
        // We always request the maximum number of rows and name the end of the range.
        assert_eq!(actual.1.remove("limit").unwrap(), "1000");
        expected.1.remove("limit");
        assert!(actual.1.remove("endTime").unwrap() > actual.1["startTime"]);
        expected.1.remove("endTime");
        if !expected.1.contains_key("startTime") {
            actual.1.remove("startTime");
        }
    });
}
