//! The collector of one exchange: everything that its streams say passes through this loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::{Answerer, AskedTicker};
use super::closing::{Closing, Outcome};
use super::connections::Connections;
use super::fill::{Busy, Filler};
use super::listing::{self, Listed};
use super::publisher::Publisher;
use super::repair::{self, Holes};
use super::source::{Shared, Source};
use super::writer::Writer;
use super::{aftermath, state};
use crate::cache::{CacheError, Lease};
use crate::exchanges::{Exchange, Subscription};
use crate::model::{
    CandleUpdate, Channel, CoveredRange, Gap, Instrument, Interval, Knowledge, MarketEvent, Series, Symbol, TimeRange,
    Timestamp, Topic, Trade,
};
use crate::store::{SeriesWrite, StoreError};
use crate::telemetry::collect::{GapSeen, SymbolNotListed};
use crate::upstream::{Backoff, FeedItem, RestClient, UpstreamError};

/// How long a lease is held without being renewed.
const LEASE: Duration = Duration::from_secs(10);

/// How often the loop looks at the clock: closings, demand, states.
const TICK: Duration = Duration::from_millis(500);

/// A trade that comes so long after the end of its minute is late.
const LATE_TRADE: Duration = Duration::from_secs(1);

/// A subscription that the exchange refused is tried again after so long.
const REFUSAL_HOLDS: Duration = Duration::from_mins(5);

/// What a collector is to do.
pub struct Duties {
    pub exchange: &'static dyn Exchange,
    pub symbols: Vec<Symbol>,
    pub source: Source,
    pub shared: Shared,
    pub stop: CancellationToken,
}

/// Why a collector ended.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("a connection ended for good: {0}")]
    GaveUp(String),
    #[error("another collector took over")]
    LeaseLost,
}

/// Collects until `stop`, then ends in order: connections first, the writer last.
pub async fn run(duties: Duties) -> Result<(), CollectError> {
    let lease_name = format!("collect:{}", duties.exchange.id());
    let Some(lease) = take_lease(&duties, &lease_name).await? else { return Ok(()) };
    let result = collect(&duties, &lease).await;
    let _ = duties.shared.cache.leases.release(&lease).await;
    result
}

async fn take_lease(duties: &Duties, name: &str) -> Result<Option<Lease>, CacheError> {
    let Shared { cache, clock, .. } = &duties.shared;
    loop {
        if let Some(lease) = cache.leases.acquire(name, LEASE).await? {
            return Ok(Some(lease));
        }
        tokio::select! {
            () = clock.sleep(LEASE / 10) => {}
            () = duties.stop.cancelled() => return Ok(None),
        }
    }
}

async fn collect(duties: &Duties, lease: &Lease) -> Result<(), CollectError> {
    let Duties { exchange, symbols, source, shared, stop } = duties;
    let Shared { cache, clock, limits } = shared;
    let rest = RestClient::new(*exchange, &source.rest_origins, clock.clone())?;
    let mut teller = state::Teller::new(*exchange, source.simulated, shared.clone());
    teller.tell(None, &[], &rest).await;
    let listed = tokio::select! {
        listed = read_listing(duties, &rest, &mut teller) => Arc::new(listed?),
        error = hold(duties, lease) => return Err(error),
        () = stop.cancelled() => return Ok(()),
    };
    teller.listed(listed.read_at);

    let (announce, announced) = mpsc::channel(1_024);
    let (tickers, asked_tickers) = mpsc::channel(64);
    let (written, batches) = mpsc::channel(64);
    let (writer, writing) =
        Writer::new(exchange.id(), Arc::clone(&source.store), limits.write_queue, clock.clone(), written, stop.clone());
    let writing = tokio::spawn(writing);
    let filler = Arc::new(Filler {
        exchange: *exchange,
        rest: Arc::clone(&rest),
        store: Arc::clone(&source.store),
        writer: writer.clone(),
        clock: clock.clone(),
        busy: Busy::default(),
    });
    let holes = Arc::new(Holes::default());
    let mut helpers = JoinSet::new();
    for _ in 0..repair::WORKERS {
        helpers.spawn(repair::work(Arc::clone(&holes), Arc::clone(&filler), announce.clone()));
    }
    helpers.spawn(aftermath::follow(batches, Arc::clone(&source.store), writer.clone(), clock.clone(), announce));
    let answerer = Arc::new(Answerer { filler, listed: Arc::clone(&listed), tickers });
    helpers.spawn(answerer.serve(cache.requests.serve(exchange.id()).await?));

    let (connections, items) =
        Connections::new(*exchange, source.ws_origins.clone(), clock.clone(), stop.child_token());
    let publisher = Publisher::new(exchange.id(), cache.clone(), lease.token, source.simulated, clock);
    let mut collector = Collector {
        duties,
        lease,
        rest,
        listed,
        publisher,
        writer,
        holes,
        teller,
        connections,
        markets: HashMap::new(),
        outcomes: Vec::new(),
        refused: Vec::new(),
    };
    collector.start(symbols).await?;
    let result = tokio::select! {
        result = collector.run(items, announced, asked_tickers) => result,
        Some(_) = helpers.join_next() => Ok(()),
    };
    collector.connections.close().await;
    // The helpers hold near ends of the writer's queue; it ends when it has written what waits.
    helpers.shutdown().await;
    drop(collector);
    let _ = writing.await;
    result
}

