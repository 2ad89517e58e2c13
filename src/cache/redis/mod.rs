//! The shared state of many replicas: Redis 6.2 and newer, Valkey, or a Redis Cluster.
//!
//! | key | what | lifetime |
//! |---|---|---|
//! | `P:{binance}:tickers` | hash, a field a symbol: the latest ticker with its position | a day after the last write |
//! | `P:{binance}:candles:BTC/USDT:1m` | hash, a field an open time: the newest candles of a series | a day after the last write |
//! | `P:{binance}:series` | set: the series that have such a hash | a day after the last write |
//! | `P:{binance}:state` | JSON: what the collector told last | a day after the last write |
//! | `P:{binance}:demand` | sorted set: wanted symbols, by the time until when | as long as the latest is wanted |
//! | `P:{binance}:serves` | which collector answers questions | 5 s, renewed each second |
//! | `P:{collect:binance}:lease`, `:token` | who collects, and the last token given | the lease's; a week |
//! | `P:{binance}:budget:GROUP:SCOPE`, `:ban:GROUP:SCOPE` | what was used of an exchange's limit, by time; until when it bans us | the limit's window; the ban's |
//! | `P:limit:CLIENT` | when all of a client's limit is free again, in microseconds | until then |
//!
//! `P` is the configured prefix. What stands in braces decides the cluster's node, so that a script finds its keys on one.
//! Channels: `P:TOPIC` carries events as the very frames that clients get, `P:ask:EXCHANGE` questions, `P:answer:REPLICA`
//! their answers, `P:pulse:REPLICA` a replica's own heartbeat.
//!
//! A collector never waits for Redis: what it tells goes through a bounded queue ([`outgoing`]), and what it knows itself it
//! reads from its own memory. Whatever Redis lost is told again when it is back ([`link::Link::revived`]).

mod budgets;
mod bus;
mod candles;
mod codec;
mod demand;
mod leases;
mod limits;
mod link;
mod outgoing;
mod requests;
mod scripts;
mod states;
mod tickers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::SecretString;

use self::link::Link;
use self::outgoing::Outgoing;
use super::{Cache, CacheError};
use crate::clock::Clock;
use crate::model::ExchangeId;

/// How Redis is used.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://`, `valkey://`…
    pub url: SecretString,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// Replicas of one group share an address on the internet, and so the exchanges' limits.
    pub egress: String,
}

/// Connects to Redis.
///
/// # Errors
/// [`CacheError`] names the server and says what to do.
pub async fn redis(config: &RedisConfig, clock: Clock) -> Result<Cache, CacheError> {
    let link = Link::open(config, &clock).await?;
    let outgoing = Outgoing::start(Arc::clone(&link));
    let home = Arc::new(Home::default());
    let bus = bus::RedisBus::start(Arc::clone(&link), Arc::clone(&outgoing), Arc::clone(&home));
    Ok(Cache {
        tickers: tickers::RedisTickers::start(&link, &outgoing, &home, &bus, clock.clone()),
        candles: candles::RedisCandles::start(&link, &outgoing, &home),
        states: states::RedisStates::start(&link, &outgoing, &home, clock.clone()),
        bus,
        leases: Arc::new(leases::RedisLeases::new(Arc::clone(&link), clock.clone())),
        demand: Arc::new(demand::RedisDemand::new(Arc::clone(&link), clock.clone())),
        requests: requests::RedisRequests::start(&link, &home, clock.clone()),
        limits: Arc::new(limits::RedisLimits::new(Arc::clone(&link), clock.clone())),
        budgets: Arc::new(budgets::RedisBudgets::new(link, config.egress.clone(), clock)),
    })
}

/// Which exchanges this process collects: what it tells of those it need not ask for.
#[derive(Default)]
struct Home([AtomicUsize; ExchangeId::ALL.len()]);

impl Home {
    fn collects(&self, exchange: ExchangeId) -> bool {
        self.0[exchange as usize].load(Ordering::Acquire) > 0
    }

    /// This process collects an exchange until the returned value is dropped.
    fn enter(self: &Arc<Self>, exchange: ExchangeId) -> AtHome {
        self.0[exchange as usize].fetch_add(1, Ordering::AcqRel);
        AtHome { home: Arc::clone(self), exchange }
    }
}

struct AtHome {
    home: Arc<Home>,
    exchange: ExchangeId,
}

impl Drop for AtHome {
    fn drop(&mut self) {
        self.home.0[self.exchange as usize].fetch_sub(1, Ordering::AcqRel);
    }
}
