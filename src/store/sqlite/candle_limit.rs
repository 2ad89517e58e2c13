//! Maximum number of candles for a store in memory.
//!
//! A write that exceeds the limit evicts the oldest candles of all series and their coverage in the same transaction.
//! The evicted time is unknown again, so no result is marked complete there.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, SqlitePool, query, query_as, query_scalar};

use crate::model::{Interval, Timestamp};
use crate::store::error::StoreError;
use crate::store::sql::{corrupt, retention, store_error};
use crate::telemetry::store::OldestEvicted;

/// Minimum number of candles to evict at once, limited by half of the maximum. It equals the largest page, so that the
/// candles fetched for one request are still stored when it is answered.
const MIN_EVICTION: u64 = 5_000;

/// The limit, and an estimate of the stored candles.
pub(super) struct CandleLimit {
    max_candles: u64,
    /// Number of candles to evict at once.
    eviction_size: u64,
    /// Upper bound of the number of stored candles: a candle that is written twice counts twice.
    estimate: AtomicU64,
}

impl CandleLimit {
    pub fn new(max_candles: u64) -> Self {
        let eviction_size = (max_candles / 20).max(MIN_EVICTION.min(max_candles / 2));
        Self { max_candles, eviction_size, estimate: AtomicU64::new(0) }
    }

    /// Evicts candles if needed after `written` candles were written in this transaction. Returns the new estimate,
    /// which the caller sets after the commit with [`CandleLimit::set_estimate`].
    pub async fn enforce(&self, tx: &mut SqliteConnection, written: usize) -> Result<u64, StoreError> {
        let estimate = self.estimate.load(Ordering::Relaxed).saturating_add(written as u64);
        if estimate <= self.max_candles {
            return Ok(estimate);
        }
        let count: i64 = query_scalar("SELECT count(*) FROM candles").fetch_one(&mut *tx).await.map_err(store_error)?;
        let count = count.unsigned_abs();
        // Half an eviction of headroom, so that not every write has to count.
        if count <= self.max_candles - self.eviction_size / 2 {
            return Ok(count);
        }
        let evicted = evict_oldest(tx, count - (self.max_candles - self.eviction_size)).await?;
        OldestEvicted { candles: evicted, limit: self.max_candles }.emit();
        Ok(count.saturating_sub(evicted))
    }

    pub fn set_estimate(&self, estimate: u64) {
        self.estimate.store(estimate, Ordering::Relaxed);
    }
}

/// Creates the index for finding the oldest candles. Other stores do not need it.
pub(super) async fn create_index(store: &SqlitePool) -> Result<(), StoreError> {
    query("CREATE INDEX candles_by_age ON candles (open_time)").execute(store).await.map_err(store_error)?;
    Ok(())
}

