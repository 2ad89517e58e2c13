//! Tests of every exchange codec, on the fixtures written for this project.

use std::sync::Arc;

use candlewick::exchanges::{
    CandlePage, CandleRows, ConnectionPlan, Exchange, FeedSession, Frame, Outbox, RestCall, RestResponse, Subscription,
};
use candlewick::model::{Channel, ExchangeId, Instrument, Interval, MarketEvent, TimeRange, Timestamp, wire};

use crate::support::adapter;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_500);

/// A file of the exchange's folder of fixtures.
fn fixture(id: ExchangeId, file: &str) -> String {
    let path = format!("{}/tests/fixtures/{id}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines(id: ExchangeId, file: &str) -> Vec<String> {
    fixture(id, file).lines().map(str::to_owned).collect()
}

/// REST bodies of the listing, a ticker and candles.
pub(crate) fn bodies(id: ExchangeId) -> [String; 3] {
    ["instruments.json", "ticker.json", "candles.json"].map(|file| fixture(id, file))
}

pub(crate) fn frames(id: ExchangeId) -> Vec<String> {
    lines(id, "frames.jsonl")
}

fn all() -> impl Iterator<Item = &'static dyn Exchange> {
    ExchangeId::all().map(adapter)
}

/// The instruments of the fixture listing.
pub(crate) fn listing(exchange: &dyn Exchange) -> Vec<Arc<Instrument>> {
    let [body, ..] = bodies(exchange.id());
    parse(&exchange.instruments(), &body).into_iter().map(Arc::new).collect()
}

fn parse<T>(call: &RestCall<T>, body: &str) -> T {
    (call.parse)(&RestResponse { status: 200, body: body.as_bytes() }, NOW).unwrap()
}

/// Sessions, one per connection, that together subscribe to all channels of all listed instruments.
pub(crate) fn subscribed_sessions(exchange: &dyn Exchange) -> Vec<Box<dyn FeedSession>> {
    let all_channels = |instrument: &Arc<Instrument>| {
        Channel::ALL.map(|channel| Subscription { channel, instrument: Arc::clone(instrument) })
    };
    let subscriptions: Vec<_> = listing(exchange).iter().flat_map(all_channels).collect();
    let open = |plan: ConnectionPlan| {
        let mut session = (plan.session)(plan.subscriptions);
        session.on_open(NOW, &mut Outbox::default());
        session
    };
    exchange.connections(&subscriptions).into_iter().map(open).collect()
}

/// Sends every frame to each session and returns all events as JSON. A session ignores topics it did not subscribe to.
fn events(mut sessions: Vec<Box<dyn FeedSession>>, frames: &[String]) -> Vec<String> {
    let mut out = Outbox::default();
    for frame in frames {
        for session in &mut sessions {
            assert_eq!(session.on_frame(Frame::Text(frame), NOW, &mut out), Ok(()), "{frame}");
        }
    }
    let json = |event| String::from_utf8(wire::event_data(event, false)).unwrap();
    out.events.iter().map(json).collect()
}

#[test]
fn fixture_frames_decode_to_expected_events() {
    let expected = |id: ExchangeId| lines(id, "events.jsonl");
    for exchange in all() {
        let frames = frames(exchange.id());
        assert_eq!(events(vec![exchange.decoder()], &frames), expected(exchange.id()), "without subscriptions");
        // Events of an order book with aliases are emitted for each alias. Only those of the main symbol are compared.
        let listing = listing(exchange);
        let aliases: Vec<String> =
            listing.iter().filter(|one| is_alias(one, &listing)).map(|one| symbol_member(one)).collect();
        let mut decoded = events(subscribed_sessions(exchange), &frames);
        decoded.retain(|event| !aliases.iter().any(|alias| event.contains(alias)));
        assert_eq!(decoded, expected(exchange.id()), "with subscriptions");
    }
}

/// Whether an instrument is an alias of an order book that streams under its main symbol.
fn is_alias(instrument: &Instrument, listing: &[Arc<Instrument>]) -> bool {
    let stream_native = instrument.stream_native.as_ref();
    stream_native.is_some_and(|native| listing.iter().any(|other| other.native == *native))
}

fn symbol_member(instrument: &Instrument) -> String {
    format!("\"symbol\":\"{}\"", instrument.symbol)
}

#[test]
fn guesses_symbols_of_listed_ids() {
    for exchange in all() {
        let listing = listing(exchange);
        for instrument in &listing {
            assert_eq!(exchange.guess_symbol(&instrument.native), Some(instrument.symbol.clone()));
            if is_alias(instrument, &listing) {
                continue;
            }
            assert_eq!(exchange.guess_symbol(instrument.stream_name()), Some(instrument.symbol.clone()));
        }
    }
}

#[test]
fn fixture_candles_are_ascending_and_only_newest_is_open() {
    for exchange in all() {
        let [.., body] = bodies(exchange.id());
        let call = candles(exchange, Interval::M1);
        let page = parse(&call, &body);
        let seen: Vec<_> = page.rows.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect();
        assert_eq!(seen, [(1_763_672_220, true), (1_763_672_280, true), (1_763_672_340, false)]);
    }
}

#[test]
fn profiles_are_consistent() {
    for exchange in all() {
        let profile = exchange.profile();
        assert!(profile.rest_origins.iter().all(|origin| origin.starts_with("https://") && !origin.ends_with('/')));
        assert!(profile.ws_origins.iter().all(|origin| origin.starts_with("wss://") && !origin.ends_with('/')));
        assert!(profile.intervals.is_sorted() && profile.intervals.contains(&Interval::M1));
        assert!(profile.probe_path.starts_with('/'));
        for call in exchange.ticker(&listing(exchange)[0]) {
            assert!(profile.rate_limits.iter().any(|scope| scope.name == call.scope && call.weight <= scope.limit));
        }
        for interval in Interval::ALL {
            let offered = candles_of(exchange, interval).is_some();
            assert_eq!(offered, profile.intervals.contains(&interval), "{interval}");
        }
    }
}

