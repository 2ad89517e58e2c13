//! Failover to a PostgreSQL standby or to a Redis replica: the service resumes without intervention and loses no data.

use std::collections::HashMap;
use std::time::Duration;

use candlewick::cache::{Cache, RedisConfig, redis};
use candlewick::clock::Clock;
use candlewick::model::{Candle, CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::{CandleStore, SeriesWrite, Store, StoreError};
use rust_decimal::Decimal;
use sqlx::{Connection, PgConnection};

use super::replica_pair::{ReplicaPair, collected_markets};
use crate::support::failover::{RedisPair, postgres_pair, redis_pair};
use crate::support::proxy::{Proxy, host_and_port};
use crate::support::{servers, wait_until};

/// Maximum time from the moment the new server is reachable until the service resumes.
const RESUME_WITHIN: Duration = Duration::from_secs(15);

/// The values of every candle in a database, by series and open time.
async fn stored_candles(url: &str) -> HashMap<(String, i64), String> {
    let mut database = PgConnection::connect(url).await.unwrap();
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT exchange || ' ' || symbol || ' ' || interval, open_time, \
            concat_ws(' ', open, high, low, close, volume) FROM candles JOIN series ON series.id = series_id",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    rows.into_iter().map(|(series, open_time, values)| ((series, open_time), values)).collect()
}

/// Number of connections that the service has to a server.
async fn connection_count(url: &str) -> i64 {
    let mut database = PgConnection::connect(url).await.unwrap();
    let query = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'candlewick'");
    query.fetch_one(&mut database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_resume_after_postgres_failover() {
    let postgres = postgres_pair().await;
    let (redis_url, prefix) = servers::redis().await;
    let proxy = Proxy::start(host_and_port(&postgres.primary)).await;
    let replicas = ReplicaPair::start(&proxy.url(&postgres.primary), &redis_url, &prefix).await;
    let since = replicas.simulation.clock.now();
    let sockets = replicas.sockets_opened();
    replicas.simulation.sleep(Duration::from_mins(2)).await;

    postgres.fence().await;
    let acknowledged = stored_candles(&postgres.primary).await;
    assert!(acknowledged.len() > 1_000, "{}", acknowledged.len());
    postgres.promote().await;
    // Writes fail during this time.
    replicas.simulation.sleep(Duration::from_mins(2)).await;
    assert_eq!(stored_candles(&postgres.standby).await, acknowledged, "nothing is written to the new primary yet");

    proxy.set_server(host_and_port(&postgres.standby));
    let clock = Clock::system();
    let switched = clock.now();
    wait_until("candles are written to the new primary", async || {
        stored_candles(&postgres.standby).await.len() > acknowledged.len()
    })
    .await;
    let elapsed = clock.now().since(switched);
    assert!(elapsed < RESUME_WITHIN, "writes resumed after {elapsed:?}");
    let primary = &postgres.primary;
    wait_until("all connections to the old primary are closed", async || connection_count(primary).await == 0).await;
    wait_until("nothing is degraded", async || replicas.degraded().await.is_empty()).await;
    replicas.assert_complete(since).await;
    let after = stored_candles(&postgres.standby).await;
    let lost: Vec<_> = acknowledged.keys().filter(|key| !after.contains_key(*key)).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
    assert_eq!(replicas.sockets_opened(), sockets, "no connection to an exchange was lost");
}

fn series() -> Series {
    Series { exchange: ExchangeId::BINANCE, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 }
}

/// Writes one candle of this minute since the epoch.
async fn write(store: &PostgresStore, minute: i64) -> Result<(), StoreError> {
    let timestamp = Timestamp::from_secs(60 * minute);
    let price = Decimal::from(minute);
    let candle = Candle {
        timestamp,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Decimal::ONE,
        quote_volume: None,
        trades: None,
        closed: true,
        revision: 0,
    };
    let claims = vec![CoveredRange { range: Interval::M1.span(timestamp), state: CoverageState::Fetched }];
    store.write(&[SeriesWrite { series: series(), candles: vec![candle], claims }]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn multi_host_url_selects_writable_server() {
    let postgres = postgres_pair().await;
    let (primary, standby) = (host_and_port(&postgres.primary), host_and_port(&postgres.standby));
    // The standby is the first host.
    let url = format!("postgres://postgres@{standby},{primary}/postgres?target_session_attrs=read-write");
    let options = Options { connections: 4, statement_timeout: Duration::from_secs(5) };
    let store = PostgresStore::open(&url, &options).await.unwrap();
    for minute in 0..10 {
        write(&store, minute).await.unwrap();
    }
    postgres.fence().await;
    assert!(matches!(write(&store, 10).await, Err(StoreError::Unavailable(_))), "the primary is read-only");
    postgres.promote().await;
    let clock = Clock::system();
    let promoted = clock.now();
    wait_until("a write is acknowledged", async || write(&store, 10).await.is_ok()).await;
    let elapsed = clock.now().since(promoted);
    assert!(elapsed < RESUME_WITHIN, "writes resumed after {elapsed:?}");
    assert_eq!(stored_candles(&postgres.standby).await.len(), 11);
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(660));
    assert!(store.coverage(&series(), range).await.unwrap().is_complete(range));
    store.close().await;
}

/// A cache that connects directly to one Redis server.
async fn open_cache(replicas: &ReplicaPair, port: u16, prefix: &str) -> Cache {
    let config = RedisConfig { url: RedisPair::url(port).into(), prefix: prefix.to_owned(), egress: "test".to_owned() };
    redis(&config, replicas.simulation.clock.clone()).await.unwrap()
}

/// Waits until the server at `port` is the master. Then checks that it receives tickers and leases within
/// [`RESUME_WITHIN`] and that the candles since `since` are complete.
async fn assert_resumes(replicas: &ReplicaPair, port: u16, prefix: &str, since: Timestamp) {
    let clock = Clock::system();
    let (start, failed_over) = (clock.now(), replicas.simulation.clock.now());
    wait_until("the new server is the master", async || RedisPair::is_master(port).await).await;
    let cache = open_cache(replicas, port, prefix).await;
    for (exchange, symbol) in collected_markets() {
        let symbol = symbol.parse().unwrap();
        wait_until(&format!("the new master receives tickers of {exchange}"), async || {
            let ticker = cache.tickers.get(exchange, &symbol).await.unwrap();
            ticker.is_some_and(|cached| cached.ticker.received_at > failed_over)
        })
        .await;
        wait_until(&format!("the new master has the lease of {exchange}"), async || {
            let name = format!("collect:{exchange}");
            cache.leases.acquire(&name, Duration::from_millis(1)).await.unwrap().is_none()
        })
        .await;
    }
    replicas.wait_until_live().await;
    wait_until("nothing is degraded", async || replicas.degraded().await.is_empty()).await;
    let elapsed = clock.now().since(start);
    assert!(elapsed < RESUME_WITHIN, "resumed after {elapsed:?}");
    replicas.assert_complete(since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_provide_new_master_after_old_one_stops() {
    let pair = redis_pair(3).await;
    let database = servers::database().await;
    let replicas = ReplicaPair::start(&database, &pair.sentinel_url(), "failover").await;
    let since = replicas.simulation.clock.now();
    replicas.simulation.sleep(Duration::from_mins(1)).await;
    RedisPair::send_command(pair.master, "SHUTDOWN NOSAVE").await;
    assert_resumes(&replicas, pair.replica, "failover", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_provide_new_master_after_old_one_becomes_replica() {
    let pair = redis_pair(3).await;
    let database = servers::database().await;
    let replicas = ReplicaPair::start(&database, &pair.sentinel_url(), "failover").await;
    let since = replicas.simulation.clock.now();
    replicas.simulation.sleep(Duration::from_mins(1)).await;
    RedisPair::send_command(pair.sentinels[0], "SENTINEL FAILOVER main").await;
    assert_resumes(&replicas, pair.replica, "failover", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_when_master_behind_single_address_becomes_replica() {
    let pair = redis_pair(0).await;
    let database = servers::database().await;
    let proxy = Proxy::start(host_and_port(&RedisPair::url(pair.master))).await;
    let replicas = ReplicaPair::start(&database, &proxy.url(&RedisPair::url(pair.master)), "failover").await;
    let since = replicas.simulation.clock.now();
    replicas.simulation.sleep(Duration::from_mins(1)).await;
    // Existing connections stay with the old master, which responds but rejects writes.
    proxy.set_server(host_and_port(&RedisPair::url(pair.replica)));
    RedisPair::send_command(pair.replica, "REPLICAOF NO ONE").await;
    RedisPair::send_command(pair.master, &format!("REPLICAOF 127.0.0.1 {}", pair.replica)).await;
    assert_resumes(&replicas, pair.replica, "failover", since).await;
}
