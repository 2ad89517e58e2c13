//! The latest tickers. Whoever asks for one is told from memory from then on: the bus keeps it up to date.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::interfaces::{HashesInterface, KeysInterface};
use fred::prelude::Value;
use parking_lot::Mutex;

use super::bus::RedisBus;
use super::link::Link;
use super::outgoing::{LIFETIME, Op, Outgoing};
use super::{Home, codec, scripts};
use crate::cache::memory::tickers::Tickers;
use crate::cache::{BusEventKind, BusListener, CacheError, EventBus, KeptTicker, LatestTickers, Position, token_of};
use crate::clock::Clock;
use crate::model::{ExchangeId, Source, Symbol, Topic};

/// A ticker that nobody asked for in so long is followed no more.
const FOLLOWED: Duration = Duration::from_mins(2);

/// The most tickers that are followed; the others are read from Redis.
const MOST_FOLLOWED: usize = 20_000;

type Market = (ExchangeId, Symbol);

/// A ticker that is followed.
struct Followed {
    /// When it was asked for last, by the machine's clock.
    asked_at: Duration,
    /// Whether memory has it, and as new as any.
    is_current: bool,
}

/// The tickers that this replica knows.
pub(super) struct RedisTickers {
    memory: Arc<Tickers>,
    link: Arc<Link>,
    outgoing: Arc<Outgoing>,
    home: Arc<Home>,
    bus: Arc<RedisBus>,
    clock: Clock,
    followed: Arc<Mutex<HashMap<Market, Followed>>>,
    machine: Clock,
}

impl RedisTickers {
    pub fn start(
        link: &Arc<Link>,
        outgoing: &Arc<Outgoing>,
        home: &Arc<Home>,
        bus: &Arc<RedisBus>,
        clock: Clock,
    ) -> Arc<Self> {
        let tickers = Arc::new(Self {
            memory: Arc::new(Tickers::new(clock.clone())),
            link: Arc::clone(link),
            outgoing: Arc::clone(outgoing),
            home: Arc::clone(home),
            bus: Arc::clone(bus),
            clock,
            followed: Arc::default(),
            machine: Clock::system(),
        });
        tokio::spawn(Arc::clone(&tickers).tell_again());
        tickers
    }

    /// When Redis is back it may have forgotten: what this process collects it tells again.
    async fn tell_again(self: Arc<Self>) {
        let mut revived = self.link.revived();
        while revived.changed().await.is_ok() {
            for exchange in ExchangeId::ALL {
                if self.home.collects(exchange) {
                    for kept in self.memory.all(exchange) {
                        self.outgoing.put_patiently(self.write(&kept, Duration::MAX)).await;
                    }
                }
            }
        }
    }

    fn arguments(&self, kept: &KeptTicker, holds: Duration) -> Vec<Value> {
        let number = |number: u64| Value::from(number.to_string());
        let oldest = self.clock.now().millis().saturating_sub(i64::try_from(holds.as_millis()).unwrap_or(i64::MAX));
        vec![
            kept.ticker.symbol.as_str().into(),
            number(kept.position.token),
            number(kept.position.seq),
            if kept.ticker.source == Source::Stream { "s" } else { "r" }.into(),
            oldest.to_string().into(),
            kept.ticker.received_at.millis().max(0).to_string().into(),
            Value::Bytes(codec::ticker_json(kept).into()),
            LIFETIME.as_millis().to_string().into(),
        ]
    }

    fn write(&self, kept: &KeptTicker, holds: Duration) -> Op {
        let key = self.link.of(kept.ticker.exchange, "tickers");
        Op::Run { script: &scripts::PUT_TICKER, keys: vec![key], arguments: self.arguments(kept, holds) }
    }

    /// Says whether this ticker is kept up to date in memory, and that it was asked for.
    fn touch(&self, market: &Market) -> bool {
        let mut followed = self.followed.lock();
        let Some(known) = followed.get_mut(market) else { return false };
        known.asked_at = self.machine.elapsed();
        known.is_current
    }

