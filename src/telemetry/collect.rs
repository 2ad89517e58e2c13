//! What the collectors tell.

use std::fmt::Display;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use crate::model::{
    Backfill, Candle, Channel, ConnectionState, ExchangeId, ExchangeState, FeedState, Interval, TimeRange, Timestamp,
};

/// How an exchange is, as this process collects it.
pub struct StateTold<'a> {
    pub state: &'a ExchangeState,
    pub now: Timestamp,
}

impl StateTold<'_> {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these numbers are small")]
    pub fn emit(&self) {
        let ExchangeState { exchange, state, symbols, connections, budgets, .. } = self.state;
        let exchange = exchange.as_str();
        for one in FeedState::ALL {
            let is = f64::from(u8::from(one == *state));
            gauge!("candlewick_exchange_state", "exchange" => exchange, "state" => one.as_str()).set(is);
            let open = connections.iter().filter(|connection| connection.state == one).count();
            gauge!("candlewick_upstream_connections", "exchange" => exchange, "state" => one.as_str()).set(open as f64);
        }
        if let Some(clock) = self.state.clock {
            let seconds = |millis: i64| millis as f64 / 1_000.0;
            gauge!("candlewick_exchange_clock_offset_seconds", "exchange" => exchange).set(seconds(clock.offset_ms));
            gauge!("candlewick_exchange_clock_doubt_seconds", "exchange" => exchange).set(seconds(clock.doubt_ms));
        }
        gauge!("candlewick_markets", "exchange" => exchange).set(symbols.len() as f64);
        let heard = |connection: &ConnectionState| Some(self.now.since(connection.last_message?));
        let silent = connections.iter().filter_map(heard).max().unwrap_or_default();
        gauge!("candlewick_upstream_silence_seconds", "exchange" => exchange).set(silent.as_secs_f64());
        for budget in budgets {
            let scope = budget.scope.to_string();
            let used = f64::from(budget.used) / f64::from(budget.limit.max(1));
            gauge!("candlewick_upstream_budget_used_ratio", "exchange" => exchange, "scope" => scope.clone()).set(used);
            let open = budget.open_at.is_some_and(|until| until > self.now);
            let open = f64::from(u8::from(open));
            gauge!("candlewick_upstream_breaker_open", "exchange" => exchange, "scope" => scope).set(open);
        }
    }
}

/// This process collects an exchange no more.
pub struct StateForgotten<'a> {
    pub state: &'a ExchangeState,
}

impl StateForgotten<'_> {
    pub fn emit(&self) {
        let mut nothing = ExchangeState { symbols: Vec::new(), connections: Vec::new(), ..self.state.clone() };
        for budget in &mut nothing.budgets {
            (budget.used, budget.open_at) = (0, None);
        }
        StateTold { state: &nothing, now: Timestamp::EPOCH }.emit();
        let exchange = self.state.exchange.as_str();
        gauge!("candlewick_exchange_state", "exchange" => exchange, "state" => nothing.state.as_str()).set(0);
        gauge!("candlewick_unknown_ranges", "exchange" => exchange).set(0);
    }
}

/// An event has a time that its exchange cannot have sent now.
pub struct EventRejected {
    pub exchange: ExchangeId,
    pub channel: Channel,
    pub at: Timestamp,
}

impl EventRejected {
    pub fn emit(&self) {
        let (exchange, channel) = (self.exchange.as_str(), self.channel.as_str());
        counter!("candlewick_upstream_events_rejected_total", "exchange" => exchange, "channel" => channel)
            .increment(1);
        tracing::debug!(exchange, channel, at_ms = self.at.millis(), "event left out: its time is not plausible");
    }
}

/// The machine's clock was set, or the machine slept.
pub struct ClockJumped {
    pub exchange: ExchangeId,
    pub jump: Duration,
}

impl ClockJumped {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_clock_jumps_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, jump = ?self.jump, "the machine's clock was set, or the machine slept");
    }
}

/// So many times of collected markets are unknown and wait to be fetched.
pub struct RangesUnknown {
    pub exchange: ExchangeId,
    pub ranges: usize,
}

impl RangesUnknown {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these numbers are small")]
    pub fn emit(&self) {
        gauge!("candlewick_unknown_ranges", "exchange" => self.exchange.as_str()).set(self.ranges as f64);
    }
}

/// From what an exchange says of an event's time until the event was here: `candlewick_upstream_lag_seconds`.
pub struct Lag {
    tickers: Histogram,
    trades: Histogram,
}

impl Lag {
    #[must_use]
    pub fn new(exchange: ExchangeId) -> Self {
        let of = |channel: &'static str| histogram!("candlewick_upstream_lag_seconds", "exchange" => exchange.as_str(), "channel" => channel);
        Self { tickers: of("ticker"), trades: of("trades") }
    }

    pub fn ticker(&self, lag: Duration) {
        self.tickers.record(lag);
    }

