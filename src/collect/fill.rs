//! Makes a range of a series known: from shorter candles that are known, else from the exchange, page by page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::derive::{Purpose, derive};
use super::suspects::Suspects;
use super::writer::{NotTaken, Writer};
use crate::clock::Clock;
use crate::exchanges::{Exchange, ReplyErrorKind};
use crate::model::{CLOSING_GRACE, CoveredRange, Instrument, Interval, Knowledge, Series, TimeRange, Timestamp};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::FillFailed;
use crate::upstream::{Backoff, ExchangeClock, RestClient, UpstreamError, Urgency};

/// What the exchange does not show yet is asked for again after so long.
pub(super) const LATE_ROWS: Duration = Duration::from_secs(5);

/// A page whose answers cannot be used after so many tries is left unknown by those who go on to other times.
const PAGE_TRIES: u32 = 5;

/// How often a backfill goes through what is still unknown: an answer that proves nothing by itself needs a second one.
const PASSES: u32 = 3;

/// The longest pause between two tries of what takes as long as it takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A closed candle that changes is fetched so long after its end.
pub(super) const CHANGES_SETTLE: Duration = Duration::from_secs(5);

/// Why a range is not known yet.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Full(#[from] NotTaken),
    /// Not all of it can be known yet: candles that are not closed for long enough, that the exchange does not show yet,
    /// or whose absence needs a second answer.
    #[error("not all of it can be known before {until}")]
    Late { until: Timestamp },
}

impl FillError {
    /// When it may work.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Upstream(error) => error.retry_at(),
            Self::Late { until } => Some(*until),
            Self::Store(_) | Self::Full(_) => None,
        }
    }

    /// Whether it would befall any other range, too.
    #[must_use]
    pub const fn is_general(&self) -> bool {
        !matches!(self, Self::Late { .. } | Self::Upstream(UpstreamError::Reply { .. }))
    }

    /// Whether asking again is pointless.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Upstream(UpstreamError::Reply { error, .. })
            if matches!(error.kind, ReplyErrorKind::UnknownSymbol | ReplyErrorKind::Refused))
    }
}

/// Makes ranges known. One for each collector; clones differ in their urgency alone.
#[derive(Clone)]
pub struct Filler {
    pub exchange: &'static dyn Exchange,
    pub rest: Arc<RestClient>,
    pub store: Arc<dyn CandleStore>,
    pub writer: Writer,
    pub clock: Clock,
    /// What time it is at the exchange: decides what is closed.
    pub exchange_clock: ExchangeClock,
    /// One filling of a series at a time, so that nothing is fetched twice.
    pub busy: Arc<Busy>,
    /// Its claim on the exchange's budget.
    pub urgency: Urgency,
    /// Answers that prove nothing by themselves.
    pub suspects: Arc<Suspects>,
}

/// Which series are being filled.
#[derive(Default)]
pub struct Busy(Mutex<HashMap<Series, Arc<tokio::sync::Mutex<()>>>>);

impl Busy {
    pub(super) async fn enter(&self, series: &Series) -> tokio::sync::OwnedMutexGuard<()> {
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
    /// The same, for what nobody waits for.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { urgency: Urgency::Background, ..self.clone() }
    }

    /// The same, for what clients ask for.
    #[must_use]
    pub fn asked(&self) -> Self {
        Self { urgency: Urgency::Asked, ..self.clone() }
    }

