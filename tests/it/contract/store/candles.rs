//! Contract of candle rows and revisions.

use candlewick::model::{
    Candle, Coverage, CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp,
};
use candlewick::store::{Listing, SeriesWrite, StoreError, Take};
use rust_decimal::Decimal;

use super::{ALL_TIME, Backend, all, candle, candles, claim, fetched, minute, minutes, rows, series};

pub async fn empty_store_has_no_rows_or_claims(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.ping().await.unwrap();
    assert_eq!(all(&store, &btc).await, []);
    assert_eq!(store.coverage(&btc, minutes(ALL_TIME)).await.unwrap(), Coverage::default());
    assert_eq!(store.instruments(ExchangeId::KRAKEN).await.unwrap(), Listing::default());
    assert_eq!(store.write(&[]).await.unwrap(), []);
}

pub async fn written_candles_are_read_back(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let bare = Candle { quote_volume: None, trades: None, volume: Decimal::ZERO, ..candle(1) };
    let (largest, smallest) = (Decimal::MAX, Decimal::new(1, 28));
    let extreme =
        Candle { open: smallest, high: largest, low: smallest, close: largest, trades: Some(1 << 60), ..candle(2) };
    let written = vec![candle(0), bare, extreme];
    let part = SeriesWrite {
        candles: written.clone(),
        claims: vec![claim((0, 3), CoverageState::Observed)],
        ..fetched(&btc, (0, 0))
    };
    assert_eq!(store.write(&[part]).await.unwrap(), []);
    assert_eq!(all(&store, &btc).await, written);
    let known = store.coverage(&btc, minutes(ALL_TIME)).await.unwrap();
    assert_eq!(known.ranges(), [claim((0, 3), CoverageState::Observed)]);
}

pub async fn rewriting_same_rows_changes_nothing(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let batch = [fetched(&btc, (0, 100))];
    for _ in 0..3 {
        assert_eq!(store.write(&batch).await.unwrap(), []);
    }
    // Trailing zeros do not change a number.
    let mut padded = candle(5);
    padded.open.rescale(9);
    padded.quote_volume = padded.quote_volume.map(|volume| {
        let mut longer = volume;
        longer.rescale(volume.scale() + 3);
        longer
    });
    assert_ne!(padded.open.to_string(), candle(5).open.to_string());
    assert_eq!(store.write(&rows(&btc, vec![padded])).await.unwrap(), []);
    assert_eq!(all(&store, &btc).await, candles((0, 100)));
}

pub async fn changed_row_is_replaced_with_higher_revision(backend: Backend) {
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
        // The store ignores the caller's revision.
        let rewritten = vec![candle(1), Candle { revision: 77, ..now }, candle(3)];
        let now = Candle { revision, ..now };
        assert_eq!(store.write(&rows(&btc, rewritten)).await.unwrap(), [(btc.clone(), now)]);
        assert_eq!(all(&store, &btc).await, [candle(0), candle(1), now, candle(3), candle(4)]);
    }
}

pub async fn rejected_batch_writes_nothing(backend: Backend) {
    let store = (backend.open)().await;
    let (btc, eth) = (series("BTC/USDT"), series("ETH/USDT"));
    let mut open = fetched(&eth, (0, 3));
    open.candles[2].closed = false;
    let rejected = store.write(&[fetched(&btc, (0, 3)), open]).await;
    assert!(matches!(rejected, Err(StoreError::Corrupt(_))), "{rejected:?}");
    for series in [btc, eth] {
        assert_eq!(all(&store, &series).await, []);
        assert_eq!(store.coverage(&series, minutes(ALL_TIME)).await.unwrap(), Coverage::default());
    }
}

pub async fn first_or_last_rows_are_ascending(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.write(&[fetched(&btc, (0, 10))]).await.unwrap();
    let range = minutes((2, 8));
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
        assert_eq!(store.candles(&btc, range, take).await.unwrap(), candles(expected), "{take:?}");
    }
}