    pub fn trade(&self, lag: Duration) {
        self.trades.record(lag);
    }
}

/// How many candles wait for the store: `candlewick_writer_queue_candles`.
#[derive(Clone)]
pub struct WriterQueue(Gauge);

impl WriterQueue {
    #[must_use]
    pub fn new(exchange: ExchangeId) -> Self {
        Self(gauge!("candlewick_writer_queue_candles", "exchange" => exchange.as_str()))
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; the queue has a bound")]
    pub fn is(&self, candles: usize) {
        self.0.set(candles as f64);
    }
}

/// Candles are in the store.
pub struct CandlesWritten {
    pub exchange: ExchangeId,
    pub candles: usize,
    pub revised: usize,
    /// From the first try on.
    pub took: Duration,
}

impl CandlesWritten {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        histogram!("candlewick_writer_batch_seconds", "exchange" => exchange).record(self.took);
        counter!("candlewick_candles_written_total", "exchange" => exchange).increment(self.candles as u64);
        tracing::debug!(exchange, candles = self.candles, revised = self.revised, "candles written");
    }
}

/// A closed candle has other values now: a late trade, or the exchange's own word where it differs from ours.
pub struct CandleRevised<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub interval: Interval,
    pub candle: &'a Candle,
}

impl CandleRevised<'_> {
    pub fn emit(&self) {
        let (exchange, interval) = (self.exchange.as_str(), self.interval.as_str());
        counter!("candlewick_candles_revised_total", "exchange" => exchange, "interval" => interval).increment(1);
        let Candle { timestamp, revision, .. } = self.candle;
        tracing::info!(series = %self.series, candle = %timestamp, revision, "closed candle revised");
    }
}

/// A sweep found times that nobody had repaired; it repairs them now.
pub struct HolesFound<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    /// Ascending.
    pub holes: &'a [TimeRange],
}

impl HolesFound<'_> {
    pub fn emit(&self) {
        let holes = self.holes.len();
        counter!("candlewick_holes_found_total", "exchange" => self.exchange.as_str()).increment(holes as u64);
        let missing: Duration = self.holes.iter().map(|hole| hole.duration()).sum();
        let since = self.holes.first().map(|hole| hole.start().to_string());
        tracing::info!(series = %self.series, holes, ?missing, since, "holes found, fetching them");
    }
}

/// A collector begins with a backfill, or goes on with one.
pub struct BackfillStarted<'a> {
    pub backfill: &'a Backfill,
}

impl BackfillStarted<'_> {
    pub fn emit(&self) {
        let Backfill { id, series, range, .. } = self.backfill;
        tracing::info!(id, %series, start = %range.start(), end = %range.end(), "backfill under way");
    }
}

/// A backfill has ended.
pub struct BackfillEnded<'a> {
    pub backfill: &'a Backfill,
    pub result: &'a Result<(), String>,
}

impl BackfillEnded<'_> {
    pub fn emit(&self) {
        let Backfill { id, series, .. } = self.backfill;
        let (exchange, ended) = (series.exchange.as_str(), if self.result.is_ok() { "done" } else { "failed" });
        counter!("candlewick_backfills_total", "exchange" => exchange, "result" => ended).increment(1);
        match self.result {
            Ok(()) => tracing::info!(id, %series, "backfill done"),
            Err(why) => tracing::warn!(id, %series, why, "backfill failed"),
        }
    }
}

/// Candles that were older than the configuration keeps were deleted.
pub struct CandlesForgotten {
    pub candles: u64,
    pub days: u32,
}

impl CandlesForgotten {
    pub fn emit(&self) {
        counter!("candlewick_candles_deleted_total").increment(self.candles);
        tracing::info!(candles = self.candles, older_than_days = self.days, "old candles deleted");
    }
}

/// Old candles could not be deleted now.
pub struct ForgetFailed<'a> {
    pub error: &'a dyn Display,
    pub again_in: Duration,
}

impl ForgetFailed<'_> {
    pub fn emit(&self) {
        tracing::warn!(error = %self.error, again_in = ?self.again_in, "old candles not deleted yet");
    }
}

/// The store did not take a batch; it will be tried again.
pub struct WriteFailed<'a> {
    pub exchange: ExchangeId,
    pub error: &'a dyn Display,
    pub pause: Duration,
}

impl WriteFailed<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_store_write_failures_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, error = %self.error, retry_in = ?self.pause, "candles not written yet");
    }
}

/// Too many candles wait for the store: these are let go, stay unknown in the ledger and are fetched again.
pub struct WriterFull {
    pub exchange: ExchangeId,
}

impl WriterFull {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_writer_refusals_total", "exchange" => exchange).increment(1);
        tracing::debug!(exchange, "candles let go: the store does not keep up");
    }
}

/// A time of a series was made known.
pub struct RangeFilled<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub range: TimeRange,
    pub candles: usize,
    pub rejected: usize,
}

