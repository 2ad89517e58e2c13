//! Fills gaps of a series: derives candles from known shorter ones, and fetches the rest page by page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::derive::{DeriveMode, derive_candles};
use super::suspect_ranges::SuspectRanges;
use super::writer::{WriteRejected, Writer};
use crate::clock::Clock;
use crate::exchanges::{Exchange, RestErrorKind};
use crate::model::{
    CANDLE_GRACE_PERIOD, CoverageState, CoveredRange, Instrument, Interval, Series, TimeRange, Timestamp,
};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::FetchFailed;
use crate::upstream::{Backoff, ExchangeClock, Priority, RestClient, UpstreamError};

/// Time to the next request for candles that the exchange does not have yet.
pub(super) const LATE_CANDLE_RETRY: Duration = Duration::from_secs(5);

/// A page that fails this many times stays unknown; the pass continues with the next page.
const MAX_PAGE_ATTEMPTS: u32 = 5;

/// Maximum number of passes over the unknown ranges: some responses prove nothing without a second one.
const MAX_PASSES: u32 = 3;

/// Maximum pause between two attempts.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);

/// A revised candle is fetched no earlier than this after its close.
pub(super) const REFETCH_DELAY: Duration = Duration::from_secs(5);

/// Why a range is not completely known yet.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    WriteRejected(#[from] WriteRejected),
    /// Some candles closed too recently, the exchange does not have them yet, or a second response must confirm that
    /// they do not exist.
    #[error("some candles cannot be known before {until}")]
    TooEarly { until: Timestamp },
}

impl FillError {
    /// When a retry may succeed.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Upstream(error) => error.retry_at(),
            Self::TooEarly { until } => Some(*until),
            Self::Store(_) | Self::WriteRejected(_) => None,
        }
    }

    /// Whether requests for other ranges would fail, too.
    #[must_use]
    pub const fn affects_all_ranges(&self) -> bool {
        !matches!(self, Self::TooEarly { .. } | Self::Upstream(UpstreamError::ErrorResponse { .. }))
    }

    /// Whether a retry cannot succeed.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Upstream(UpstreamError::ErrorResponse { error, .. })
            if matches!(error.kind, RestErrorKind::UnknownSymbol | RestErrorKind::Rejected))
    }
}

/// Fills ranges of candles. One per collector; its clones differ only in priority.
#[derive(Clone)]
pub struct Filler {
    pub exchange: &'static dyn Exchange,
    pub rest: Arc<RestClient>,
    pub store: Arc<dyn CandleStore>,
    pub writer: Writer,
    pub clock: Clock,
    /// Decides which candles are closed.
    pub exchange_clock: ExchangeClock,
    /// One fill per series at a time, so that nothing is fetched twice.
    pub series_locks: Arc<SeriesLocks>,
    /// Priority of requests in the exchange's budget.
    pub priority: Priority,
    /// Responses that need a second one as confirmation.
    pub suspect_ranges: Arc<SuspectRanges>,
}

/// One lock per series.
#[derive(Default)]
pub struct SeriesLocks(Mutex<HashMap<Series, Arc<tokio::sync::Mutex<()>>>>);

