//! Conformance with real payloads that others recorded. They are not part of the repository: the folder is
//! `../shared/recordings` beside it, or what `CANDLEWICK_RECORDINGS` names.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use candlewick::exchanges::{CandlePage, Exchange, Frame, Outbox, Reply, ReplyErrorKind, RestCall, exchange};
use candlewick::model::{
    Candle, ExchangeId, Instrument, Interval, MarketEvent, Symbol, TickerPatch, TimeRange, Timestamp, parse_decimal,
};
use rust_decimal::Decimal;
use serde_json::Value;

/// Later than anything recorded.
const NOW: Timestamp = Timestamp::from_millis(4_000_000_000_000);

/// The folder; where there is none, says so once, past the capture of the test runner.
fn folder() -> Option<&'static PathBuf> {
    static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
        let folder = std::env::var_os("CANDLEWICK_RECORDINGS").map_or_else(beside, PathBuf::from);
        if !folder.is_dir() {
            let folder = folder.display();
            let _ =
                writeln!(std::io::stderr(), "no recordings in {folder}: conformance with real payloads was not tested");
            return None;
        }
        Some(folder)
    });
    FOLDER.as_ref()
}

/// The lines of one file as JSON, with the digits of their numbers.
fn lines(path: &str) -> Vec<Value> {
    let Some(folder) = folder() else { return vec![] };
    let text = std::fs::read_to_string(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn print_table(title: &str, counts: &BTreeMap<String, [usize; 2]>) {
    eprintln!("{title}: payloads, events");
    for (what, [payloads, events]) in counts {
        eprintln!("  {what:<28} {payloads:>5} {events:>6}");
    }
}

#[test]
fn every_recorded_frame_of_binance_gives_its_events() {
    let mut session = exchange(ExchangeId::Binance).decoder();
    let mut counts = BTreeMap::new();
    for line in lines("ws/binance.jsonl").iter().filter(|line| line["t"] == "recv") {
        let (channel, text) = (line["ch"].as_str().unwrap(), line["data"].as_str().unwrap());
        let mut out = Outbox::default();
        assert_eq!(session.on_frame(Frame::Text(text), NOW, &mut out), Ok(()), "{text}");
        let frame: Value = serde_json::from_str(text).unwrap();
        let data = &frame["data"];
        let number = |value: &Value| Some(parse_decimal(value.as_str().unwrap()).unwrap());
        match (channel, out.events.as_slice()) {
            ("depth@100ms", []) => {}
            ("bookTicker", [MarketEvent::Ticker(ticker)]) => {
                assert_eq!(ticker.symbol.as_str().replace('/', ""), data["s"].as_str().unwrap());
                let of = |values: &TickerPatch| [values.bid, values.bid_size, values.ask, values.ask_size];
                assert_eq!(of(&ticker.values), ["b", "B", "a", "A"].map(|name| number(&data[name])));
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
            (channel, events) => panic!("a frame of {channel} gave {events:?}"),
        }
        let count: &mut [usize; 2] = counts.entry(channel.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + out.events.len()];
    }
    print_table("ws/binance.jsonl", &counts);
    if folder().is_some() {
        let all: Vec<_> = counts.into_iter().collect();
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["aggTrade", "bookTicker", "depth@100ms", "kline_1m"]);
    }
}

#[test]
fn the_recorded_listing_of_binance_is_read() {
    let http = lines("ws/binance.jsonl").into_iter().filter(|line| line["t"] == "http");
    for line in http.filter(|line| line["url"].as_str().unwrap().ends_with("/exchangeInfo")) {
        let listed = parse(&exchange(ExchangeId::Binance).instruments(), line["data"].as_str().unwrap()).unwrap();
        eprintln!("exchangeInfo: {} instruments", listed.len());
        assert!(listed.iter().any(|one| one.symbol.as_str() == "NKN/USDT" && one.active && one.price_step.is_some()));
        let guessed =
            |one: &&Instrument| exchange(ExchangeId::Binance).guess_symbol(&one.native) == Some(one.symbol.clone());
        let wrong: Vec<_> = listed.iter().filter(|one| !guessed(one)).map(|one| &one.native).collect();
        assert!(wrong.is_empty(), "ids that were guessed wrong: {wrong:?}");
    }
}

fn parse<T>(call: &RestCall<T>, body: &str) -> Result<T, candlewick::exchanges::ReplyError> {
    (call.parse)(&Reply { status: 200, body: body.as_bytes() }, NOW)
}

fn instrument(exchange: ExchangeId, symbol: &str) -> Instrument {
    Instrument {
        exchange,
        symbol: symbol.parse().unwrap(),
        native: symbol.replace('/', "").replace("BTC", if exchange == ExchangeId::Kraken { "XBT" } else { "BTC" }),
        stream_native: None,
        price_step: None,
        amount_step: None,
        active: true,
    }
}

fn candles(exchange: &dyn Exchange, symbol: &str, interval: Interval) -> RestCall<Vec<Candle>> {
    let instrument = Arc::new(instrument(exchange.id(), symbol));
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
    exchange.candles(&CandlePage { instrument, interval, range }).unwrap()
}

fn ticker(exchange: &dyn Exchange, symbol: &str, body: &str) -> TickerPatch {
    parse(&exchange.ticker(&instrument(exchange.id(), symbol))[0], body).unwrap()
}

/// Whether a value of ours is the float that CCXT made of the same text.
fn same(ours: Option<Decimal>, theirs: &Value) -> bool {
    match (ours, theirs.as_f64()) {
        (Some(ours), Some(theirs)) => {
            ours.to_string().parse::<f64>().is_ok_and(|ours| (ours - theirs).abs() <= theirs.abs() * 1e-12)
        }
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    }
}

fn check_ticker(patch: &TickerPatch, theirs: &Value, left_out: &[&str]) {
    for (name, ours) in [
        ("last", patch.last),
        ("bid", patch.bid),
        ("bidVolume", patch.bid_size),
        ("ask", patch.ask),
        ("askVolume", patch.ask_size),
        ("open", patch.open),
        ("high", patch.high),
        ("low", patch.low),
        ("baseVolume", patch.base_volume),
        ("quoteVolume", patch.quote_volume),
        ("percentage", patch.change_percent),
    ] {
        if left_out.contains(&name) {
            assert_eq!(ours, None, "{name} is not given");
        } else {
            assert!(same(ours, &theirs[name]), "{name}: {ours:?} and {}", theirs[name]);
        }
    }
    assert_eq!(patch.timestamp.map(Timestamp::millis), theirs["timestamp"].as_i64());
}

/// Rows are compared by their time: CCXT may have cut rows by its own `since` and `limit`.
fn check_candles(rows: &[Candle], theirs: &Value) -> usize {
    let theirs = theirs.as_array().unwrap();
    for row in theirs {
        let ours = rows.iter().find(|ours| Some(ours.timestamp.millis()) == row[0].as_i64());
        let ours = ours.unwrap_or_else(|| panic!("no row of {}", row[0]));
        let values = [ours.open, ours.high, ours.low, ours.close, ours.volume];
        assert!(values.iter().zip(1..).all(|(value, at)| same(Some(*value), &row[at])), "{ours:?} and {row}");
    }
    theirs.len()
}

fn check_rest(id: ExchangeId, left_out: &[&str]) {
    let (exchange, mut counts) = (exchange(id), BTreeMap::new());
    for line in lines(&format!("rest/{id}.jsonl")) {
        let (method, reply, theirs) =
            (line["method"].as_str().unwrap(), &line["httpResponse"], &line["parsedResponse"]);
        let is_spot = |symbol: &Value| symbol.as_str().is_some_and(|symbol| symbol.parse::<Symbol>().is_ok());
        let input = &line["input"];
        let checked = match method {
            "fetchTicker" if is_spot(&input[0]) => {
                check_ticker(&ticker(exchange, input[0].as_str().unwrap(), &reply.to_string()), theirs, left_out);
                1
            }
            "fetchTickers" if is_spot(&input[0][0]) => {
                for one in reply.as_array().unwrap() {
                    let symbol = exchange.guess_symbol(one["symbol"].as_str().unwrap()).unwrap();
                    let patch = ticker(exchange, symbol.as_str(), &one.to_string());
                    check_ticker(&patch, &theirs[symbol.as_str()], left_out);
                }
                reply.as_array().unwrap().len()
            }
            "fetchOHLCV" if is_spot(&input[0]) => {
                let interval = input[1].as_str().unwrap().parse().unwrap();
                let call = candles(exchange, input[0].as_str().unwrap(), interval);
                check_candles(&parse(&call, &reply.to_string()).unwrap(), theirs)
            }
            _ => continue,
        };
        let count: &mut [usize; 2] = counts.entry(method.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + checked];
    }
    print_table(&format!("rest/{id}.jsonl"), &counts);
    if folder().is_some() {
        assert!(counts.contains_key("fetchTicker") && counts.contains_key("fetchOHLCV"));
    }
}

#[test]
fn rest_replies_of_binance_mean_what_ccxt_says() {
    check_rest(ExchangeId::Binance, &[]);
}

#[test]
fn rest_replies_of_kraken_mean_what_ccxt_says() {
    // CCXT takes today's open for that of 24 hours, and computes from it and from the average price.
    check_rest(ExchangeId::Kraken, &["open", "percentage", "quoteVolume"]);
}

#[test]
fn bodies_of_binance_with_their_true_types_are_read() {
    let (binance, mut counts) = (exchange(ExchangeId::Binance), BTreeMap::new());
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
                let rows = parse(&candles(binance, "BTC/USDT", Interval::M1), &body.to_string()).unwrap();
                assert!(rows.iter().all(|row| row.closed));
                rows.len()
            }
            _ => continue,
        };
        counts.insert(file.to_owned(), [1, read]);
    }
    print_table("rest_true_types/binance.jsonl", &counts);
    assert_eq!(counts.len(), if folder().is_some() { 3 } else { 0 });
}

#[test]
fn recorded_errors_of_binance_are_told_apart() {
    for line in lines("errors/binance.jsonl") {
        let status = line["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
        let body = line["body"].to_string();
        let call = &exchange(ExchangeId::Binance).ticker(&instrument(ExchangeId::Binance, "NO/USDT"))[0];
        let error = (call.parse)(&Reply { status, body: body.as_bytes() }, NOW).unwrap_err();
        assert_eq!(error.kind, ReplyErrorKind::UnknownSymbol, "{body}");
    }
}
