//! A store whose time is measured: in figures, and in traces.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument as _;

use super::{Backfills, CandleStore, Listing, SeriesWrite, StoreError, StoredPage, Take};
use crate::clock::Clock;
use crate::model::{ApiKey, Backfill, Candle, Coverage, ExchangeId, Instrument, Series, TimeRange, Timestamp};
use crate::telemetry::store::StoreAnswered;
use crate::telemetry::trace;

/// Hands everything on to the store inside.
pub struct Observed {
    inside: Arc<dyn CandleStore>,
    /// The machine's own time, which databases run on.
    clock: Clock,
}

impl Observed {
    /// Measures a store.
    #[must_use]
    pub fn new(inside: Arc<dyn CandleStore>) -> Self {
        Self { inside, clock: Clock::system() }
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let span = trace::child(|| tracing::info_span!("store", otel.kind = "client", operation));
        let begun = self.clock.elapsed();
        let done = work.instrument(span).await;
        let took = self.clock.elapsed().saturating_sub(begun);
        StoreAnswered { operation, well: done.is_ok(), took }.emit();
        done
    }
}

#[async_trait]
impl CandleStore for Observed {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        self.measure("write", self.inside.write(batch)).await
    }

    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        self.measure("candles", self.inside.candles(series, range, take)).await
    }

    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        self.measure("page", self.inside.page(series, range, take)).await
    }

    async fn ledger(&self, series: &Series, range: TimeRange, most: u32) -> Result<Coverage, StoreError> {
        self.measure("ledger", self.inside.ledger(series, range, most)).await
    }

    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.measure("put_instruments", self.inside.put_instruments(exchange, listed, at)).await
    }

    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError> {
        self.measure("instruments", self.inside.instruments(exchange)).await
    }

    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        self.measure("put_backfill", self.inside.put_backfill(backfill)).await
    }

    async fn backfills(&self, which: Backfills<'_>) -> Result<Vec<Backfill>, StoreError> {
        self.measure("backfills", self.inside.backfills(which)).await
    }

    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.measure("put_key", self.inside.put_key(key)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.measure("keys", self.inside.keys()).await
    }

    async fn forget(&self, before: Timestamp, most: u32) -> Result<Option<u64>, StoreError> {
        self.measure("forget", self.inside.forget(before, most)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.measure("ping", self.inside.ping()).await
    }

    async fn close(&self) {
        self.inside.close().await;
    }
}
