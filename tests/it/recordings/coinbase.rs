//! Recordings of Coinbase.

use super::*;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> Decimal {
    parse_decimal(text(value)).unwrap()
}

#[test]
fn recorded_coinbase_frames_decode_to_events() {
    let mut session = adapter(ExchangeId::COINBASE).decoder();
    let mut counts = BTreeMap::new();
    for line in lines("ws/coinbase.jsonl").iter().filter(|line| line["t"] == "recv") {
        let frame_text = text(&line["data"]);
        let mut out = Outbox::default();
        assert_eq!(session.on_frame(Frame::Text(frame_text), NOW, &mut out), Ok(()), "{frame_text}");
        let frame: Value = serde_json::from_str(frame_text).unwrap();
        let (channel, event) = (text(&frame["channel"]), &frame["events"][0]);
        match channel {
            "market_trades" => {
                // The exchange sends newest first; events are oldest first.
                let rows: Vec<&Value> = event["trades"].as_array().unwrap().iter().rev().collect();
                assert_eq!(out.events.len(), rows.len(), "{frame_text}");
                for (event, row) in out.events.iter().zip(rows) {
                    let MarketEvent::Trade(trade) = event else { panic!("{event:?}") };
                    assert_eq!((trade.price, trade.amount), (number(&row["price"]), number(&row["size"])));
                    assert_eq!(
                        (&*trade.id, trade.symbol.dashed().as_str()),
                        (text(&row["trade_id"]), text(&row["product_id"]))
                    );
                    assert_eq!(trade.side.as_str() == "buy", row["side"] == "SELL", "the frame names the maker's side");
                }
            }
            "ticker" => {
                let [MarketEvent::Ticker(ticker)] = &*out.events else { panic!("{:?}", out.events) };
                let (values, row) = (&ticker.values, &event["tickers"][0]);
                let actual =
                    [values.last, values.bid, values.ask, values.bid_size, values.base_volume, values.change_percent];
                let names =
                    ["price", "best_bid", "best_ask", "best_bid_quantity", "volume_24_h", "price_percent_chg_24_h"];
                assert_eq!(actual, names.map(|name| Some(number(&row[name]))));
                assert!(values.timestamp.is_some());
            }
            _ => assert!(out.events.is_empty(), "{channel} decoded to {:?}", out.events),
        }
        let count: &mut [usize; 2] = counts.entry(channel.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/coinbase.jsonl", &counts);
    if recordings_folder().is_some() {
        assert!(counts["ticker"][1] > 100 && counts["market_trades"][1] > 100, "{counts:?}");
    }
}

#[test]
fn parses_recorded_coinbase_listing() {
    let coinbase = adapter(ExchangeId::COINBASE);
    for line in lines("ws/coinbase.jsonl").iter().filter(|line| line["t"] == "http") {
        let listed = parse(&coinbase.instruments(), text(&line["data"])).unwrap();
        let active = listed.iter().filter(|one| one.is_trading()).count();
        eprintln!("ws/coinbase.jsonl, listing: {} instruments, {active} active", listed.len());
        let find = |native: &str| listed.iter().find(|one| one.native == native).unwrap();
        assert!(find("BTC-USD").is_trading() && find("BTC-USD").price_step == Some(Decimal::new(1, 2)));
        assert!(listed.issues.is_empty(), "{:?}", listed.issues);
        let alias = find("BTC-USDC");
        assert!(alias.is_trading() && alias.stream_name() == "BTC-USD", "an alias of the same order book");
        assert!(listed.iter().all(|one| coinbase.guess_symbol(&one.native) == Some(one.symbol.clone())));
    }
}

#[test]
fn coinbase_rest_replies_match_ccxt() {
    for line in lines("rest/coinbase.jsonl") {
        let (reply, expected) = (&line["httpResponse"], &line["parsedResponse"]);
        let btc = instrument(ExchangeId::COINBASE, "BTC/USDC");
        let calls = adapter(ExchangeId::COINBASE).ticker(&btc);
        let patch = parse(&calls[1], &reply.to_string()).unwrap();
        let pairs = [(patch.last, "last"), (patch.bid, "bid"), (patch.ask, "ask")];
        assert!(pairs.iter().all(|(actual, name)| matches_float(*actual, &expected[name])), "{patch:?}");
        assert_eq!(patch.timestamp.map(Timestamp::millis), expected["timestamp"].as_i64());
        assert_eq!((patch.high, patch.base_volume), (None, None), "no 24 h statistics in this reply");
        eprintln!("rest/coinbase.jsonl: {} matches", text(&line["method"]));
    }
}

#[test]
fn coinbase_requests_match_ccxt() {
    let coinbase = adapter(ExchangeId::COINBASE);
    let btc = instrument(ExchangeId::COINBASE, "BTC/USDT");
    let origin = coinbase.profile().rest_origins[0];
    let url = |path: &str, query: &[(&str, String)]| {
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{origin}{path}?{}", query.join("&"))
    };
    let mut seen = 0;
    for line in lines("requests/coinbase.jsonl") {
        let expected = text(&line["url"]);
        let actual = match text(&line["method"]) {
            "fetchTicker" => {
                let call = &coinbase.ticker(&btc)[1];
                url(&call.path, &call.query)
            }
            "fetchOHLCV" => {
                // CCXT sends granularity, start and an inclusive end, one second before ours.
                let value = |name: &str| {
                    let found = expected.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}=")));
                    found.unwrap().to_owned()
                };
                let interval = if value("granularity") == "ONE_HOUR" { Interval::H1 } else { Interval::M1 };
                let at = |name: &str| Timestamp::from_secs(value(name).parse().unwrap());
                let range = TimeRange::new(at("start"), Timestamp::from_millis(at("end").millis() + 1));
                let instrument = Arc::new(btc.clone());
                let call = coinbase.candles(&CandlePage { instrument, interval, range, requested_at: NOW }).unwrap();
                let named: BTreeMap<_, _> = call.query.iter().cloned().collect();
                url(&call.path, &["granularity", "start", "end"].map(|name| (name, named[name].clone())))
            }
            "fetchTickers" if expected.ends_with("product_type=SPOT") && !expected.contains("product_ids") => {
                let call = coinbase.instruments();
                url(&call.path, &call.query)
            }
            _ => continue,
        };
        assert_eq!(actual, expected);
        seen += 1;
    }
    eprintln!("requests/coinbase.jsonl: {seen} urls match");
    assert!(recordings_folder().is_none() || seen >= 5, "{seen}");
}
