//! What every [`CandleStore`] must do. A backend is a function that opens it, and one line for each suite below.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use candlewick::model::{
    Candle, Coverage, CoveredRange, ExchangeId, Instrument, Interval, Knowledge, Series, TimeRange, Timestamp,
};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, Listing, SeriesWrite, StoreError, Take};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rust_decimal::Decimal;
use tempfile::TempDir;

type Store = Arc<dyn CandleStore>;

/// A place for data that is empty when it is made.
struct Backend {
    open: Box<dyn Fn() -> Pin<Box<dyn Future<Output = Store> + Send>> + Send + Sync>,
    _home: Option<TempDir>,
}

fn sqlite_memory() -> Backend {
    let open = || -> Pin<Box<dyn Future<Output = Store> + Send>> {
        Box::pin(async { Arc::new(SqliteStore::in_memory().await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _home: None }
}

fn sqlite_file() -> Backend {
    let home = TempDir::new().unwrap();
    let url = format!("sqlite://{}/new/folder/candles.db", home.path().display());
    let open = move || -> Pin<Box<dyn Future<Output = Store> + Send>> {
        let url = url.clone();
        Box::pin(async move { Arc::new(SqliteStore::open(&url).await.unwrap()) as Store })
    };
    Backend { open: Box::new(open), _home: Some(home) }
}

macro_rules! cases {
    ($name:ident, $backend:ident, $($case:ident)*) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(super::$backend()).await;
                }
            )*
        }
    };
}

macro_rules! keeps_candles {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend,
            an_empty_store_knows_nothing
            what_is_written_is_read
            the_same_rows_again_change_nothing
            a_changed_row_is_replaced_and_its_revision_raised
            nothing_of_a_refused_batch_is_written
            the_first_or_the_last_rows_come_ascending
            ranges_are_half_open
            series_do_not_mix
            any_number_of_rows_is_written
            the_ledger_agrees_with_the_model
            claims_without_rows_are_kept
            a_listing_is_replaced_as_a_whole
            readers_see_only_whole_batches
            writers_at_the_same_time_lose_nothing
            a_closed_store_says_so
        }
    };
}

macro_rules! lasts {
    ($name:ident, $backend:ident) => {
        cases! { $name, $backend, all_is_there_after_opening_again two_handles_share_what_is_stored }
    };
}

keeps_candles!(memory, sqlite_memory);
keeps_candles!(file, sqlite_file);
lasts!(file_reopened, sqlite_file);

const EVER: (i64, i64) = (0, 1_000_000);

fn series(symbol: &str) -> Series {
    Series { exchange: ExchangeId::Binance, symbol: symbol.parse().unwrap(), interval: Interval::M1 }
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_secs(minute * 60)
}

fn minutes((start, end): (i64, i64)) -> TimeRange {
    TimeRange::new(minute(start), minute(end))
}

fn claim(range: (i64, i64), state: Knowledge) -> CoveredRange {
    CoveredRange { range: minutes(range), state }
}

fn candle(at: i64) -> Candle {
    let price = Decimal::new(6_700_000 + at, 2);
    Candle {
        timestamp: minute(at),
        open: price,
        high: price + Decimal::ONE,
        low: price - Decimal::ONE,
        close: price,
        volume: Decimal::new(at, 8),
        quote_volume: Some(price * Decimal::new(at, 8)),
        trades: Some(at.unsigned_abs()),
        closed: true,
        revision: 0,
    }
}

fn candles((start, end): (i64, i64)) -> Vec<Candle> {
    (start..end).map(candle).collect()
}

/// The candles of a range with a claim for all of it.
fn fetched(series: &Series, range: (i64, i64)) -> SeriesWrite {
    SeriesWrite { series: series.clone(), candles: candles(range), claims: vec![claim(range, Knowledge::Fetched)] }
}

fn rows(series: &Series, candles: Vec<Candle>) -> [SeriesWrite; 1] {
    [SeriesWrite { series: series.clone(), candles, claims: Vec::new() }]
}

