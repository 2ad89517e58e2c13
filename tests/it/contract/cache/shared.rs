//! Tickers, open candles, states, leases and demand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candlewick::cache::{KeptTicker, LIVE_CANDLES, Lease, Position};
use candlewick::model::{
    Candle, ExchangeId, ExchangeState, FeedState, Interval, Series, Source, Symbol, Ticker, TickerPatch, TimeRange,
    Timestamp,
};
use rust_decimal::Decimal;

use super::Backend;

const HOLDS: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const BINANCE: ExchangeId = ExchangeId::Binance;

fn btc() -> Symbol {
    "BTC/USDT".parse().unwrap()
}

fn at(token: u64, seq: u64) -> Position {
    Position { token, seq }
}

impl Backend {
    /// A ticker that is received now.
    fn ticker(&self, source: Source, position: Position, last: i64) -> KeptTicker {
        let values = TickerPatch { last: Some(last.into()), ..TickerPatch::default() };
        let ticker = Ticker { exchange: BINANCE, symbol: btc(), values, received_at: self.clock.now(), source };
        KeptTicker { ticker, simulated: false, position, json: Bytes::from(format!("{{\"last\":{last}")) }
    }

    async fn put(&self, ticker: &KeptTicker) -> bool {
        self.cache.tickers.put(ticker.clone(), HOLDS).await.unwrap()
    }

    async fn latest(&self) -> Option<KeptTicker> {
        self.cache.tickers.get(BINANCE, &btc()).await.unwrap()
    }
}

pub async fn tickers_of_a_stream_follow_their_position(backend: Backend) {
    assert_eq!(backend.latest().await, None);
    let tickers: Vec<KeptTicker> = [at(1, 5), at(1, 4), at(1, 5), at(1, 6), at(2, 1), at(1, 99), at(2, 2)]
        .into_iter()
        .zip(0..)
        .map(|(position, last)| backend.ticker(Source::Stream, position, last))
        .collect();
    for (ticker, (kept, latest)) in
        tickers.iter().zip([(true, 0), (false, 0), (false, 0), (true, 3), (true, 4), (false, 4), (true, 6)])
    {
        assert_eq!(backend.put(ticker).await, kept, "{:?}", ticker.position);
        assert_eq!(backend.latest().await.as_ref(), Some(&tickers[latest]), "{:?}", ticker.position);
    }
}

pub async fn markets_with_odd_names_are_kept_apart(backend: Backend) {
    let names = ["1000SATS/USDT", "1INCH/USDT", "AAPLX/USD", "币安人生/USDT", "USD1/USDT", "BTC/U"];
    let mut told = Vec::new();
    for (symbol, last) in names.into_iter().zip(1..) {
        let mut kept = backend.ticker(Source::Stream, at(1, 1), last);
        kept.ticker.symbol = symbol.parse().unwrap();
        assert!(backend.put(&kept).await, "{symbol}");
        told.push(kept);
    }
    for kept in told {
        let symbol = kept.ticker.symbol.clone();
        assert_eq!(backend.cache.tickers.get(BINANCE, &symbol).await.unwrap(), Some(kept), "{symbol}");
    }
}

pub async fn a_rest_ticker_never_replaces_a_live_streams(backend: Backend) {
    let stream = backend.ticker(Source::Stream, at(3, 5), 1);
    assert!(backend.put(&stream).await);
    backend.pass(HOLDS / 2).await;
    let rest = backend.ticker(Source::Rest, at(3, 99), 2);
    assert!(!backend.put(&rest).await);
    assert_eq!(backend.latest().await, Some(stream));
    // The stream is silent for too long.
    backend.pass(HOLDS).await;
    let rest = backend.ticker(Source::Rest, Position::default(), 3);
    assert!(backend.put(&rest).await);
    assert_eq!(backend.latest().await, Some(rest));
    // It is back.
    let stream = backend.ticker(Source::Stream, at(3, 6), 4);
    assert!(backend.put(&stream).await);
    assert_eq!(backend.latest().await, Some(stream));
}

pub async fn rest_tickers_replace_each_other_in_time(backend: Backend) {
    let old = backend.ticker(Source::Rest, at(2, 0), 1);
    backend.pass(SECOND).await;
    let new = backend.ticker(Source::Rest, at(2, 0), 2);
    assert!(backend.put(&new).await);
    assert!(!backend.put(&old).await);
    assert_eq!(backend.latest().await, Some(new.clone()));
    // Whoever held an older lease has nothing more to say, by REST or by stream.
    backend.pass(SECOND).await;
    assert!(!backend.put(&backend.ticker(Source::Rest, at(1, 7), 3)).await);
    assert!(!backend.put(&backend.ticker(Source::Stream, at(1, 7), 3)).await);
    assert_eq!(backend.latest().await, Some(new));
    let stream = backend.ticker(Source::Stream, at(2, 1), 4);
    assert!(backend.put(&stream).await);
    assert_eq!(backend.latest().await, Some(stream));
}

