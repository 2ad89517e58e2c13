//! Redis or PostgreSQL away, slow to answer, or empty when it is back: what is asked meanwhile, and what is whole after.

use std::ops::Deref;
use std::time::Duration;

use candlewick::cache::{BusEventKind, Cache, RedisConfig, redis};
use candlewick::model::{ExchangeId, GapReason, Interval, TimeRange, Timestamp, Topic};
use serde_json::Value;

use super::both::{Both, collected, is_fresh};
use crate::support::proxy::{Line, Proxy, server_of};
use crate::support::{servers, until};

/// Both roles, each reaching both servers over lines that can be cut.
struct Pair {
    both: Both,
    to_redis: Proxy,
    to_postgres: Proxy,
    redis: (String, String),
}

const BINANCE: ExchangeId = ExchangeId::Binance;

impl Deref for Pair {
    type Target = Both;

    fn deref(&self) -> &Both {
        &self.both
    }
}

impl Pair {
    async fn start() -> Self {
        let (database, redis) = (servers::database().await, servers::redis().await);
        let to_postgres = Proxy::to(server_of(&database)).await;
        let to_redis = Proxy::to(server_of(&redis.0)).await;
        let both = Both::start(&to_postgres.url(&database), &to_redis.url(&redis.0), &redis.1).await;
        Self { both, to_redis, to_postgres, redis }
    }

    /// One more replica, on the same line.
    async fn replica(&self) -> Cache {
        let (url, prefix) = (self.to_redis.url(&self.redis.0), self.redis.1.clone());
        redis(&RedisConfig { url: url.into(), prefix, egress: "test".to_owned() }, self.world.clock.clone())
            .await
            .unwrap()
    }
}

/// Reads events until a gap of the bus, and says whether numbers were missing before it.
async fn hears_of_the_loss(cache: &Cache) -> tokio::task::JoinHandle<bool> {
    let topic = Topic::Trades { exchange: BINANCE, symbol: "BTC/USDT".parse().unwrap() };
    let mut listener = cache.bus.subscribe(&topic).await.unwrap();
    tokio::spawn(async move {
        let mut last: Option<(std::sync::Arc<str>, u64)> = None;
        loop {
            let event = listener.next().await.unwrap();
            if let BusEventKind::Gap(GapReason::BusLost | GapReason::NewEpoch) = event.kind {
                return true;
            }
            if let Some((epoch, number)) = last
                && (epoch != event.epoch || event.seq != number + 1)
            {
                return false;
            }
            last = Some((event.epoch, event.seq));
        }
    })
}

async fn redis_goes_and_comes(line: Line) {
    let pair = Pair::start().await;
    let since = pair.world.clock.now();
    let sockets = pair.sockets();
    let replica = pair.replica().await;
    let told = hears_of_the_loss(&replica).await;

    pair.to_redis.set(line);
    until("the ticker says that it is old", async || {
        let ticker = pair.ticker(BINANCE, "BTC/USDT").await.expect("it goes on from memory");
        ticker["stale"] == true && ticker["age_ms"].as_i64().unwrap() > 20_000
    })
    .await;
    until("it is said that Redis is away", async || pair.degraded().await.contains(&"cache".to_owned())).await;
    // A lease has long run out by now, and the collector goes on.
    pair.world.pass(Duration::from_mins(1)).await;
    let own = pair.collector.ok("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
    assert!(is_fresh(&own), "who collects needs no Redis: {own}");

    pair.to_redis.set(Line::Open);
    pair.until_live().await;
    assert!(told.await.unwrap(), "the bus tells of what it lost");
    until("all is well", async || pair.degraded().await.is_empty()).await;
    pair.assert_whole(since).await;
    assert_eq!(pair.sockets(), sockets, "no connection to an exchange was lost for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_costs_nothing_but_freshness_elsewhere() {
    redis_goes_and_comes(Line::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_does_not_answer_is_as_good_as_away() {
    redis_goes_and_comes(Line::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_forgot_is_told_again() {
    let pair = Pair::start().await;
    let since = pair.world.clock.now();
    pair.to_redis.set(Line::Cut);
    servers::forget(&pair.redis.0, &pair.redis.1).await;
    pair.to_redis.set(Line::Open);
    pair.until_live().await;
    // One that was not there before finds all of it.
    let replica = pair.replica().await;
    for (exchange, symbol) in collected() {
        let symbol = symbol.parse().unwrap();
        until("the state is there again", async || {
            let state = replica.states.get(exchange).await.unwrap();
            state.is_some_and(|state| state.symbols.contains(&symbol))
        })
        .await;
        until("the ticker is there again", async || replica.tickers.get(exchange, &symbol).await.unwrap().is_some())
            .await;
        let lease = replica.leases.acquire(&format!("collect:{exchange}"), Duration::from_secs(1)).await;
        assert_eq!(lease.unwrap(), None, "it is held again");
    }
    pair.assert_whole(since).await;
}

async fn postgres_goes_and_comes(line: Line) {
    let pair = Pair::start().await;
    let since = pair.world.clock.now();
    let sockets = pair.sockets();
    pair.world.pass(Duration::from_mins(2)).await;

    pair.to_postgres.set(line);
    until("it is said that PostgreSQL is away", async || pair.degraded().await.contains(&"store".to_owned())).await;
    let ago = Interval::M1.back(pair.world.clock.now(), 30);
    let (status, problem) =
        pair.server.get(&format!("/v1/history?exchange=binance&symbol=BTC/USDT&start={}", ago.millis())).await;
    assert_eq!((status, &problem["code"]), (503, &Value::from("store_unavailable")), "{problem}");
    pair.world.pass(Duration::from_mins(3)).await;
    pair.until_live().await;

    pair.to_postgres.set(Line::Open);
    until("all is well", async || pair.degraded().await.is_empty()).await;
    pair.assert_whole(since).await;
    assert_eq!(pair.sockets(), sockets, "no connection to an exchange was lost for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_away_costs_history_only() {
    postgres_goes_and_comes(Line::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_does_not_answer_is_as_good_as_away() {
    postgres_goes_and_comes(Line::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_make_the_tables_once() {
    use candlewick::store::CandleStore;
    use candlewick::store::postgres::{Options, PostgresStore};
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
