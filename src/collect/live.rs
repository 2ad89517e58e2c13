//! The loop of a collector: everything that an exchange's streams say passes through it.

mod time;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::answers::AskedTicker;
use super::closing::{Closing, LATE_CLOSE, Outcome};
use super::collector::{CollectError, Duties};
use super::connections::Connections;
use super::fill::CHANGES_SETTLE;
use super::listing::Listed;
use super::publisher::Publisher;
use super::repair::Holes;
use super::state::Teller;
use super::suspects::Suspects;
use super::sweep::Followed;
use super::writer::Writer;
use crate::cache::{CacheError, Lease};
use crate::exchanges::{MinuteCandles, Subscription};
use crate::model::{
    Candle, CandleUpdate, Channel, CoveredRange, Gap, Instrument, Interval, Knowledge, MarketEvent, Series, Symbol,
    TimeRange, Timestamp, Topic, Trade,
};
use crate::store::SeriesWrite;
use crate::telemetry::collect::{GapSeen, Lag, RangesUnknown, SymbolEnded};
use crate::telemetry::listing::MarketRenamed;
use crate::upstream::{FeedItem, RestClient};

/// How often the loop looks at the clock: closings, demand, states.
const TICK: Duration = Duration::from_millis(500);

/// A trade that comes so long after the end of its minute is late.
const LATE_TRADE: Duration = Duration::from_secs(1);

/// Quiet minutes are asked for together, when a candle of this interval closes.
const QUIET_TOGETHER: Interval = Interval::M5;

/// A subscription that the exchange refused is tried again after so long.
const REFUSAL_HOLDS: Duration = Duration::from_mins(5);

/// One market that is collected.
pub struct Collected {
    instrument: Arc<Instrument>,
    closing: Closing,
    /// Configured, or asked for by someone.
    on_demand: bool,
    /// When its candles' connection last told something.
    heard: Option<Timestamp>,
}

/// The collector of one exchange.
pub struct Collector<'a> {
    pub duties: &'a Duties,
    pub lease: watch::Receiver<Option<Lease>>,
    /// What someone listens to, as far as it is known.
    pub wanted: watch::Receiver<Option<Vec<Symbol>>>,
    pub rest: Arc<RestClient>,
    pub listed: watch::Receiver<Arc<Listed>>,
    pub publisher: Publisher,
    pub writer: Writer,
    pub holes: Arc<Holes>,
    pub suspects: Arc<Suspects>,
    pub teller: Teller,
    pub connections: Connections,
    pub markets: HashMap<Symbol, Collected>,
    pub outcomes: Vec<Outcome>,
    pub lag: Lag,
    /// What the exchange refused, and when it is asked for again.
    pub refused: Vec<(Timestamp, Subscription)>,
    /// To those who look after what is collected.
    pub collecting: watch::Sender<Vec<Followed>>,
    /// How far wall-clock and monotonic time were apart at the last tick: [`Clock::drift`](crate::clock::Clock::drift).
    pub drift: i64,
    /// The newest time of an event that came.
    pub newest_event: Timestamp,
}

