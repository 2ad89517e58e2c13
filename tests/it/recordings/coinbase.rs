//! Coinbase.

use super::*;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> Decimal {
    parse_decimal(text(value)).unwrap()
}

#[test]
fn every_recorded_frame_of_coinbase_gives_its_events() {
    let mut session = exchange(ExchangeId::Coinbase).decoder();
    let mut counts = BTreeMap::new();
    for line in lines("ws/coinbase.jsonl").iter().filter(|line| line["t"] == "recv") {
        let frame_text = text(&line["data"]);
        let mut out = Outbox::default();
        assert_eq!(session.on_frame(Frame::Text(frame_text), NOW, &mut out), Ok(()), "{frame_text}");
        let frame: Value = serde_json::from_str(frame_text).unwrap();
        let (channel, event) = (text(&frame["channel"]), &frame["events"][0]);
        match channel {
            "market_trades" => {
                // Newest first on the wire, oldest first here.
                let rows: Vec<&Value> = event["trades"].as_array().unwrap().iter().rev().collect();
                assert_eq!(out.events.len(), rows.len(), "{frame_text}");
                for (told, row) in out.events.iter().zip(rows) {
                    let MarketEvent::Trade(trade) = told else { panic!("{told:?}") };
                    assert_eq!((trade.price, trade.amount), (number(&row["price"]), number(&row["size"])));
                    assert_eq!(
                        (&*trade.id, trade.symbol.dashed().as_str()),
                        (text(&row["trade_id"]), text(&row["product_id"]))
                    );
                    assert_eq!(trade.side.as_str() == "buy", row["side"] == "SELL", "the maker's side is told");
                }
            }
            "ticker" => {
                let [MarketEvent::Ticker(ticker)] = &*out.events else { panic!("{:?}", out.events) };
                let (values, row) = (&ticker.values, &event["tickers"][0]);
                let ours =
                    [values.last, values.bid, values.ask, values.bid_size, values.base_volume, values.change_percent];
                let names =
                    ["price", "best_bid", "best_ask", "best_bid_quantity", "volume_24_h", "price_percent_chg_24_h"];
                assert_eq!(ours, names.map(|name| Some(number(&row[name]))));
                assert!(values.timestamp.is_some());
            }
            _ => assert!(out.events.is_empty(), "{channel} gave {:?}", out.events),
        }
        let count: &mut [usize; 2] = counts.entry(channel.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/coinbase.jsonl", &counts);
    if folder().is_some() {
        assert!(counts["ticker"][1] > 100 && counts["market_trades"][1] > 100, "{counts:?}");
    }
}

#[test]
fn the_recorded_listing_of_coinbase_is_read() {
    let coinbase = exchange(ExchangeId::Coinbase);
    for line in lines("ws/coinbase.jsonl").iter().filter(|line| line["t"] == "http") {
        let listed = parse(&coinbase.instruments(), text(&line["data"])).unwrap();
        let active = listed.iter().filter(|one| one.is_trading()).count();
        eprintln!("ws/coinbase.jsonl, listing: {} instruments, {active} active", listed.len());
        let find = |native: &str| listed.iter().find(|one| one.native == native).unwrap();
        assert!(find("BTC-USD").is_trading() && find("BTC-USD").price_step == Some(Decimal::new(1, 2)));
        assert!(listed.odd.is_empty(), "{:?}", listed.odd);
        let alias = find("BTC-USDC");
        assert!(alias.is_trading() && alias.stream_name() == "BTC-USD", "another name of the same book");
        assert!(listed.iter().all(|one| coinbase.guess_symbol(&one.native) == Some(one.symbol.clone())));
    }
}

#[test]
fn rest_replies_of_coinbase_mean_what_ccxt_says() {
    for line in lines("rest/coinbase.jsonl") {
        let (reply, theirs) = (&line["httpResponse"], &line["parsedResponse"]);
        let of_btc = instrument(ExchangeId::Coinbase, "BTC/USDC");
        let calls = exchange(ExchangeId::Coinbase).ticker(&of_btc);
        let patch = parse(&calls[1], &reply.to_string()).unwrap();
        let pairs = [(patch.last, "last"), (patch.bid, "bid"), (patch.ask, "ask")];
        assert!(pairs.iter().all(|(ours, name)| same(*ours, &theirs[name])), "{patch:?}");
        assert_eq!(patch.timestamp.map(Timestamp::millis), theirs["timestamp"].as_i64());
        assert_eq!((patch.high, patch.base_volume), (None, None), "there are no figures of 24 hours");
        eprintln!("rest/coinbase.jsonl: {} agrees", text(&line["method"]));
    }
}

#[test]
fn coinbase_is_asked_as_ccxt_asks() {
    let coinbase = exchange(ExchangeId::Coinbase);
    let of_btc = instrument(ExchangeId::Coinbase, "BTC/USDT");
    let origin = coinbase.profile().rest_origins[0];
    let url = |path: &str, query: &[(&str, String)]| {
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{origin}{path}?{}", query.join("&"))
    };
    let mut seen = 0;
    for line in lines("requests/coinbase.jsonl") {
        let theirs = text(&line["url"]);
        let ours = match text(&line["method"]) {
            "fetchTicker" => {
                let call = &coinbase.ticker(&of_btc)[1];
                url(&call.path, &call.query)
            }
            "fetchOHLCV" => {
                // Theirs: granularity, start, end. The end is the second before ours.
                let value = |name: &str| {
                    let found = theirs.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}=")));
                    found.unwrap().to_owned()
                };
                let interval = if value("granularity") == "ONE_HOUR" { Interval::H1 } else { Interval::M1 };
                let at = |name: &str| Timestamp::from_secs(value(name).parse().unwrap());
                let range = TimeRange::new(at("start"), Timestamp::from_millis(at("end").millis() + 1));
                let instrument = Arc::new(of_btc.clone());
                let call = coinbase.candles(&CandlePage { instrument, interval, range, asked_at: NOW }).unwrap();
                let named: BTreeMap<_, _> = call.query.iter().cloned().collect();
                url(&call.path, &["granularity", "start", "end"].map(|name| (name, named[name].clone())))
            }
            "fetchTickers" if theirs.ends_with("product_type=SPOT") && !theirs.contains("product_ids") => {
                let call = coinbase.instruments();
                url(&call.path, &call.query)
            }
            _ => continue,
        };
        assert_eq!(ours, theirs);
        seen += 1;
    }
    eprintln!("requests/coinbase.jsonl: {seen} urls agree");
    assert!(folder().is_none() || seen >= 5, "{seen}");
}