/// Holds the lease while the loop that renews it does not run yet. Ends only when it is lost.
async fn hold(duties: &Duties, lease: &Lease) -> CollectError {
    let Shared { cache, clock, .. } = &duties.shared;
    loop {
        clock.sleep(LEASE / 5).await;
        match cache.leases.renew(lease, LEASE).await {
            Ok(true) => {}
            Ok(false) => return CollectError::LeaseLost,
            Err(error) => return error.into(),
        }
    }
}

/// Reads the listing, however long the exchange needs to answer.
async fn read_listing(duties: &Duties, rest: &RestClient, teller: &mut state::Teller) -> Result<Listed, CollectError> {
    let clock = &duties.shared.clock;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match listing::read(duties.exchange, rest, &*duties.source.store, clock).await? {
            Ok(listed) => return Ok(listed),
            Err(error) => {
                let named = error.retry_at().map_or(Duration::ZERO, |at| at.since(clock.now()));
                teller.trouble(error.to_string(), rest).await;
                clock.sleep(backoff.next(clock).max(named)).await;
            }
        }
    }
}

/// One market that is collected.
struct Collected {
    instrument: Arc<Instrument>,
    closing: Closing,
    /// Configured, or asked for by someone.
    on_demand: bool,
}

struct Collector<'a> {
    duties: &'a Duties,
    lease: &'a Lease,
    rest: Arc<RestClient>,
    listed: Arc<Listed>,
    publisher: Publisher,
    writer: Writer,
    holes: Arc<Holes>,
    teller: state::Teller,
    connections: Connections,
    markets: HashMap<Symbol, Collected>,
    outcomes: Vec<Outcome>,
    /// What the exchange refused, and when it is asked for again.
    refused: Vec<(Timestamp, Subscription)>,
}