pub(crate) fn candles_of(exchange: &dyn Exchange, interval: Interval) -> Option<RestCall<CandleRows>> {
    let instrument = Arc::clone(&listing(exchange)[0]);
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_millis(1_763_672_400_000));
    exchange.candles(&CandlePage { instrument, interval, range, requested_at: range.end() })
}

fn candles(exchange: &dyn Exchange, interval: Interval) -> RestCall<CandleRows> {
    candles_of(exchange, interval).unwrap()
}

/// A candle row. Read by position, it looks like a ticker.
const CANDLE_ROW: &str = r#"[1672981200000,"16823.24","16850.1","16801","16832.5","152.1",1672984799999,"2560000.5",8123,"70.2","118.1",1672984799999]"#;

#[test]
fn candle_row_is_not_decoded_as_ticker() {
    for exchange in all() {
        let instrument = &listing(exchange)[0];
        for call in exchange.ticker(instrument) {
            for body in [CANDLE_ROW, &format!("[{CANDLE_ROW}]"), "[]"] {
                let read = (call.parse)(&RestResponse { status: 200, body: body.as_bytes() }, NOW);
                assert!(read.is_err(), "{} decoded {body} to {read:?}", exchange.id());
            }
        }
        for frame in [
            format!(r#"{{"stream":"btcusdt@ticker","data":{CANDLE_ROW}}}"#),
            format!(r#"{{"channel":"ticker","type":"update","data":[{CANDLE_ROW}]}}"#),
            format!(r#"{{"arg":{{"channel":"tickers","instId":"BTC-USDT"}},"data":[{CANDLE_ROW}]}}"#),
            format!(r#"{{"topic":"tickers.BTCUSDT","ts":1672981200000,"type":"snapshot","data":{CANDLE_ROW}}}"#),
            format!(
                r#"{{"channel":"ticker","sequence_num":0,"events":[{{"type":"update","tickers":[{CANDLE_ROW}]}}]}}"#
            ),
        ] {
            let mut out = Outbox::default();
            let _ = exchange.decoder().on_frame(Frame::Text(&frame), NOW, &mut out);
            assert!(out.events.is_empty(), "{} decoded {frame} to {:?}", exchange.id(), out.events);
        }
    }
}

#[test]
fn rejects_event_of_another_type() {
    let kline = r#"{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{"t":1672515780000,"i":"1m","o":"1","c":"1","h":"1","l":"1","v":"1","n":1,"x":false,"q":"1"}}"#;
    // Another rolling-window statistic, with all members of the expected one.
    let window = r#"{"e":"1hTicker","E":1672515782136,"s":"BTCUSDT","P":"2.5","c":"0.0025","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18"}"#;
    let ohlc = r#"{"symbol":"BTC/USD","open":1,"high":1,"low":1,"close":1,"trades":1,"volume":1,"vwap":1,"interval_begin":"2025-11-20T21:00:00Z","interval":1,"timestamp":"2025-11-20T21:01:00Z"}"#;
    let trade = r#"{"type":"trade","product_id":"BTC-USD","price":"1","size":"1","side":"BUY","time":"2025-11-20T21:00:00Z","trade_id":"1"}"#;
    for (id, frame) in [
        (ExchangeId::BINANCE, format!(r#"{{"stream":"btcusdt@ticker","data":{kline}}}"#)),
        (ExchangeId::BINANCE, format!(r#"{{"stream":"btcusdt@ticker","data":{window}}}"#)),
        (ExchangeId::BINANCE, format!(r#"{{"stream":"btcusdt@trade","data":{kline}}}"#)),
        (ExchangeId::KRAKEN, format!(r#"{{"channel":"ticker","type":"update","data":[{ohlc}]}}"#)),
        (
            ExchangeId::COINBASE,
            format!(r#"{{"channel":"ticker","sequence_num":0,"events":[{{"tickers":[{trade}]}}]}}"#),
        ),
        (
            ExchangeId::BYBIT,
            r#"{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","data":{"symbol":"BTCUSDT","start":1}}"#.to_owned(),
        ),
    ] {
        let mut out = Outbox::default();
        let result = adapter(id).decoder().on_frame(Frame::Text(&frame), NOW, &mut out);
        assert!(out.events.is_empty() && result.is_err(), "{id} decoded {frame} to {:?}", out.events);
    }
}

#[test]
fn impossible_numbers_are_skipped_and_other_events_kept() {
    for exchange in all() {
        let mut rejected = 0;
        for frame in frames(exchange.id()) {
            let decode = |frame: &str| {
                let mut out = Outbox::default();
                let result = exchange.decoder().on_frame(Frame::Text(frame), NOW, &mut out);
                (out.events.take(), result)
            };
            for event in decode(&frame).0 {
                let MarketEvent::Trade(trade) = event else { continue };
                let price = trade.price.to_string();
                // The fixtures contain numbers with and without quotes.
                for invalid in [format!("-{price}"), "7.9e27".to_owned(), "790000000000000000000000000000".to_owned()] {
                    let corrupted = frame.replacen(&price, &invalid, 1);
                    let (decoded, result) = decode(&corrupted);
                    assert!(result.is_err(), "{corrupted}");
                    assert_eq!(decoded.len(), decode(&frame).0.len() - 1, "{corrupted} decoded to {decoded:?}");
                    assert!(decoded.iter().all(|event| event.check(NOW).is_ok()));
                    rejected += 1;
                }
            }
        }
        assert!(rejected > 0, "{}", exchange.id());
    }
}
