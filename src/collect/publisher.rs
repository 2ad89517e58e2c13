//! Numbers events, encodes each event once, and writes it to the cache: latest ticker, live candles, event bus.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{BusEvent, BusEventKind, Cache, CacheError, CachedTicker, Version, new_epoch};
use crate::clock::Clock;
use crate::model::{
    Candle, CandleUpdate, ExchangeId, GapReason, MarketEvent, Series, Source, Symbol, Ticker, Topic, Trade, wire,
};

/// A ticker from REST does not replace a ticker from a stream that is younger than this.
pub const STREAM_PRIORITY: Duration = Duration::from_secs(5);

/// Number of recent trades per market that are remembered, to drop duplicates from two overlapping connections.
const MAX_RECENT_TRADES: usize = 1_024;

/// Publishes the events of one exchange. Only the collector that holds the lease has one.
pub struct Publisher {
    exchange: ExchangeId,
    cache: Cache,
    token: u64,
    epoch: Arc<str>,
    simulated: bool,
    sequence_numbers: HashMap<Topic, u64>,
    recent_trades: HashMap<Symbol, RecentTrades>,
    /// The last closed candle of a series that was published but is not yet verified, and so not cached or stored.
    unverified: HashMap<Series, Candle>,
    hasher: RandomState,
}

#[derive(Default)]
struct RecentTrades {
    order: VecDeque<u64>,
    seen: HashSet<u64>,
}

impl RecentTrades {
    /// Whether a trade is new. Stores hashes only: a collision drops about one trade in 2^50.
    fn insert(&mut self, id: u64) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        if self.order.len() == MAX_RECENT_TRADES
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

impl Publisher {
    /// Creates a publisher for the lease `token`, with a new epoch.
    #[must_use]
    pub fn new(exchange: ExchangeId, cache: Cache, token: u64, simulated: bool, clock: &Clock) -> Self {
        Self {
            exchange,
            cache,
            token,
            epoch: new_epoch(token, clock.random_u64()),
            simulated,
            sequence_numbers: HashMap::new(),
            recent_trades: HashMap::new(),
            unverified: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// Begins a new epoch for a new lease.
    pub fn begin_epoch(&mut self, token: u64, clock: &Clock) {
        self.token = token;
        self.epoch = new_epoch(token, clock.random_u64());
        self.sequence_numbers.clear();
    }

    /// The next sequence number of a topic. Before the first event of a topic in an epoch, publishes a gap: subscribers
    /// of the previous epoch may have missed events.
    async fn next_seq(&mut self, topic: &Topic) -> Result<u64, CacheError> {
        if let Some(seq) = self.sequence_numbers.get_mut(topic) {
            *seq += 1;
            return Ok(*seq);
        }
        self.sequence_numbers.insert(topic.clone(), 2);
        self.publish(topic, 1, BusEventKind::Gap(GapReason::NewEpoch)).await?;
        Ok(2)
    }

    async fn publish(&self, topic: &Topic, seq: u64, kind: BusEventKind) -> Result<(), CacheError> {
        self.cache.bus.publish(topic, BusEvent { epoch: Arc::clone(&self.epoch), seq, kind }).await
    }

    /// Publishes a ticker and caches it as the latest. Returns it, even if a newer one is cached.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn publish_ticker(&mut self, ticker: Ticker) -> Result<CachedTicker, CacheError> {
        let topic = Topic::Ticker { exchange: self.exchange, symbol: ticker.symbol.clone() };
        let seq = self.next_seq(&topic).await?;
        let mut json = Vec::with_capacity(448);
        json.push(b'{');
        wire::ticker_fields(&mut json, &ticker, self.simulated);
        json.push(b'}');
        let json = Bytes::from(json);
        let data = json.clone();
        let cached = CachedTicker {
            ticker,
            simulated: self.simulated,
            version: Version { token: self.token, seq },
            json: json.slice(..json.len() - 1),
        };
        if self.cache.tickers.put(cached.clone(), STREAM_PRIORITY).await? || cached.ticker.source == Source::Stream {
            self.publish(&topic, seq, BusEventKind::Data(data)).await?;
        }
        Ok(cached)
    }

    /// Whether a trade is new. Two overlapping connections deliver each trade twice. A trade with a known id but other
    /// values is new.
    pub fn is_new_trade(&mut self, trade: &Trade) -> bool {
        let id = self.hasher.hash_one((&trade.id, trade.timestamp, trade.price, trade.amount));
        if let Some(recent) = self.recent_trades.get_mut(&trade.symbol) {
            return recent.insert(id);
        }
        self.recent_trades.entry(trade.symbol.clone()).or_default().insert(id)
    }

    /// Publishes a trade.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn publish_trade(&mut self, trade: Trade) -> Result<(), CacheError> {
        let topic = Topic::Trades { exchange: self.exchange, symbol: trade.symbol.clone() };
        let seq = self.next_seq(&topic).await?;
        let data = wire::event_data(&MarketEvent::Trade(trade), self.simulated);
        self.publish(&topic, seq, BusEventKind::Data(data.into())).await
    }

    /// Publishes a candle and caches it for readers until it is stored.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn publish_candle(&mut self, update: CandleUpdate) -> Result<(), CacheError> {
        let seq = self.next_seq(&Topic::Candles(update.series.clone())).await?;
        self.cache_candle(&update, seq).await?;
        self.publish_candle_event(update, seq).await
    }

    /// Publishes a closed candle that the stream does not prove complete. Does not cache it: readers wait until it is
    /// fetched.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn publish_unverified_candle(&mut self, update: CandleUpdate) -> Result<(), CacheError> {
        let seq = self.next_seq(&Topic::Candles(update.series.clone())).await?;
        self.unverified.insert(update.series.clone(), update.candle);
        self.publish_candle_event(update, seq).await
    }

    /// Publishes a closed candle that was fetched or derived, unless the same candle was already published.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn publish_closed_candle(&mut self, update: CandleUpdate) -> Result<(), CacheError> {
        if self.unverified.get(&update.series) == Some(&update.candle) {
            self.unverified.remove(&update.series);
            return Ok(());
        }
        let span = update.series.interval.span(update.candle.timestamp);
        let cached = self.cache.candles.get(&update.series, span).await?;
        if cached.first() == Some(&update.candle) {
            return Ok(());
        }
        self.publish_candle(update).await
    }

    async fn cache_candle(&self, update: &CandleUpdate, seq: u64) -> Result<(), CacheError> {
        self.cache.candles.put(&update.series, update.candle, Version { token: self.token, seq }).await
    }

    async fn publish_candle_event(&self, update: CandleUpdate, seq: u64) -> Result<(), CacheError> {
        let topic = Topic::Candles(update.series.clone());
        let data = wire::event_data(&MarketEvent::Candle(update), self.simulated);
        self.publish(&topic, seq, BusEventKind::Data(data.into())).await
    }

    /// Publishes that events of a topic were missed.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn publish_gap(&mut self, topic: &Topic, reason: GapReason) -> Result<(), CacheError> {
        let seq = self.next_seq(topic).await?;
        self.publish(topic, seq, BusEventKind::Gap(reason)).await
    }

    /// Removes the state of a market that is no longer collected.
    pub fn remove_market(&mut self, symbol: &Symbol) {
        self.recent_trades.remove(symbol);
    }
}
