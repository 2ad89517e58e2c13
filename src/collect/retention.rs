//! Deletes candles that are older than the configured retention.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::CandleStore;
use crate::telemetry::collect::{CandlesDeleted, DeleteFailed};

/// Time between two runs.
const CHECK_EVERY: Duration = Duration::from_hours(1);

/// Maximum number of candles per transaction. Small, because other writers run at the same time.
const MAX_CANDLES_PER_BATCH: u32 = 5_000;

/// Deletes candles older than `days`, until `stop`. Several replicas may run this at the same time.
pub async fn delete_old_candles(store: Arc<dyn CandleStore>, days: u32, clock: Clock, stop: CancellationToken) {
    let retention = Duration::from_hours(24) * days;
    loop {
        let mut deleted = 0;
        loop {
            match store.delete_before(clock.now() - retention, MAX_CANDLES_PER_BATCH).await {
                Ok(Some(count)) => deleted += count,
                Ok(None) => break,
                Err(error) => {
                    DeleteFailed { error: &error, retry_in: CHECK_EVERY }.emit();
                    break;
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
        if deleted > 0 {
            CandlesDeleted { candles: deleted, days }.emit();
        }
        if stop.run_until_cancelled(clock.sleep(CHECK_EVERY)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CoverageState, CoveredRange, Interval, Series, TimeRange, Timestamp};
    use crate::store::SeriesWrite;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn deletes_only_candles_older_than_retention() {
        let store: Arc<dyn CandleStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
        let day = Duration::from_hours(24);
        let clock = Clock::manual(Timestamp::EPOCH + day * 10);
        let series = Series {
            exchange: crate::model::ExchangeId::BINANCE,
            symbol: "BTC/USDT".parse().unwrap(),
            interval: Interval::M1,
        };
        let all = TimeRange::new(Timestamp::EPOCH, Timestamp::EPOCH + day * 10);
        let claims = vec![CoveredRange { range: all, state: CoverageState::Empty }];
        let write = SeriesWrite { series: series.clone(), candles: Vec::new(), claims };
        store.write(&[write]).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(delete_old_candles(Arc::clone(&store), 3, clock.clone(), stop.clone()));
        // The task runs every hour: at least three days remain, and at most three days and one hour.
        loop {
            let known = store.coverage(&series, all).await.unwrap();
            let first = known.ranges()[0].range.start();
            assert!(first <= clock.now() - day * 3);
            if first >= Timestamp::EPOCH + day * 8 {
                break;
            }
            clock.advance(CHECK_EVERY / 4).await;
        }
        stop.cancel();
        task.await.unwrap();
    }
}