impl Collector<'_> {
    fn now(&self) -> Timestamp {
        self.duties.shared.clock.now()
    }

    async fn start(&mut self, symbols: &[Symbol]) -> Result<(), CacheError> {
        let mut instruments = Vec::new();
        for symbol in symbols {
            match self.listed.get(symbol) {
                Some(instrument) => instruments.push(Arc::clone(instrument)),
                None => SymbolNotListed { exchange: self.duties.exchange.id(), symbol }.emit(),
            }
        }
        self.add(instruments, false);
        self.tell().await;
        Ok(())
    }

    /// Begins to collect markets.
    fn add(&mut self, instruments: Vec<Arc<Instrument>>, on_demand: bool) {
        let now = self.now();
        let profile = self.duties.exchange.profile();
        let mut subscriptions = Vec::new();
        for instrument in instruments {
            let minutes = self.duties.shared.limits.history_minutes;
            let past = TimeRange::new(Interval::M1.back(now, minutes), Interval::M1.floor(now));
            self.holes.want(minute_series(&instrument), &instrument, past, false);
            subscriptions.extend(
                profile
                    .channels
                    .iter()
                    .map(|channel| Subscription { channel: *channel, instrument: Arc::clone(&instrument) }),
            );
            let closing = Closing::new(profile.flags_closed, now);
            self.markets.insert(instrument.symbol.clone(), Collected { instrument, closing, on_demand });
        }
        self.connections.add(subscriptions);
    }

    async fn run(
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
                Some(AskedTicker { ticker, kept }) = asked.recv() => {
                    // Whoever asked may have gone.
                    let _ = kept.send(self.publisher.ticker(ticker).await?);
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
                for market in candle_markets(&mut self.markets, &subscriptions) {
                    market.closing.confirmed(at);
                }
            }
            FeedItem::Lost { subscriptions, .. } => {
                for market in candle_markets(&mut self.markets, &subscriptions) {
                    market.closing.lost();
                }
                self.tell().await;
            }
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
            MarketEvent::Ticker(ticker) => self.publisher.ticker(ticker).await.map(drop),
            MarketEvent::Trade(trade) if self.publisher.is_new(&trade) => {
                self.note_trade(&trade);
                self.publisher.trade(trade).await
            }
            MarketEvent::Trade(_) => Ok(()),
            MarketEvent::Candle(CandleUpdate { series, candle }) => {
                let now = self.now();
                let Some(market) = self.markets.get_mut(&series.symbol) else { return Ok(()) };
                market.closing.candle(candle, now, &mut self.outcomes);
                self.settle(&series.symbol).await
            }
            MarketEvent::Gap(gap) => self.gap(gap).await,
        }
    }

    /// Trades vouch for candles; one that is told late may be missing in the closed candle of its minute.
    fn note_trade(&mut self, trade: &Trade) {
        let now = self.now();
        let Some(market) = self.markets.get_mut(&trade.symbol) else { return };
        market.closing.trade(trade.timestamp, trade.amount, now);
        let minute = Interval::M1.span(Interval::M1.floor(trade.timestamp));
        if now >= minute.end() + LATE_TRADE {
            self.holes.want_again(minute_series(&market.instrument), &market.instrument, minute);
        }
    }

    async fn gap(&mut self, gap: Gap) -> Result<(), CacheError> {
        GapSeen { exchange: gap.exchange, topics: gap.topics.len(), missed: gap.missed }.emit();
        for topic in &gap.topics {
            self.publisher.gap(topic, gap.reason).await?;
            if let Topic::Candles(series) = topic
                && let Some(market) = self.markets.get(&series.symbol)
            {
                // What closed meanwhile; the minute in which it came back is settled when it closes.
                let missed = TimeRange::new(
                    Interval::M1.back(gap.missed.end(), self.duties.shared.limits.history_minutes),
                    Interval::M1.floor(gap.missed.end()),
                );
                self.holes.want(series.clone(), &market.instrument, missed, true);
            }
        }
        Ok(())
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
                    self.write(&series, &instrument, candle);
                    self.publisher.candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                Outcome::Closed { candle, observed: false } => {
                    self.holes.want(series.clone(), &instrument, Interval::M1.span(candle.timestamp), true);
                    self.publisher.unproven_candle(CandleUpdate { series: series.clone(), candle }).await?;
                }
                // Told with its revision, when the store has it.
                Outcome::Corrected(candle) => self.write(&series, &instrument, candle),
                Outcome::Missing(range) => self.holes.want(series.clone(), &instrument, range, true),
            }
        }
        Ok(())
    }

    fn write(&self, series: &Series, instrument: &Arc<Instrument>, candle: crate::model::Candle) {
        let range = Interval::M1.span(candle.timestamp);
        let claims = vec![CoveredRange { range, state: Knowledge::Observed }];
        if self.writer.submit(SeriesWrite { series: series.clone(), candles: vec![candle], claims }).is_err() {
            self.holes.want(series.clone(), instrument, range, false);
        }
    }

    async fn tick(&mut self) -> Result<(), CollectError> {
        let now = self.now();
        let symbols: Vec<Symbol> = self.markets.keys().cloned().collect();
        if self.duties.exchange.profile().channels.contains(&Channel::Candles) {
            for symbol in &symbols {
                if let Some(market) = self.markets.get_mut(symbol) {
                    market.closing.clock(now, &mut self.outcomes);
                }
                if !self.outcomes.is_empty() {
                    self.settle(symbol).await?;
                }
            }
        }
        let ripe = self.refused.extract_if(.., |(at, _)| *at <= now).map(|(_, subscription)| subscription);
        let again: Vec<_> = ripe.filter(|one| self.markets.contains_key(&one.instrument.symbol)).collect();
        if !again.is_empty() {
            self.connections.add(again);
        }
        self.follow_demand().await?;
        self.tell().await;
        if !self.duties.shared.cache.leases.renew(self.lease, LEASE).await? {
            return Err(CollectError::LeaseLost);
        }
        Ok(())
    }

    /// Collects what someone listens to, and no longer what nobody does.
    async fn follow_demand(&mut self) -> Result<(), CacheError> {
        let wanted = self.duties.shared.cache.demand.wanted(self.duties.exchange.id()).await?;
        let mut room = self.duties.shared.limits.on_demand_symbols
            - self
                .markets
                .values()
                .filter(|market| market.on_demand)
                .count()
                .min(self.duties.shared.limits.on_demand_symbols);
        let unwanted: Vec<Symbol> = self
            .markets
            .iter()
            .filter(|(symbol, market)| market.on_demand && !wanted.contains(symbol))
            .map(|(symbol, _)| symbol.clone())
            .collect();
        for symbol in unwanted {
            self.markets.remove(&symbol);
            self.publisher.forget(&symbol);
            self.connections.remove(&symbol);
            room += 1;
        }
        let mut new = Vec::new();
        for symbol in wanted.iter().filter(|symbol| !self.markets.contains_key(*symbol)) {
            if let Some(instrument) = self.listed.get(symbol)
                && new.len() < room
            {
                new.push(Arc::clone(instrument));
            }
        }
        if !new.is_empty() {
            self.add(new, true);
        }
        Ok(())
    }

    async fn tell(&mut self) {
        let mut symbols: Vec<Symbol> = self.markets.keys().cloned().collect();
        symbols.sort_unstable();
        self.teller.tell(Some(symbols), &self.connections.states(), &self.rest).await;
    }
}

fn minute_series(instrument: &Instrument) -> Series {
    Series { exchange: instrument.exchange, symbol: instrument.symbol.clone(), interval: Interval::M1 }
}

/// The collected markets whose candles are among the subscriptions.
fn candle_markets<'a>(
    markets: &'a mut HashMap<Symbol, Collected>,
    subscriptions: &'a [Subscription],
) -> impl Iterator<Item = &'a mut Collected> {
    let concerns = |symbol: &Symbol| {
        subscriptions.iter().any(|one| one.channel == Channel::Candles && one.instrument.symbol == *symbol)
    };
    markets.iter_mut().filter(move |(symbol, _)| concerns(symbol)).map(|(_, market)| market)
}