async fn all(store: &Store, series: &Series) -> Vec<Candle> {
    store.candles(series, minutes(EVER), Take::First(u32::MAX)).await.unwrap()
}

async fn an_empty_store_knows_nothing(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.ping().await.unwrap();
    assert_eq!(all(&store, &btc).await, []);
    assert_eq!(store.coverage(&btc, minutes(EVER)).await.unwrap(), Coverage::default());
    assert_eq!(store.instruments(ExchangeId::Kraken).await.unwrap(), Listing::default());
    assert_eq!(store.write(&[]).await.unwrap(), []);
}

async fn what_is_written_is_read(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let bare = Candle { quote_volume: None, trades: None, volume: Decimal::ZERO, ..candle(1) };
    let (largest, smallest) = (Decimal::MAX, Decimal::new(1, 28));
    let extreme =
        Candle { open: smallest, high: largest, low: smallest, close: largest, trades: Some(1 << 60), ..candle(2) };
    let written = vec![candle(0), bare, extreme];
    let part = SeriesWrite {
        candles: written.clone(),
        claims: vec![claim((0, 3), Knowledge::Observed)],
        ..fetched(&btc, (0, 0))
    };
    assert_eq!(store.write(&[part]).await.unwrap(), []);
    assert_eq!(all(&store, &btc).await, written);
    let known = store.coverage(&btc, minutes(EVER)).await.unwrap();
    assert_eq!(known.ranges(), [claim((0, 3), Knowledge::Observed)]);
}

async fn the_same_rows_again_change_nothing(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let batch = [fetched(&btc, (0, 100))];
    for _ in 0..3 {
        assert_eq!(store.write(&batch).await.unwrap(), []);
    }
    // The same number written with other digits is the same number.
    let mut zeros = candle(5);
    zeros.open.rescale(9);
    zeros.quote_volume = zeros.quote_volume.map(|volume| {
        let mut longer = volume;
        longer.rescale(volume.scale() + 3);
        longer
    });
    assert_ne!(zeros.open.to_string(), candle(5).open.to_string());
    assert_eq!(store.write(&rows(&btc, vec![zeros])).await.unwrap(), []);
    assert_eq!(all(&store, &btc).await, candles((0, 100)));
}

async fn a_changed_row_is_replaced_and_its_revision_raised(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.write(&[fetched(&btc, (0, 5))]).await.unwrap();
    let more = Decimal::new(1, 1);
    let changes: [fn(&mut Candle, Decimal); 9] = [
        |candle, more| candle.open += more,
        |candle, more| candle.high += more,
        |candle, more| candle.low -= more,
        |candle, more| candle.close += more,
        |candle, more| candle.volume += more,
        |candle, _| candle.quote_volume = None,
        |candle, more| candle.quote_volume = Some(more),
        |candle, _| candle.trades = None,
        |candle, _| candle.trades = Some(7),
    ];
    let mut now = candle(2);
    for (revision, change) in (1..).zip(changes) {
        change(&mut now, more);
        // What a caller thinks of the revision does not count.
        let given = vec![candle(1), Candle { revision: 77, ..now }, candle(3)];
        let now = Candle { revision, ..now };
        assert_eq!(store.write(&rows(&btc, given)).await.unwrap(), [(btc.clone(), now)]);
        assert_eq!(all(&store, &btc).await, [candle(0), candle(1), now, candle(3), candle(4)]);
    }
}

async fn nothing_of_a_refused_batch_is_written(backend: Backend) {
    let store = (backend.open)().await;
    let (btc, eth) = (series("BTC/USDT"), series("ETH/USDT"));
    let mut open = fetched(&eth, (0, 3));
    open.candles[2].closed = false;
    let refused = store.write(&[fetched(&btc, (0, 3)), open]).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    for series in [btc, eth] {
        assert_eq!(all(&store, &series).await, []);
        assert_eq!(store.coverage(&series, minutes(EVER)).await.unwrap(), Coverage::default());
    }
}

