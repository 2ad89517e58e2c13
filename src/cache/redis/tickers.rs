//! Latest tickers. A ticker that was read once is tracked: the bus keeps it up to date in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::interfaces::{HashesInterface, KeysInterface};
use fred::prelude::Value;
use parking_lot::Mutex;

use super::bus::RedisBus;
use super::link::RedisLink;
use super::ownership::LocalOwnership;
use super::send_queue::{Op, SendQueue, VALUE_TTL};
use super::{codec, scripts};
use crate::cache::memory::tickers::MemoryTickers;
use crate::cache::{
    BusEventKind, BusSubscription, CacheError, CachedTicker, EventBus, LatestTickers, Version, epoch_token,
};
use crate::clock::Clock;
use crate::model::{ExchangeId, Source, Symbol, Topic};

/// A ticker is tracked for this time after its last read.
const TRACK_TTL: Duration = Duration::from_mins(2);

/// Maximum number of tracked tickers. The others are read from Redis.
const MAX_TRACKED: usize = 20_000;

type Market = (ExchangeId, Symbol);

/// State of a tracked ticker.
struct Tracked {
    /// Time of its last read, by the system clock.
    read_at: Duration,
    /// Whether the ticker in memory is up to date.
    is_current: bool,
}

/// The latest tickers of all replicas.
pub(super) struct RedisTickers {
    memory: Arc<MemoryTickers>,
    link: Arc<RedisLink>,
    outgoing: Arc<SendQueue>,
    ownership: Arc<LocalOwnership>,
    bus: Arc<RedisBus>,
    clock: Clock,
    tracked: Arc<Mutex<HashMap<Market, Tracked>>>,
    system_clock: Clock,
}

impl RedisTickers {
    pub fn start(
        link: &Arc<RedisLink>,
        outgoing: &Arc<SendQueue>,
        ownership: &Arc<LocalOwnership>,
        bus: &Arc<RedisBus>,
        clock: Clock,
    ) -> Arc<Self> {
        let tickers = Arc::new(Self {
            memory: Arc::new(MemoryTickers::new(clock.clone())),
            link: Arc::clone(link),
            outgoing: Arc::clone(outgoing),
            ownership: Arc::clone(ownership),
            bus: Arc::clone(bus),
            clock,
            tracked: Arc::default(),
            system_clock: Clock::system(),
        });
        tokio::spawn(Arc::clone(&tickers).rewrite_after_reconnect());
        tickers
    }

    /// Writes the tickers of local exchanges again after each reconnect, because Redis may have lost them.
    async fn rewrite_after_reconnect(self: Arc<Self>) {
        let mut reconnects = self.link.reconnects();
        while reconnects.changed().await.is_ok() {
            for exchange in ExchangeId::all() {
                if self.ownership.is_local(exchange) {
                    for ticker in self.memory.all(exchange) {
                        self.outgoing.put_low_priority(self.write_op(&ticker, Duration::MAX)).await;
                    }
                }
            }
        }
    }

    fn arguments(&self, cached: &CachedTicker, stream_ttl: Duration) -> Vec<Value> {
        let number = |number: u64| Value::from(number.to_string());
        let stream_since =
            self.clock.now().millis().saturating_sub(i64::try_from(stream_ttl.as_millis()).unwrap_or(i64::MAX));
        vec![
            cached.ticker.symbol.as_str().into(),
            number(cached.version.token),
            number(cached.version.seq),
            if cached.ticker.source == Source::Stream { "s" } else { "r" }.into(),
            stream_since.to_string().into(),
            cached.ticker.received_at.millis().max(0).to_string().into(),
            Value::Bytes(codec::ticker_json(cached).into()),
            VALUE_TTL.as_millis().to_string().into(),
        ]
    }

    fn write_op(&self, cached: &CachedTicker, stream_ttl: Duration) -> Op {
        let key = self.link.exchange_key(cached.ticker.exchange, "tickers");
        Op::Run { script: &scripts::PUT_TICKER, keys: vec![key], arguments: self.arguments(cached, stream_ttl) }
    }

