//! Fetches candles from an exchange, and writes them with the coverage claims that the pages prove.

use std::sync::Arc;

use super::claims::{PageClaims, evaluate_page};
use super::fill::{FillError, Filler, LATE_CANDLE_RETRY, REFETCH_DELAY};
use super::page_fetch::{PageFetch, PageRules};
use crate::exchanges::{CandlePage, MinuteCandles};
use crate::model::{CoverageState, CoveredRange, Instrument, Interval, Series, TimeRange, Timestamp};
use crate::store::SeriesWrite;
use crate::telemetry::collect::{RangeFetched, RowsSkipped};

impl Filler {
    /// Fetches the unknown parts of `range`.
    pub(super) async fn fetch_unknown(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<(), FillError> {
        let mut retry_at: Option<Timestamp> = None;
        for gap in self.store.coverage(series, range).await?.unknown_ranges(range) {
            let (_, later) = self.fetch_gap(series, instrument, (gap, false), |_| true).await?;
            retry_at = retry_at.into_iter().chain(later).min();
        }
        retry_at.map_or(Ok(()), |until| Err(FillError::TooEarly { until }))
    }

    /// Fetches again the parts of `range` whose coverage state is not trusted: it may result from an error of the
    /// exchange. Returns when to retry what is still undecided.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn recheck(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        is_trusted: impl Fn(CoverageState) -> bool,
    ) -> Result<Option<Timestamp>, FillError> {
        let _lock = self.series_locks.lock(series).await;
        let range = self.closed_part(series.interval, range);
        Ok(self.fetch_gap(series, instrument, (range, false), is_trusted).await?.1)
    }

    /// Closes a gap; `gap_continues` as for [`PageFetch`]. A part before the exchange's oldest available candle becomes
    /// unavailable. Returns the time before which all is known or deferred, and when to retry the deferred ranges.
    pub(super) async fn fetch_gap(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        (gap, gap_continues): (TimeRange, bool),
        is_trusted: impl Fn(CoverageState) -> bool,
    ) -> Result<(Timestamp, Option<Timestamp>), FillError> {
        let rules = self.page_rules(series.interval);
        if gap.start() < rules.available_from {
            let range = TimeRange::new(series.interval.ceil(Timestamp::EPOCH), rules.available_from);
            let claims = vec![CoveredRange { range, state: CoverageState::Unavailable }];
            self.writer.write(SeriesWrite { series: series.clone(), candles: Vec::new(), claims }).await?;
        }
        let gap = TimeRange::new(gap.start().max(rules.available_from), gap.end().max(rules.available_from));
        let known = self.store.coverage(series, PageFetch::context_range(series.interval, rules, gap)).await?;
        let known = known.ranges().iter().copied().filter(|known| is_trusted(known.state)).collect();
        let mut page_fetch = PageFetch::new((series, &self.suspect_ranges, rules), gap, gap_continues, known);
        while let Some(request) = page_fetch.next_request(self.exchange_clock.now()) {
            let page = self.fetch_page(series, instrument, request.range).await?;
            if page.has_no_rows {
                // Another host of the exchange may have the candles.
                self.rest.prefer_next_origin();
            }
            let now = self.exchange_clock.now();
            let outcome = page_fetch.apply_page(request, page, now);
            if !outcome.claims.is_empty() {
                let (candles, claims) = (outcome.candles, outcome.claims);
                self.writer.write(SeriesWrite { series: series.clone(), candles, claims }).await?;
            }
        }
        let (now, exchange_now) = (self.clock.now(), self.exchange_clock.now());
        let retry_at = page_fetch.retry_at().map(|retry_at| now + retry_at.since(exchange_now));
        let continue_at = page_fetch.is_exhausted().then(|| now + LATE_CANDLE_RETRY);
        Ok((page_fetch.decided_until(), retry_at.into_iter().chain(continue_at).min()))
    }

    /// Fetches a known range again, because the exchange may have revised it. A stored candle that is missing from the
    /// page stays.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn refetch(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<(), FillError> {
        // Wait until the candles of the stream are stored.
        let refetch_at = range.end() + REFETCH_DELAY + self.exchange.profile().rest_lag;
        self.clock.sleep(refetch_at.since(self.exchange_clock.latest())).await;
        let _lock = self.series_locks.lock(series).await;
        let mut from = range.start().max(self.page_rules(series.interval).available_from);
        while from < range.end() {
            let next = self.page_end(series.interval, from).min(range.end());
            let PageClaims { candles, claims, .. } =
                self.fetch_page(series, instrument, TimeRange::new(from, next)).await?;
            let claims = claims.ranges().to_vec();
            if !claims.is_empty() {
                self.writer.write(SeriesWrite { series: series.clone(), candles, claims }).await?;
            }
            from = next;
        }
        Ok(())
    }

    /// Fetches one page.
    async fn fetch_page(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<PageClaims, FillError> {
        let requested_at = self.exchange_clock.latest();
        let page = CandlePage { instrument: Arc::clone(instrument), interval: series.interval, range, requested_at };
        let Some(call) = self.exchange.candles(&page) else { return Ok(PageClaims::default()) };
        let rows = self.rest.call_with_priority(&call, self.priority).await?;
        if let Some(first) = rows.skipped.first() {
            let (exchange, rows, now) = (series.exchange, rows.skipped.len(), self.clock.now());
            RowsSkipped { series, exchange, rows, example: &first.reason, now }.emit();
        }
        let page = evaluate_page(series.interval, range, &rows, self.exchange_clock.now(), self.final_before());
        let (candles, rejected) = (page.candles.len(), page.defects.len());
        RangeFetched { series, exchange: series.exchange, range, candles, rejected }.emit();
        Ok(page)
    }

    /// The rules for pages of an interval.
    fn page_rules(&self, interval: Interval) -> PageRules {
        let profile = self.exchange.profile();
        // The available window ends with the forming candle and may move during the request, so two rows are left out.
        let available_from =
            profile.history_rows.map(|rows| interval.back(self.exchange_clock.latest(), rows.saturating_sub(2)));
        PageRules {
            max_rows: profile.page_rows,
            accepts_long_ranges: profile.accepts_long_ranges,
            gapless: profile.minute_candles == MinuteCandles::Flagged,
            available_from: available_from.unwrap_or(Timestamp::EPOCH),
        }
    }

    /// The end of a page that starts at `from`. Leaves rows for one neighbour candle on each side.
    pub fn page_end(&self, interval: Interval, from: Timestamp) -> Timestamp {
        interval.forward(from, self.exchange.profile().page_rows.saturating_sub(2).max(1))
    }
}