async fn the_first_or_the_last_rows_come_ascending(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.write(&[fetched(&btc, (0, 10))]).await.unwrap();
    let asked = minutes((2, 8));
    for (take, expected) in [
        (Take::First(0), (2, 2)),
        (Take::First(1), (2, 3)),
        (Take::First(4), (2, 6)),
        (Take::First(6), (2, 8)),
        (Take::First(u32::MAX), (2, 8)),
        (Take::Last(0), (8, 8)),
        (Take::Last(1), (7, 8)),
        (Take::Last(4), (4, 8)),
        (Take::Last(u32::MAX), (2, 8)),
    ] {
        assert_eq!(store.candles(&btc, asked, take).await.unwrap(), candles(expected), "{take:?}");
    }
}

async fn ranges_are_half_open(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.write(&[fetched(&btc, (2, 8))]).await.unwrap();
    for (asked, expected) in [
        ((2, 3), (2, 3)),
        ((0, 2), (2, 2)),
        ((0, 3), (2, 3)),
        ((7, 20), (7, 8)),
        ((8, 20), (8, 8)),
        ((5, 5), (5, 5)),
        ((3, 6), (3, 6)),
    ] {
        let read = store.candles(&btc, minutes(asked), Take::Last(100)).await.unwrap();
        assert_eq!(read, candles(expected), "{asked:?}");
        let known = store.coverage(&btc, minutes(asked)).await.unwrap();
        let claims = if expected.0 < expected.1 { vec![claim(expected, Knowledge::Fetched)] } else { Vec::new() };
        assert_eq!(known.ranges(), claims, "{asked:?}");
    }
    let edge = |millis| Timestamp::from_millis(millis);
    let just_after = TimeRange::new(edge(120_001), edge(180_000));
    assert_eq!(store.candles(&btc, just_after, Take::First(9)).await.unwrap(), []);
    let known = store.coverage(&btc, just_after).await.unwrap();
    assert_eq!(known.ranges(), [CoveredRange { range: just_after, state: Knowledge::Fetched }]);
}

async fn series_do_not_mix(backend: Backend) {
    let store = (backend.open)().await;
    let mut batch = Vec::new();
    for exchange in ExchangeId::ALL {
        for symbol in ["BTC/USDT", "ETH/USDT", "BTC/USD", "币安/USDT"] {
            // `1m` and `1M` differ only by case.
            for interval in [Interval::M1, Interval::Mo1] {
                let series = Series { exchange, symbol: symbol.parse().unwrap(), interval };
                let mut part = fetched(&series, (0, 1));
                part.candles[0].trades = Some(batch.len() as u64);
                batch.push(part);
            }
        }
    }
    store.write(&batch).await.unwrap();
    for part in &batch {
        assert_eq!(all(&store, &part.series).await, part.candles, "{}", part.series);
        assert_eq!(store.coverage(&part.series, minutes(EVER)).await.unwrap().ranges(), part.claims);
    }
}

async fn any_number_of_rows_is_written(backend: Backend) {
    let store = (backend.open)().await;
    let mut start = 0;
    let mut expected = Vec::new();
    let btc = series("BTC/USDT");
    for count in [1, 2, 15, 16, 17, 63, 64, 65, 127, 1_000, 2_501] {
        store.write(&[fetched(&btc, (start, start + count))]).await.unwrap();
        expected.extend(candles((start, start + count)));
        start += count;
    }
    assert_eq!(all(&store, &btc).await, expected);
    let many: Vec<SeriesWrite> = (0..300).map(|n| fetched(&series(&format!("C{n}/USDT")), (n, n + 3))).collect();
    store.write(&many).await.unwrap();
    for part in &many {
        assert_eq!(all(&store, &part.series).await, part.candles, "{}", part.series);
    }
}

