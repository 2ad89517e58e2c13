//! Several at once, and one after the other.

use std::sync::Arc;

use candlewick::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Knowledge, TimeRange};
use candlewick::store::{StoreError, StoredPage, Take};

use super::{Backend, EVER, all, candles, claim, fetched, minute, minutes, series};

pub async fn readers_see_only_whole_batches(backend: Backend) {
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

pub async fn a_page_is_of_one_moment(backend: Backend) {
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
        let page = store.page(&btc, minutes(EVER), Take::First(1_000)).await.unwrap();
        seen = i64::try_from(page.candles.len()).unwrap();
        let told: Vec<_> = (seen > 0).then(|| claim((0, seen), Knowledge::Fetched)).into_iter().collect();
        assert_eq!(page.coverage.ranges(), told, "the ledger and the rows tell the same");
    }
    writer.await.unwrap();
    // A page that was cut knows its own time.
    for (take, rows, known) in [(Take::First(3), (0, 3), (0, 2)), (Take::Last(3), (397, 400), (397, 400))] {
        let page = store.page(&btc, minutes(EVER), take).await.unwrap();
        assert_eq!(page.candles, candles(rows));
        assert_eq!(page.coverage.ranges(), [claim(known, Knowledge::Fetched)]);
    }
    let nothing = store.page(&series("NO/SUCH"), minutes(EVER), Take::Last(3)).await.unwrap();
    assert_eq!(nothing, StoredPage::default());
}

pub async fn writers_at_the_same_time_lose_nothing(backend: Backend) {
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

pub async fn a_closed_store_says_so(backend: Backend) {
    let store = (backend.open)().await;
    store.close().await;
    store.close().await;
    let written = store.write(&[fetched(&series("BTC/USDT"), (0, 1))]).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

pub async fn all_is_there_after_opening_again(backend: Backend) {
    let btc = series("BTC/USDT");
    let listed = [Instrument {
        exchange: ExchangeId::Binance,
        symbol: btc.symbol.clone(),
        native: "BTCUSDT".into(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: InstrumentStatus::Trading,
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

pub async fn two_handles_share_what_is_stored(backend: Backend) {
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