    /// Records a read. Returns whether the ticker in memory is up to date.
    fn touch(&self, market: &Market) -> bool {
        let mut tracked = self.tracked.lock();
        let Some(ticker) = tracked.get_mut(market) else { return false };
        ticker.read_at = self.system_clock.elapsed();
        ticker.is_current
    }

    /// Starts to track a ticker.
    async fn track(&self, market: &Market) -> Result<(), CacheError> {
        {
            let mut tracked = self.tracked.lock();
            if tracked.len() >= MAX_TRACKED || tracked.contains_key(market) {
                return Ok(());
            }
            tracked.insert(market.clone(), Tracked { read_at: self.system_clock.elapsed(), is_current: false });
        }
        let tracker = Tracker { market: market.clone(), tracked: Arc::clone(&self.tracked) };
        let topic = Topic::Ticker { exchange: market.0, symbol: market.1.clone() };
        let events = self.bus.subscribe(&topic).await?;
        let read = self.read(market).await;
        let (memory, clock) = (Arc::clone(&self.memory), self.system_clock.clone());
        if let Some(ticker) = read? {
            memory.put(ticker, Duration::ZERO).await?;
        }
        if let Some(ticker) = self.tracked.lock().get_mut(market) {
            ticker.is_current = true;
        }
        tokio::spawn(async move { tracker.run(events, &memory, &clock).await });
        Ok(())
    }

    async fn read(&self, (exchange, symbol): &Market) -> Result<Option<CachedTicker>, CacheError> {
        let key = self.link.exchange_key(*exchange, "tickers");
        let value: Option<Bytes> = self.link.run(self.link.client.hget(key, symbol.as_str())).await?;
        Ok(value.as_ref().and_then(codec::decode_stored_ticker))
    }
}

#[async_trait]
impl LatestTickers for RedisTickers {
    async fn put(&self, ticker: CachedTicker, stream_ttl: Duration) -> Result<bool, CacheError> {
        let op = self.write_op(&ticker, stream_ttl);
        let is_stored = self.memory.put(ticker, stream_ttl).await?;
        if is_stored {
            self.outgoing.put(op);
        }
        Ok(is_stored)
    }

    async fn get(&self, exchange: ExchangeId, symbol: &Symbol) -> Result<Option<CachedTicker>, CacheError> {
        if self.ownership.is_local(exchange) {
            return self.memory.get(exchange, symbol).await;
        }
        let market = (exchange, symbol.clone());
        if self.touch(&market) {
            return self.memory.get(exchange, symbol).await;
        }
        if let Err(error) = self.track(&market).await {
            // An old ticker with its timestamp is better than none.
            let cached = self.memory.get(exchange, symbol).await?;
            return cached.map(Some).ok_or(error);
        }
        if self.touch(&market) {
            return self.memory.get(exchange, symbol).await;
        }
        self.read(&market).await
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.memory.clear(exchange).await?;
        let key = self.link.exchange_key(exchange, "tickers");
        self.link.run(self.link.client.del::<(), _>(key)).await
    }
}

/// Keeps a ticker up to date until it is no longer read or the bus loses events.
struct Tracker {
    market: Market,
    tracked: Arc<Mutex<HashMap<Market, Tracked>>>,
}

impl Tracker {
    async fn run(self, mut events: Box<dyn BusSubscription>, memory: &MemoryTickers, clock: &Clock) {
        loop {
            match clock.timeout(TRACK_TTL, events.next()).await {
                Ok(Some(event)) => match event.kind {
                    BusEventKind::Data(json) => {
                        let version = Version { token: epoch_token(&event.epoch), seq: event.seq };
                        if let Some(ticker) = codec::decode_ticker(&json, version) {
                            // The collector has already decided that it is the latest.
                            let _ = memory.put(ticker, Duration::ZERO).await;
                        }
                    }
                    BusEventKind::Gap(crate::model::GapReason::BusLost) => return,
                    BusEventKind::Gap(_) => {}
                },
                Ok(None) => return,
                Err(_) => {}
            }
            let idle =
                self.tracked.lock().get(&self.market).map(|ticker| clock.elapsed().saturating_sub(ticker.read_at));
            if idle.is_none_or(|idle| idle >= TRACK_TTL) {
                return;
            }
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.tracked.lock().remove(&self.market);
    }
}
