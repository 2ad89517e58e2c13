//! The loop of a collector. Processes everything that the exchange's streams deliver.

mod markets;
mod silence;
mod time;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::silence::SilenceMonitor;
use super::connections::Connections;
use super::context::CollectorSpec;
use super::error::CollectError;
use super::fill::REFETCH_DELAY;
use super::finalizer::{CLOSE_TIMEOUT, CandleFinalizer, CandleOutcome};
use super::listing::InstrumentIndex;
use super::publisher::Publisher;
use super::reconcile::CollectedMarket;
use super::repair::RepairQueue;
use super::requests::FetchedTicker;
use super::status::StatusReporter;
use super::suspect_ranges::SuspectRanges;
use super::writer::Writer;
use crate::cache::{CacheError, Lease};
use crate::exchanges::{MinuteCandles, Subscription};
use crate::model::{
    Candle, CandleUpdate, Channel, CoverageState, CoveredRange, Gap, Instrument, Interval, MarketEvent, Series, Symbol,
    TimeRange, Timestamp, Topic, Trade,
};
use crate::store::SeriesWrite;
use crate::telemetry::collect::{StreamInterrupted, StreamLag, UnknownRanges};
use crate::upstream::{FeedItem, RestClient};

/// Interval of the tick, which closes candles by the clock, retries rejected subscriptions and reports the status.
const TICK: Duration = Duration::from_millis(500);

/// A trade that arrives this long after the end of its minute is late: the closed candle may lack it.
const LATE_TRADE: Duration = Duration::from_secs(1);

/// Quiet minutes are fetched together, when a candle of this interval closes.
const QUIET_BATCH: Interval = Interval::M5;

/// Time to the next attempt of a subscription that the exchange rejected.
const REJECTION_RETRY: Duration = Duration::from_mins(5);

/// State of a collected market.
pub struct MarketState {
    instrument: Arc<Instrument>,
    finalizer: CandleFinalizer,
    /// Collected because of demand, not by configuration.
    on_demand: bool,
    /// Silence of the connection of its candles.
    silence: SilenceMonitor,
}

/// What the loop of a collector receives.
pub struct Inputs {
    /// Items of all connections.
    pub items: mpsc::Receiver<FeedItem>,
    /// Repaired and derived candles.
    pub to_publish: mpsc::Receiver<MarketEvent>,
    /// Tickers that clients requested.
    pub tickers: mpsc::Receiver<FetchedTicker>,
}

/// The collector of one exchange.
pub struct Collector<'a> {
    pub spec: &'a CollectorSpec,
    pub lease: watch::Receiver<Option<Lease>>,
    /// Symbols that clients subscribe to; `None` until known.
    pub demand: watch::Receiver<Option<Vec<Symbol>>>,
    pub rest: Arc<RestClient>,
    pub instruments: watch::Receiver<Arc<InstrumentIndex>>,
    pub publisher: Publisher,
    pub writer: Writer,
    pub repair_queue: Arc<RepairQueue>,
    pub suspect_ranges: Arc<SuspectRanges>,
    pub status_reporter: StatusReporter,
    pub connections: Connections,
    pub markets: HashMap<Symbol, MarketState>,
    pub outcomes: Vec<CandleOutcome>,
    pub lag: StreamLag,
    /// Rejected subscriptions, with the time of the next attempt.
    pub rejected: Vec<(Timestamp, Subscription)>,
    /// Sends the collected markets to the reconciler.
    pub collected_markets: watch::Sender<Vec<CollectedMarket>>,
    /// Difference of wall-clock and monotonic time at the last tick: [`Clock::drift`](crate::clock::Clock::drift).
    pub clock_drift: i64,
    /// The latest event time so far.
    pub newest_event_time: Timestamp,
}

