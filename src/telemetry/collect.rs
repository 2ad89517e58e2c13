//! Telemetry of the collectors.

use std::fmt::Display;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use crate::model::{
    Backfill, Candle, Channel, ConnectionState, ExchangeId, ExchangeState, FeedState, Interval, PerExchange, TimeRange,
    Timestamp,
};

/// The state of an exchange that this process collects.
pub struct StateReported<'a> {
    pub state: &'a ExchangeState,
    pub now: Timestamp,
}

impl StateReported<'_> {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these numbers are small")]
    pub fn emit(&self) {
        let ExchangeState { exchange, state, symbols, connections, budgets, .. } = self.state;
        let exchange = exchange.as_str();
        for label in FeedState::ALL {
            let is_current = f64::from(u8::from(label == *state));
            gauge!("candlewick_exchange_state", "exchange" => exchange, "state" => label.as_str()).set(is_current);
            let count = connections.iter().filter(|connection| connection.state == label).count();
            gauge!("candlewick_upstream_connections", "exchange" => exchange, "state" => label.as_str())
                .set(count as f64);
        }
        if let Some(clock) = self.state.clock {
            let seconds = |millis: i64| millis as f64 / 1_000.0;
            gauge!("candlewick_exchange_clock_offset_seconds", "exchange" => exchange).set(seconds(clock.offset_ms));
            gauge!("candlewick_exchange_clock_doubt_seconds", "exchange" => exchange).set(seconds(clock.doubt_ms));
        }
        gauge!("candlewick_markets", "exchange" => exchange).set(symbols.len() as f64);
        let silence = |connection: &ConnectionState| Some(self.now.since(connection.last_message?));
        let longest_silence = connections.iter().filter_map(silence).max().unwrap_or_default();
        gauge!("candlewick_upstream_silence_seconds", "exchange" => exchange).set(longest_silence.as_secs_f64());
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

/// This process no longer collects an exchange: its gauges are reset.
pub struct StateCleared<'a> {
    pub state: &'a ExchangeState,
}

impl StateCleared<'_> {
    pub fn emit(&self) {
        let mut cleared = ExchangeState { symbols: Vec::new(), connections: Vec::new(), ..self.state.clone() };
        for budget in &mut cleared.budgets {
            (budget.used, budget.open_at) = (0, None);
        }
        StateReported { state: &cleared, now: Timestamp::EPOCH }.emit();
        let exchange = self.state.exchange.as_str();
        gauge!("candlewick_exchange_state", "exchange" => exchange, "state" => cleared.state.as_str()).set(0);
        gauge!("candlewick_unknown_ranges", "exchange" => exchange).set(0);
    }
}

/// An event was dropped because its exchange time is not plausible.
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
        tracing::debug!(exchange, channel, at_ms = self.at.millis(), "event dropped, its time is not plausible");
    }
}

/// The machine's clock was set, or the machine was suspended.
pub struct ClockJumped {
    pub exchange: ExchangeId,
    pub jump: Duration,
}

impl ClockJumped {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_clock_jumps_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, jump = ?self.jump, "machine's clock was set, or machine was suspended");
    }
}

/// Number of unknown ranges of collected markets that are queued to be fetched.
pub struct UnknownRanges {
    pub exchange: ExchangeId,
    pub ranges: usize,
}

impl UnknownRanges {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these numbers are small")]
    pub fn emit(&self) {
        gauge!("candlewick_unknown_ranges", "exchange" => self.exchange.as_str()).set(self.ranges as f64);
    }
}

/// Time from the exchange's timestamp of an event to its receipt: `candlewick_upstream_lag_seconds`.
pub struct StreamLag {
    tickers: Histogram,
    trades: Histogram,
}

