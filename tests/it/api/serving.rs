//! Serving and shutdown: readiness, drain, panics and the connection limit.

use async_trait::async_trait;
use candlewick::model::{ApiKey, Backfill, Coverage, MarketKind};
use candlewick::store::{
    BackfillFilter, BackfillStore, InstrumentStore, KeyStore, Listing, StoreError, StoredPage, Take,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn readiness_follows_lifecycle() {
    let service = TestService::start().await;
    assert_eq!(service.get("/readyz").await.status(), 200);
    service.lifecycle.drain();
    expect_problem(service.get("/readyz").await, 503, "not_ready").await;
    assert_eq!(service.json("/health").await["status"], "draining");
    let address = service.address;
    service.shut_down().await;
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn partial_request_does_not_delay_shutdown() {
    let service = TestService::start().await;
    let mut partial = TcpStream::connect(service.address).await.unwrap();
    partial.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut idle = TcpStream::connect(service.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut status_line = [0; 12];
    idle.read_exact(&mut status_line).await.unwrap();
    assert_eq!(&status_line, b"HTTP/1.1 200");
    let started = service.clock.elapsed();
    let clock = service.clock.clone();
    service.shut_down().await;
    assert!(clock.elapsed().saturating_sub(started) < Duration::from_secs(3));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

/// A store whose coverage pages fail: it panics for a range from the epoch, else it is unavailable.
struct BrokenLedgerStore(SqliteStore);

#[async_trait]
impl CandleStore for BrokenLedgerStore {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        self.0.write(batch).await
    }
    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        self.0.candles(series, range, take).await
    }
    async fn page(&self, series: &Series, range: TimeRange, _: Take) -> Result<StoredPage, StoreError> {
        self.coverage(series, range).await.map(|coverage| StoredPage { candles: Vec::new(), coverage })
    }
    async fn coverage_page(&self, _: &Series, range: TimeRange, _: u32) -> Result<Coverage, StoreError> {
        assert_ne!(range.start(), Timestamp::EPOCH, "range of all time");
        Err(StoreError::Unavailable("the disk is gone".to_owned()))
    }
    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError> {
        self.0.delete_before(before, limit).await
    }
}

#[async_trait]
impl InstrumentStore for BrokenLedgerStore {
    async fn put_instruments(
        &self,
        id: ExchangeId,
        kind: MarketKind,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.put_instruments(id, kind, listed, at).await
    }
    async fn instruments(&self, id: ExchangeId) -> Result<Listing, StoreError> {
        self.0.instruments(id).await
    }
}

#[async_trait]
impl BackfillStore for BrokenLedgerStore {
    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        self.0.put_backfill(backfill).await
    }
    async fn backfills(&self, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError> {
        self.0.backfills(filter).await
    }
}

#[async_trait]
impl KeyStore for BrokenLedgerStore {
    async fn insert_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.0.insert_key(key).await
    }
    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.0.revoke_key(id, at).await
    }
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.0.keys().await
    }
}

#[async_trait]
impl Store for BrokenLedgerStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test]
async fn panic_returns_internal_error_and_process_continues() {
    let store = Arc::new(BrokenLedgerStore(SqliteStore::in_memory().await.unwrap()));
    let service = TestService::with_store(store, ApiConfig::default()).await;
    expect_problem(service.get("/v1/coverage?symbol=BTC/USDT").await, 500, "internal").await;
    expect_problem(service.get("/v1/coverage?symbol=BTC/USDT&start=60000").await, 503, "store_unavailable").await;
    assert_eq!(service.get("/livez").await.status(), 200);
    service.shut_down().await;
}

#[tokio::test]
async fn connections_past_limit_wait() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let service = TestService::with_store(store, ApiConfig { max_connections: 1, ..ApiConfig::default() }).await;
    let first = TcpStream::connect(service.address).await.unwrap();
    let mut second = TcpStream::connect(service.address).await.unwrap();
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut status_line = [0; 12];
    let early = service.clock.timeout(Duration::from_millis(200), second.read_exact(&mut status_line)).await;
    assert!(early.is_err(), "the only permit is taken");
    drop(first);
    second.read_exact(&mut status_line).await.unwrap();
    assert_eq!(&status_line, b"HTTP/1.1 200");
    service.shut_down().await;
}
