//! Contract of tickers, live candles, states, leases and demand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candlewick::cache::{CachedTicker, LIVE_CANDLES_PER_SERIES, Lease, Version};
use candlewick::model::{
    Candle, ExchangeId, ExchangeState, FeedState, Interval, Series, Source, Symbol, Ticker, TickerPatch, TimeRange,
    Timestamp,
};
use rust_decimal::Decimal;

use super::Backend;

const STREAM_HOLD: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const BINANCE: ExchangeId = ExchangeId::BINANCE;

fn btc() -> Symbol {
    "BTC/USDT".parse().unwrap()
}

fn at(token: u64, seq: u64) -> Version {
    Version { token, seq }
}

impl Backend {
    /// A ticker received now.
    fn ticker(&self, source: Source, version: Version, last: i64) -> CachedTicker {
        let values = TickerPatch { last: Some(last.into()), ..TickerPatch::default() };
        let ticker = Ticker { exchange: BINANCE, symbol: btc(), values, received_at: self.clock.now(), source };
        CachedTicker { ticker, simulated: false, version, json: Bytes::from(format!("{{\"last\":{last}")) }
    }

    async fn put(&self, ticker: &CachedTicker) -> bool {
        self.cache.tickers.put(ticker.clone(), STREAM_HOLD).await.unwrap()
    }

    async fn latest(&self) -> Option<CachedTicker> {
        self.cache.tickers.get(BINANCE, &btc()).await.unwrap()
    }
}

pub async fn stream_tickers_are_ordered_by_version(backend: Backend) {
    assert_eq!(backend.latest().await, None);
    let tickers: Vec<CachedTicker> = [at(1, 5), at(1, 4), at(1, 5), at(1, 6), at(2, 1), at(1, 99), at(2, 2)]
        .into_iter()
        .zip(0..)
        .map(|(version, last)| backend.ticker(Source::Stream, version, last))
        .collect();
    for (ticker, (is_stored, latest)) in
        tickers.iter().zip([(true, 0), (false, 0), (false, 0), (true, 3), (true, 4), (false, 4), (true, 6)])
    {
        assert_eq!(backend.put(ticker).await, is_stored, "{:?}", ticker.version);
        assert_eq!(backend.latest().await.as_ref(), Some(&tickers[latest]), "{:?}", ticker.version);
    }
}

pub async fn markets_with_unusual_symbols_are_separate(backend: Backend) {
    let names = [
        "1000SATS/USDT",
        "1INCH/USDT",
        "AAPLX/USD",
        "币安人生/USDT",
        "USD1/USDT",
        "BTC/U",
        "BTC/U:U",
        "BTC/U:BTC-270326",
    ];
    let mut stored = Vec::new();
    for (symbol, last) in names.into_iter().zip(1..) {
        let mut ticker = backend.ticker(Source::Stream, at(1, 1), last);
        ticker.ticker.symbol = symbol.parse().unwrap();
        assert!(backend.put(&ticker).await, "{symbol}");
        stored.push(ticker);
    }
    for ticker in stored {
        let symbol = ticker.ticker.symbol.clone();
        assert_eq!(backend.cache.tickers.get(BINANCE, &symbol).await.unwrap(), Some(ticker), "{symbol}");
    }
}

pub async fn rest_ticker_does_not_replace_fresh_stream_ticker(backend: Backend) {
    let stream = backend.ticker(Source::Stream, at(3, 5), 1);
    assert!(backend.put(&stream).await);
    backend.advance(STREAM_HOLD / 2).await;
    let rest = backend.ticker(Source::Rest, at(3, 99), 2);
    assert!(!backend.put(&rest).await);
    assert_eq!(backend.latest().await, Some(stream));
    // The stream's ticker is now older than the hold time.
    backend.advance(STREAM_HOLD).await;
    let rest = backend.ticker(Source::Rest, Version::default(), 3);
    assert!(backend.put(&rest).await);
    assert_eq!(backend.latest().await, Some(rest));
    // The stream continues.
    let stream = backend.ticker(Source::Stream, at(3, 6), 4);
    assert!(backend.put(&stream).await);
    assert_eq!(backend.latest().await, Some(stream));
}