    /// Begins to keep a ticker up to date in memory.
    async fn follow(&self, market: &Market) -> Result<(), CacheError> {
        {
            let mut followed = self.followed.lock();
            if followed.len() >= MOST_FOLLOWED || followed.contains_key(market) {
                return Ok(());
            }
            followed.insert(market.clone(), Followed { asked_at: self.machine.elapsed(), is_current: false });
        }
        let following = Following { market: market.clone(), followed: Arc::clone(&self.followed) };
        let topic = Topic::Ticker { exchange: market.0, symbol: market.1.clone() };
        let events = self.bus.subscribe(&topic).await?;
        let read = self.read(market).await;
        let (memory, machine) = (Arc::clone(&self.memory), self.machine.clone());
        if let Some(kept) = read? {
            memory.put(kept, Duration::ZERO).await?;
        }
        if let Some(known) = self.followed.lock().get_mut(market) {
            known.is_current = true;
        }
        tokio::spawn(async move { following.run(events, &memory, &machine).await });
        Ok(())
    }

    async fn read(&self, (exchange, symbol): &Market) -> Result<Option<KeptTicker>, CacheError> {
        let key = self.link.of(*exchange, "tickers");
        let value: Option<Bytes> = self.link.run(self.link.client.hget(key, symbol.as_str())).await?;
        Ok(value.as_ref().and_then(codec::kept_ticker))
    }
}

#[async_trait]
impl LatestTickers for RedisTickers {
    async fn put(&self, ticker: KeptTicker, stream_holds: Duration) -> Result<bool, CacheError> {
        let op = self.write(&ticker, stream_holds);
        let kept = self.memory.put(ticker, stream_holds).await?;
        if kept {
            self.outgoing.put(op);
        }
        Ok(kept)
    }

    async fn get(&self, exchange: ExchangeId, symbol: &Symbol) -> Result<Option<KeptTicker>, CacheError> {
        if self.home.collects(exchange) {
            return self.memory.get(exchange, symbol).await;
        }
        let market = (exchange, symbol.clone());
        if self.touch(&market) {
            return self.memory.get(exchange, symbol).await;
        }
        if let Err(error) = self.follow(&market).await {
            // An old value that says its age is better than none.
            let kept = self.memory.get(exchange, symbol).await?;
            return kept.map(Some).ok_or(error);
        }
        if self.touch(&market) {
            return self.memory.get(exchange, symbol).await;
        }
        self.read(&market).await
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.memory.clear(exchange).await?;
        let key = self.link.of(exchange, "tickers");
        self.link.run(self.link.client.del::<(), _>(key)).await
    }
}

/// A ticker that is kept up to date until nobody asks for it any more, or the bus has lost some.
struct Following {
    market: Market,
    followed: Arc<Mutex<HashMap<Market, Followed>>>,
}

impl Following {
    async fn run(self, mut events: Box<dyn BusListener>, memory: &Tickers, machine: &Clock) {
        loop {
            match machine.timeout(FOLLOWED, events.next()).await {
                Ok(Some(event)) => match event.kind {
                    BusEventKind::Data(json) => {
                        let position = Position { token: token_of(&event.epoch), seq: event.seq };
                        if let Some(kept) = codec::ticker(&json, position) {
                            // Whoever numbered it has decided that it is the latest.
                            let _ = memory.put(kept, Duration::ZERO).await;
                        }
                    }
                    BusEventKind::Gap(crate::model::GapReason::BusLost) => return,
                    BusEventKind::Gap(_) => {}
                },
                Ok(None) => return,
                Err(_) => {}
            }
            let idle =
                self.followed.lock().get(&self.market).map(|known| machine.elapsed().saturating_sub(known.asked_at));
            if idle.is_none_or(|idle| idle >= FOLLOWED) {
                return;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.followed.lock().remove(&self.market);
    }
}
