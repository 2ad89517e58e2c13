//! From start to end: readiness, and a shutdown that nobody can hold up.

use async_trait::async_trait;
use candlewick::model::{ApiKey, Backfill, Coverage};
use candlewick::store::{Backfills, Listing, StoreError, StoredPage, Take};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn readiness_follows_the_life_of_the_process() {
    let house = House::open().await;
    assert_eq!(house.get("/readyz").await.status(), 200);
    house.life.drain();
    problem(house.get("/readyz").await, 503, "not_ready").await;
    assert_eq!(house.json("/health").await["status"], "draining");
    let address = house.address;
    house.close().await;
    assert!(TcpStream::connect(address).await.is_err(), "the door is shut");
}

#[tokio::test]
async fn a_half_sent_request_does_not_hold_the_shutdown() {
    let house = House::open().await;
    let mut half = TcpStream::connect(house.address).await.unwrap();
    half.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut idle = TcpStream::connect(house.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let began = house.clock.elapsed();
    let clock = house.clock.clone();
    house.close().await;
    assert!(clock.elapsed().saturating_sub(began) < Duration::from_secs(3));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

/// A store with one broken shelf.
struct Broken(SqliteStore);

#[async_trait]
impl CandleStore for Broken {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        self.0.write(batch).await
    }
    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        self.0.candles(series, range, take).await
    }
    async fn page(&self, series: &Series, range: TimeRange, _: Take) -> Result<StoredPage, StoreError> {
        self.coverage(series, range).await.map(|coverage| StoredPage { candles: Vec::new(), coverage })
    }
    async fn ledger(&self, _: &Series, range: TimeRange, _: u32) -> Result<Coverage, StoreError> {
        assert_ne!(range.start(), Timestamp::EPOCH, "asked for all of time");
        Err(StoreError::Unavailable("the disk is gone".to_owned()))
    }
    async fn put_instruments(&self, id: ExchangeId, listed: &[Instrument], at: Timestamp) -> Result<(), StoreError> {
        self.0.put_instruments(id, listed, at).await
    }
    async fn instruments(&self, id: ExchangeId) -> Result<Listing, StoreError> {
        self.0.instruments(id).await
    }
    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        self.0.put_backfill(backfill).await
    }
    async fn backfills(&self, which: Backfills<'_>) -> Result<Vec<Backfill>, StoreError> {
        self.0.backfills(which).await
    }
    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.0.put_key(key).await
    }
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.0.keys().await
    }
    async fn forget(&self, before: Timestamp, most: u32) -> Result<Option<u64>, StoreError> {
        self.0.forget(before, most).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_process_lives() {
    let store = Arc::new(Broken(SqliteStore::in_memory().await.unwrap()));
    let house = House::with(store, ApiConfig::default()).await;
    problem(house.get("/v1/coverage?symbol=BTC/USDT").await, 500, "internal").await;
    problem(house.get("/v1/coverage?symbol=BTC/USDT&start=60000").await, 503, "store_unavailable").await;
    assert_eq!(house.get("/livez").await.status(), 200);
    house.close().await;
}

#[tokio::test]
async fn connections_past_the_bound_wait() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let house = House::with(store, ApiConfig { max_connections: 1, ..ApiConfig::default() }).await;
    let first = TcpStream::connect(house.address).await.unwrap();
    let mut second = TcpStream::connect(house.address).await.unwrap();
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    let early = house.clock.timeout(Duration::from_millis(200), second.read_exact(&mut answer)).await;
    assert!(early.is_err(), "the only seat is taken");
    drop(first);
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    house.close().await;
}