impl RangeFilled<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_candles_fetched_total", "exchange" => exchange).increment(self.candles as u64);
        let (start, end) = (self.range.start(), self.range.end());
        tracing::debug!(series = %self.series, %start, %end, candles = self.candles, "range fetched");
        if self.rejected > 0 {
            counter!("candlewick_candles_rejected_total", "exchange" => exchange).increment(self.rejected as u64);
            tracing::warn!(series = %self.series, %start, %end, rows = self.rejected, "the exchange gave candles that contradict themselves");
        }
    }
}

/// An exchange gave rows of candles that could not be read. They are left out, and the rest of the page is kept.
pub struct RowsSkipped<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub rows: usize,
    /// What is wrong with one of them.
    pub example: &'a str,
    pub now: Timestamp,
}

/// How often bad rows of an exchange are logged.
const SKIP_LOG: Duration = Duration::from_mins(10);

impl RowsSkipped<'_> {
    pub fn emit(&self) {
        static LOGGED_AT: [AtomicI64; ExchangeId::ALL.len()] =
            [const { AtomicI64::new(i64::MIN) }; ExchangeId::ALL.len()];
        let exchange = self.exchange.as_str();
        counter!("candlewick_candles_rejected_total", "exchange" => exchange).increment(self.rows as u64);
        let (now, logged_at) = (self.now.millis(), &LOGGED_AT[self.exchange as usize]);
        let since = Timestamp::from_millis(logged_at.load(Ordering::Relaxed));
        if self.now.since(since) >= SKIP_LOG || since > self.now {
            logged_at.store(now, Ordering::Relaxed);
            tracing::warn!(exchange, series = %self.series, rows = self.rows, example = self.example, "rows of candles skipped");
        }
    }
}

/// A time of a series could not be made known yet.
pub struct FillFailed<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub error: &'a dyn Display,
    pub pause: Duration,
}

impl FillFailed<'_> {
    pub fn emit(&self) {
        counter!("candlewick_fill_failures_total", "exchange" => self.exchange.as_str()).increment(1);
        tracing::info!(series = %self.series, error = %self.error, retry_in = ?self.pause, "range not fetched yet");
    }
}

/// The stream was interrupted: a hole that repair will close.
pub struct GapSeen {
    pub exchange: ExchangeId,
    pub topics: usize,
    pub missed: TimeRange,
}

impl GapSeen {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_gaps_total", "exchange" => exchange).increment(1);
        let missed_ms = u64::try_from(self.missed.duration().as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(exchange, topics = self.topics, from = %self.missed.start(), missed_ms, "the stream was interrupted");
    }
}

/// The listing was read.
pub struct ListingRead {
    pub exchange: ExchangeId,
    pub instruments: usize,
}

impl ListingRead {
    pub fn emit(&self) {
        tracing::info!(exchange = self.exchange.as_str(), instruments = self.instruments, "listing read");
    }
}

/// The listing could not be read yet.
pub struct ListingFailed<'a> {
    pub exchange: ExchangeId,
    pub error: &'a dyn Display,
    /// Whether an older one serves meanwhile.
    pub older_serves: bool,
}

impl ListingFailed<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_listing_failures_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, error = %self.error, older_serves = self.older_serves, "listing not read");
    }
}

/// A symbol is not collected, or no longer.
pub struct SymbolEnded<'a> {
    pub exchange: ExchangeId,
    pub symbol: &'a dyn Display,
    pub why: &'a str,
}

impl SymbolEnded<'_> {
    pub fn emit(&self) {
        let (exchange, why) = (self.exchange.as_str(), self.why);
        tracing::warn!(exchange, symbol = %self.symbol, why, "symbol not collected until a listing has it");
    }
}

/// Where an exchange's data come from was decided.
pub struct SourceChosen<'a> {
    pub exchange: ExchangeId,
    pub simulated: bool,
    pub why: &'a dyn Display,
}

impl SourceChosen<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        if self.simulated {
            tracing::warn!(exchange, why = %self.why, "this exchange is SIMULATED: its prices are invented");
        } else {
            tracing::info!(exchange, why = %self.why, "collecting from the exchange");
        }
    }
}

/// This process collects an exchange from now on, and no other does.
pub struct LeaseTaken {
    pub exchange: ExchangeId,
    pub token: u64,
}

impl LeaseTaken {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_leases_taken_total", "exchange" => exchange).increment(1);
        tracing::info!(exchange, token = self.token, "this process collects the exchange");
    }
}

/// A collector ended without being asked to, and is started again.
pub struct CollectorEnded<'a> {
    pub exchange: ExchangeId,
    pub why: &'a dyn Display,
    pub pause: Duration,
}

impl CollectorEnded<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_collector_restarts_total", "exchange" => exchange).increment(1);
        tracing::error!(exchange, why = %self.why, restart_in = ?self.pause, "collector ended");
    }
}
