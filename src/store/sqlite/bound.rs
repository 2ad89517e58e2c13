//! A store in memory that never has more than so many candles.
//!
//! The oldest candles of all series go first, in the transaction of the write that would be too much, and with them what
//! the ledger says of their time: it is unknown again, and no answer calls it complete.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{SqlitePool, query, query_as, query_scalar};

use super::{corrupt, failed, forget};
use crate::model::{Interval, Timestamp};
use crate::store::StoreError;
use crate::telemetry::store::OldestForgotten;

/// So much room is made at least: what one question asks for is there when it is answered.
const PAGE: u64 = 5_000;

/// How many candles a store may have.
pub(super) struct Bound {
    most: u64,
    /// How much room is made at once.
    room: u64,
    /// There are at most so many now: a row that is written twice counts twice.
    estimate: AtomicU64,
}

impl Bound {
    pub fn new(most: u64) -> Self {
        let room = (most / 20).max(PAGE.min(most / 2));
        Self { most, room, estimate: AtomicU64::new(0) }
    }

    /// Makes room after `written` candles were written in this transaction. Gives the new estimate, which holds once the
    /// transaction is committed: see [`Bound::committed`].
    pub async fn enforce(&self, tx: &mut SqliteConnection, written: usize) -> Result<u64, StoreError> {
        let estimate = self.estimate.load(Ordering::Relaxed).saturating_add(written as u64);
        if estimate <= self.most {
            return Ok(estimate);
        }
        let count: i64 = query_scalar("SELECT count(*) FROM candles").fetch_one(&mut *tx).await.map_err(failed)?;
        let count = count.unsigned_abs();
        // A part at once, so that it is not counted again for every write.
        if count <= self.most - self.room / 2 {
            return Ok(count);
        }
        let gone = forget_oldest(tx, count - (self.most - self.room)).await?;
        OldestForgotten { candles: gone, most: self.most }.emit();
        Ok(count.saturating_sub(gone))
    }

    pub fn committed(&self, estimate: u64) {
        self.estimate.store(estimate, Ordering::Relaxed);
    }
}

/// The oldest candles are found by an index that other stores do not need.
pub(super) async fn prepare(store: &SqlitePool) -> Result<(), StoreError> {
    query("CREATE INDEX candles_by_age ON candles (open_time)").execute(store).await.map_err(failed)?;
    Ok(())
}

