//! Conformance with recorded payloads and with CCXT's results for them. The recordings are not in the repository:
//! their folder is `../shared/recordings` or the value of `CANDLEWICK_RECORDINGS`. Without it, nothing is compared.

mod binance;
mod bybit;
mod coinbase;
mod kraken;
mod okx;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use candlewick::exchanges::{CandlePage, CandleRows, Exchange, Frame, Outbox, RestCall, RestErrorKind, RestResponse};
use candlewick::model::{
    Candle, ExchangeId, Instrument, Interval, MarketEvent, Symbol, TickerPatch, TimeRange, Timestamp, parse_decimal,
};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::support::adapter;

/// Later than every recording.
const NOW: Timestamp = Timestamp::from_millis(4_000_000_000_000);

/// The folder of recordings. If it is missing, prints that once, bypassing the capture of the test runner.
fn recordings_folder() -> Option<&'static PathBuf> {
    static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
        let folder = std::env::var_os("CANDLEWICK_RECORDINGS").map_or_else(default, PathBuf::from);
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

/// The lines of one file as JSON. Numbers keep their digits.
fn lines(path: &str) -> Vec<Value> {
    let Some(folder) = recordings_folder() else { return vec![] };
    let text = std::fs::read_to_string(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All recorded frames of one exchange.
pub(crate) fn frames(id: ExchangeId) -> Vec<String> {
    let received = lines(&format!("ws/{id}.jsonl")).into_iter().filter(|line| line["t"] == "recv");
    received.filter_map(|line| line["data"].as_str().map(str::to_owned)).collect()
}

/// All recorded REST bodies of one exchange.
pub(crate) fn bodies(id: ExchangeId) -> Vec<String> {
    let replies = lines(&format!("rest/{id}.jsonl")).into_iter().map(|line| line["httpResponse"].to_string());
    let listings = lines(&format!("ws/{id}.jsonl")).into_iter().filter(|line| line["t"] == "http");
    replies.chain(listings.filter_map(|line| line["data"].as_str().map(str::to_owned))).collect()
}

fn print_table(title: &str, counts: &BTreeMap<String, [usize; 2]>) {
    eprintln!("{title}: payloads, events");
    for (kind, [payloads, events]) in counts {
        eprintln!("  {kind:<28} {payloads:>5} {events:>6}");
    }
}

fn parse<T>(call: &RestCall<T>, body: &str) -> Result<T, candlewick::exchanges::RestError> {
    (call.parse)(&RestResponse { status: 200, body: body.as_bytes() }, NOW)
}

/// An instrument with the exchange's native id.
fn instrument(exchange: ExchangeId, symbol: &str) -> Instrument {
    let native = match exchange {
        ExchangeId::BINANCE | ExchangeId::BYBIT => symbol.replace('/', ""),
        ExchangeId::KRAKEN => symbol.replace('/', "").replace("BTC", "XBT"),
        _ => symbol.replace('/', "-"),
    };
    Instrument::new(exchange, symbol.parse().unwrap(), native)
}

fn candles(exchange: &dyn Exchange, symbol: &str, interval: Interval) -> RestCall<CandleRows> {
    let instrument = Arc::new(instrument(exchange.id(), symbol));
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
    exchange.candles(&CandlePage { instrument, interval, range, requested_at: Timestamp::EPOCH }).unwrap()
}

fn ticker(exchange: &dyn Exchange, symbol: &str, body: &str) -> TickerPatch {
    parse(&exchange.ticker(&instrument(exchange.id(), symbol))[0], body).unwrap()
}

/// Whether our decimal equals the float that CCXT parsed from the same text.
fn matches_float(actual: Option<Decimal>, expected: &Value) -> bool {
    match (actual, expected.as_f64()) {
        (Some(actual), Some(expected)) => {
            actual.to_string().parse::<f64>().is_ok_and(|actual| (actual - expected).abs() <= expected.abs() * 1e-12)
        }
        (actual, expected) => actual.is_none() && expected.is_none(),
    }
}

fn check_ticker(patch: &TickerPatch, expected: &Value, absent: &[&str]) {
    for (name, actual) in [
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
        if absent.contains(&name) {
            assert_eq!(actual, None, "{name} is not set");
        } else {
            assert!(matches_float(actual, &expected[name]), "{name}: {actual:?} and {}", expected[name]);
        }
    }
    assert_eq!(patch.timestamp.map(Timestamp::millis), expected["timestamp"].as_i64());
}

/// Compares rows by open time: CCXT may have dropped rows by its own `since` and `limit`.
fn check_candles(rows: &[Candle], expected: &Value) -> usize {
    let expected = expected.as_array().unwrap();
    for row in expected {
        let actual = rows.iter().find(|actual| Some(actual.timestamp.millis()) == row[0].as_i64());
        let actual = actual.unwrap_or_else(|| panic!("no row of {}", row[0]));
        let values = [actual.open, actual.high, actual.low, actual.close, actual.volume];
        assert!(
            values.iter().zip(1..).all(|(value, at)| matches_float(Some(*value), &row[at])),
            "{actual:?} and {row}"
        );
    }
    expected.len()
}

fn check_rest(id: ExchangeId, absent: &[&str]) {
    let (exchange, mut counts) = (adapter(id), BTreeMap::new());
    for line in lines(&format!("rest/{id}.jsonl")) {
        let (method, reply, expected) =
            (line["method"].as_str().unwrap(), &line["httpResponse"], &line["parsedResponse"]);
        let is_spot = |symbol: &Value| symbol.as_str().is_some_and(|symbol| symbol.parse::<Symbol>().is_ok());
        let input = &line["input"];
        let checked = match method {
            "fetchTicker" if is_spot(&input[0]) => {
                check_ticker(&ticker(exchange, input[0].as_str().unwrap(), &reply.to_string()), expected, absent);
                1
            }
            "fetchTickers" if is_spot(&input[0][0]) => {
                for one in reply.as_array().unwrap() {
                    let symbol = exchange.guess_symbol(one["symbol"].as_str().unwrap()).unwrap();
                    let patch = ticker(exchange, symbol.as_str(), &one.to_string());
                    check_ticker(&patch, &expected[symbol.as_str()], absent);
                }
                reply.as_array().unwrap().len()
            }
            "fetchOHLCV" if is_spot(&input[0]) => {
                let interval = input[1].as_str().unwrap().parse().unwrap();
                let call = candles(exchange, input[0].as_str().unwrap(), interval);
                check_candles(&parse(&call, &reply.to_string()).unwrap().rows, expected)
            }
            _ => continue,
        };
        let count: &mut [usize; 2] = counts.entry(method.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + checked];
    }
    print_table(&format!("rest/{id}.jsonl"), &counts);
    if recordings_folder().is_some() {
        assert!(counts.contains_key("fetchTicker") && counts.contains_key("fetchOHLCV"));
    }
}

/// A request: URL without the query, and its parameters by name.
type Request = (String, BTreeMap<String, String>);

/// Parses the URL of a CCXT request.
fn ccxt_request(url: &str) -> Request {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    (path.to_owned(), query.split('&').filter_map(pair).collect())
}

/// Our request for a call.
fn our_request<T>(exchange: &dyn Exchange, call: &RestCall<T>) -> Request {
    let query = call.query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    (format!("{}{}", exchange.profile().rest_origins[0], call.path), query)
}

/// Compares our spot requests with those of CCXT, for the methods we support. For candles, `remove_known_differences`
/// checks and removes intended differences.
fn check_requests(id: ExchangeId, remove_known_differences: impl Fn(&mut Request, &mut Request)) {
    let (exchange, mut counts) = (adapter(id), BTreeMap::new());
    for line in lines(&format!("requests/{id}.jsonl")) {
        let (method, input) = (line["method"].as_str().unwrap(), &line["input"]);
        let mut expected = ccxt_request(line["url"].as_str().unwrap());
        let spot = input[0].as_str().filter(|symbol| symbol.parse::<Symbol>().is_ok() && !symbol.contains(':'));
        match (method, spot) {
            // The probe of Binance is a ping, not the time.
            ("fetchTime", _) if id != ExchangeId::BINANCE => {
                assert_eq!(
                    expected.0,
                    format!("{}{}", exchange.profile().rest_origins[0], exchange.profile().probe_path)
                );
            }
            ("fetchTicker", Some(symbol)) => {
                assert_eq!(our_request(exchange, &exchange.ticker(&instrument(id, symbol))[0]), expected);
            }
            ("fetchOHLCV", Some(symbol)) => {
                let interval = input[1].as_str().unwrap_or("1m").parse().unwrap();
                let start = Timestamp::from_millis(input[2].as_i64().unwrap_or(1_716_159_600_000));
                let range = TimeRange::new(start, Timestamp::from_millis(start.millis() + 60_000));
                let page =
                    CandlePage { instrument: Arc::new(instrument(id, symbol)), interval, range, requested_at: NOW };
                let mut actual = our_request(exchange, &exchange.candles(&page).unwrap());
                remove_known_differences(&mut actual, &mut expected);
                assert_eq!(actual, expected);
            }
            _ => continue,
        }
        let count: &mut [usize; 2] = counts.entry(method.to_owned()).or_default();
        *count = [count[0] + 1, count[1] + 1];
    }
    print_table(&format!("requests/{id}.jsonl, matching requests"), &counts);
    if recordings_folder().is_some() {
        assert!(counts.contains_key("fetchOHLCV") && counts.contains_key("fetchTicker"), "{counts:?}");
    }
}
