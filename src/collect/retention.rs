//! Old candles are deleted, where the configuration says how old.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::CandleStore;
use crate::telemetry::collect::{CandlesForgotten, ForgetFailed};

/// How often it is looked for what has grown old.
const EVERY: Duration = Duration::from_hours(1);

/// The most candles of one transaction: others write meanwhile.
const BATCH: u32 = 5_000;

/// Deletes what is older than `days`, until `stop`. Several replicas may do so at a time.
pub async fn retain(store: Arc<dyn CandleStore>, days: u32, clock: Clock, stop: CancellationToken) {
    let kept = Duration::from_hours(24) * days;
    loop {
        let mut gone = 0;
        loop {
            match store.forget(clock.now() - kept, BATCH).await {
                Ok(Some(count)) => gone += count,
                Ok(None) => break,
                Err(error) => {
                    ForgetFailed { error: &error, again_in: EVERY }.emit();
                    break;
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
        if gone > 0 {
            CandlesForgotten { candles: gone, days }.emit();
        }
        if stop.run_until_cancelled(clock.sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CoveredRange, Interval, Knowledge, Series, TimeRange, Timestamp};
    use crate::store::SeriesWrite;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn what_grows_old_goes_and_the_rest_stays() {
        let store: Arc<dyn CandleStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
        let day = Duration::from_hours(24);
        let clock = Clock::manual(Timestamp::EPOCH + day * 10);
        let series = Series {
            exchange: crate::model::ExchangeId::Binance,
            symbol: "BTC/USDT".parse().unwrap(),
            interval: Interval::M1,
        };
        let ever = TimeRange::new(Timestamp::EPOCH, Timestamp::EPOCH + day * 10);
        let claims = vec![CoveredRange { range: ever, state: Knowledge::Empty }];
        let write = SeriesWrite { series: series.clone(), candles: Vec::new(), claims };
        store.write(&[write]).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(retain(Arc::clone(&store), 3, clock.clone(), stop.clone()));
        // Looked at each hour, it never keeps more than three days and an hour, and never less than three.
        loop {
            let known = store.coverage(&series, ever).await.unwrap();
            let first = known.ranges()[0].range.start();
            assert!(first <= clock.now() - day * 3);
            if first >= Timestamp::EPOCH + day * 8 {
                break;
            }
            clock.advance(EVERY / 4).await;
        }
        stop.cancel();
        task.await.unwrap();
    }
}