impl StreamLag {
    #[must_use]
    pub fn new(exchange: ExchangeId) -> Self {
        let lag = |channel: &'static str| {
            let exchange = exchange.as_str();
            histogram!("candlewick_upstream_lag_seconds", "exchange" => exchange, "channel" => channel)
        };
        Self { tickers: lag("ticker"), trades: lag("trades") }
    }

    pub fn ticker(&self, lag: Duration) {
        self.tickers.record(lag);
    }

    pub fn trade(&self, lag: Duration) {
        self.trades.record(lag);
    }
}

/// Number of candles queued for the store: `candlewick_writer_queue_candles`.
#[derive(Clone)]
pub struct WriterQueueGauge(Gauge);

impl WriterQueueGauge {
    #[must_use]
    pub fn new(exchange: ExchangeId) -> Self {
        Self(gauge!("candlewick_writer_queue_candles", "exchange" => exchange.as_str()))
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; the queue has a bound")]
    pub fn set(&self, candles: usize) {
        self.0.set(candles as f64);
    }
}

/// A batch of candles was written to the store.
pub struct CandlesWritten {
    pub exchange: ExchangeId,
    pub candles: usize,
    pub revised: usize,
    /// Includes retries.
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

/// The values of a closed candle changed, by a late trade or because the exchange's candle differs.
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

/// The periodic check found unknown ranges that were not yet repaired. It repairs them now.
pub struct GapsFound<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    /// Ascending.
    pub gaps: &'a [TimeRange],
}

impl GapsFound<'_> {
    pub fn emit(&self) {
        let gaps = self.gaps.len();
        counter!("candlewick_holes_found_total", "exchange" => self.exchange.as_str()).increment(gaps as u64);
        let missing: Duration = self.gaps.iter().map(|gap| gap.duration()).sum();
        let since = self.gaps.first().map(|gap| gap.start().to_string());
        tracing::info!(series = %self.series, gaps, ?missing, since, "gaps found, fetching them");
    }
}

/// A collector started or resumed a backfill.
pub struct BackfillStarted<'a> {
    pub backfill: &'a Backfill,
}

impl BackfillStarted<'_> {
    pub fn emit(&self) {
        let Backfill { id, series, range, .. } = self.backfill;
        tracing::info!(id, %series, start = %range.start(), end = %range.end(), "backfill running");
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

/// Candles older than the configured retention were deleted.
pub struct CandlesDeleted {
    pub candles: u64,
    pub days: u32,
}

impl CandlesDeleted {
    pub fn emit(&self) {
        counter!("candlewick_candles_deleted_total").increment(self.candles);
        tracing::info!(candles = self.candles, older_than_days = self.days, "old candles deleted");
    }
}

/// The deletion of old candles failed.
pub struct DeleteFailed<'a> {
    pub error: &'a dyn Display,
    pub retry_in: Duration,
}

impl DeleteFailed<'_> {
    pub fn emit(&self) {
        tracing::warn!(error = %self.error, retry_in = ?self.retry_in, "could not delete old candles");
    }
}

/// A write of a batch failed and will be retried.
pub struct WriteFailed<'a> {
    pub exchange: ExchangeId,
    pub error: &'a dyn Display,
    pub pause: Duration,
}

impl WriteFailed<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_store_write_failures_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, error = %self.error, retry_in = ?self.pause, "could not write candles");
    }
}

/// The queue for the store is full: candles were dropped. Their ranges stay unknown in the ledger and are fetched
/// again.
pub struct WriterQueueFull {
    pub exchange: ExchangeId,
}

impl WriterQueueFull {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_writer_refusals_total", "exchange" => exchange).increment(1);
        tracing::debug!(exchange, "candles dropped, the store does not keep up");
    }
}

/// A range of a series was fetched.
pub struct RangeFetched<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub range: TimeRange,
    pub candles: usize,
    pub rejected: usize,
}

impl RangeFetched<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_candles_fetched_total", "exchange" => exchange).increment(self.candles as u64);
        let (start, end) = (self.range.start(), self.range.end());
        tracing::debug!(series = %self.series, %start, %end, candles = self.candles, "range fetched");
        if self.rejected > 0 {
            counter!("candlewick_candles_rejected_total", "exchange" => exchange).increment(self.rejected as u64);
            let rows = self.rejected;
            tracing::warn!(series = %self.series, %start, %end, rows, "exchange returned inconsistent candles");
        }
    }
}

