//! Numbers events, encodes each once, and hands them to the cache: the latest ticker, the live candles, the bus.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{BusEvent, BusEventKind, Cache, CacheError, KeptTicker, Position, epoch};
use crate::clock::Clock;
use crate::model::{
    Candle, CandleUpdate, ExchangeId, GapReason, MarketEvent, Series, Source, Symbol, Ticker, Topic, Trade, wire,
};

/// A ticker from REST never replaces one of a live stream that is younger.
pub const STREAM_HOLDS: Duration = Duration::from_secs(5);

/// How many trade ids of a market are remembered, to drop what two overlapping connections both tell.
const REMEMBERED_TRADES: usize = 1_024;

/// Numbers and publishes the events of one exchange. There is one at a time: the one under the lease.
pub struct Publisher {
    exchange: ExchangeId,
    cache: Cache,
    token: u64,
    epoch: Arc<str>,
    simulated: bool,
    numbers: HashMap<Topic, u64>,
    trades: HashMap<Symbol, RecentTrades>,
    /// The last closed candle of a series that subscribers have and the store does not.
    unproven: HashMap<Series, Candle>,
    hasher: RandomState,
}

#[derive(Default)]
struct RecentTrades {
    order: VecDeque<u64>,
    seen: HashSet<u64>,
}

impl RecentTrades {
    /// Whether a trade is new. Ids are kept as hashes: a false repetition in 2^50 trades costs one trade.
    fn insert(&mut self, id: u64) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        if self.order.len() == REMEMBERED_TRADES
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

impl Publisher {
    /// A publisher under the lease `token`, with an epoch of its own.
    #[must_use]
    pub fn new(exchange: ExchangeId, cache: Cache, token: u64, simulated: bool, clock: &Clock) -> Self {
        Self {
            exchange,
            cache,
            token,
            epoch: epoch(token, clock.random_u64()),
            simulated,
            numbers: HashMap::new(),
            trades: HashMap::new(),
            unproven: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// Begins an epoch under another lease.
    pub fn begin_epoch(&mut self, token: u64, clock: &Clock) {
        self.token = token;
        self.epoch = epoch(token, clock.random_u64());
        self.numbers.clear();
    }

    /// The next number of a topic. The first event of a topic in an epoch is preceded by a gap: whoever listened to the
    /// epoch before it missed what lies between.
    async fn number(&mut self, topic: &Topic) -> Result<u64, CacheError> {
        if let Some(number) = self.numbers.get_mut(topic) {
            *number += 1;
            return Ok(*number);
        }
        self.numbers.insert(topic.clone(), 2);
        self.send(topic, 1, BusEventKind::Gap(GapReason::NewEpoch)).await?;
        Ok(2)
    }

    async fn send(&self, topic: &Topic, seq: u64, kind: BusEventKind) -> Result<(), CacheError> {
        self.cache.bus.publish(topic, BusEvent { epoch: Arc::clone(&self.epoch), seq, kind }).await
    }

    /// Publishes a ticker, and keeps it as the latest. Returns what is kept, whether or not it is the newest.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn ticker(&mut self, ticker: Ticker) -> Result<KeptTicker, CacheError> {
        let topic = Topic::Ticker { exchange: self.exchange, symbol: ticker.symbol.clone() };
        let seq = self.number(&topic).await?;
        let mut json = Vec::with_capacity(448);
        json.push(b'{');
        wire::ticker_fields(&mut json, &ticker, self.simulated);
        json.push(b'}');
        let json = Bytes::from(json);
        let data = json.clone();
        let kept = KeptTicker {
            ticker,
            simulated: self.simulated,
            position: Position { token: self.token, seq },
            json: json.slice(..json.len() - 1),
        };
        if self.cache.tickers.put(kept.clone(), STREAM_HOLDS).await? || kept.ticker.source == Source::Stream {
            self.send(&topic, seq, BusEventKind::Data(data)).await?;
        }
        Ok(kept)
    }

    /// Whether a trade was not seen before: two connections that overlap tell it twice. Another trade of the same id is new.
    pub fn is_new(&mut self, trade: &Trade) -> bool {
        let id = self.hasher.hash_one((&trade.id, trade.timestamp, trade.price, trade.amount));
        if let Some(recent) = self.trades.get_mut(&trade.symbol) {
            return recent.insert(id);
        }
        self.trades.entry(trade.symbol.clone()).or_default().insert(id)
    }

    /// Publishes a trade.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn trade(&mut self, trade: Trade) -> Result<(), CacheError> {
        let topic = Topic::Trades { exchange: self.exchange, symbol: trade.symbol.clone() };
        let seq = self.number(&topic).await?;
        let data = wire::event_data(&MarketEvent::Trade(trade), self.simulated);
        self.send(&topic, seq, BusEventKind::Data(data.into())).await
    }

    /// Publishes a state of a candle, and keeps it for those who ask before the store has it.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn candle(&mut self, update: CandleUpdate) -> Result<(), CacheError> {
        let seq = self.number(&Topic::Candles(update.series.clone())).await?;
        self.keep(&update, seq).await?;
        self.send_candle(update, seq).await
    }

    /// Publishes a closed candle that the stream cannot vouch for: those who ask wait until it is fetched.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn unproven_candle(&mut self, update: CandleUpdate) -> Result<(), CacheError> {
        let seq = self.number(&Topic::Candles(update.series.clone())).await?;
        self.unproven.insert(update.series.clone(), update.candle);
        self.send_candle(update, seq).await
    }

    /// Publishes a closed candle that came another way than the stream, unless subscribers have it like this already.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn closed_candle(&mut self, update: CandleUpdate) -> Result<(), CacheError> {
        if self.unproven.get(&update.series) == Some(&update.candle) {
            self.unproven.remove(&update.series);
            return Ok(());
        }
        let span = update.series.interval.span(update.candle.timestamp);
        let known = self.cache.candles.get(&update.series, span).await?;
        if known.first() == Some(&update.candle) {
            return Ok(());
        }
        self.candle(update).await
    }

    async fn keep(&self, update: &CandleUpdate, seq: u64) -> Result<(), CacheError> {
        self.cache.candles.put(&update.series, update.candle, Position { token: self.token, seq }).await
    }

    async fn send_candle(&self, update: CandleUpdate, seq: u64) -> Result<(), CacheError> {
        let topic = Topic::Candles(update.series.clone());
        let data = wire::event_data(&MarketEvent::Candle(update), self.simulated);
        self.send(&topic, seq, BusEventKind::Data(data.into())).await
    }

    /// Tells the listeners of a topic that events were missed.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn gap(&mut self, topic: &Topic, reason: GapReason) -> Result<(), CacheError> {
        let seq = self.number(topic).await?;
        self.send(topic, seq, BusEventKind::Gap(reason)).await
    }

    /// Forgets a market that is not collected any more.
    pub fn forget(&mut self, symbol: &Symbol) {
        self.trades.remove(symbol);
    }
}