pub async fn rest_tickers_are_ordered_by_token_and_receive_time(backend: Backend) {
    let old = backend.ticker(Source::Rest, at(2, 0), 1);
    backend.advance(SECOND).await;
    let new = backend.ticker(Source::Rest, at(2, 0), 2);
    assert!(backend.put(&new).await);
    assert!(!backend.put(&old).await);
    assert_eq!(backend.latest().await, Some(new.clone()));
    // Tickers of an older lease are ignored, from REST and from a stream.
    backend.advance(SECOND).await;
    assert!(!backend.put(&backend.ticker(Source::Rest, at(1, 7), 3)).await);
    assert!(!backend.put(&backend.ticker(Source::Stream, at(1, 7), 3)).await);
    assert_eq!(backend.latest().await, Some(new));
    let stream = backend.ticker(Source::Stream, at(2, 1), 4);
    assert!(backend.put(&stream).await);
    assert_eq!(backend.latest().await, Some(stream));
}

pub async fn tickers_are_cached_per_market(backend: Backend) {
    let mut all = Vec::new();
    for exchange in ExchangeId::all() {
        for symbol in ["BTC/USDT", "ETH/USDT"] {
            let mut ticker = backend.ticker(Source::Stream, at(1, 1), i64::try_from(all.len()).unwrap());
            ticker.ticker.exchange = exchange;
            ticker.ticker.symbol = symbol.parse().unwrap();
            ticker.simulated = exchange == BINANCE;
            assert!(backend.put(&ticker).await);
            all.push(ticker);
        }
    }
    for cached in &all {
        let read = backend.cache.tickers.get(cached.ticker.exchange, &cached.ticker.symbol).await.unwrap();
        assert_eq!(read.as_ref(), Some(cached));
    }
    backend.cache.tickers.clear(BINANCE).await.unwrap();
    for cached in all {
        let read = backend.cache.tickers.get(cached.ticker.exchange, &cached.ticker.symbol).await.unwrap();
        assert_eq!(read.is_some(), cached.ticker.exchange != BINANCE);
    }
    // After a clear, sequence numbers may start again.
    assert!(backend.put(&backend.ticker(Source::Stream, at(1, 0), 1)).await);
}

