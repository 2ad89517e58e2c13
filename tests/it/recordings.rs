//! Conformance with real payloads that others recorded. They are not part of the repository: the folder is
//! `../shared/recordings` beside it, or what `CANDLEWICK_RECORDINGS` names.

mod binance;
mod bybit;
mod coinbase;
mod kraken;
mod okx;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use candlewick::exchanges::{
    CandlePage, CandleRows, Exchange, Frame, Outbox, Reply, ReplyErrorKind, RestCall, exchange,
};
use candlewick::model::{
    Candle, ExchangeId, Instrument, InstrumentStatus, Interval, MarketEvent, Symbol, TickerPatch, TimeRange, Timestamp,
    parse_decimal,
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

/// The frames of one exchange.
pub(crate) fn frames(id: ExchangeId) -> Vec<String> {
    let received = lines(&format!("ws/{id}.jsonl")).into_iter().filter(|line| line["t"] == "recv");
    received.filter_map(|line| line["data"].as_str().map(str::to_owned)).collect()
}

/// The bodies of one exchange's REST replies.
pub(crate) fn bodies(id: ExchangeId) -> Vec<String> {
    let replies = lines(&format!("rest/{id}.jsonl")).into_iter().map(|line| line["httpResponse"].to_string());
    let listings = lines(&format!("ws/{id}.jsonl")).into_iter().filter(|line| line["t"] == "http");
    replies.chain(listings.filter_map(|line| line["data"].as_str().map(str::to_owned))).collect()
}

fn print_table(title: &str, counts: &BTreeMap<String, [usize; 2]>) {
    eprintln!("{title}: payloads, events");
    for (what, [payloads, events]) in counts {
        eprintln!("  {what:<28} {payloads:>5} {events:>6}");
    }
}

fn parse<T>(call: &RestCall<T>, body: &str) -> Result<T, candlewick::exchanges::ReplyError> {
    (call.parse)(&Reply { status: 200, body: body.as_bytes() }, NOW)
}

/// A market under the exchange's own name.
fn instrument(exchange: ExchangeId, symbol: &str) -> Instrument {
    let native = match exchange {
        ExchangeId::Binance | ExchangeId::Bybit => symbol.replace('/', ""),
        ExchangeId::Kraken => symbol.replace('/', "").replace("BTC", "XBT"),
        ExchangeId::Okx | ExchangeId::Coinbase => symbol.replace('/', "-"),
    };
    Instrument {
        exchange,
        symbol: symbol.parse().unwrap(),
        native,
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: InstrumentStatus::Trading,
    }
}

fn candles(exchange: &dyn Exchange, symbol: &str, interval: Interval) -> RestCall<CandleRows> {
    let instrument = Arc::new(instrument(exchange.id(), symbol));
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
    exchange.candles(&CandlePage { instrument, interval, range, asked_at: Timestamp::EPOCH }).unwrap()
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
                check_candles(&parse(&call, &reply.to_string()).unwrap().rows, theirs)
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

/// A request: where, and its parameters by name.
type Request = (String, BTreeMap<String, String>);

/// What CCXT asks.
fn asked(url: &str) -> Request {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    (path.to_owned(), query.split('&').filter_map(pair).collect())
}

/// What we ask.
fn ours<T>(exchange: &dyn Exchange, call: &RestCall<T>) -> Request {
    let query = call.query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    (format!("{}{}", exchange.profile().rest_origins[0], call.path), query)
}

/// Compares the spot requests that CCXT makes by the methods that we have with ours. Of candles `set_aside` takes out
/// what is asked differently on purpose, after a look at it.
fn check_requests(id: ExchangeId, set_aside: impl Fn(&mut Request, &mut Request)) {
    let (exchange, mut counts) = (exchange(id), BTreeMap::new());
    for line in lines(&format!("requests/{id}.jsonl")) {
        let (method, input) = (line["method"].as_str().unwrap(), &line["input"]);
        let mut theirs = asked(line["url"].as_str().unwrap());
        let spot = input[0].as_str().filter(|symbol| symbol.parse::<Symbol>().is_ok() && !symbol.contains(':'));
        match (method, spot) {
            // Binance is probed by a ping.
            ("fetchTime", _) if id != ExchangeId::Binance => {
                assert_eq!(
                    theirs.0,
                    format!("{}{}", exchange.profile().rest_origins[0], exchange.profile().probe_path)
                );
            }
            ("fetchTicker", Some(symbol)) => {
                assert_eq!(ours(exchange, &exchange.ticker(&instrument(id, symbol))[0]), theirs);
            }
            ("fetchOHLCV", Some(symbol)) => {
                let interval = input[1].as_str().unwrap_or("1m").parse().unwrap();
                let start = Timestamp::from_millis(input[2].as_i64().unwrap_or(1_716_159_600_000));
                let range = TimeRange::new(start, Timestamp::from_millis(start.millis() + 60_000));
                let page = CandlePage { instrument: Arc::new(instrument(id, symbol)), interval, range, asked_at: NOW };
                let mut ours = ours(exchange, &exchange.candles(&page).unwrap());
                set_aside(&mut ours, &mut theirs);
                assert_eq!(ours, theirs);
            }
            _ => continue,
        }
        let count: &mut [usize; 2] = counts.entry(method.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + 1];
    }
    print_table(&format!("requests/{id}.jsonl, those that agree"), &counts);
    if folder().is_some() {
        assert!(counts.contains_key("fetchOHLCV") && counts.contains_key("fetchTicker"), "{counts:?}");
    }
}