/// Deletes at least `count` of the oldest candles of all series, and what the ledger says up to their end.
async fn forget_oldest(tx: &mut SqliteConnection, count: u64) -> Result<u64, StoreError> {
    let skipped = i64::try_from(count.saturating_sub(1)).unwrap_or(i64::MAX);
    let newest: Option<i64> = query_scalar("SELECT open_time FROM candles ORDER BY open_time LIMIT 1 OFFSET ?")
        .bind(skipped)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
    let Some(newest) = newest else { return Ok(0) };
    let old: Vec<(i64, String)> = query_as(
        "SELECT id, interval FROM series WHERE EXISTS (SELECT 1 FROM coverage WHERE series_id = id AND start_time <= ?1) \
            OR EXISTS (SELECT 1 FROM candles WHERE series_id = id AND open_time <= ?1)",
    )
    .bind(newest)
    .fetch_all(&mut *tx)
    .await
    .map_err(failed)?;
    let mut gone = 0;
    for (id, interval) in old {
        let interval: Interval = interval.parse().map_err(|_| corrupt(format_args!("the interval `{interval}`")))?;
        let border = interval.ceil(Timestamp::from_millis(newest.saturating_add(1)));
        gone += forget::before(tx, id, border.millis()).await?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::super::SqliteStore;
    use super::*;
    use crate::model::{Candle, CoveredRange, ExchangeId, Knowledge, Series, TimeRange};
    use crate::store::{CandleStore, SeriesWrite, Take};

    const MOST: u64 = 2_000;

    fn write(symbol: &str, interval: Interval, range: TimeRange) -> SeriesWrite {
        let candle = |timestamp| Candle {
            timestamp,
            open: Decimal::ONE,
            high: Decimal::ONE,
            low: Decimal::ONE,
            close: Decimal::ONE,
            volume: Decimal::ONE,
            quote_volume: None,
            trades: None,
            closed: true,
            revision: 0,
        };
        let series = Series { exchange: ExchangeId::Binance, symbol: symbol.parse().unwrap(), interval };
        let claims = vec![CoveredRange { range, state: Knowledge::Fetched }];
        SeriesWrite { series, candles: interval.opens(range).map(candle).collect(), claims }
    }

    fn hours(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(3_600 * start), Timestamp::from_secs(3_600 * end))
    }

    async fn count(store: &SqliteStore) -> u64 {
        let count: i64 = query_scalar("SELECT count(*) FROM candles").fetch_one(&store.readers).await.unwrap();
        count.unsigned_abs()
    }

    /// What the ledger says is known has its candles, all of them.
    async fn assert_honest(store: &SqliteStore, series: &Series, ever: TimeRange) {
        let rows = store.candles(series, ever, Take::First(u32::MAX)).await.unwrap();
        let known = store.coverage(series, ever).await.unwrap();
        let claimed: Vec<Timestamp> =
            known.ranges().iter().flat_map(|known| series.interval.opens(known.range)).collect();
        assert_eq!(rows.iter().map(|row| row.timestamp).collect::<Vec<_>>(), claimed, "{series}");
    }

    #[tokio::test]
    async fn the_oldest_of_all_series_go_and_the_ledger_says_so() {
        let store = SqliteStore::in_memory_up_to(MOST).await.unwrap();
        let series = [("BTC/USDT", Interval::M5), ("ETH/USDT", Interval::H1), ("BTC/USDT", Interval::D1)];
        // Three years.
        let ever = hours(0, 24 * 1_096);
        for day in 0..1_096 {
            for (symbol, interval) in series {
                store.write(&[write(symbol, interval, hours(24 * day, 24 * day + 24))]).await.unwrap();
                assert!(count(&store).await <= MOST, "day {day}");
            }
        }
        assert!(count(&store).await >= MOST / 2);
        for (symbol, interval) in series {
            let series = write(symbol, interval, hours(0, 0)).series;
            assert_honest(&store, &series, ever).await;
            let known = store.coverage(&series, ever).await.unwrap();
            assert_eq!(known.ranges().len(), 1, "{series}");
            assert_eq!(known.ranges()[0].range.end(), ever.end(), "the newest are there");
            assert!(!known.completes(ever), "{series}");
        }
    }

    #[tokio::test]
    async fn a_page_that_is_older_than_all_is_not_claimed() {
        let store = SqliteStore::in_memory_up_to(MOST).await.unwrap();
        store.write(&[write("BTC/USDT", Interval::M1, hours(100, 131))]).await.unwrap();
        store.write(&[write("BTC/USDT", Interval::M1, hours(0, 10))]).await.unwrap();
        let ever = hours(0, 200);
        let series = write("BTC/USDT", Interval::M1, hours(0, 0)).series;
        assert!(count(&store).await <= MOST);
        assert_honest(&store, &series, ever).await;
        assert!(!store.coverage(&series, ever).await.unwrap().completes(hours(0, 10)));
        // The same rows again and again are no more than once.
        for _ in 0..20 {
            store.write(&[write("BTC/USDT", Interval::M1, hours(120, 130))]).await.unwrap();
        }
        assert!(store.coverage(&series, ever).await.unwrap().completes(hours(120, 131)));
    }

    #[tokio::test]
    async fn a_batch_that_is_larger_than_the_bound_keeps_its_newest() {
        let store = SqliteStore::in_memory_up_to(MOST).await.unwrap();
        let at_once = [write("BTC/USDT", Interval::M1, hours(0, 100)), write("ETH/USDT", Interval::M1, hours(0, 100))];
        store.write(&at_once).await.unwrap();
        assert!(count(&store).await <= MOST);
        for part in &at_once {
            assert_honest(&store, &part.series, hours(0, 100)).await;
            assert!(store.coverage(&part.series, hours(0, 100)).await.unwrap().completes(hours(95, 100)));
        }
    }
}
