//! Bybit. Most of what was recorded is of derivatives.

use std::collections::HashMap;

use super::*;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> Decimal {
    parse_decimal(text(value)).unwrap()
}

#[test]
fn every_recorded_frame_of_bybit_gives_its_events() {
    let bybit = exchange(ExchangeId::Bybit);
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
        let topic = frame["topic"].as_str().unwrap_or("answer").split('.').next().unwrap().to_owned();
        let rows = frame["data"].as_array().map_or(1, Vec::len);
        match (spot, topic.as_str(), &*out.events) {
            (true, "tickers", [MarketEvent::Ticker(ticker)]) => {
                let (values, row) = (&ticker.values, &frame["data"]);
                let ours = [values.last, values.open, values.high, values.base_volume, values.quote_volume];
                let names = ["lastPrice", "prevPrice24h", "highPrice24h", "volume24h", "turnover24h"];
                assert_eq!(ours, names.map(|name| Some(number(&row[name]))));
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
            // A derivative's candles look like those of spot markets; only their connection tells.
            (false, "kline", _) => out.events.clear(),
            (_, _, []) => {}
            (_, topic, events) => panic!("{topic} gave {events:?}"),
        }
        let kind = if spot { "spot" } else { "derivative" };
        let count: &mut [usize; 2] = counts.entry(format!("{kind} {topic}")).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/bybit.jsonl", &counts);
    if folder().is_some() {
        assert!(counts["spot tickers"][1] > 50 && counts["spot kline"][1] > 20 && counts["spot publicTrade"][1] > 10);
    }
}

#[test]
fn a_recording_of_several_connections_is_decoded_without_derivatives() {
    let Some(folder) = folder() else { return };
    let path = folder.join("ws/bybit.jsonl");
    let decoded = std::process::Command::new(env!("CARGO_BIN_EXE_candlewick"))
        .args(["decode", "--exchange", "bybit"])
        .arg(path)
        .output()
        .unwrap();
    let events = String::from_utf8(decoded.stdout).unwrap();
    let prices: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(prices.iter().all(|event| event["error"].is_null()));
    let candles = prices.iter().filter(|event| event["type"] == "candle").count();
    assert!((20..60).contains(&candles), "{candles} candles");
}

#[test]
fn the_recorded_listing_of_bybit_is_read() {
    let bybit = exchange(ExchangeId::Bybit);
    for line in lines("ws/bybit.jsonl").iter().filter(|line| line["t"] == "http") {
        let (url, body) = (text(&line["url"]), text(&line["data"]));
        let listed = parse(&bybit.instruments(), body);
        if url.contains("category=spot") {
            let listed = listed.unwrap();
            eprintln!("ws/bybit.jsonl, listing: {} instruments", listed.len());
            let wrong: Vec<_> =
                listed.iter().filter(|one| bybit.guess_symbol(&one.native) != Some(one.symbol.clone())).collect();
            assert!(wrong.is_empty(), "ids that were guessed wrong: {wrong:?}");
            assert!(listed.iter().all(|one| one.is_trading() && one.price_step.is_some()));
        } else {
            assert_eq!(listed.unwrap_err().kind, ReplyErrorKind::Refused, "{url}");
        }
    }
}

#[test]
fn replies_of_derivatives_are_refused_and_errors_told_apart() {
    let bybit = exchange(ExchangeId::Bybit);
    let of_btc = instrument(ExchangeId::Bybit, "BTC/USDT");
    let call = &bybit.ticker(&of_btc)[0];
    let mut counts = BTreeMap::new();
    for line in lines("rest/bybit.jsonl") {
        let (method, body) = (text(&line["method"]), line["httpResponse"].to_string());
        let error = match method {
            "fetchTicker" | "fetchTickers" => parse(call, &body).unwrap_err(),
            "fetchOHLCV" => parse(&candles(bybit, "BTC/USDT", Interval::H1), &body).unwrap_err(),
            _ => continue,
        };
        assert_eq!(error.kind, ReplyErrorKind::Refused, "{body:.200}");
        counts.insert(format!("rest {method}"), [1, 0]);
    }
    for line in lines("rest_true_types/bybit.jsonl").iter().filter(|line| line["file"] == "fetch_ticker.json") {
        assert_eq!(parse(call, &line["body"].to_string()).unwrap_err().kind, ReplyErrorKind::Refused);
        counts.insert("rest_true_types ticker".to_owned(), [1, 0]);
    }
    for line in lines("errors/bybit.jsonl") {
        assert_eq!(parse(call, &line["body"].to_string()).unwrap_err().kind, ReplyErrorKind::UnknownSymbol);
        counts.insert("errors".to_owned(), [1, 0]);
    }
    print_table("bybit, all of derivatives: refused", &counts);
    assert_eq!(counts.len(), if folder().is_some() { 5 } else { 0 });
}

#[test]
fn bybit_is_asked_as_ccxt_asks() {
    let bybit = exchange(ExchangeId::Bybit);
    let of_btc = Arc::new(instrument(ExchangeId::Bybit, "BTC/USDT"));
    let mut seen = 0;
    for line in lines("requests/bybit.jsonl").iter().filter(|line| line["url"].is_string()) {
        let (path, query) = text(&line["url"]).split_once('?').unwrap_or((text(&line["url"]), ""));
        let theirs: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let origin = bybit.profile().rest_origins[0];
        let (ours, skipped) = match text(&line["method"]) {
            "fetchTime" => {
                assert_eq!(path, format!("{origin}{}", bybit.profile().probe_path));
                seen += 1;
                continue;
            }
            "fetchOHLCV" if theirs.get("category") == Some(&"spot") => {
                let at = |name: &str| theirs.get(name).map(|at| Timestamp::from_millis(at.parse().unwrap()));
                let start = at("start").unwrap_or(Timestamp::EPOCH);
                let end = at("end").map_or(NOW, |end| Timestamp::from_millis(end.millis() + 1));
                let interval = if theirs["interval"] == "60" { Interval::H1 } else { Interval::M1 };
                let range = TimeRange::new(start, end);
                let page = CandlePage { instrument: Arc::clone(&of_btc), interval, range, asked_at: NOW };
                let call = bybit.candles(&page).unwrap();
                ((call.path, call.query), ["limit"])
            }
            "fetchTickers" if theirs.get("category") == Some(&"spot") && path.starts_with(origin) => {
                let call = bybit.ticker(&of_btc).remove(0);
                ((call.path, call.query), ["symbol"])
            }
            _ => continue,
        };
        assert_eq!(format!("{origin}{}", ours.0), path);
        let ours: BTreeMap<_, _> = ours.1.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (name, value) in theirs.iter().filter(|(name, _)| !skipped.contains(name)) {
            assert_eq!(ours.get(name), Some(value), "{name} in {query}");
        }
        seen += 1;
    }
    eprintln!("requests/bybit.jsonl: {seen} urls agree");
    assert!(folder().is_none() || seen >= 5, "{seen}");
}