async fn the_ledger_agrees_with_the_model(backend: Backend) {
    let store = (backend.open)().await;
    let mut random = StdRng::seed_from_u64(17);
    for symbol in ["A/X", "B/X", "C/X"] {
        let series = series(symbol);
        let mut model = Coverage::default();
        for round in 0..60 {
            let claims: Vec<CoveredRange> = (0..random.random_range(0..4))
                .map(|_| {
                    let start = random.random_range(0..60);
                    let state = Knowledge::ALL[random.random_range(0..Knowledge::ALL.len())];
                    claim((start, start + random.random_range(0..8)), state)
                })
                .collect();
            claims.iter().for_each(|claim| model.add(*claim));
            store.write(&[SeriesWrite { series: series.clone(), candles: Vec::new(), claims }]).await.unwrap();
            assert_eq!(store.coverage(&series, minutes(EVER)).await.unwrap(), model, "{symbol} round {round}");
            let start = random.random_range(0..60);
            let part = minutes((start, start + random.random_range(0..20)));
            assert_eq!(store.coverage(&series, part).await.unwrap(), model.within(part), "{symbol} {part:?}");
        }
    }
}

async fn claims_without_rows_are_kept(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let claims = vec![claim((0, 10), Knowledge::Empty), claim((20, 30), Knowledge::Unavailable)];
    store.write(&[SeriesWrite { series: btc.clone(), candles: Vec::new(), claims: claims.clone() }]).await.unwrap();
    assert_eq!(store.coverage(&btc, minutes(EVER)).await.unwrap().ranges(), claims);
    // Two parts of the same series in one batch, the second beside the first.
    store.write(&[fetched(&btc, (10, 15)), fetched(&btc, (15, 20))]).await.unwrap();
    let known = store.coverage(&btc, minutes(EVER)).await.unwrap();
    assert_eq!(known.ranges(), [claims[0], claim((10, 20), Knowledge::Fetched), claims[1]]);
}

async fn a_listing_is_replaced_as_a_whole(backend: Backend) {
    let store = (backend.open)().await;
    let instrument = |exchange, n: usize| Instrument {
        exchange,
        symbol: format!("C{n:04}/USDT").parse().unwrap(),
        native: format!("C{n}USDT"),
        stream_native: (n % 2 == 0).then(|| format!("C{n}/USDT")),
        price_step: (n % 3 != 0).then(|| Decimal::new(1, 2)),
        amount_step: (n % 3 != 1).then(|| Decimal::new(1, 8)),
        active: n % 5 != 0,
    };
    let binance: Vec<Instrument> = (0..1_500).map(|n| instrument(ExchangeId::Binance, n)).collect();
    let kraken: Vec<Instrument> = (0..3).map(|n| instrument(ExchangeId::Kraken, n)).collect();
    let backward: Vec<Instrument> = binance.iter().rev().cloned().collect();
    store.put_instruments(ExchangeId::Binance, &backward, minute(7)).await.unwrap();
    store.put_instruments(ExchangeId::Kraken, &kraken, minute(8)).await.unwrap();
    let expected = Listing { instruments: binance.clone(), read_at: minute(7) };
    assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap(), expected, "sorted by symbol");

    store.put_instruments(ExchangeId::Binance, &binance[2..4], minute(9)).await.unwrap();
    let expected = Listing { instruments: binance[2..4].to_vec(), read_at: minute(9) };
    assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap(), expected);
    let expected = Listing { instruments: kraken, read_at: minute(8) };
    assert_eq!(store.instruments(ExchangeId::Kraken).await.unwrap(), expected);

    store.put_instruments(ExchangeId::Binance, &[], minute(10)).await.unwrap();
    let expected = Listing { instruments: Vec::new(), read_at: minute(10) };
    assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap(), expected);
}