pub async fn ranges_are_half_open(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    store.write(&[fetched(&btc, (2, 8))]).await.unwrap();
    for (range, expected) in [
        ((2, 3), (2, 3)),
        ((0, 2), (2, 2)),
        ((0, 3), (2, 3)),
        ((7, 20), (7, 8)),
        ((8, 20), (8, 8)),
        ((5, 5), (5, 5)),
        ((3, 6), (3, 6)),
    ] {
        let read = store.candles(&btc, minutes(range), Take::Last(100)).await.unwrap();
        assert_eq!(read, candles(expected), "{range:?}");
        let known = store.coverage(&btc, minutes(range)).await.unwrap();
        let claims = if expected.0 < expected.1 { vec![claim(expected, CoverageState::Fetched)] } else { Vec::new() };
        assert_eq!(known.ranges(), claims, "{range:?}");
    }
    let edge = |millis| Timestamp::from_millis(millis);
    let just_after = TimeRange::new(edge(120_001), edge(180_000));
    assert_eq!(store.candles(&btc, just_after, Take::First(9)).await.unwrap(), []);
    let known = store.coverage(&btc, just_after).await.unwrap();
    assert_eq!(known.ranges(), [CoveredRange { range: just_after, state: CoverageState::Fetched }]);
}

pub async fn series_are_separate(backend: Backend) {
    let store = (backend.open)().await;
    let mut batch = Vec::new();
    for exchange in ExchangeId::all() {
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
        assert_eq!(store.coverage(&part.series, minutes(ALL_TIME)).await.unwrap().ranges(), part.claims);
    }
}

pub async fn writes_any_number_of_rows(backend: Backend) {
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

pub async fn last_duplicate_in_batch_wins(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let first = fetched(&btc, (0, 3));
    let mut second = fetched(&btc, (1, 2));
    second.candles[0].trades = Some(900);
    let third = Candle { trades: Some(901), ..candle(1) };
    second.candles.push(third);
    let last = Candle { revision: 2, ..third };
    let changed = store.write(&[first, second]).await.unwrap();
    assert_eq!(changed.last(), Some(&(btc.clone(), last)), "{changed:?}");
    assert_eq!(all(&store, &btc).await, [candle(0), last, candle(2)]);
}

pub async fn delete_before_removes_old_rows_and_claims(backend: Backend) {
    let store = (backend.open)().await;
    let (btc, eth) = (series("BTC/USDT"), series("ETH/USDT"));
    let hours = Series { interval: Interval::H1, ..btc.clone() };
    let mut hourly = fetched(&hours, (0, 0));
    hourly.candles = vec![candle(0), candle(60), candle(120)];
    hourly.claims = vec![claim((0, 180), CoverageState::Fetched)];
    let empty = SeriesWrite { claims: vec![claim((0, 50), CoverageState::Empty)], ..fetched(&eth, (50, 55)) };
    store.write(&[fetched(&btc, (0, 100)), fetched(&eth, (50, 55)), empty, hourly]).await.unwrap();
    let cutoff = minute(90);
    let mut deleted = Vec::new();
    while let Some(count) = store.delete_before(cutoff, 40).await.unwrap() {
        deleted.push(count);
        // Between steps, coverage never claims deleted rows.
        let known = store.coverage(&btc, minutes(ALL_TIME)).await.unwrap();
        let rows = all(&store, &btc).await;
        assert_eq!(known.ranges().first().map(|known| known.range.start()), rows.first().map(|row| row.timestamp));
    }
    assert_eq!(deleted.iter().sum::<u64>(), 90 + 5 + 1, "{deleted:?}");
    assert!(deleted.iter().all(|count| *count <= 40), "{deleted:?}");
    assert_eq!(all(&store, &btc).await, candles((90, 100)));
    assert_eq!(all(&store, &eth).await, []);
    assert_eq!(all(&store, &hours).await, [candle(60), candle(120)], "an hour that ends after the cutoff stays");
    let known = store.coverage(&hours, minutes(ALL_TIME)).await.unwrap();
    assert_eq!(known.ranges(), [claim((60, 180), CoverageState::Fetched)]);
    assert_eq!(store.coverage(&eth, minutes(ALL_TIME)).await.unwrap(), Coverage::default());
}
