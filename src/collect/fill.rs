//! Makes a range of a series known: from shorter candles that are known, else from the exchange, page by page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::claims::{Page, read_page};
use super::derive::{Purpose, derive};
use super::writer::{NotTaken, Writer};
use crate::clock::Clock;
use crate::exchanges::{CandlePage, Exchange, ReplyErrorKind};
use crate::model::{CLOSING_GRACE, CoveredRange, Instrument, Interval, Knowledge, Series, TimeRange, Timestamp};
use crate::store::{CandleStore, SeriesWrite, StoreError, Take};
use crate::telemetry::collect::{FillFailed, RangeFilled};
use crate::upstream::{Backoff, ExchangeClock, RestClient, UpstreamError, Urgency};

/// A page of which nothing was learnt is asked for again after so long: the exchange may show closed candles late.
const LATE_ROWS: Duration = Duration::from_secs(5);

/// What the exchange still does not show after so many tries is left unknown by those who go on to other times.
const LATE_TRIES: u32 = 5;

/// The longest pause between two tries of what takes as long as it takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A closed candle that changes is fetched so long after its end.
pub const CHANGES_SETTLE: Duration = Duration::from_secs(5);

/// Why a range is not known yet.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Full(#[from] NotTaken),
    /// The newest candles of the range are not closed for long enough, or the exchange does not show them yet.
    #[error("the newest candles are not there yet")]
    Late,
}

impl FillError {
    /// When it may work.
    #[must_use]
    pub fn retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Upstream(error) => error.retry_at(),
            Self::Late => Some(now + LATE_ROWS),
            Self::Store(_) | Self::Full(_) => None,
        }
    }

    /// Whether it would befall any other range, too.
    #[must_use]
    pub const fn is_general(&self) -> bool {
        !matches!(self, Self::Late | Self::Upstream(UpstreamError::Reply { .. }))
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
}

/// Which series are being filled.
#[derive(Default)]
pub struct Busy(Mutex<HashMap<Series, Arc<tokio::sync::Mutex<()>>>>);

impl Busy {
    async fn enter(&self, series: &Series) -> tokio::sync::OwnedMutexGuard<()> {
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
        if closed.end() < series.interval.floor(range.end().min(self.exchange_clock.now())) {
            Err(FillError::Late)
        } else {
            Ok(())
        }
    }