pub async fn ticker_reads_are_atomic(backend: Backend) {
    const LAST: u64 = 500;
    let tickers: Vec<CachedTicker> =
        (1..=LAST).map(|seq| backend.ticker(Source::Stream, at(1, seq), i64::try_from(seq).unwrap())).collect();
    let writer = {
        let tickers_cache = Arc::clone(&backend.cache.tickers);
        tokio::spawn(async move {
            for ticker in tickers {
                assert!(tickers_cache.put(ticker, STREAM_HOLD).await.unwrap());
                tokio::task::yield_now().await;
            }
        })
    };
    let mut seen = 0;
    while seen < LAST {
        if let Some(cached) = backend.latest().await {
            assert!(cached.version.seq >= seen, "the version decreased");
            seen = cached.version.seq;
            assert_eq!(cached.ticker.values.last, Some(Decimal::from(seen)));
            assert_eq!(cached.json, format!("{{\"last\":{seen}"));
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

fn series() -> Series {
    Series { exchange: BINANCE, symbol: btc(), interval: Interval::M1 }
}

fn candle(minute: i64, volume: i64, closed: bool) -> Candle {
    let one = Decimal::ONE;
    Candle {
        timestamp: Timestamp::from_secs(minute * 60),
        open: one,
        high: one,
        low: one,
        close: one,
        volume: volume.into(),
        quote_volume: None,
        trades: None,
        closed,
        revision: 0,
    }
}

impl Backend {
    async fn cached_candles(&self, start: i64, end: i64) -> Vec<Candle> {
        let range = TimeRange::new(Timestamp::from_secs(start * 60), Timestamp::from_secs(end * 60));
        self.cache.candles.get(&series(), range).await.unwrap()
    }

    async fn put_candle(&self, candle: Candle, version: Version) {
        self.cache.candles.put(&series(), candle, version).await.unwrap();
    }
}

pub async fn live_candles_are_ordered_by_version(backend: Backend) {
    assert_eq!(backend.cached_candles(0, 100).await, []);
    for (version, volume, expected) in
        [(at(1, 5), 1, 1), (at(1, 6), 2, 2), (at(1, 4), 3, 2), (at(2, 0), 4, 4), (at(1, 99), 5, 4), (at(2, 1), 6, 6)]
    {
        backend.put_candle(candle(3, volume, false), version).await;
        assert_eq!(backend.cached_candles(0, 100).await, [candle(3, expected, false)], "{version:?}");
    }
}

pub async fn closed_candle_is_not_reopened(backend: Backend) {
    backend.put_candle(candle(3, 1, false), at(1, 5)).await;
    backend.put_candle(candle(3, 2, true), at(1, 5)).await;
    backend.put_candle(candle(3, 3, false), at(1, 5)).await;
    backend.put_candle(candle(3, 4, false), at(1, 4)).await;
    assert_eq!(backend.cached_candles(0, 100).await, [candle(3, 2, true)]);
    // A revision of the closed candle replaces it.
    let revised = Candle { revision: 1, ..candle(3, 5, true) };
    backend.put_candle(revised, at(1, 6)).await;
    assert_eq!(backend.cached_candles(0, 100).await, [revised]);
}

pub async fn only_newest_live_candles_are_retained(backend: Backend) {
    let limit = i64::try_from(LIVE_CANDLES_PER_SERIES).unwrap();
    // Unordered, and more than the limit.
    for minute in [7, 3, 30, 1].into_iter().chain(10..10 + limit).chain([2, 5]) {
        backend.put_candle(candle(minute, 1, true), at(1, 1)).await;
    }
    let minutes = |candles: Vec<Candle>| -> Vec<i64> {
        candles.iter().map(|candle| candle.timestamp.millis() / 60_000).collect()
    };
    let expected: Vec<i64> = (11..10 + limit).chain([30]).collect();
    assert_eq!(minutes(backend.cached_candles(0, 100).await), expected);
    assert_eq!(minutes(backend.cached_candles(12, 14).await), [12, 13]);
    assert_eq!(minutes(backend.cached_candles(26, 30).await), Vec::<i64>::new());
}

pub async fn live_candles_are_cached_per_series(backend: Backend) {
    let all: Vec<Series> = ExchangeId::all()
        .flat_map(|exchange| [Interval::M1, Interval::Mo1].map(|interval| Series { exchange, symbol: btc(), interval }))
        .collect();
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(60));
    for (series, volume) in all.iter().zip(1..) {
        backend.cache.candles.put(series, candle(0, volume, false), at(1, 1)).await.unwrap();
    }
    for (series, volume) in all.iter().zip(1..) {
        assert_eq!(backend.cache.candles.get(series, range).await.unwrap(), [candle(0, volume, false)]);
    }
    backend.cache.candles.clear(BINANCE).await.unwrap();
    for series in &all {
        let read = backend.cache.candles.get(series, range).await.unwrap();
        assert_eq!(read.len(), usize::from(series.exchange != BINANCE));
    }
}

pub async fn states_are_in_registry_order(backend: Backend) {
    let states = &backend.cache.states;
    let state = |exchange, state| ExchangeState {
        exchange,
        state,
        since: backend.clock.now(),
        simulated: false,
        channels: Vec::new(),
        intervals: vec![Interval::M1],
        symbols: vec![btc()],
        on_demand_capacity: 10,
        ended: Vec::new(),
        connections: Vec::new(),
        budgets: Vec::new(),
        clock: None,
        exchange_time: None,
        listed_at: None,
        detail: None,
    };
    assert_eq!(states.all().await.unwrap(), []);
    assert_eq!(states.get(BINANCE).await.unwrap(), None);
    let (kraken, binance) = (state(ExchangeId::KRAKEN, FeedState::Live), state(BINANCE, FeedState::Live));
    for state in [&kraken, &state(BINANCE, FeedState::Connecting), &binance] {
        states.put(state.clone()).await.unwrap();
    }
    assert_eq!(states.all().await.unwrap(), [binance.clone().into(), kraken.into()]);
    assert_eq!(states.get(BINANCE).await.unwrap(), Some(binance.clone().into()));
    assert_eq!(states.exchange_time(BINANCE), None);
    let reported = backend.clock.now();
    states.put(ExchangeState { exchange_time: Some(reported), ..binance }).await.unwrap();
    backend.advance(SECOND).await;
    assert!(states.exchange_time(BINANCE).unwrap() >= reported + SECOND);
}

impl Backend {
    async fn acquire(&self, name: &str) -> Option<Lease> {
        self.cache.leases.acquire(name, 4 * SECOND).await.unwrap()
    }
}

pub async fn lease_has_one_holder(backend: Backend) {
    let binance = backend.acquire("binance").await.unwrap();
    assert_eq!(backend.acquire("binance").await, None);
    let kraken = backend.acquire("kraken").await.unwrap();
    assert_eq!((binance.name.as_str(), kraken.name.as_str()), ("binance", "kraken"));
    // Renewals extend the lease beyond its first ttl.
    for _ in 0..4 {
        backend.advance(2 * SECOND).await;
        assert!(backend.cache.leases.renew(&binance, 4 * SECOND).await.unwrap());
    }
    assert_eq!(backend.acquire("binance").await, None);
}

pub async fn expired_lease_is_lost(backend: Backend) {
    let old = backend.acquire("binance").await.unwrap();
    backend.advance(5 * SECOND).await;
    assert!(!backend.cache.leases.renew(&old, 4 * SECOND).await.unwrap());
    let new = backend.acquire("binance").await.unwrap();
    assert!(new.token > old.token);
    // The old holder can neither renew nor release the new lease.
    assert!(!backend.cache.leases.renew(&old, 4 * SECOND).await.unwrap());
    backend.cache.leases.release(&old).await.unwrap();
    assert_eq!(backend.acquire("binance").await, None);
    assert!(backend.cache.leases.renew(&new, 4 * SECOND).await.unwrap());
}

pub async fn released_lease_can_be_acquired(backend: Backend) {
    let mut token = 0;
    for _ in 0..3 {
        let lease = backend.acquire("binance").await.unwrap();
        assert!(lease.token > token, "tokens grow");
        token = lease.token;
        backend.cache.leases.release(&lease).await.unwrap();
        assert!(!backend.cache.leases.renew(&lease, SECOND).await.unwrap());
    }
}

pub async fn demand_expires_after_ttl(backend: Backend) {
    let demand = &backend.cache.demand;
    let symbol = |text: &str| text.parse::<Symbol>().unwrap();
    demand.add(BINANCE, &symbol("A/USDT"), 3 * SECOND).await.unwrap();
    demand.add(BINANCE, &symbol("B/USDT"), 9 * SECOND).await.unwrap();
    demand.add(BINANCE, &symbol("C/USDT"), 9 * SECOND).await.unwrap();
    // A shorter ttl does not shorten existing demand.
    demand.add(BINANCE, &symbol("C/USDT"), SECOND).await.unwrap();
    demand.add(ExchangeId::KRAKEN, &symbol("K/USD"), 9 * SECOND).await.unwrap();
    let demanded = |exchange| async move {
        let mut symbols = demand.symbols(exchange).await.unwrap();
        symbols.sort();
        symbols.iter().map(Symbol::to_string).collect::<Vec<_>>()
    };
    assert_eq!(demanded(BINANCE).await, ["A/USDT", "B/USDT", "C/USDT"]);
    backend.advance(2 * SECOND).await;
    demand.add(BINANCE, &symbol("B/USDT"), 12 * SECOND).await.unwrap();
    backend.advance(2 * SECOND).await;
    assert_eq!(demanded(BINANCE).await, ["B/USDT", "C/USDT"]);
    backend.advance(6 * SECOND).await;
    assert_eq!(demanded(BINANCE).await, ["B/USDT"]);
    assert_eq!(demanded(ExchangeId::KRAKEN).await, Vec::<String>::new());
    backend.advance(6 * SECOND).await;
    assert_eq!(demanded(BINANCE).await, Vec::<String>::new());
}
