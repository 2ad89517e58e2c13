//! Contract of concurrent access, closing and reopening.

use std::sync::Arc;

use candlewick::model::{Candle, CoverageState, ExchangeId, Instrument, MarketKind, TimeRange};
use candlewick::store::{StoreError, StoredPage, Take};

use super::{ALL_TIME, Backend, all, candles, claim, fetched, minute, minutes, series};

pub async fn batches_are_atomic_for_readers(backend: Backend) {
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
                    assert!(read >= seen, "rows disappeared");
                    // The claims of a batch become visible together with its rows.
                    let end = minute(i64::try_from(read).unwrap());
                    let range = TimeRange::new(minute(0), end);
                    assert!(store.coverage(&btc, range).await.unwrap().is_complete(range));
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

pub async fn page_is_a_consistent_snapshot(backend: Backend) {
    const MINUTES: i64 = 400;
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let writer = {
        let (store, btc) = (Arc::clone(&store), btc.clone());
        tokio::spawn(async move {
            for n in 0..MINUTES {
                store.write(&[fetched(&btc, (n, n + 1))]).await.unwrap();
            }
        })
    };
    let mut seen = 0;
    while seen < MINUTES {
        let page = store.page(&btc, minutes(ALL_TIME), Take::First(1_000)).await.unwrap();
        seen = i64::try_from(page.candles.len()).unwrap();
        let expected: Vec<_> = (seen > 0).then(|| claim((0, seen), CoverageState::Fetched)).into_iter().collect();
        assert_eq!(page.coverage.ranges(), expected, "coverage and rows agree");
    }
    writer.await.unwrap();
    // The coverage of a limited page is limited to its time.
    for (take, rows, known) in [(Take::First(3), (0, 3), (0, 2)), (Take::Last(3), (397, 400), (397, 400))] {
        let page = store.page(&btc, minutes(ALL_TIME), take).await.unwrap();
        assert_eq!(page.candles, candles(rows));
        assert_eq!(page.coverage.ranges(), [claim(known, CoverageState::Fetched)]);
    }
    let empty = store.page(&series("NO/SUCH"), minutes(ALL_TIME), Take::Last(3)).await.unwrap();
    assert_eq!(empty, StoredPage::default());
}

pub async fn concurrent_writers_lose_nothing(backend: Backend) {
    let store = (backend.open)().await;
    let btc = series("BTC/USDT");
    let writers: Vec<_> = (0..12i64)
        .map(|n| {
            let store = Arc::clone(&store);
            // Each writer overlaps the next one and also writes its own series.
            let batch = [fetched(&btc, (n * 10, n * 10 + 15)), fetched(&series(&format!("C{n}/USDT")), (0, 5))];
            tokio::spawn(async move { store.write(&batch).await.unwrap() })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), [], "equal values are no change");
    }
    assert_eq!(all(&store, &btc).await, candles((0, 125)));
    let known = store.coverage(&btc, minutes(ALL_TIME)).await.unwrap();
    assert_eq!(known.ranges(), [claim((0, 125), CoverageState::Fetched)]);
    for n in 0..12 {
        assert_eq!(all(&store, &series(&format!("C{n}/USDT"))).await, candles((0, 5)));
    }
}

pub async fn closed_store_returns_unavailable(backend: Backend) {
    let store = (backend.open)().await;
    store.close().await;
    store.close().await;
    let result = store.write(&[fetched(&series("BTC/USDT"), (0, 1))]).await;
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

pub async fn data_persists_after_reopening(backend: Backend) {
    let btc = series("BTC/USDT");
    let instruments = [Instrument::new(ExchangeId::BINANCE, btc.symbol.clone(), "BTCUSDT")];
    for revision in 0..4 {
        let store = (backend.open)().await;
        let mut batch = [fetched(&btc, (0, 20))];
        batch[0].candles[0].trades = Some(u64::from(revision));
        let changed = store.write(&batch).await.unwrap();
        let first = Candle { revision, ..batch[0].candles[0] };
        assert_eq!(changed.len(), usize::from(revision > 0));
        assert_eq!(all(&store, &btc).await[0], first);
        assert_eq!(all(&store, &btc).await[1..], candles((1, 20)));
        assert_eq!(
            store.coverage(&btc, minutes(ALL_TIME)).await.unwrap().ranges(),
            [claim((0, 20), CoverageState::Fetched)]
        );
        if revision == 0 {
            store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &instruments, minute(1)).await.unwrap();
        }
        assert_eq!(store.instruments(ExchangeId::BINANCE).await.unwrap().instruments, instruments);
        // Even rounds close the store; odd rounds only drop it.
        if revision % 2 == 0 {
            store.close().await;
        }
    }
}

pub async fn two_handles_share_data(backend: Backend) {
    let (one, two) = ((backend.open)().await, (backend.open)().await);
    let btc = series("BTC/USDT");
    assert_eq!(all(&two, &btc).await, []);
    one.write(&[fetched(&btc, (0, 10))]).await.unwrap();
    assert_eq!(all(&two, &btc).await, candles((0, 10)));
    two.write(&[fetched(&btc, (10, 20))]).await.unwrap();
    assert_eq!(all(&one, &btc).await, candles((0, 20)));
    let known = one.coverage(&btc, minutes(ALL_TIME)).await.unwrap();
    assert_eq!(known.ranges(), [claim((0, 20), CoverageState::Fetched)]);
}