pub async fn tickers_are_kept_by_market(backend: Backend) {
    let mut all = Vec::new();
    for exchange in ExchangeId::ALL {
        for symbol in ["BTC/USDT", "ETH/USDT"] {
            let mut kept = backend.ticker(Source::Stream, at(1, 1), i64::try_from(all.len()).unwrap());
            kept.ticker.exchange = exchange;
            kept.ticker.symbol = symbol.parse().unwrap();
            kept.simulated = exchange == BINANCE;
            assert!(backend.put(&kept).await);
            all.push(kept);
        }
    }
    for kept in &all {
        let read = backend.cache.tickers.get(kept.ticker.exchange, &kept.ticker.symbol).await.unwrap();
        assert_eq!(read.as_ref(), Some(kept));
    }
    backend.cache.tickers.clear(BINANCE).await.unwrap();
    for kept in all {
        let read = backend.cache.tickers.get(kept.ticker.exchange, &kept.ticker.symbol).await.unwrap();
        assert_eq!(read.is_some(), kept.ticker.exchange != BINANCE);
    }
    // After clearing, numbers may start again.
    assert!(backend.put(&backend.ticker(Source::Stream, at(1, 0), 1)).await);
}

pub async fn a_ticker_is_read_whole_while_it_changes(backend: Backend) {
    const LAST: u64 = 500;
    let tickers: Vec<KeptTicker> =
        (1..=LAST).map(|seq| backend.ticker(Source::Stream, at(1, seq), i64::try_from(seq).unwrap())).collect();
    let writer = {
        let kept = Arc::clone(&backend.cache.tickers);
        tokio::spawn(async move {
            for ticker in tickers {
                assert!(kept.put(ticker, HOLDS).await.unwrap());
                tokio::task::yield_now().await;
            }
        })
    };
    let mut seen = 0;
    while seen < LAST {
        if let Some(kept) = backend.latest().await {
            assert!(kept.position.seq >= seen, "time ran backward");
            seen = kept.position.seq;
            assert_eq!(kept.ticker.values.last, Some(Decimal::from(seen)));
            assert_eq!(kept.json, format!("{{\"last\":{seen}"));
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
    async fn live(&self, start: i64, end: i64) -> Vec<Candle> {
        let range = TimeRange::new(Timestamp::from_secs(start * 60), Timestamp::from_secs(end * 60));
        self.cache.candles.get(&series(), range).await.unwrap()
    }

    async fn put_candle(&self, candle: Candle, position: Position) {
        self.cache.candles.put(&series(), candle, position).await.unwrap();
    }
}

pub async fn live_candles_follow_their_position(backend: Backend) {
    assert_eq!(backend.live(0, 100).await, []);
    for (position, volume, expected) in
        [(at(1, 5), 1, 1), (at(1, 6), 2, 2), (at(1, 4), 3, 2), (at(2, 0), 4, 4), (at(1, 99), 5, 4), (at(2, 1), 6, 6)]
    {
        backend.put_candle(candle(3, volume, false), position).await;
        assert_eq!(backend.live(0, 100).await, [candle(3, expected, false)], "{position:?}");
    }
}

pub async fn a_closed_candle_is_not_opened_again(backend: Backend) {
    backend.put_candle(candle(3, 1, false), at(1, 5)).await;
    backend.put_candle(candle(3, 2, true), at(1, 5)).await;
    backend.put_candle(candle(3, 3, false), at(1, 5)).await;
    backend.put_candle(candle(3, 4, false), at(1, 4)).await;
    assert_eq!(backend.live(0, 100).await, [candle(3, 2, true)]);
    // Its revision after closing.
    let revised = Candle { revision: 1, ..candle(3, 5, true) };
    backend.put_candle(revised, at(1, 6)).await;
    assert_eq!(backend.live(0, 100).await, [revised]);
}

pub async fn the_newest_live_candles_are_kept(backend: Backend) {
    let kept = i64::try_from(LIVE_CANDLES).unwrap();
    // In no order, and more than there is room for.
    for minute in [7, 3, 30, 1].into_iter().chain(10..10 + kept).chain([2, 5]) {
        backend.put_candle(candle(minute, 1, true), at(1, 1)).await;
    }
    let minutes = |candles: Vec<Candle>| -> Vec<i64> {
        candles.iter().map(|candle| candle.timestamp.millis() / 60_000).collect()
    };
    let expected: Vec<i64> = (11..10 + kept).chain([30]).collect();
    assert_eq!(minutes(backend.live(0, 100).await), expected);
    assert_eq!(minutes(backend.live(12, 14).await), [12, 13]);
    assert_eq!(minutes(backend.live(26, 30).await), Vec::<i64>::new());
}

pub async fn live_candles_are_kept_by_series(backend: Backend) {
    let all: Vec<Series> = ExchangeId::ALL
        .into_iter()
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

pub async fn states_come_in_registry_order(backend: Backend) {
    let states = &backend.cache.states;
    let state = |exchange, state| ExchangeState {
        exchange,
        state,
        since: backend.clock.now(),
        simulated: false,
        channels: Vec::new(),
        intervals: vec![Interval::M1],
        symbols: vec![btc()],
        room: 10,
        ended: Vec::new(),
        connections: Vec::new(),
        budgets: Vec::new(),
        clock: None,
        listed_at: None,
        detail: None,
    };
    assert_eq!(states.all().await.unwrap(), []);
    assert_eq!(states.get(BINANCE).await.unwrap(), None);
    let (kraken, binance) = (state(ExchangeId::Kraken, FeedState::Live), state(BINANCE, FeedState::Live));
    for state in [&kraken, &state(BINANCE, FeedState::Connecting), &binance] {
        states.put(state.clone()).await.unwrap();
    }
    assert_eq!(states.all().await.unwrap(), [binance.clone().into(), kraken.into()]);
    assert_eq!(states.get(BINANCE).await.unwrap(), Some(binance.into()));
}

impl Backend {
    async fn take(&self, name: &str) -> Option<Lease> {
        self.cache.leases.acquire(name, 4 * SECOND).await.unwrap()
    }
}

pub async fn a_lease_has_one_holder(backend: Backend) {
    let binance = backend.take("binance").await.unwrap();
    assert_eq!(backend.take("binance").await, None);
    let kraken = backend.take("kraken").await.unwrap();
    assert_eq!((binance.name.as_str(), kraken.name.as_str()), ("binance", "kraken"));
    // Renewed in time it is held for longer than it was taken for.
    for _ in 0..4 {
        backend.pass(2 * SECOND).await;
        assert!(backend.cache.leases.renew(&binance, 4 * SECOND).await.unwrap());
    }
    assert_eq!(backend.take("binance").await, None);
}

pub async fn a_lease_that_ran_out_is_lost(backend: Backend) {
    let old = backend.take("binance").await.unwrap();
    backend.pass(5 * SECOND).await;
    assert!(!backend.cache.leases.renew(&old, 4 * SECOND).await.unwrap());
    let new = backend.take("binance").await.unwrap();
    assert!(new.token > old.token);
    // The old holder can neither hold nor end what is not its own.
    assert!(!backend.cache.leases.renew(&old, 4 * SECOND).await.unwrap());
    backend.cache.leases.release(&old).await.unwrap();
    assert_eq!(backend.take("binance").await, None);
    assert!(backend.cache.leases.renew(&new, 4 * SECOND).await.unwrap());
}

pub async fn a_lease_given_back_can_be_taken(backend: Backend) {
    let mut token = 0;
    for _ in 0..3 {
        let lease = backend.take("binance").await.unwrap();
        assert!(lease.token > token, "tokens grow");
        token = lease.token;
        backend.cache.leases.release(&lease).await.unwrap();
        assert!(!backend.cache.leases.renew(&lease, SECOND).await.unwrap());
    }
}

pub async fn demand_ends_with_its_time(backend: Backend) {
    let demand = &backend.cache.demand;
    let symbol = |text: &str| text.parse::<Symbol>().unwrap();
    demand.want(BINANCE, &symbol("A/USDT"), 3 * SECOND).await.unwrap();
    demand.want(BINANCE, &symbol("B/USDT"), 9 * SECOND).await.unwrap();
    demand.want(BINANCE, &symbol("C/USDT"), 9 * SECOND).await.unwrap();
    // Another listener that stays for less does not end it earlier.
    demand.want(BINANCE, &symbol("C/USDT"), SECOND).await.unwrap();
    demand.want(ExchangeId::Kraken, &symbol("K/USD"), 9 * SECOND).await.unwrap();
    let wanted = |exchange| async move {
        let mut symbols = demand.wanted(exchange).await.unwrap();
        symbols.sort();
        symbols.iter().map(Symbol::to_string).collect::<Vec<_>>()
    };
    assert_eq!(wanted(BINANCE).await, ["A/USDT", "B/USDT", "C/USDT"]);
    backend.pass(2 * SECOND).await;
    demand.want(BINANCE, &symbol("B/USDT"), 12 * SECOND).await.unwrap();
    backend.pass(2 * SECOND).await;
    assert_eq!(wanted(BINANCE).await, ["B/USDT", "C/USDT"]);
    backend.pass(6 * SECOND).await;
    assert_eq!(wanted(BINANCE).await, ["B/USDT"]);
    assert_eq!(wanted(ExchangeId::Kraken).await, Vec::<String>::new());
    backend.pass(6 * SECOND).await;
    assert_eq!(wanted(BINANCE).await, Vec::<String>::new());
}