    /// Makes the closed part of a range known, page by page from its start, however long the exchange and the store need.
    /// Tells each time up to which it has come. What the exchange does not show stays unknown.
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
        let range = self.closed_part(series.interval, range);
        let mut tries =
            Tries { clock: self.clock.clone(), backoff: Backoff::new(LATE_ROWS / 5, LONGEST_PAUSE), late: 0 };
        let holes = loop {
            match self.store.coverage(series, range).await {
                Ok(known) => break known.unknown(range),
                Err(error) => tries.failed(series, &error.into()).await,
            }
        };
        for hole in holes {
            let mut from = hole.start();
            while from < hole.end() {
                reached(from);
                let page = TimeRange::new(from, self.page_end(series.interval, from).min(hole.end()));
                match self.fill(series, instrument, page).await {
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) if !matches!(error, FillError::Late) || tries.late < LATE_TRIES => {
                        tries.failed(series, &error).await;
                    }
                    Ok(()) | Err(_) => {
                        tries.worked();
                        from = page.end();
                    }
                }
            }
        }
        reached(range.end());
        Ok(())
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
        if self.exchange.profile().intervals.contains(&interval) {
            return self.fetch(series, instrument, range).await;
        }
        // Not offered natively: made of the longest candles that are and that fit.
        let native = self.exchange.profile().intervals.iter().rev();
        let Some(base) = native.copied().filter(|native| native.divides(interval)).max() else { return Ok(()) };
        let parts = Series { interval: base, ..series.clone() };
        for hole in self.store.coverage(series, range).await?.unknown(range) {
            let hole = TimeRange::new(interval.floor(hole.start()), interval.ceil(hole.end()));
            {
                // Always from the longer series to the shorter one, so that two fillings never wait for each other.
                let _turn = self.busy.enter(&parts).await;
                self.fetch(&parts, instrument, self.closed_part(base, hole)).await?;
            }
            self.derive(series, base, hole, Purpose::LastResort).await?;
        }
        Ok(())
    }

    /// Fetches a range that is known, because the exchange has changed it since.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn fetch_again(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<(), FillError> {
        // What the stream said of it goes into the store first.
        let settled = range.end() + CHANGES_SETTLE + self.exchange.profile().rest_lag;
        self.clock.sleep(settled.since(self.exchange_clock.latest())).await;
        let _turn = self.busy.enter(series).await;
        let mut from = self.reach(series.interval).map_or(range.start(), |reach| range.start().max(reach));
        while from < range.end() {
            let next = self.page_end(series.interval, from).min(range.end());
            self.fetch_page(series, instrument, TimeRange::new(from, next), None).await?;
            from = next;
        }
        Ok(())
    }

    /// The part of `range` that is certainly closed, by the exchange's own clock, and that its REST interface shows.
    fn closed_part(&self, interval: Interval, range: TimeRange) -> TimeRange {
        let end = interval.floor(self.settled());
        interval.shrink(TimeRange::new(interval.floor(range.start()), interval.ceil(range.end()).min(end)))
    }

    /// Before this time the exchange's REST interface shows what is closed.
    fn settled(&self) -> Timestamp {
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

    /// Fetches what the ledger does not know of `range`.
    async fn fetch(&self, series: &Series, instrument: &Arc<Instrument>, range: TimeRange) -> Result<(), FillError> {
        let interval = series.interval;
        let profile = self.exchange.profile();
        let mut late = false;
        let unknown = self.store.coverage(series, range).await?.unknown(range);
        for hole in together(&unknown, |from| self.page_end(interval, from)) {
            let mut from = hole.start();
            if let Some(reach) = self.reach(interval)
                && from < reach
            {
                let beyond = TimeRange::new(interval.ceil(Timestamp::EPOCH), reach);
                self.claim(series, beyond, Knowledge::Unavailable).await?;
                from = reach;
            }
            while from < hole.end() {
                let next = self.page_end(interval, from).min(hole.end());
                let page = self.fetch_page(series, instrument, TimeRange::new(from, next), Some(&unknown)).await?;
                if page.rows == 0 && profile.wide_pages {
                    self.find_listing(series, instrument, next).await?;
                }
                late |= !page.known;
                from = next;
            }
        }
        if late { Err(FillError::Late) } else { Ok(()) }
    }

    /// Before this the exchange gives nothing, where it gives so many candles only.
    fn reach(&self, interval: Interval) -> Option<Timestamp> {
        let rows = self.exchange.profile().reach_rows?;
        // The window ends with the candle that is forming now, and it moves while the request is on its way.
        Some(interval.back(self.exchange_clock.latest(), rows.saturating_sub(2)))
    }

    /// Where one of the exchange's pages that begins at `from` ends.
    pub fn page_end(&self, interval: Interval, from: Timestamp) -> Timestamp {
        page_end(interval, from, self.exchange.profile().page_rows)
    }

    /// After a page up to `until` was empty: finds out whether that is because the listing came later. Then all of the
    /// time before it is known to be empty at once.
    async fn find_listing(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        until: Timestamp,
    ) -> Result<(), FillError> {
        let interval = series.interval;
        let before = TimeRange::new(interval.ceil(Timestamp::EPOCH), until);
        let around = TimeRange::new(before.start(), interval.next(until));
        if self.store.coverage(series, around).await?.unknown(around).is_empty()
            || !self.store.candles(series, before, Take::First(1)).await?.is_empty()
        {
            return Ok(());
        }
        let ever = TimeRange::new(before.start(), interval.floor(self.settled()));
        self.fetch_page(series, instrument, ever, None).await?;
        Ok(())
    }

    async fn claim(&self, series: &Series, range: TimeRange, state: Knowledge) -> Result<(), FillError> {
        let claims = vec![CoveredRange { range, state }];
        Ok(self.writer.write(SeriesWrite { series: series.clone(), candles: Vec::new(), claims }).await?)
    }

    /// Fetches one page and writes what it proves, of the time of `only` where that is given.
    async fn fetch_page(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        only: Option<&[TimeRange]>,
    ) -> Result<Fetched, FillError> {
        let asked_at = self.exchange_clock.latest();
        let page = CandlePage { instrument: Arc::clone(instrument), interval: series.interval, range, asked_at };
        let Some(call) = self.exchange.candles(&page) else { return Ok(Fetched { rows: 0, known: true }) };
        let rows = self.rest.call_with(&call, self.urgency).await?;
        let received = self.exchange_clock.now();
        let full = rows.len() >= self.exchange.profile().page_rows as usize;
        let Page { mut candles, mut claims, rejected } =
            read_page(series.interval, range, &rows, full && self.exchange.profile().wide_pages, received);
        let mut asked = range.duration();
        if let Some(only) = only {
            // What lies between is known already, perhaps better.
            candles.retain(|candle| only.iter().any(|part| part.contains(candle.timestamp)));
            let inside = |claim: &CoveredRange| {
                let CoveredRange { range, state } = *claim;
                only.iter().map(move |part| CoveredRange { range: part.intersection(range), state })
            };
            claims = claims.iter().flat_map(inside).filter(|claim| !claim.range.is_empty()).collect();
            asked = only.iter().map(|part| part.intersection(range).duration()).sum();
        }
        RangeFilled { series, exchange: series.exchange, range, candles: candles.len(), rejected }.emit();
        let learnt: Duration = claims.iter().map(|claim| claim.range.duration()).sum();
        if !claims.is_empty() {
            self.writer.write(SeriesWrite { series: series.clone(), candles, claims }).await?;
        }
        // Rows that contradict themselves will not get better by asking again at once.
        Ok(Fetched { rows: rows.len(), known: learnt == asked || rejected > 0 })
    }
}