    /// Makes the closed part of `range` known as far as the exchange gives it. Returns early, with what it has so far
    /// in the store, on the first error.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn fill(&self, series: &Series, instrument: &Arc<Instrument>, range: TimeRange) -> Result<(), FillError> {
        let _turn = self.busy.enter(series).await;
        let closed = self.closed_part(series.interval, range);
        if !closed.is_empty() && !self.store.coverage(series, closed).await?.unknown(closed).is_empty() {
            self.fill_closed(series, instrument, closed).await?;
        }
        // What closes only now was asked for, too.
        let now = self.exchange_clock.now();
        if closed.end() < series.interval.floor(range.end().min(now)) {
            Err(FillError::Late { until: self.clock.now() + LATE_ROWS })
        } else {
            Ok(())
        }
    }

    /// Makes the closed part of a range known, page by page from its start, however long the exchange and the store need.
    /// Tells each time up to which it has come. What the exchange neither shows nor denies twice stays unknown.
    ///
    /// # Errors
    /// Only what trying again would not mend: see [`FillError::is_final`].
    pub async fn fill_steadily(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        mut reached: impl FnMut(Timestamp) + Send,
    ) -> Result<(), FillError> {
        for pass in 1..=PASSES {
            match self.pass(series, instrument, range, &mut reached).await? {
                Some(until) if pass < PASSES => self.clock.sleep_until(until).await,
                _ => break,
            }
        }
        reached(range.end());
        Ok(())
    }

    /// Goes once through all of a range that is unknown, page by page. Gives when the rest is worth asking for again.
    ///
    /// # Errors
    /// As for [`Filler::fill_steadily`].
    pub async fn pass(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        mut reached: impl FnMut(Timestamp) + Send,
    ) -> Result<Option<Timestamp>, FillError> {
        let range = self.closed_part(series.interval, range);
        let mut tries =
            Tries { clock: self.clock.clone(), backoff: Backoff::new(LATE_ROWS / 5, LONGEST_PAUSE), unusable: 0 };
        let mut due: Option<Timestamp> = None;
        for gap in self.unknown(series, range, &mut tries).await {
            let mut from = gap.start();
            while from < gap.end() {
                reached(from);
                let page = TimeRange::new(from, self.page_end(series.interval, from).min(gap.end()));
                match self.fill_page(series, instrument, page, page.end() < gap.end()).await {
                    Ok((next, later)) => {
                        tries.worked();
                        due = due.into_iter().chain(later).min();
                        from = next;
                    }
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) if error.is_general() || tries.unusable < PAGE_TRIES => {
                        tries.failed(series, &error).await;
                    }
                    Err(_) => {
                        tries.worked();
                        due = due.into_iter().chain([self.clock.now() + CHANGES_SETTLE]).min();
                        from = page.end();
                    }
                }
            }
        }
        Ok(due)
    }

    /// The parts of a range that the ledger does not know, however long the store needs.
    async fn unknown(&self, series: &Series, range: TimeRange, tries: &mut Tries) -> Vec<TimeRange> {
        loop {
            match self.store.coverage(series, range).await {
                Ok(known) => return known.unknown(range),
                Err(error) => tries.failed(series, &error.into()).await,
            }
        }
    }

    /// Makes a page known, behind which the same gap may go on. Gives up to where it has come, and when what it left
    /// unknown before that is worth asking for again.
    async fn fill_page(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        page: TimeRange,
        goes_on: bool,
    ) -> Result<(Timestamp, Option<Timestamp>), FillError> {
        let interval = series.interval;
        if goes_on && self.exchange.profile().intervals.contains(&interval) {
            let _turn = self.busy.enter(series).await;
            if interval != Interval::M1 {
                self.derive(series, Interval::M1, page, Purpose::New).await?;
            }
            let known = self.store.coverage(series, page).await?;
            let Some(first) = known.unknown(page).first().copied() else { return Ok((page.end(), None)) };
            return self.inquire(series, instrument, (TimeRange::new(first.start(), page.end()), true), |_| true).await;
        }
        match self.fill(series, instrument, page).await {
            Ok(()) => Ok((page.end(), None)),
            Err(FillError::Late { until }) => Ok((page.end(), Some(until))),
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
            self.derive(series, Interval::M1, range, Purpose::New).await?;
        }
        let native = |base: &Interval| base.divides(interval) && *base != interval;
        let base = self.exchange.profile().intervals.iter().copied().filter(native).max();
        if self.exchange.profile().intervals.contains(&interval) {
            let fetched = self.fetch(series, instrument, range).await;
            let known = self.store.coverage(series, range).await?;
            let unusable = |known: &&CoveredRange| known.state.is_lost() && known.state != Knowledge::Unavailable;
            for lost in known.ranges().iter().filter(unusable) {
                if let Some(base) = base {
                    self.make_of(series, instrument, base, lost.range, Purpose::New).await?;
                }
            }
            return fetched;
        }
        // Not offered natively: made of the longest candles that are and that fit.
        let Some(base) = base else { return Ok(()) };
        for gap in self.store.coverage(series, range).await?.unknown(range) {
            self.make_of(series, instrument, base, gap, Purpose::LastResort).await?;
        }
        Ok(())
    }

    /// Makes candles of shorter ones that are fetched for it.
    async fn make_of(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        base: Interval,
        range: TimeRange,
        purpose: Purpose,
    ) -> Result<(), FillError> {
        let parts = Series { interval: base, ..series.clone() };
        let range = TimeRange::new(series.interval.floor(range.start()), series.interval.ceil(range.end()));
        {
            // Always from the longer series to the shorter one, so that two fillings never wait for each other.
            let _turn = self.busy.enter(&parts).await;
            self.fetch(&parts, instrument, self.closed_part(base, range)).await?;
        }
        self.derive(series, base, range, purpose).await
    }

    /// The part of `range` that is certainly closed, by the exchange's own clock, and that its REST interface shows.
    pub(super) fn closed_part(&self, interval: Interval, range: TimeRange) -> TimeRange {
        let end = interval.floor(self.settled());
        interval.shrink(TimeRange::new(interval.floor(range.start()), interval.ceil(range.end()).min(end)))
    }

    /// Before this time the exchange's REST interface shows what is closed.
    pub(super) fn settled(&self) -> Timestamp {
        self.exchange_clock.now() - CLOSING_GRACE - self.exchange.profile().rest_lag
    }

    async fn derive(
        &self,
        series: &Series,
        base: Interval,
        range: TimeRange,
        purpose: Purpose,
    ) -> Result<(), FillError> {
        for write in derive(&*self.store, series, base, range, purpose).await? {
            self.writer.write(write).await?;
        }
        Ok(())
    }
}

/// What takes as long as it takes: how often it failed, and the pauses between.
struct Tries {
    clock: Clock,
    backoff: Backoff,
    unusable: u32,
}

impl Tries {
    /// Waits until another try makes sense.
    async fn failed(&mut self, series: &Series, error: &FillError) {
        self.unusable += u32::from(!error.is_general());
        let now = self.clock.now();
        let named = error.retry_at().map(|at| at.since(now));
        // Whom the budget holds back was told when there is room; all else is trouble.
        let pause = match error {
            FillError::Upstream(UpstreamError::HeldBack { .. }) => named.unwrap_or_default(),
            _ => self.backoff.next(&self.clock).max(named.unwrap_or_default()),
        };
        if !matches!(error, FillError::Late { .. } | FillError::Upstream(UpstreamError::HeldBack { .. })) {
            FillFailed { series, exchange: series.exchange, error, pause }.emit();
        }
        self.clock.sleep(pause).await;
    }

    const fn worked(&mut self) {
        self.backoff.reset();
        self.unusable = 0;
    }
}
