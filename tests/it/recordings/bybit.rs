//! Recordings of Bybit. Most of them are of derivatives.

use std::collections::HashMap;

use super::*;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> Decimal {
    parse_decimal(text(value)).unwrap()
}

#[test]
fn recorded_bybit_frames_decode_to_events() {
    let bybit = adapter(ExchangeId::BYBIT);
    let (mut counts, mut is_spot) = (BTreeMap::new(), HashMap::new());
    let mut session = bybit.decoder();
    for line in lines("ws/bybit.jsonl") {
        if line["t"] == "connect" {
            is_spot.insert(line["conn"].to_string(), bybit.is_spot_stream(text(&line["addr"])));
        }
        if line["t"] != "recv" {
            continue;
        }
        let spot = is_spot[&line["conn"].to_string()];
        let frame_text = text(&line["data"]);
        let mut out = Outbox::default();
        assert_eq!(session.on_frame(Frame::Text(frame_text), NOW, &mut out), Ok(()), "{frame_text}");
        let frame: Value = serde_json::from_str(frame_text).unwrap();
        let topic = frame["topic"].as_str().unwrap_or("reply").split('.').next().unwrap().to_owned();
        let rows = frame["data"].as_array().map_or(1, Vec::len);
        match (spot, topic.as_str(), &*out.events) {
            (true, "tickers", [MarketEvent::Ticker(ticker)]) => {
                let (values, row) = (&ticker.values, &frame["data"]);
                let actual = [values.last, values.open, values.high, values.base_volume, values.quote_volume];
                let names = ["lastPrice", "prevPrice24h", "highPrice24h", "volume24h", "turnover24h"];
                assert_eq!(actual, names.map(|name| Some(number(&row[name]))));
                assert_eq!(
                    values.change_percent,
                    Some((number(&row["price24hPcnt"]) * Decimal::ONE_HUNDRED).normalize())
                );
            }
            (true, "publicTrade" | "kline", events) => {
                assert_eq!(events.len(), rows, "{frame_text}");
                for (event, row) in events.iter().zip(frame["data"].as_array().unwrap()) {
                    match event {
                        MarketEvent::Trade(trade) => {
                            assert_eq!((trade.price, trade.amount), (number(&row["p"]), number(&row["v"])));
                            assert_eq!(trade.side.as_str(), text(&row["S"]).to_lowercase());
                        }
                        MarketEvent::Candle(update) => {
                            assert_eq!(update.candle.closed, row["confirm"] == true);
                            assert_eq!(update.candle.volume, number(&row["volume"]));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            // Candles of derivatives look like those of spot markets; only the connection's URL differs.
            (false, "kline", _) => out.events.clear(),
            (_, _, []) => {}
            (_, topic, events) => panic!("{topic} decoded to {events:?}"),
        }
        let kind = if spot { "spot" } else { "derivative" };
        let count: &mut [usize; 2] = counts.entry(format!("{kind} {topic}")).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/bybit.jsonl", &counts);
    if recordings_folder().is_some() {
        assert!(counts["spot tickers"][1] > 50 && counts["spot kline"][1] > 20 && counts["spot publicTrade"][1] > 10);
    }
}

#[test]
fn decode_skips_derivatives_of_mixed_recordings() {
    let Some(folder) = recordings_folder() else { return };
    let path = folder.join("ws/bybit.jsonl");
    let decoded = std::process::Command::new(env!("CARGO_BIN_EXE_candlewick"))
        .args(["decode", "--exchange", "bybit"])
        .arg(path)
        .output()
        .unwrap();
    let events = String::from_utf8(decoded.stdout).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["error"].is_null()));
    let candles = events.iter().filter(|event| event["type"] == "candle").count();
    assert!((20..60).contains(&candles), "{candles} candles");
}

#[test]
fn parses_recorded_bybit_listing() {
    let bybit = adapter(ExchangeId::BYBIT);
    for line in lines("ws/bybit.jsonl").iter().filter(|line| line["t"] == "http") {
        let (url, body) = (text(&line["url"]), text(&line["data"]));
        let listed = parse(&bybit.instruments(), body);
        if url.contains("category=spot") {
            let listed = listed.unwrap();
            eprintln!("ws/bybit.jsonl, listing: {} instruments", listed.len());
            let wrong: Vec<_> =
                listed.iter().filter(|one| bybit.guess_symbol(&one.native) != Some(one.symbol.clone())).collect();
            assert!(wrong.is_empty(), "wrongly guessed native ids: {wrong:?}");
            assert!(listed.iter().all(|one| one.is_trading() && one.price_step.is_some()));
        } else {
            assert_eq!(listed.unwrap_err().kind, RestErrorKind::Rejected, "{url}");
        }
    }
}

#[test]
fn rejects_derivative_replies_and_classifies_errors() {
    let bybit = adapter(ExchangeId::BYBIT);
    let btc = instrument(ExchangeId::BYBIT, "BTC/USDT");
    let call = &bybit.ticker(&btc)[0];
    let mut counts = BTreeMap::new();
    for line in lines("rest/bybit.jsonl") {
        let (method, body) = (text(&line["method"]), line["httpResponse"].to_string());
        let error = match method {
            "fetchTicker" | "fetchTickers" => parse(call, &body).unwrap_err(),
            "fetchOHLCV" => parse(&candles(bybit, "BTC/USDT", Interval::H1), &body).unwrap_err(),
            _ => continue,
        };
        assert_eq!(error.kind, RestErrorKind::Rejected, "{body:.200}");
        counts.insert(format!("rest {method}"), [1, 0]);
    }
    for line in lines("rest_true_types/bybit.jsonl").iter().filter(|line| line["file"] == "fetch_ticker.json") {
        assert_eq!(parse(call, &line["body"].to_string()).unwrap_err().kind, RestErrorKind::Rejected);
        counts.insert("rest_true_types ticker".to_owned(), [1, 0]);
    }
    for line in lines("errors/bybit.jsonl") {
        assert_eq!(parse(call, &line["body"].to_string()).unwrap_err().kind, RestErrorKind::UnknownSymbol);
        counts.insert("errors".to_owned(), [1, 0]);
    }
    print_table("bybit, derivatives: rejected", &counts);
    assert_eq!(counts.len(), if recordings_folder().is_some() { 5 } else { 0 });
}

#[test]
fn bybit_requests_match_ccxt() {
    let bybit = adapter(ExchangeId::BYBIT);
    let btc = Arc::new(instrument(ExchangeId::BYBIT, "BTC/USDT"));
    let mut seen = 0;
    for line in lines("requests/bybit.jsonl").iter().filter(|line| line["url"].is_string()) {
        let (path, query) = text(&line["url"]).split_once('?').unwrap_or((text(&line["url"]), ""));
        let expected: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let origin = bybit.profile().rest_origins[0];
        let (actual, skipped) = match text(&line["method"]) {
            "fetchTime" => {
                assert_eq!(path, format!("{origin}{}", bybit.profile().probe_path));
                seen += 1;
                continue;
            }
            "fetchOHLCV" if expected.get("category") == Some(&"spot") => {
                let at = |name: &str| expected.get(name).map(|at| Timestamp::from_millis(at.parse().unwrap()));
                let start = at("start").unwrap_or(Timestamp::EPOCH);
                let end = at("end").map_or(NOW, |end| Timestamp::from_millis(end.millis() + 1));
                let interval = if expected["interval"] == "60" { Interval::H1 } else { Interval::M1 };
                let range = TimeRange::new(start, end);
                let page = CandlePage { instrument: Arc::clone(&btc), interval, range, requested_at: NOW };
                let call = bybit.candles(&page).unwrap();
                ((call.path, call.query), ["limit"])
            }
            "fetchTickers" if expected.get("category") == Some(&"spot") && path.starts_with(origin) => {
                let call = bybit.ticker(&btc).remove(0);
                ((call.path, call.query), ["symbol"])
            }
            _ => continue,
        };
        assert_eq!(format!("{origin}{}", actual.0), path);
        let actual: BTreeMap<_, _> = actual.1.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (name, value) in expected.iter().filter(|(name, _)| !skipped.contains(name)) {
            assert_eq!(actual.get(name), Some(value), "{name} in {query}");
        }
        seen += 1;
    }
    eprintln!("requests/bybit.jsonl: {seen} urls match");
    assert!(recordings_folder().is_none() || seen >= 5, "{seen}");
}
