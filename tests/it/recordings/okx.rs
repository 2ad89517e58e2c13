//! Recordings of OKX.

use super::*;

/// Whether a native id is a spot market's. Ids of derivatives have more parts.
fn is_spot(native: &str) -> bool {
    native.split('-').count() == 2
}

#[test]
fn recorded_okx_frames_decode_to_events() {
    let mut session = adapter(ExchangeId::OKX).decoder();
    let mut counts = BTreeMap::new();
    for line in lines("ws/okx.jsonl").iter().filter(|line| line["t"] == "recv") {
        let text = line["data"].as_str().unwrap();
        let mut out = Outbox::default();
        assert_eq!(session.on_frame(Frame::Text(text), NOW, &mut out), Ok(()), "{text}");
        let frame: Value = serde_json::from_str(text).unwrap();
        let (channel, native) = (frame["arg"]["channel"].as_str().unwrap(), frame["arg"]["instId"].as_str().unwrap());
        let rows = frame["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = |value: &Value| Some(parse_decimal(value.as_str().unwrap()).unwrap());
        let kind = frame["event"].as_str().unwrap_or(if is_spot(native) { "spot" } else { "derivative" });
        match (kind, channel) {
            ("spot", "tickers" | "trades") => assert_eq!(out.events.len(), rows.len(), "{text}"),
            _ => assert!(out.events.is_empty(), "a {kind} frame of {channel} decoded to {:?}", out.events),
        }
        for (event, row) in out.events.iter().zip(rows) {
            match event {
                MarketEvent::Ticker(ticker) => {
                    assert_eq!(ticker.symbol.as_str().replace('/', "-"), native);
                    let values = &ticker.values;
                    let actual =
                        [values.last, values.bid, values.ask, values.open, values.base_volume, values.quote_volume];
                    let names = ["last", "bidPx", "askPx", "open24h", "vol24h", "volCcy24h"];
                    assert_eq!(actual, names.map(|name| number(&row[name])));
                    assert_eq!(values.timestamp.unwrap().to_string(), time(&row["ts"]));
                }
                MarketEvent::Trade(trade) => {
                    assert_eq!((Some(trade.price), Some(trade.amount)), (number(&row["px"]), number(&row["sz"])));
                    assert_eq!((trade.side.as_str(), &*trade.id), (str(&row["side"]), str(&row["tradeId"])));
                    assert_eq!(trade.timestamp.to_string(), time(&row["ts"]));
                }
                other => panic!("{other:?}"),
            }
        }
        let count: &mut [usize; 2] = counts.entry(format!("{kind} {channel}")).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/okx.jsonl", &counts);
    if recordings_folder().is_some() {
        assert!(counts["spot tickers"][1] > 20 && counts["spot trades"][1] > 60, "{counts:?}");
        assert!(counts["derivative tickers"][0] > 0 && counts["derivative trades"][0] > 0, "{counts:?}");
    }
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Formats a string of milliseconds as our timestamps are formatted.
fn time(value: &Value) -> String {
    Timestamp::from_millis(str(value).parse().unwrap()).to_string()
}

#[test]
fn parses_recorded_okx_listing() {
    let okx = adapter(ExchangeId::OKX);
    let mut counts = BTreeMap::new();
    for line in lines("ws/okx.jsonl").iter().filter(|line| line["t"] == "http") {
        let (url, body) = (str(&line["url"]), str(&line["data"]));
        let listed = parse(&okx.instruments(), body).unwrap();
        let all = serde_json::from_str::<Value>(body).unwrap()["data"].as_array().unwrap().len();
        assert_eq!(listed.len(), if url.ends_with("SPOT") { all } else { 0 }, "{url}");
        let guessed = |one: &&Instrument| okx.guess_symbol(&one.native) == Some(one.symbol.clone());
        assert!(listed.iter().all(|one| guessed(&one) && one.price_step.is_some() && one.amount_step.is_some()));
        counts.insert(url.rsplit('=').next().unwrap().to_owned(), [all, listed.len()]);
    }
    print_table("ws/okx.jsonl, listings", &counts);
}

#[test]
fn okx_rest_replies_match_ccxt() {
    // OKX does not send the change; CCXT computes it.
    check_rest(ExchangeId::OKX, &["percentage"]);
}

#[test]
fn parses_okx_bodies_with_true_types() {
    let (okx, mut counts) = (adapter(ExchangeId::OKX), BTreeMap::new());
    for line in lines("rest_true_types/okx.jsonl") {
        let (file, body) = (str(&line["file"]), &line["body"]);
        let read = match file {
            "fetch_ticker.json" => {
                let patch = ticker(okx, "BTC/USDT", &body.to_string());
                assert_eq!(patch.last, Some(parse_decimal(str(&body["data"][0]["last"])).unwrap()));
                1
            }
            "fetch_markets_by_type.json" => {
                let listed = parse(&okx.instruments(), &body.to_string()).unwrap();
                assert!(listed.is_empty(), "swaps are not spot markets");
                0
            }
            _ => continue,
        };
        counts.insert(file.to_owned(), [1, read]);
    }
    print_table("rest_true_types/okx.jsonl", &counts);
    assert_eq!(counts.len(), if recordings_folder().is_some() { 2 } else { 0 });
}

#[test]
fn classifies_recorded_okx_errors() {
    for line in lines("errors/okx.jsonl") {
        let status = line["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
        let body = line["body"].to_string();
        let call = &adapter(ExchangeId::OKX).ticker(&instrument(ExchangeId::OKX, "NO/USDT"))[0];
        let error = (call.parse)(&RestResponse { status, body: body.as_bytes() }, NOW).unwrap_err();
        assert_eq!((status, error.kind), (200, RestErrorKind::UnknownSymbol), "{body}");
        eprintln!("errors/okx.jsonl: {} is an unknown symbol", error.message);
    }
}

/// The URL of a call, with parameters in alphabetical order.
fn url_of<T>(call: &RestCall<T>) -> String {
    let mut query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    query.sort();
    format!("https://www.okx.com{}?{}", call.path, query.join("&"))
}

#[test]
fn okx_requests_match_ccxt() {
    let (okx, mut counts) = (adapter(ExchangeId::OKX), BTreeMap::new());
    let market = || Arc::new(instrument(ExchangeId::OKX, "BTC/USDT"));
    for line in lines("requests/okx.jsonl") {
        let (method, input, url) = (str(&line["method"]), &line["input"], str(&line["url"]));
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut query: Vec<&str> = query.split('&').collect();
        query.sort_unstable();
        let expected = format!("{path}?{}", query.join("&"));
        let value = |name: &str| query.iter().find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        match (method, input[0].as_str()) {
            ("fetchTime", _) => assert_eq!(url, format!("https://www.okx.com{}", okx.profile().probe_path)),
            ("fetchTicker", Some("BTC/USDT")) => assert_eq!(url_of(&okx.ticker(&market())[0]), expected),
            ("fetchOHLCV", Some("BTC/USDT")) => {
                let interval = input[1].as_str().unwrap_or("1m").parse().unwrap();
                // Both parameters are exclusive: rows are after `before` and before `after`.
                let end = value("after").map(|after| Timestamp::from_millis(after.parse().unwrap()));
                let end = end.unwrap_or(Timestamp::from_millis(1_763_672_400_000));
                let start = value("before").map(|before| Timestamp::from_millis(before.parse::<i64>().unwrap() + 1));
                let range = TimeRange::new(start.unwrap_or(Interval::M1.back(end, 100)), end);
                let requested_at = if start.is_some() { NOW } else { end };
                let page = CandlePage { instrument: market(), interval, range, requested_at };
                let actual = url_of(&okx.candles(&page).unwrap());
                if start.is_some() {
                    assert_eq!(actual, expected);
                } else {
                    let shared = ["instId", "bar"].map(|name| format!("{name}={}", value(name).unwrap()));
                    assert!(
                        actual.starts_with(&format!("{path}?")) && shared.iter().all(|pair| actual.contains(pair)),
                        "{actual}"
                    );
                }
            }
            _ => continue,
        }
        let count: &mut [usize; 2] = counts.entry(method.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + 1];
    }
    print_table("requests/okx.jsonl", &counts);
    assert_eq!(counts.len(), if recordings_folder().is_some() { 3 } else { 0 });
}
