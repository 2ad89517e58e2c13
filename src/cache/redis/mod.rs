//! Redis backends for several replicas: Redis 6.2 and newer, Valkey, or a Redis Cluster.
//!
//! | key | content | lifetime |
//! |---|---|---|
//! | `P:{binance}:tickers` | hash, one field per symbol: the latest ticker with its version | a day after the last write |
//! | `P:{binance}:candles:BTC/USDT:1m` | hash, one field per open time: the newest candles of a series | a day after the last write |
//! | `P:{binance}:series` | set: the series that have such a hash | a day after the last write |
//! | `P:{binance}:state` | JSON: the state that the collector reported last | a day after the last write |
//! | `P:{binance}:demand` | sorted set: symbols with demand, scored by expiry time | until the last expiry |
//! | `P:{binance}:serves` | which replica serves requests | 5 s, renewed each second |
//! | `P:{collect:binance}:lease`, `:token` | token of the lease holder; the last token | the lease's; a week |
//! | `P:{binance}:budget:GROUP:SCOPE`, `:ban:GROUP:SCOPE` | usage of an exchange's limit, by time slot; a ban by the exchange | the limit's window; the ban's |
//! | `P:limit:CLIENT` | when a client's limit is full again, in microseconds | until then |
//!
//! `P` is the configured prefix. The hash tag in braces decides the cluster node, so that all keys of a script are on
//! one. Channels: `P:TOPIC` carries events as the frames that clients get, `P:ask:EXCHANGE` requests to a collector,
//! `P:answer:REPLICA` the replies, `P:pulse:REPLICA` a replica's own heartbeat.
//!
//! A collector never waits for Redis: its writes go through a bounded queue ([`send_queue`]), and it reads its own data
//! from memory. Data that Redis lost is written again after a reconnect ([`link::RedisLink::reconnects`]).

mod budgets;
mod bus;
mod candles;
mod codec;
mod config;
mod demand;
mod leases;
mod limits;
mod link;
mod ownership;
mod requests;
mod scripts;
mod send_queue;
mod states;
mod tickers;

use std::sync::Arc;

pub use config::RedisConfig;

use self::link::RedisLink;
use self::ownership::LocalOwnership;
use self::send_queue::SendQueue;
use super::{Cache, CacheError};
use crate::clock::Clock;

/// Connects to Redis.
///
/// # Errors
/// [`CacheError`], if no connection is possible. The message names the server and says what to do.
pub async fn redis(config: &RedisConfig, clock: Clock) -> Result<Cache, CacheError> {
    let link = RedisLink::open(config, &clock).await?;
    let outgoing = SendQueue::start(Arc::clone(&link));
    let ownership = Arc::new(LocalOwnership::default());
    let bus = bus::RedisBus::start(Arc::clone(&link), Arc::clone(&outgoing), Arc::clone(&ownership));
    Ok(Cache {
        tickers: tickers::RedisTickers::start(&link, &outgoing, &ownership, &bus, clock.clone()),
        candles: candles::RedisCandles::start(&link, &outgoing, &ownership),
        states: states::RedisStates::start(&link, &outgoing, &ownership, clock.clone()),
        bus,
        leases: Arc::new(leases::RedisLeases::new(Arc::clone(&link), clock.clone())),
        demand: Arc::new(demand::RedisDemand::new(Arc::clone(&link), clock.clone())),
        requests: requests::RedisRequests::start(&link, &ownership, clock.clone()),
        limits: Arc::new(limits::RedisLimits::new(Arc::clone(&link), clock.clone())),
        budgets: Arc::new(budgets::RedisBudgets::new(link, config.egress.clone(), clock)),
    })
}
