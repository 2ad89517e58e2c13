//! Outages and stalls of Redis and PostgreSQL, and loss of all Redis data: responses during the outage, and complete
//! data after it.

use std::ops::Deref;
use std::time::Duration;

use candlewick::cache::{BusEventKind, Cache, RedisConfig, redis};
use candlewick::model::{ExchangeId, GapReason, Interval, TimeRange, Timestamp, Topic};
use serde_json::Value;

use super::replica_pair::{ReplicaPair, collected_markets, is_fresh};
use crate::support::proxy::{Link, Proxy, host_and_port};
use crate::support::{servers, wait_until};

/// A pair of replicas that connect to both servers through proxies.
struct ProxiedPair {
    replicas: ReplicaPair,
    to_redis: Proxy,
    to_postgres: Proxy,
    /// URL and key prefix.
    redis: (String, String),
}

const BINANCE: ExchangeId = ExchangeId::BINANCE;

impl Deref for ProxiedPair {
    type Target = ReplicaPair;

    fn deref(&self) -> &ReplicaPair {
        &self.replicas
    }
}

impl ProxiedPair {
    async fn start() -> Self {
        let (database, redis) = (servers::database().await, servers::redis().await);
        let to_postgres = Proxy::start(host_and_port(&database)).await;
        let to_redis = Proxy::start(host_and_port(&redis.0)).await;
        let replicas = ReplicaPair::start(&to_postgres.url(&database), &to_redis.url(&redis.0), &redis.1).await;
        Self { replicas, to_redis, to_postgres, redis }
    }

    /// Opens the cache through the same proxy, as another replica does.
    async fn open_cache(&self) -> Cache {
        let (url, prefix) = (self.to_redis.url(&self.redis.0), self.redis.1.clone());
        redis(&RedisConfig { url: url.into(), prefix, egress: "test".to_owned() }, self.simulation.clock.clone())
            .await
            .unwrap()
    }
}

/// Starts a task that receives events until the first loss. The task returns `true` if the bus reports the loss with a
/// gap event, and `false` if sequence numbers are missing without one.
async fn receive_until_loss(cache: &Cache) -> tokio::task::JoinHandle<bool> {
    let topic = Topic::Trades { exchange: BINANCE, symbol: "BTC/USDT".parse().unwrap() };
    let mut subscriber = cache.bus.subscribe(&topic).await.unwrap();
    tokio::spawn(async move {
        let mut last: Option<(std::sync::Arc<str>, u64)> = None;
        loop {
            let event = subscriber.next().await.unwrap();
            if let BusEventKind::Gap(GapReason::BusLost | GapReason::NewEpoch) = event.kind {
                return true;
            }
            if let Some((epoch, seq)) = last
                && (epoch != event.epoch || event.seq != seq + 1)
            {
                return false;
            }
            last = Some((event.epoch, event.seq));
        }
    })
}

async fn assert_survives_redis_outage(link: Link) {
    let pair = ProxiedPair::start().await;
    let since = pair.simulation.clock.now();
    let sockets = pair.sockets_opened();
    let cache = pair.open_cache().await;
    let loss = receive_until_loss(&cache).await;

    pair.to_redis.set_link(link);
    wait_until("the ticker is stale", async || {
        let ticker = pair.ticker(BINANCE, "BTC/USDT").await.expect("the API replica returns the ticker from memory");
        ticker["stale"] == true && ticker["age_ms"].as_i64().unwrap() > 20_000
    })
    .await;
    wait_until("the cache is degraded", async || pair.degraded().await.contains(&"cache".to_owned())).await;
    // The leases have expired, but the collector continues.
    pair.simulation.sleep(Duration::from_mins(1)).await;
    let ticker = pair.collector.get_ok("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
    assert!(is_fresh(&ticker), "the collector does not need Redis: {ticker}");

    pair.to_redis.set_link(Link::Up);
    pair.wait_until_live().await;
    assert!(loss.await.unwrap(), "the bus reports the loss with a gap event");
    wait_until("nothing is degraded", async || pair.degraded().await.is_empty()).await;
    pair.assert_complete(since).await;
    assert_eq!(pair.sockets_opened(), sockets, "no connection to an exchange was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_outage_only_makes_remote_tickers_stale() {
    assert_survives_redis_outage(Link::Down).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_redis_is_handled_like_an_outage() {
    assert_survives_redis_outage(Link::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_redis_data_is_published_again() {
    let pair = ProxiedPair::start().await;
    let since = pair.simulation.clock.now();
    pair.to_redis.set_link(Link::Down);
    servers::delete_keys(&pair.redis.0, &pair.redis.1).await;
    pair.to_redis.set_link(Link::Up);
    pair.wait_until_live().await;
    // A new replica finds all data.
    let cache = pair.open_cache().await;
    for (exchange, symbol) in collected_markets() {
        let symbol = symbol.parse().unwrap();
        wait_until("the state is published", async || {
            let state = cache.states.get(exchange).await.unwrap();
            state.is_some_and(|state| state.symbols.contains(&symbol))
        })
        .await;
        wait_until("the ticker is published", async || cache.tickers.get(exchange, &symbol).await.unwrap().is_some())
            .await;
        let lease = cache.leases.acquire(&format!("collect:{exchange}"), Duration::from_secs(1)).await;
        assert_eq!(lease.unwrap(), None, "the collector holds the lease");
    }
    pair.assert_complete(since).await;
}

async fn assert_survives_postgres_outage(link: Link) {
    let pair = ProxiedPair::start().await;
    let since = pair.simulation.clock.now();
    let sockets = pair.sockets_opened();
    pair.simulation.sleep(Duration::from_mins(2)).await;

    pair.to_postgres.set_link(link);
    wait_until("the store is degraded", async || pair.degraded().await.contains(&"store".to_owned())).await;
    let ago = Interval::M1.back(pair.simulation.clock.now(), 30);
    let (status, problem) =
        pair.api.get(&format!("/v1/history?exchange=binance&symbol=BTC/USDT&start={}", ago.millis())).await;
    assert_eq!((status, &problem["code"]), (503, &Value::from("store_unavailable")), "{problem}");
    pair.simulation.sleep(Duration::from_mins(3)).await;
    pair.wait_until_live().await;

    pair.to_postgres.set_link(Link::Up);
    wait_until("nothing is degraded", async || pair.degraded().await.is_empty()).await;
    pair.assert_complete(since).await;
    assert_eq!(pair.sockets_opened(), sockets, "no connection to an exchange was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_outage_only_affects_history() {
    assert_survives_postgres_outage(Link::Down).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_postgres_is_handled_like_an_outage() {
    assert_survives_postgres_outage(Link::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_starts_create_tables_once() {
    use candlewick::store::postgres::{Options, PostgresStore};
    use candlewick::store::{CandleStore, Store};
    let url = servers::database().await;
    let options = Options { connections: 2, statement_timeout: Duration::from_secs(5) };
    let open = || async { PostgresStore::open(&url, &options).await };
    let (one, two, three, four) = futures_util::join!(open(), open(), open(), open());
    for store in [one, two, three, four] {
        let store = store.unwrap();
        let series = candlewick::model::Series {
            exchange: BINANCE,
            symbol: "BTC/USDT".parse().unwrap(),
            interval: Interval::M1,
        };
        let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(60));
        assert!(store.coverage(&series, range).await.unwrap().ranges().is_empty());
        store.close().await;
    }
}