/// Candle rows of an exchange could not be parsed. They were skipped; the other rows of the page are used.
pub struct RowsSkipped<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub rows: usize,
    /// Error of one of these rows.
    pub example: &'a str,
    pub now: Timestamp,
}

/// Minimum time between two log lines about skipped rows, per exchange.
const SKIP_LOG_INTERVAL: Duration = Duration::from_mins(10);

impl RowsSkipped<'_> {
    pub fn emit(&self) {
        static LOGGED_AT: PerExchange<AtomicI64> =
            PerExchange::new([const { AtomicI64::new(i64::MIN) }; ExchangeId::MAX]);
        let exchange = self.exchange.as_str();
        counter!("candlewick_candles_rejected_total", "exchange" => exchange).increment(self.rows as u64);
        let (now, logged_at) = (self.now.millis(), &LOGGED_AT[self.exchange]);
        let since = Timestamp::from_millis(logged_at.load(Ordering::Relaxed));
        if self.now.since(since) >= SKIP_LOG_INTERVAL || since > self.now {
            logged_at.store(now, Ordering::Relaxed);
            let Self { series, rows, example, .. } = self;
            tracing::warn!(exchange, %series, rows, example, "candle rows skipped");
        }
    }
}

/// An attempt to fetch a range failed and will be repeated.
pub struct FetchFailed<'a> {
    pub series: &'a dyn Display,
    pub exchange: ExchangeId,
    pub error: &'a dyn Display,
    pub pause: Duration,
}

impl FetchFailed<'_> {
    pub fn emit(&self) {
        counter!("candlewick_fill_failures_total", "exchange" => self.exchange.as_str()).increment(1);
        tracing::info!(series = %self.series, error = %self.error, retry_in = ?self.pause, "range not fetched yet");
    }
}

/// A stream was interrupted; repair fetches the missed range.
pub struct StreamInterrupted {
    pub exchange: ExchangeId,
    pub topics: usize,
    pub missed: TimeRange,
}

impl StreamInterrupted {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_gaps_total", "exchange" => exchange).increment(1);
        let missed_ms = u64::try_from(self.missed.duration().as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(exchange, topics = self.topics, from = %self.missed.start(), missed_ms, "stream interrupted");
    }
}

/// A listing was fetched.
pub struct ListingRead {
    pub exchange: ExchangeId,
    pub instruments: usize,
}

impl ListingRead {
    pub fn emit(&self) {
        tracing::info!(exchange = self.exchange.as_str(), instruments = self.instruments, "listing fetched");
    }
}

/// A listing could not be fetched.
pub struct ListingFailed<'a> {
    pub exchange: ExchangeId,
    pub error: &'a dyn Display,
    /// Whether the previous listing is used meanwhile.
    pub previous_in_use: bool,
}

impl ListingFailed<'_> {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        counter!("candlewick_listing_failures_total", "exchange" => exchange).increment(1);
        let previous_in_use = self.previous_in_use;
        tracing::warn!(exchange, error = %self.error, previous_in_use, "could not fetch the listing");
    }
}

/// The collection of a symbol ended, or did not start.
pub struct SymbolEnded<'a> {
    pub exchange: ExchangeId,
    pub symbol: &'a dyn Display,
    pub why: &'a str,
}

impl SymbolEnded<'_> {
    pub fn emit(&self) {
        let (exchange, why) = (self.exchange.as_str(), self.why);
        tracing::warn!(exchange, symbol = %self.symbol, why, "symbol not collected until it is listed");
    }
}

/// The data source of an exchange was selected.
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

/// This process acquired the lease of an exchange and is now its only collector.
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

/// A collector ended unexpectedly and will be restarted.
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