impl SeriesLocks {
    pub(super) async fn lock(&self, series: &Series) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut all = self.0.lock();
            if all.len() > 1_000 {
                all.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(all.entry(series.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

impl Filler {
    /// A clone with background priority.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { priority: Priority::Background, ..self.clone() }
    }

    /// A clone with the priority of client requests.
    #[must_use]
    pub fn for_clients(&self) -> Self {
        Self { priority: Priority::ClientRequest, ..self.clone() }
    }

    /// Fills the closed part of `range`, as far as the exchange has the candles. Stops at the first error; candles
    /// fetched before it are stored.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn fill(&self, series: &Series, instrument: &Arc<Instrument>, range: TimeRange) -> Result<(), FillError> {
        let _lock = self.series_locks.lock(series).await;
        let closed = self.closed_part(series.interval, range);
        if !closed.is_empty() && !self.store.coverage(series, closed).await?.unknown_ranges(closed).is_empty() {
            self.fill_closed(series, instrument, closed).await?;
        }
        // The range may include candles that closed too recently to be fetched.
        let now = self.exchange_clock.now();
        if closed.end() < series.interval.floor(range.end().min(now)) {
            Err(FillError::TooEarly { until: self.clock.now() + LATE_CANDLE_RETRY })
        } else {
            Ok(())
        }
    }

    /// Fills the closed part of a range page by page from its start, with retries. Calls `on_progress` with the time
    /// before which it is done. A range without candles stays unknown until a second response confirms it.
    ///
    /// # Errors
    /// Permanent errors only; see [`FillError::is_permanent`].
    pub async fn fill_with_retries(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        mut on_progress: impl FnMut(Timestamp) + Send,
    ) -> Result<(), FillError> {
        for pass in 1..=MAX_PASSES {
            match self.run_pass(series, instrument, range, &mut on_progress).await? {
                Some(until) if pass < MAX_PASSES => self.clock.sleep_until(until).await,
                _ => break,
            }
        }
        on_progress(range.end());
        Ok(())
    }

    /// Makes one pass over the unknown parts of a range, page by page. Returns when to retry the rest.
    ///
    /// # Errors
    /// As for [`Filler::fill_with_retries`].
    pub async fn run_pass(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        mut on_progress: impl FnMut(Timestamp) + Send,
    ) -> Result<Option<Timestamp>, FillError> {
        let range = self.closed_part(series.interval, range);
        let mut retry = RetryState {
            clock: self.clock.clone(),
            backoff: Backoff::new(LATE_CANDLE_RETRY / 5, MAX_RETRY_PAUSE),
            failed_attempts: 0,
        };
        let mut retry_at: Option<Timestamp> = None;
        for gap in self.read_unknown_ranges(series, range, &mut retry).await {
            let mut from = gap.start();
            while from < gap.end() {
                on_progress(from);
                let page = TimeRange::new(from, self.page_end(series.interval, from).min(gap.end()));
                match self.fill_page(series, instrument, page, page.end() < gap.end()).await {
                    Ok((next, page_retry_at)) => {
                        retry.reset();
                        retry_at = retry_at.into_iter().chain(page_retry_at).min();
                        from = next;
                    }
                    Err(error) if error.is_permanent() => return Err(error),
                    Err(error) if error.affects_all_ranges() || retry.failed_attempts < MAX_PAGE_ATTEMPTS => {
                        retry.pause_after(series, &error).await;
                    }
                    Err(_) => {
                        retry.reset();
                        retry_at = retry_at.into_iter().chain([self.clock.now() + REFETCH_DELAY]).min();
                        from = page.end();
                    }
                }
            }
        }
        Ok(retry_at)
    }

    /// The unknown parts of a range. Retries until the store responds.
    async fn read_unknown_ranges(&self, series: &Series, range: TimeRange, retry: &mut RetryState) -> Vec<TimeRange> {
        loop {
            match self.store.coverage(series, range).await {
                Ok(known) => return known.unknown_ranges(range),
                Err(error) => retry.pause_after(series, &error.into()).await,
            }
        }
    }

    /// Fills one page of a gap. Returns the time before which it is done, and when to retry what is still unknown
    /// there.
    async fn fill_page(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        page: TimeRange,
        gap_continues: bool,
    ) -> Result<(Timestamp, Option<Timestamp>), FillError> {
        let interval = series.interval;
        if gap_continues && self.exchange.profile().intervals.contains(&interval) {
            let _lock = self.series_locks.lock(series).await;
            if interval != Interval::M1 {
                self.write_derived(series, Interval::M1, page, DeriveMode::Missing).await?;
            }
            let known = self.store.coverage(series, page).await?;
            let Some(first) = known.unknown_ranges(page).first().copied() else { return Ok((page.end(), None)) };
            return self
                .fetch_gap(series, instrument, (TimeRange::new(first.start(), page.end()), true), |_| true)
                .await;
        }
        match self.fill(series, instrument, page).await {
            Ok(()) => Ok((page.end(), None)),
            Err(FillError::TooEarly { until }) => Ok((page.end(), Some(until))),
            Err(error) => Err(error),
        }
    }

    async fn fill_closed(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<(), FillError> {
        let interval = series.interval;
        if interval != Interval::M1 {
            self.write_derived(series, Interval::M1, range, DeriveMode::Missing).await?;
        }
        let is_base = |base: &Interval| base.divides(interval) && *base != interval;
        let base = self.exchange.profile().intervals.iter().copied().filter(is_base).max();
        if self.exchange.profile().intervals.contains(&interval) {
            let fetched = self.fetch_unknown(series, instrument, range).await;
            let known = self.store.coverage(series, range).await?;
            let is_unusable =
                |known: &&CoveredRange| known.state.is_unobtainable() && known.state != CoverageState::Unavailable;
            for unusable in known.ranges().iter().filter(is_unusable) {
                if let Some(base) = base {
                    self.fetch_base_and_derive(series, instrument, base, unusable.range, DeriveMode::Missing).await?;
                }
            }
            return fetched;
        }
        // The exchange does not have this interval: derive it from its longest interval that divides it.
        let Some(base) = base else { return Ok(()) };
        for gap in self.store.coverage(series, range).await?.unknown_ranges(range) {
            self.fetch_base_and_derive(series, instrument, base, gap, DeriveMode::LastResort).await?;
        }
        Ok(())
    }

    /// Fetches candles of the `base` interval, and derives the candles of `series` from them.
    async fn fetch_base_and_derive(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        base: Interval,
        range: TimeRange,
        mode: DeriveMode,
    ) -> Result<(), FillError> {
        let base_series = Series { interval: base, ..series.clone() };
        let range = TimeRange::new(series.interval.floor(range.start()), series.interval.ceil(range.end()));
        {
            // Locks are always taken from the longer interval to the shorter one, so that fills cannot deadlock.
            let _lock = self.series_locks.lock(&base_series).await;
            self.fetch_unknown(&base_series, instrument, self.closed_part(base, range)).await?;
        }
        self.write_derived(series, base, range, mode).await
    }

    /// The part of `range` that is closed by the exchange's clock and available by REST.
    pub(super) fn closed_part(&self, interval: Interval, range: TimeRange) -> TimeRange {
        let end = interval.floor(self.final_before());
        interval.whole_candles(TimeRange::new(interval.floor(range.start()), interval.ceil(range.end()).min(end)))
    }

    /// Candles that close before this time are final in the exchange's REST API.
    pub(super) fn final_before(&self) -> Timestamp {
        self.exchange_clock.now() - CANDLE_GRACE_PERIOD - self.exchange.profile().rest_lag
    }

    async fn write_derived(
        &self,
        series: &Series,
        base: Interval,
        range: TimeRange,
        mode: DeriveMode,
    ) -> Result<(), FillError> {
        for write in derive_candles(&*self.store, series, base, range, mode).await? {
            self.writer.write(write).await?;
        }
        Ok(())
    }
}

/// Failed attempts and backoff of [`Filler::run_pass`].
struct RetryState {
    clock: Clock,
    backoff: Backoff,
    failed_attempts: u32,
}

impl RetryState {
    /// Counts a failure, and waits until the next attempt.
    async fn pause_after(&mut self, series: &Series, error: &FillError) {
        self.failed_attempts += u32::from(!error.affects_all_ranges());
        let now = self.clock.now();
        let retry_after = error.retry_at().map(|at| at.since(now));
        // A deferred request has an exact time from the budget; other errors need a backoff.
        let pause = match error {
            FillError::Upstream(UpstreamError::Deferred { .. }) => retry_after.unwrap_or_default(),
            _ => self.backoff.next(&self.clock).max(retry_after.unwrap_or_default()),
        };
        if !matches!(error, FillError::TooEarly { .. } | FillError::Upstream(UpstreamError::Deferred { .. })) {
            FetchFailed { series, exchange: series.exchange, error, pause }.emit();
        }
        self.clock.sleep(pause).await;
    }

    const fn reset(&mut self) {
        self.backoff.reset();
        self.failed_attempts = 0;
    }
}
