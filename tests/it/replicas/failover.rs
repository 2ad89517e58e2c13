//! Failover: a standby of PostgreSQL, or a replica of Redis, takes over. The service goes on by itself, and nothing is lost.

use std::collections::HashMap;
use std::time::Duration;

use candlewick::cache::{Cache, RedisConfig, redis};
use candlewick::clock::Clock;
use candlewick::model::{Candle, CoveredRange, ExchangeId, Interval, Knowledge, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::{CandleStore, SeriesWrite, StoreError};
use rust_decimal::Decimal;
use sqlx::{Connection, PgConnection};

use super::both::{Both, collected};
use crate::support::failover::{RedisPair, postgres_pair, redis_pair};
use crate::support::proxy::{Proxy, server_of};
use crate::support::{servers, until};

/// From the moment at which the new server can be reached until the service goes on.
const GOES_ON_WITHIN: Duration = Duration::from_secs(15);

/// Every candle of a database: by series and time, its values.
async fn candles_of(url: &str) -> HashMap<(String, i64), String> {
    let mut database = PgConnection::connect(url).await.unwrap();
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT exchange || ' ' || symbol || ' ' || interval, open_time, \
            concat_ws(' ', open, high, low, close, volume) FROM candles JOIN series ON series.id = series_id",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    rows.into_iter().map(|(series, at, values)| ((series, at), values)).collect()
}

/// How many connections of ours a server has.
async fn connections_to(url: &str) -> i64 {
    let mut database = PgConnection::connect(url).await.unwrap();
    let asked = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'candlewick'");
    asked.fetch_one(&mut database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_after_a_failover_of_postgresql() {
    let postgres = postgres_pair().await;
    let (to_redis, prefix) = servers::redis().await;
    let proxy = Proxy::to(server_of(&postgres.primary)).await;
    let both = Both::start(&proxy.url(&postgres.primary), &to_redis, &prefix).await;
    let since = both.world.clock.now();
    let sockets = both.sockets();
    both.world.pass(Duration::from_mins(2)).await;

    postgres.fence().await;
    let acknowledged = candles_of(&postgres.primary).await;
    assert!(acknowledged.len() > 1_000, "{}", acknowledged.len());
    postgres.promote().await;
    // Writes fail meanwhile.
    both.world.pass(Duration::from_mins(2)).await;
    assert_eq!(candles_of(&postgres.standby).await, acknowledged, "nobody writes to either");

    proxy.switch(server_of(&postgres.standby));
    let clock = Clock::system();
    let switched = clock.now();
    until("candles are written to the new primary", async || {
        candles_of(&postgres.standby).await.len() > acknowledged.len()
    })
    .await;
    let took = clock.now().since(switched);
    assert!(took < GOES_ON_WITHIN, "writes went on after {took:?}");
    until("no connection to the old primary is kept", async || connections_to(&postgres.primary).await == 0).await;
    until("all is well", async || both.degraded().await.is_empty()).await;
    both.assert_whole(since).await;
    let after = candles_of(&postgres.standby).await;
    let lost: Vec<_> = acknowledged.keys().filter(|key| !after.contains_key(*key)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(both.sockets(), sockets, "no connection to an exchange was lost for it");
}

fn series() -> Series {
    Series { exchange: ExchangeId::Binance, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 }
}

/// Writes the candle of a minute.
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
    let claims = vec![CoveredRange { range: Interval::M1.span(timestamp), state: Knowledge::Fetched }];
    store.write(&[SeriesWrite { series: series(), candles: vec![candle], claims }]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_with_several_hosts_leads_to_the_one_that_can_write() {
    let postgres = postgres_pair().await;
    let (primary, standby) = (server_of(&postgres.primary), server_of(&postgres.standby));
    // The standby stands first.
    let url = format!("postgres://postgres@{standby},{primary}/postgres?target_session_attrs=read-write");
    let options = Options { connections: 4, statement_timeout: Duration::from_secs(5) };
    let store = PostgresStore::open(&url, &options).await.unwrap();
    for minute in 0..10 {
        write(&store, minute).await.unwrap();
    }
    postgres.fence().await;
    assert!(matches!(write(&store, 10).await, Err(StoreError::Unavailable(_))), "it is read-only");
    postgres.promote().await;
    let clock = Clock::system();
    let promoted = clock.now();
    until("a write is acknowledged", async || write(&store, 10).await.is_ok()).await;
    let took = clock.now().since(promoted);
    assert!(took < GOES_ON_WITHIN, "writes went on after {took:?}");
    assert_eq!(candles_of(&postgres.standby).await.len(), 11);
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(660));
    assert!(store.coverage(&series(), range).await.unwrap().completes(range));
    store.close().await;
}

/// One more replica that asks a server itself.
async fn replica(both: &Both, port: u16, prefix: &str) -> Cache {
    let config = RedisConfig { url: RedisPair::url(port).into(), prefix: prefix.to_owned(), egress: "test".to_owned() };
    redis(&config, both.world.clock.clone()).await.unwrap()
}

/// After `port` became the master: what replicas share is there and grows, and candles are whole.
async fn goes_on(both: &Both, port: u16, prefix: &str, since: Timestamp) {
    let clock = Clock::system();
    let (begun, failed_over) = (clock.now(), both.world.clock.now());
    until("the new server is the master", async || RedisPair::is_master(port).await).await;
    let there = replica(both, port, prefix).await;
    for (exchange, symbol) in collected() {
        let symbol = symbol.parse().unwrap();
        until(&format!("tickers of {exchange} are told to the new master"), async || {
            let ticker = there.tickers.get(exchange, &symbol).await.unwrap();
            ticker.is_some_and(|kept| kept.ticker.received_at > failed_over)
        })
        .await;
        until(&format!("the lease of {exchange} is held there"), async || {
            let name = format!("collect:{exchange}");
            there.leases.acquire(&name, Duration::from_millis(1)).await.unwrap().is_none()
        })
        .await;
    }
    both.until_live().await;
    until("all is well", async || both.degraded().await.is_empty()).await;
    let took = clock.now().since(begun);
    assert!(took < GOES_ON_WITHIN, "it went on after {took:?}");
    both.assert_whole(since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_new_master_when_the_old_one_is_gone() {
    let pair = redis_pair(3).await;
    let database = servers::database().await;
    let both = Both::start(&database, &pair.sentinel_url(), "failover").await;
    let since = both.world.clock.now();
    both.world.pass(Duration::from_mins(1)).await;
    RedisPair::tell(pair.master, "SHUTDOWN NOSAVE").await;
    goes_on(&both, pair.replica, "failover", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_new_master_when_the_old_one_follows_it() {
    let pair = redis_pair(3).await;
    let database = servers::database().await;
    let both = Both::start(&database, &pair.sentinel_url(), "failover").await;
    let since = both.world.clock.now();
    both.world.pass(Duration::from_mins(1)).await;
    RedisPair::tell(pair.sentinels[0], "SENTINEL FAILOVER main").await;
    goes_on(&both, pair.replica, "failover", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_became_a_replica_behind_one_address_is_left() {
    let pair = redis_pair(0).await;
    let database = servers::database().await;
    let proxy = Proxy::to(server_of(&RedisPair::url(pair.master))).await;
    let both = Both::start(&database, &proxy.url(&RedisPair::url(pair.master)), "failover").await;
    let since = both.world.clock.now();
    both.world.pass(Duration::from_mins(1)).await;
    // Connections that stand lead to the old one, which answers, and takes no writes.
    proxy.switch(server_of(&RedisPair::url(pair.replica)));
    RedisPair::tell(pair.replica, "REPLICAOF NO ONE").await;
    RedisPair::tell(pair.master, &format!("REPLICAOF 127.0.0.1 {}", pair.replica)).await;
    goes_on(&both, pair.replica, "failover", since).await;
}
