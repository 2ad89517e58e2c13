//! Metrics and trace spans of store calls.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument as _;

use super::Store;
use super::backfills::{BackfillFilter, BackfillStore};
use super::candles::{CandleStore, SeriesWrite, StoredPage, Take};
use super::error::StoreError;
use super::instruments::{InstrumentStore, Listing};
use super::keys::KeyStore;
use crate::clock::Clock;
use crate::model::{
    ApiKey, Backfill, Candle, Coverage, ExchangeId, Instrument, MarketKind, Series, TimeRange, Timestamp,
};
use crate::telemetry::store::StoreCallFinished;
use crate::telemetry::trace;

/// Delegates to another store and measures each call.
pub struct MeteredStore {
    inner: Arc<dyn Store>,
    /// System time: databases do not run on the simulated clock.
    clock: Clock,
}

impl MeteredStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, clock: Clock::system() }
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let span = trace::child_span(|| tracing::info_span!("store", otel.kind = "client", operation));
        let started = self.clock.elapsed();
        let result = call.instrument(span).await;
        let took = self.clock.elapsed().saturating_sub(started);
        StoreCallFinished { operation, ok: result.is_ok(), took }.emit();
        result
    }
}

#[async_trait]
impl CandleStore for MeteredStore {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        self.measure("write", self.inner.write(batch)).await
    }

    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        self.measure("candles", self.inner.candles(series, range, take)).await
    }

    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        self.measure("page", self.inner.page(series, range, take)).await
    }

    async fn coverage_page(&self, series: &Series, range: TimeRange, limit: u32) -> Result<Coverage, StoreError> {
        self.measure("ledger", self.inner.coverage_page(series, range, limit)).await
    }

    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError> {
        self.measure("forget", self.inner.delete_before(before, limit)).await
    }
}

#[async_trait]
impl InstrumentStore for MeteredStore {
    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        kind: MarketKind,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.measure("put_instruments", self.inner.put_instruments(exchange, kind, listed, at)).await
    }

    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError> {
        self.measure("instruments", self.inner.instruments(exchange)).await
    }
}

#[async_trait]
impl BackfillStore for MeteredStore {
    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        self.measure("put_backfill", self.inner.put_backfill(backfill)).await
    }

    async fn backfills(&self, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError> {
        self.measure("backfills", self.inner.backfills(filter)).await
    }
}

#[async_trait]
impl KeyStore for MeteredStore {
    async fn insert_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.measure("insert_key", self.inner.insert_key(key)).await
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.measure("revoke_key", self.inner.revoke_key(id, at)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.measure("keys", self.inner.keys()).await
    }
}

#[async_trait]
impl Store for MeteredStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.measure("ping", self.inner.ping()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