/// Deletes at least `count` of the oldest candles of all series, and the coverage up to their end.
async fn evict_oldest(tx: &mut SqliteConnection, count: u64) -> Result<u64, StoreError> {
    let offset = i64::try_from(count.saturating_sub(1)).unwrap_or(i64::MAX);
    let newest_evicted: Option<i64> = query_scalar("SELECT open_time FROM candles ORDER BY open_time LIMIT 1 OFFSET ?")
        .bind(offset)
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
    let Some(newest_evicted) = newest_evicted else { return Ok(0) };
    let affected: Vec<(i64, String)> = query_as(
        "SELECT id, interval FROM series WHERE EXISTS (SELECT 1 FROM coverage WHERE series_id = id AND start_time <= ?1) \
            OR EXISTS (SELECT 1 FROM candles WHERE series_id = id AND open_time <= ?1)",
    )
    .bind(newest_evicted)
    .fetch_all(&mut *tx)
    .await
    .map_err(store_error)?;
    let mut evicted = 0;
    for (id, interval) in affected {
        let interval: Interval =
            interval.parse().map_err(|_| corrupt(format_args!("unknown interval `{interval}`")))?;
        let cutoff = interval.ceil(Timestamp::from_millis(newest_evicted.saturating_add(1)));
        evicted += retention::delete_series_before::<Sqlite>(tx, id, cutoff).await?;
    }
    Ok(evicted)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::super::SqliteStore;
    use super::*;
    use crate::model::{Candle, CoverageState, CoveredRange, ExchangeId, Series, TimeRange};
    use crate::store::{CandleStore, SeriesWrite, Take};

    const MAX_CANDLES: u64 = 2_000;

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
        let series = Series { exchange: ExchangeId::BINANCE, symbol: symbol.parse().unwrap(), interval };
        let claims = vec![CoveredRange { range, state: CoverageState::Fetched }];
        SeriesWrite { series, candles: interval.open_times(range).map(candle).collect(), claims }
    }

    fn hours(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(3_600 * start), Timestamp::from_secs(3_600 * end))
    }

    async fn count(store: &SqliteStore) -> u64 {
        let count: i64 = query_scalar("SELECT count(*) FROM candles").fetch_one(&store.readers).await.unwrap();
        count.unsigned_abs()
    }

    /// The store holds exactly the candles that its coverage claims.
    async fn assert_coverage_matches_candles(store: &SqliteStore, series: &Series, range: TimeRange) {
        let rows = store.candles(series, range, Take::First(u32::MAX)).await.unwrap();
        let known = store.coverage(series, range).await.unwrap();
        let claimed: Vec<Timestamp> =
            known.ranges().iter().flat_map(|known| series.interval.open_times(known.range)).collect();
        assert_eq!(rows.iter().map(|row| row.timestamp).collect::<Vec<_>>(), claimed, "{series}");
    }

    #[tokio::test]
    async fn evicts_oldest_candles_and_coverage_of_all_series() {
        let store = SqliteStore::in_memory_with_limit(MAX_CANDLES).await.unwrap();
        let series = [("BTC/USDT", Interval::M5), ("ETH/USDT", Interval::H1), ("BTC/USDT", Interval::D1)];
        // Three years.
        let range = hours(0, 24 * 1_096);
        for day in 0..1_096 {
            for (symbol, interval) in series {
                store.write(&[write(symbol, interval, hours(24 * day, 24 * day + 24))]).await.unwrap();
                assert!(count(&store).await <= MAX_CANDLES, "day {day}");
            }
        }
        assert!(count(&store).await >= MAX_CANDLES / 2);
        for (symbol, interval) in series {
            let series = write(symbol, interval, hours(0, 0)).series;
            assert_coverage_matches_candles(&store, &series, range).await;
            let known = store.coverage(&series, range).await.unwrap();
            assert_eq!(known.ranges().len(), 1, "{series}");
            assert_eq!(known.ranges()[0].range.end(), range.end(), "the newest candles are stored");
            assert!(!known.is_complete(range), "{series}");
        }
    }

    #[tokio::test]
    async fn write_older_than_all_candles_leaves_no_coverage() {
        let store = SqliteStore::in_memory_with_limit(MAX_CANDLES).await.unwrap();
        store.write(&[write("BTC/USDT", Interval::M1, hours(100, 131))]).await.unwrap();
        store.write(&[write("BTC/USDT", Interval::M1, hours(0, 10))]).await.unwrap();
        let range = hours(0, 200);
        let series = write("BTC/USDT", Interval::M1, hours(0, 0)).series;
        assert!(count(&store).await <= MAX_CANDLES);
        assert_coverage_matches_candles(&store, &series, range).await;
        assert!(!store.coverage(&series, range).await.unwrap().is_complete(hours(0, 10)));
        // Rewriting the same candles must not evict others.
        for _ in 0..20 {
            store.write(&[write("BTC/USDT", Interval::M1, hours(120, 130))]).await.unwrap();
        }
        assert!(store.coverage(&series, range).await.unwrap().is_complete(hours(120, 131)));
    }

    #[tokio::test]
    async fn batch_above_limit_keeps_newest_candles() {
        let store = SqliteStore::in_memory_with_limit(MAX_CANDLES).await.unwrap();
        let batch = [write("BTC/USDT", Interval::M1, hours(0, 100)), write("ETH/USDT", Interval::M1, hours(0, 100))];
        store.write(&batch).await.unwrap();
        assert!(count(&store).await <= MAX_CANDLES);
        for part in &batch {
            assert_coverage_matches_candles(&store, &part.series, hours(0, 100)).await;
            assert!(store.coverage(&part.series, hours(0, 100)).await.unwrap().is_complete(hours(95, 100)));
        }
    }
}