async fn readers_see_only_whole_batches(backend: Backend) {
    const BATCH: i64 = 50;
    const BATCHES: i64 = 30;
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let writer = {
        let (store, btc) = (Arc::clone(&store), btc.clone());
        tokio::spawn(async move {
            for n in 0..BATCHES {
                store.write(&[fetched(&btc, (n * BATCH, (n + 1) * BATCH))]).await.unwrap();
            }
        })
    };
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (store, btc) = (Arc::clone(&store), btc.clone());
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < usize::try_from(BATCH * BATCHES).unwrap() {
                    let read = all(&store, &btc).await.len();
                    assert_eq!(read % usize::try_from(BATCH).unwrap(), 0, "half a batch");
                    assert!(read >= seen, "what was there is gone");
                    // The claims of a batch become visible together with its rows.
                    let end = minute(i64::try_from(read).unwrap());
                    let range = TimeRange::new(minute(0), end);
                    assert!(store.coverage(&btc, range).await.unwrap().completes(range));
                    seen = read;
                }
            })
        })
        .collect();
    writer.await.unwrap();
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn writers_at_the_same_time_lose_nothing(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let writers: Vec<_> = (0..12i64)
        .map(|n| {
            let store = Arc::clone(&store);
            // Each overlaps its neighbour, and brings a series of its own.
            let batch = [fetched(&btc, (n * 10, n * 10 + 15)), fetched(&series(&format!("C{n}/USDT")), (0, 5))];
            tokio::spawn(async move { store.write(&batch).await.unwrap() })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), [], "the same values are no change");
    }
    assert_eq!(all(&store, &btc).await, candles((0, 125)));
    let known = store.coverage(&btc, minutes(EVER)).await.unwrap();
    assert_eq!(known.ranges(), [claim((0, 125), Knowledge::Fetched)]);
    for n in 0..12 {
        assert_eq!(all(&store, &series(&format!("C{n}/USDT"))).await, candles((0, 5)));
    }
}

async fn a_closed_store_says_so(backend: Backend) {
    let store = (backend.open)().await;
    store.close().await;
    store.close().await;
    let written = store.write(&[fetched(&series("BTC/USDT"), (0, 1))]).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

async fn all_is_there_after_opening_again(backend: Backend) {
    let btc = series("BTC/USDT");
    let listed = [Instrument {
        exchange: ExchangeId::Binance,
        symbol: btc.symbol.clone(),
        native: "BTCUSDT".into(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        active: true,
    }];
    for revision in 0..4 {
        let store = (backend.open)().await;
        let mut batch = [fetched(&btc, (0, 20))];
        batch[0].candles[0].trades = Some(u64::from(revision));
        let changed = store.write(&batch).await.unwrap();
        let first = Candle { revision, ..batch[0].candles[0] };
        assert_eq!(changed.len(), usize::from(revision > 0));
        assert_eq!(all(&store, &btc).await[0], first);
        assert_eq!(all(&store, &btc).await[1..], candles((1, 20)));
        assert_eq!(store.coverage(&btc, minutes(EVER)).await.unwrap().ranges(), [claim((0, 20), Knowledge::Fetched)]);
        if revision == 0 {
            store.put_instruments(ExchangeId::Binance, &listed, minute(1)).await.unwrap();
        }
        assert_eq!(store.instruments(ExchangeId::Binance).await.unwrap().instruments, listed);
        // Closed as it should be, and merely dropped.
        if revision % 2 == 0 {
            store.close().await;
        }
    }
}

async fn two_handles_share_what_is_stored(backend: Backend) {
    let (one, two) = ((backend.open)().await, (backend.open)().await);
    let btc = series("BTC/USDT");
    assert_eq!(all(&two, &btc).await, []);
    one.write(&[fetched(&btc, (0, 10))]).await.unwrap();
    assert_eq!(all(&two, &btc).await, candles((0, 10)));
    two.write(&[fetched(&btc, (10, 20))]).await.unwrap();
    assert_eq!(all(&one, &btc).await, candles((0, 20)));
    let known = one.coverage(&btc, minutes(EVER)).await.unwrap();
    assert_eq!(known.ranges(), [claim((0, 20), Knowledge::Fetched)]);
}