impl Collector<'_> {
    fn now(&self) -> Timestamp {
        self.duties.shared.clock.now()
    }

    /// Ends what the exchange lists no longer, begins what is configured and not collected yet, and begins anew what has
    /// another id.
    pub fn follow_listing(&mut self) {
        let listed = Arc::clone(&self.listed.borrow_and_update());
        let exchange = self.duties.exchange.id();
        let configured = |symbol: &&Symbol| !self.markets.contains_key(*symbol);
        let (mut instruments, mut missing) = (Vec::new(), Vec::new());
        for symbol in self.duties.symbols.iter().filter(configured).chain(self.markets.keys()) {
            match listed.traded(symbol) {
                Ok(instrument) => instruments.push(Arc::clone(instrument)),
                Err(why) => missing.push((symbol.clone(), why)),
            }
        }
        let [mut new, mut new_on_demand] = [Vec::new(), Vec::new()];
        for instrument in instruments {
            let Some(market) = self.markets.get_mut(&instrument.symbol) else {
                new.push(instrument);
                continue;
            };
            let (from, to) = (market.instrument.stream_name(), instrument.stream_name());
            if from == to && market.instrument.native == instrument.native {
                market.instrument = instrument;
                continue;
            }
            MarketRenamed { exchange, symbol: &instrument.symbol, from, to }.emit();
            let begin = if market.on_demand { &mut new_on_demand } else { &mut new };
            begin.push(Arc::clone(&instrument));
            self.end(&instrument.symbol);
        }
        for (symbol, why) in &missing {
            if self.teller.is_news(symbol, why) {
                SymbolEnded { exchange, symbol, why }.emit();
            }
            self.end(symbol);
        }
        self.teller.listed(listed.stored.then_some(listed.read_at), missing);
        self.add(new, false);
        if !new_on_demand.is_empty() {
            self.add(new_on_demand, true);
        }
    }

    /// Collects a market no longer.
    fn end(&mut self, symbol: &Symbol) {
        if let Some(market) = self.markets.remove(symbol) {
            self.holes.forget(&minute_series(&market.instrument));
            self.publisher.forget(symbol);
            self.connections.remove(symbol);
            self.refused.retain(|(_, one)| one.instrument.symbol != *symbol);
            self.hand_on();
        }
    }

    /// Begins to collect markets.
    fn add(&mut self, instruments: Vec<Arc<Instrument>>, on_demand: bool) {
        let now = self.exchange_now();
        let profile = self.duties.exchange.profile();
        let mut subscriptions = Vec::new();
        for instrument in instruments {
            let minutes = self.duties.shared.limits.history_minutes;
            let past = TimeRange::new(Interval::M1.back(now, minutes), Interval::M1.floor(now));
            self.holes.want(minute_series(&instrument), &instrument, past);
            subscriptions.extend(
                profile
                    .channels
                    .iter()
                    .map(|channel| Subscription { channel: *channel, instrument: Arc::clone(&instrument) }),
            );
            let closing = Closing::new(profile.minutes, now);
            self.markets.insert(instrument.symbol.clone(), Collected { instrument, closing, on_demand, heard: None });
        }
        self.connections.add(subscriptions);
        self.hand_on();
    }

    /// Tells those who look after the markets which ones there are.
    fn hand_on(&self) {
        let followed =
            |market: &Collected| Followed { instrument: Arc::clone(&market.instrument), configured: !market.on_demand };
        self.collecting.send_replace(self.markets.values().map(followed).collect());
    }

    /// Takes what comes, until the end is asked for or something cannot go on.
    pub async fn run(
        &mut self,
        mut items: mpsc::Receiver<FeedItem>,
        mut announced: mpsc::Receiver<MarketEvent>,
        mut asked: mpsc::Receiver<AskedTicker>,
    ) -> Result<(), CollectError> {
        let clock = self.duties.shared.clock.clone();
        let tick = clock.sleep(TICK);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                () = self.duties.stop.cancelled() => return Ok(()),
                Some(item) = items.recv() => self.feed(item).await?,
                Some(event) = announced.recv() => {
                    if let MarketEvent::Candle(update) = event {
                        self.publisher.closed_candle(update).await?;
                    }
                }
                Some(AskedTicker { mut ticker, kept }) = asked.recv() => {
                    if ticker.values.timestamp.is_some_and(|at| !self.is_sane(at, Channel::Ticker)) {
                        ticker.values.timestamp = None;
                    }
                    // Whoever asked may have gone.
                    let _ = kept.send(self.publisher.ticker(ticker).await?);
                }
                changed = self.lease.changed() => {
                    if changed.is_err() {
                        let how = "it holds the lease no longer".to_owned();
                        return Err(CollectError::TaskEnded { name: "lease".to_owned(), how });
                    }
                    self.follow_lease()?;
                }
                error = self.connections.ended() => {
                    if self.duties.stop.is_cancelled() {
                        return Ok(());
                    }
                    // What it told before may say why.
                    while let Ok(item) = items.try_recv() {
                        self.feed(item).await?;
                    }
                    return Err(error);
                }
                Ok(()) = self.wanted.changed() => {
                    self.follow_demand();
                    self.tell().await;
                }
                Ok(()) = self.listed.changed() => {
                    self.follow_listing();
                    self.follow_demand();
                    self.tell().await;
                }
                () = &mut tick => {
                    self.tick().await?;
                    tick.set(clock.sleep(TICK));
                }
            }
        }
    }

    async fn feed(&mut self, item: FeedItem) -> Result<(), CollectError> {
        match item {
            FeedItem::Events(events) => {
                for event in events {
                    self.event(event).await?;
                }
            }
            FeedItem::Confirmed { subscriptions, at } => {
                // In doubt the later time: a minute must have been whole from its first moment on.
                let at = self.at_exchange(at, self.exchange_latest());
                for market in self.candle_markets(&subscriptions) {
                    market.closing.confirmed(at);
                }
            }
            FeedItem::Lost { subscriptions, .. } => {
                for market in self.candle_markets(&subscriptions) {
                    market.closing.lost();
                }
                self.tell().await;
            }
            FeedItem::Reached { connection, at } => self.connections.reached(&connection, at),
            // The runner told of it; meanwhile the market's candles come by REST.
            FeedItem::Refused { subscription, .. } => {
                self.refused.push((self.now() + REFUSAL_HOLDS, subscription));
            }
            FeedItem::GaveUp { reason, .. } => return Err(CollectError::GaveUp(reason)),
        }
        Ok(())
    }

    async fn event(&mut self, event: MarketEvent) -> Result<(), CacheError> {
        match event {
            // Half a ticker, such as a book without the statistics that follow within a second, is not told yet.
            MarketEvent::Ticker(ticker) if ticker.values.last.is_none() => Ok(()),
            MarketEvent::Ticker(ticker) => {
                if let Some(told_at) = ticker.values.timestamp {
                    if !self.is_sane(told_at, Channel::Ticker) {
                        return Ok(());
                    }
                    self.lag.ticker(self.exchange_now().since(told_at));
                }
                self.publisher.ticker(ticker).await.map(drop)
            }
            MarketEvent::Trade(trade) if !self.is_sane(trade.timestamp, Channel::Trades) => {
                self.break_minute(&trade.symbol);
                Ok(())
            }
            MarketEvent::Trade(trade) if self.publisher.is_new(&trade) => {
                self.lag.trade(self.exchange_now().since(trade.timestamp));
                self.note_trade(&trade);
                let symbol = (!self.outcomes.is_empty()).then(|| trade.symbol.clone());
                self.publisher.trade(trade).await?;
                match symbol {
                    Some(symbol) => self.settle(&symbol).await,
                    None => Ok(()),
                }
            }
            MarketEvent::Trade(_) => Ok(()),
            // Only minutes are subscribed: what else comes is none.
            MarketEvent::Candle(CandleUpdate { series, .. }) if series.interval != Interval::M1 => Ok(()),
            MarketEvent::Candle(CandleUpdate { series, candle }) => {
                if self.duties.exchange.profile().minutes == MinuteCandles::Unflagged {
                    self.heard(&series.symbol, self.now()).await?;
                }
                let latest = self.exchange_latest();
                let Some(market) = self.markets.get_mut(&series.symbol) else { return Ok(()) };
                market.closing.candle(candle, latest, &mut self.outcomes);
                self.settle(&series.symbol).await
            }
            MarketEvent::Gap(gap) => self.gap(gap).await,
        }
    }

    /// A trade of a market could not be used: where candles are built from trades, the minute is missing one.
    fn break_minute(&mut self, symbol: &Symbol) {
        let latest = self.exchange_latest();
        if self.builds_candles()
            && let Some(market) = self.markets.get_mut(symbol)
        {
            market.closing.broken(latest, latest);
        }
    }

    /// Trades vouch for candles, or make them; one that is told late may be missing in the closed candle of its minute.
    fn note_trade(&mut self, trade: &Trade) {
        let (now, latest) = (self.exchange_now(), self.exchange_latest());
        let Some(market) = self.markets.get_mut(&trade.symbol) else { return };
        let left_out = market.closing.trade(trade, latest, &mut self.outcomes);
        let minute = Interval::M1.span(Interval::M1.floor(trade.timestamp));
        if left_out || now >= minute.end() + LATE_TRADE {
            self.suspects.traded(&minute_series(&market.instrument), minute.start());
            let settled = minute.end() + CHANGES_SETTLE + self.duties.exchange.profile().rest_lag;
            let due = self.duties.shared.clock.now() + settled.since(latest);
            self.holes.want_again(minute_series(&market.instrument), &market.instrument, minute, due);
        }
    }

    async fn gap(&mut self, gap: Gap) -> Result<(), CacheError> {
        GapSeen { exchange: gap.exchange, topics: gap.topics.len(), missed: gap.missed }.emit();
        let begun = self.at_exchange(gap.missed.start(), self.exchange_now());
        let ended = self.at_exchange(gap.missed.end(), self.exchange_latest());
        let end = Interval::M1.floor(ended);
        let past = TimeRange::new(Interval::M1.back(end, self.duties.shared.limits.history_minutes), end);
        // What closed meanwhile; the minute in which it came back is settled when it closes.
        let missed = TimeRange::new(Interval::M1.floor(begun).min(end), end);
        for topic in &gap.topics {
            self.publisher.gap(topic, gap.reason).await?;
            let Some(market) = self.markets.get(topic.symbol()) else { continue };
            let series = minute_series(&market.instrument);
            match topic {
                Topic::Candles(_) => {}
                Topic::Trades { .. } if self.builds_candles() => {
                    self.publisher.gap(&Topic::Candles(series.clone()), gap.reason).await?;
                }
                _ => continue,
            }
            self.holes.want(series.clone(), &market.instrument, past);
            self.holes.announce(series, &market.instrument, missed);
        }
        Ok(())
    }

    /// Whether candles are built from trades.
    fn builds_candles(&self) -> bool {
        self.duties.exchange.profile().minutes == MinuteCandles::FromTrades
    }

    /// The collected markets whose candles rest on one of the subscriptions.
    fn candle_markets(&mut self, subscriptions: &[Subscription]) -> impl Iterator<Item = &mut Collected> {
        let channel = if self.builds_candles() { Channel::Trades } else { Channel::Candles };
        let concerned: HashSet<&Symbol> =
            subscriptions.iter().filter(|one| one.channel == channel).map(|one| &one.instrument.symbol).collect();
        self.markets.iter_mut().filter(move |(symbol, _)| concerned.contains(symbol)).map(|(_, market)| market)
    }

    /// Does what follows from the outcomes of a market's candles.
    async fn settle(&mut self, symbol: &Symbol) -> Result<(), CacheError> {
        let Some(market) = self.markets.get(symbol) else { return Ok(()) };
        let series = minute_series(&market.instrument);
        let instrument = Arc::clone(&market.instrument);
        for outcome in std::mem::take(&mut self.outcomes) {
            match outcome {
                Outcome::Updated(candle) => {
                    self.publisher.candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                Outcome::Closed { candle, observed: true } => {
                    self.write(&series, &instrument, Ok(candle));
                    self.publisher.candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                Outcome::Closed { candle, observed: false } => {
                    if !candle.volume.is_zero() {
                        self.suspects.traded(&series, candle.timestamp);
                    }
                    self.holes.announce(series.clone(), &instrument, Interval::M1.span(candle.timestamp));
                    self.publisher.unproven_candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                // Told with its revision, when the store has it.
                Outcome::Corrected(candle) => self.write(&series, &instrument, Ok(candle)),
                Outcome::Empty(minute) => self.write(&series, &instrument, Err(minute)),
                Outcome::Missing(range) => self.holes.announce(series.clone(), &instrument, range),
                Outcome::Quiet(range) => {
                    let at = QUIET_TOGETHER.ceil(range.end()) + LATE_CLOSE + TICK * 4;
                    let pause = at.since(self.exchange_now());
                    self.holes.announce_later(series.clone(), &instrument, range, self.now() + pause);
                }
            }
        }
        Ok(())
    }

    /// Writes a candle that was observed, or the minute in which nobody traded.
    fn write(&self, series: &Series, instrument: &Arc<Instrument>, seen: Result<Candle, TimeRange>) {
        let (range, state) = match seen {
            Ok(candle) => (Interval::M1.span(candle.timestamp), Knowledge::Observed),
            Err(minute) => (minute, Knowledge::Empty),
        };
        let (candles, claims) = (seen.into_iter().collect(), vec![CoveredRange { range, state }]);
        if self.writer.submit(SeriesWrite { series: series.clone(), candles, claims }).is_err() {
            self.holes.want(series.clone(), instrument, range);
        }
    }

    async fn tick(&mut self) -> Result<(), CollectError> {
        self.follow_clock()?;
        let (now, there) = (self.now(), self.exchange_now());
        let symbols: Vec<Symbol> = self.markets.keys().cloned().collect();
        let told = match self.duties.exchange.profile().minutes {
            MinuteCandles::FromTrades => self.connections.told_until(Channel::Trades),
            MinuteCandles::Unflagged => {
                for (symbol, at) in self.connections.heard_until(Channel::Candles, |at| at) {
                    self.heard(&symbol, at).await?;
                }
                self.heard_until(there)
            }
            MinuteCandles::Flagged => HashMap::new(),
        };
        for symbol in &symbols {
            if let Some(market) = self.markets.get_mut(symbol) {
                market.closing.clock(there, told.get(symbol).copied(), &mut self.outcomes);
            }
            if !self.outcomes.is_empty() {
                self.settle(symbol).await?;
            }
        }
        let ripe = self.refused.extract_if(.., |(at, _)| *at <= now).map(|(_, subscription)| subscription);
        let again: Vec<_> = ripe.filter(|one| self.markets.contains_key(&one.instrument.symbol)).collect();
        if !again.is_empty() {
            self.connections.add(again);
        }
        self.tell().await;
        Ok(())
    }

    /// The lease is another, or there is none any more.
    fn follow_lease(&mut self) -> Result<(), CollectError> {
        let lease = self.lease.borrow_and_update();
        let token = lease.as_ref().ok_or(CollectError::LeaseLost)?.token;
        drop(lease);
        self.publisher.begin_epoch(token, &self.duties.shared.clock);
        Ok(())
    }

    /// Collects what someone listens to, and no longer what nobody does.
    fn follow_demand(&mut self) {
        let Some(wanted) = self.wanted.borrow_and_update().clone() else { return };
        let mut room = self.room();
        let unwanted: Vec<Symbol> = self
            .markets
            .iter()
            .filter(|(symbol, market)| market.on_demand && !wanted.contains(symbol))
            .map(|(symbol, _)| symbol.clone())
            .collect();
        for symbol in unwanted {
            self.end(&symbol);
            room += 1;
        }
        let listed = Arc::clone(&self.listed.borrow());
        let new = wanted.iter().filter(|symbol| !self.markets.contains_key(*symbol));
        let new: Vec<_> = new.filter_map(|symbol| listed.traded(symbol).ok()).take(room).map(Arc::clone).collect();
        if !new.is_empty() {
            self.add(new, true);
        }
    }

    /// How many more markets can be collected because someone asks.
    fn room(&self) -> usize {
        let on_demand = self.markets.values().filter(|market| market.on_demand).count();
        self.duties.shared.limits.on_demand_symbols.saturating_sub(on_demand)
    }

    /// Tells how the collection is going.
    pub async fn tell(&mut self) {
        let mut symbols: Vec<Symbol> = self.markets.keys().cloned().collect();
        symbols.sort_unstable();
        let mut budgets = self.rest.budgets();
        budgets.push(self.connections.budget());
        RangesUnknown { exchange: self.duties.exchange.id(), ranges: self.holes.waiting() }.emit();
        self.teller.clock(self.rest.exchange_clock().offset());
        self.teller.tell(symbols, self.room(), self.connections.states(), budgets).await;
    }
}

fn minute_series(instrument: &Instrument) -> Series {
    Series { exchange: instrument.exchange, symbol: instrument.symbol.clone(), interval: Interval::M1 }
}