/// What takes as long as it takes: how often it failed, and the pauses between.
struct Tries {
    clock: Clock,
    backoff: Backoff,
    late: u32,
}

impl Tries {
    /// Waits until another try makes sense.
    async fn failed(&mut self, series: &Series, error: &FillError) {
        self.late += u32::from(matches!(error, FillError::Late));
        let now = self.clock.now();
        let named = error.retry_at(now).map(|at| at.since(now));
        // Whom the budget holds back was told when there is room; all else is trouble.
        let pause = match error {
            FillError::Upstream(UpstreamError::HeldBack { .. }) => named.unwrap_or_default(),
            _ => self.backoff.next(&self.clock).max(named.unwrap_or_default()),
        };
        if !matches!(error, FillError::Late | FillError::Upstream(UpstreamError::HeldBack { .. })) {
            FillFailed { series, exchange: series.exchange, error, pause }.emit();
        }
        self.clock.sleep(pause).await;
    }

    const fn worked(&mut self) {
        self.backoff.reset();
        self.late = 0;
    }
}

/// What came of one page.
struct Fetched {
    rows: usize,
    /// Whether all of its time is known now.
    known: bool,
}

/// Joins ascending ranges where one page that begins at the first reaches the end of the next: fewer questions.
fn together(ranges: &[TimeRange], page_end: impl Fn(Timestamp) -> Timestamp) -> Vec<TimeRange> {
    let mut joined: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for &range in ranges {
        match joined.last_mut() {
            Some(last) if range.end() <= page_end(last.start()) => *last = TimeRange::new(last.start(), range.end()),
            _ => joined.push(range),
        }
    }
    joined
}

/// Where a page of `rows` candles that begins at `from` ends.
fn page_end(interval: Interval, from: Timestamp, rows: u32) -> Timestamp {
    match interval {
        Interval::Mo1 => (0..rows).fold(from, |at, _| interval.next(at)),
        _ => from + interval.max_duration() * rows,
    }
}