impl Collector<'_> {
    fn now(&self) -> Timestamp {
        self.spec.context.clock.now()
    }

    /// Processes items, requests and ticks, until `stop` or an error.
    pub async fn run(&mut self, Inputs { mut items, mut to_publish, mut tickers }: Inputs) -> Result<(), CollectError> {
        let clock = self.spec.context.clock.clone();
        let tick = clock.sleep(TICK);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                () = self.spec.stop.cancelled() => return Ok(()),
                Some(item) = items.recv() => self.handle_item(item).await?,
                Some(event) = to_publish.recv() => {
                    if let MarketEvent::Candle(update) = event {
                        self.publisher.publish_closed_candle(update).await?;
                    }
                }
                Some(FetchedTicker { mut ticker, reply }) = tickers.recv() => {
                    if ticker.values.timestamp.is_some_and(|at| !self.is_plausible(at, Channel::Ticker)) {
                        ticker.values.timestamp = None;
                    }
                    // The caller may have stopped waiting.
                    let _ = reply.send(self.publisher.publish_ticker(ticker).await?);
                }
                changed = self.lease.changed() => {
                    if changed.is_err() {
                        let cause = "the lease is no longer renewed".to_owned();
                        return Err(CollectError::TaskEnded { name: "lease".to_owned(), cause });
                    }
                    self.apply_lease()?;
                }
                error = self.connections.wait_for_end() => {
                    if self.spec.stop.is_cancelled() {
                        return Ok(());
                    }
                    // The queued items may contain the cause.
                    while let Ok(item) = items.try_recv() {
                        self.handle_item(item).await?;
                    }
                    return Err(error);
                }
                Ok(()) = self.demand.changed() => {
                    self.apply_demand();
                    self.report_status().await;
                }
                Ok(()) = self.instruments.changed() => {
                    self.apply_listing();
                    self.apply_demand();
                    self.report_status().await;
                }
                () = &mut tick => {
                    self.tick().await?;
                    tick.set(clock.sleep(TICK));
                }
            }
        }
    }

    async fn handle_item(&mut self, item: FeedItem) -> Result<(), CollectError> {
        match item {
            FeedItem::Events(events) => {
                for event in events {
                    self.handle_event(event).await?;
                }
            }
            FeedItem::Acknowledged { subscriptions, at } => {
                // The upper bound: only minutes that opened after the acknowledgement are complete.
                let acknowledged = self.at_exchange(at, self.exchange_latest());
                for market in self.candle_markets(&subscriptions) {
                    market.finalizer.stream_complete_from(acknowledged);
                    // It ends a silence of the connection before; a new connection may be silent at first, too.
                    market.silence.on_message(at);
                }
            }
            FeedItem::Lost { subscriptions, .. } => {
                for market in self.candle_markets(&subscriptions) {
                    market.finalizer.stream_lost();
                }
                self.report_status().await;
            }
            FeedItem::CompleteUntil { connection, at } => self.connections.set_complete_until(&connection, at),
            // The connection has logged it. Until the retry, candles of the market are fetched by REST.
            FeedItem::Rejected { subscription, .. } => {
                self.rejected.push((self.now() + REJECTION_RETRY, subscription));
            }
            FeedItem::GaveUp { reason, .. } => return Err(CollectError::GaveUp(reason)),
        }
        Ok(())
    }

    async fn handle_event(&mut self, event: MarketEvent) -> Result<(), CacheError> {
        match event {
            // A partial ticker is not published, such as best prices whose statistics follow within a second.
            MarketEvent::Ticker(ticker) if ticker.values.last.is_none() => Ok(()),
            MarketEvent::Ticker(ticker) => {
                if let Some(sent_at) = ticker.values.timestamp {
                    if !self.is_plausible(sent_at, Channel::Ticker) {
                        return Ok(());
                    }
                    self.lag.ticker(self.exchange_now().since(sent_at));
                }
                self.publisher.publish_ticker(ticker).await.map(drop)
            }
            MarketEvent::Trade(trade) if !self.is_plausible(trade.timestamp, Channel::Trades) => {
                self.mark_minute_incomplete(&trade.symbol);
                Ok(())
            }
            MarketEvent::Trade(trade) if self.publisher.is_new_trade(&trade) => {
                self.lag.trade(self.exchange_now().since(trade.timestamp));
                self.handle_trade(&trade);
                let symbol = (!self.outcomes.is_empty()).then(|| trade.symbol.clone());
                self.publisher.publish_trade(trade).await?;
                match symbol {
                    Some(symbol) => self.apply_outcomes(&symbol).await,
                    None => Ok(()),
                }
            }
            MarketEvent::Trade(_) => Ok(()),
            // Only 1m candles are subscribed.
            MarketEvent::Candle(CandleUpdate { series, .. }) if series.interval != Interval::M1 => Ok(()),
            MarketEvent::Candle(CandleUpdate { series, candle }) => {
                if self.spec.exchange.profile().minute_candles == MinuteCandles::Unflagged {
                    self.check_silence(&series.symbol, self.now()).await?;
                }
                let latest = self.exchange_latest();
                let Some(market) = self.markets.get_mut(&series.symbol) else { return Ok(()) };
                market.finalizer.on_candle(candle, latest, &mut self.outcomes);
                self.apply_outcomes(&series.symbol).await
            }
            MarketEvent::Gap(gap) => self.handle_gap(gap).await,
        }
    }

    /// A trade of the market was unusable. If candles are built from trades, the current minute is incomplete.
    fn mark_minute_incomplete(&mut self, symbol: &Symbol) {
        let latest = self.exchange_latest();
        if self.builds_candles()
            && let Some(market) = self.markets.get_mut(symbol)
        {
            market.finalizer.stream_interrupted(latest, latest);
        }
    }

    /// Passes a trade to the finalizer. After a late trade, the candle of its minute is fetched again.
    fn handle_trade(&mut self, trade: &Trade) {
        let (now, latest) = (self.exchange_now(), self.exchange_latest());
        let Some(market) = self.markets.get_mut(&trade.symbol) else { return };
        let left_out = market.finalizer.on_trade(trade, latest, &mut self.outcomes);
        let minute = Interval::M1.span(Interval::M1.floor(trade.timestamp));
        if left_out || now >= minute.end() + LATE_TRADE {
            self.suspect_ranges.record_trade(&minute_series(&market.instrument), minute.start());
            let available_at = minute.end() + REFETCH_DELAY + self.spec.exchange.profile().rest_lag;
            let due = self.spec.context.clock.now() + available_at.since(latest);
            self.repair_queue.request_refetch(minute_series(&market.instrument), &market.instrument, minute, due);
        }
    }

    async fn handle_gap(&mut self, gap: Gap) -> Result<(), CacheError> {
        StreamInterrupted { exchange: gap.exchange, topics: gap.topics.len(), missed: gap.missed }.emit();
        let begun = self.at_exchange(gap.missed.start(), self.exchange_now());
        let ended = self.at_exchange(gap.missed.end(), self.exchange_latest());
        let end = Interval::M1.floor(ended);
        let past = TimeRange::new(Interval::M1.back(end, self.spec.context.limits.history_minutes), end);
        // The minutes that closed meanwhile. The minute of the reconnect is decided when it closes.
        let missed = TimeRange::new(Interval::M1.floor(begun).min(end), end);
        for topic in &gap.topics {
            self.publisher.publish_gap(topic, gap.reason).await?;
            let Some(market) = self.markets.get(topic.symbol()) else { continue };
            let series = minute_series(&market.instrument);
            match topic {
                Topic::Candles(_) => {}
                Topic::Trades { .. } if self.builds_candles() => {
                    self.publisher.publish_gap(&Topic::Candles(series.clone()), gap.reason).await?;
                }
                _ => continue,
            }
            self.repair_queue.request(series.clone(), &market.instrument, past);
            self.repair_queue.request_and_publish(series, &market.instrument, missed);
        }
        Ok(())
    }

    /// Whether candles are built from trades.
    fn builds_candles(&self) -> bool {
        self.spec.exchange.profile().minute_candles == MinuteCandles::FromTrades
    }

    /// The collected markets whose candles depend on one of the subscriptions.
    fn candle_markets(&mut self, subscriptions: &[Subscription]) -> impl Iterator<Item = &mut MarketState> {
        let channel = if self.builds_candles() { Channel::Trades } else { Channel::Candles };
        let affected: HashSet<&Symbol> =
            subscriptions.iter().filter(|one| one.channel == channel).map(|one| &one.instrument.symbol).collect();
        self.markets.iter_mut().filter(move |(symbol, _)| affected.contains(symbol)).map(|(_, market)| market)
    }

    /// Publishes, writes or repairs the candles of a market, as decided by the finalizer.
    async fn apply_outcomes(&mut self, symbol: &Symbol) -> Result<(), CacheError> {
        let Some(market) = self.markets.get(symbol) else { return Ok(()) };
        let series = minute_series(&market.instrument);
        let instrument = Arc::clone(&market.instrument);
        for outcome in std::mem::take(&mut self.outcomes) {
            match outcome {
                CandleOutcome::Updated(candle) => {
                    self.publisher.publish_candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                CandleOutcome::Closed { candle, observed: true } => {
                    self.write_minute(&series, &instrument, Ok(candle));
                    self.publisher.publish_candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                CandleOutcome::Closed { candle, observed: false } => {
                    if !candle.volume.is_zero() {
                        self.suspect_ranges.record_trade(&series, candle.timestamp);
                    }
                    self.repair_queue.request_and_publish(
                        series.clone(),
                        &instrument,
                        Interval::M1.span(candle.timestamp),
                    );
                    self.publisher.publish_unverified_candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                // Published as a revision after it is stored.
                CandleOutcome::Revised(candle) => self.write_minute(&series, &instrument, Ok(candle)),
                CandleOutcome::Empty(minute) => self.write_minute(&series, &instrument, Err(minute)),
                CandleOutcome::Missing(range) => {
                    self.repair_queue.request_and_publish(series.clone(), &instrument, range);
                }
                CandleOutcome::MissingQuiet(range) => {
                    let at = QUIET_BATCH.ceil(range.end()) + CLOSE_TIMEOUT + TICK * 4;
                    let pause = at.since(self.exchange_now());
                    self.repair_queue.request_and_publish_later(series.clone(), &instrument, range, self.now() + pause);
                }
            }
        }
        Ok(())
    }

    /// Writes an observed candle, or claims an empty minute.
    fn write_minute(&self, series: &Series, instrument: &Arc<Instrument>, minute: Result<Candle, TimeRange>) {
        let (range, state) = match minute {
            Ok(candle) => (Interval::M1.span(candle.timestamp), CoverageState::Observed),
            Err(empty) => (empty, CoverageState::Empty),
        };
        let (candles, claims) = (minute.into_iter().collect(), vec![CoveredRange { range, state }]);
        if self.writer.submit(SeriesWrite { series: series.clone(), candles, claims }).is_err() {
            self.repair_queue.request(series.clone(), instrument, range);
        }
    }

    async fn tick(&mut self) -> Result<(), CollectError> {
        self.check_clock_jump()?;
        let (now, exchange_now) = (self.now(), self.exchange_now());
        let symbols: Vec<Symbol> = self.markets.keys().cloned().collect();
        let received_until = match self.spec.exchange.profile().minute_candles {
            MinuteCandles::FromTrades => self.connections.complete_until(Channel::Trades),
            MinuteCandles::Unflagged => {
                for (symbol, at) in self.connections.received_until(Channel::Candles, |at| at) {
                    self.check_silence(&symbol, at).await?;
                }
                self.received_until(exchange_now)
            }
            MinuteCandles::Flagged => HashMap::new(),
        };
        for symbol in &symbols {
            if let Some(market) = self.markets.get_mut(symbol) {
                market.finalizer.on_clock(exchange_now, received_until.get(symbol).copied(), &mut self.outcomes);
            }
            if !self.outcomes.is_empty() {
                self.apply_outcomes(symbol).await?;
            }
        }
        let due = self.rejected.extract_if(.., |(at, _)| *at <= now).map(|(_, subscription)| subscription);
        let retried: Vec<_> = due.filter(|one| self.markets.contains_key(&one.instrument.symbol)).collect();
        if !retried.is_empty() {
            self.connections.add(retried);
        }
        self.report_status().await;
        Ok(())
    }

    /// Starts a new epoch after the lease was acquired again; fails if it is lost.
    fn apply_lease(&mut self) -> Result<(), CollectError> {
        let lease = self.lease.borrow_and_update();
        let token = lease.as_ref().ok_or(CollectError::LeaseLost)?.token;
        drop(lease);
        self.publisher.begin_epoch(token, &self.spec.context.clock);
        Ok(())
    }

    /// Reports the status of the exchange.
    pub async fn report_status(&mut self) {
        let mut symbols: Vec<Symbol> = self.markets.keys().cloned().collect();
        symbols.sort_unstable();
        let mut budgets = self.rest.budgets();
        budgets.push(self.connections.budget());
        UnknownRanges { exchange: self.spec.exchange.id(), ranges: self.repair_queue.pending_ranges() }.emit();
        let clock = self.rest.exchange_clock();
        self.status_reporter.set_clock_offset(clock.offset(), clock.latest());
        self.status_reporter.report(symbols, self.on_demand_capacity(), self.connections.states(), budgets).await;
    }
}

fn minute_series(instrument: &Instrument) -> Series {
    Series { exchange: instrument.exchange, symbol: instrument.symbol.clone(), interval: Interval::M1 }
}
