//! Asks an exchange for candles, and writes what its answers prove.

use std::sync::Arc;

use super::claims::{Answer, read_answer};
use super::fill::{CHANGES_SETTLE, FillError, Filler, LATE_ROWS};
use super::inquiry::{Inquiry, PageRules};
use crate::exchanges::{CandlePage, MinuteCandles};
use crate::model::{CoveredRange, Instrument, Interval, Knowledge, Series, TimeRange, Timestamp};
use crate::store::SeriesWrite;
use crate::telemetry::collect::{RangeFilled, RowsSkipped};

impl Filler {
    /// Fetches what the ledger does not know of `range`.
    pub(super) async fn fetch(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
    ) -> Result<(), FillError> {
        let mut due: Option<Timestamp> = None;
        for gap in self.store.coverage(series, range).await?.unknown(range) {
            let (_, later) = self.inquire(series, instrument, (gap, false), |_| true).await?;
            due = due.into_iter().chain(later).min();
        }
        due.map_or(Ok(()), |until| Err(FillError::Late { until }))
    }

    /// Fetches again what the ledger says for reasons that the exchange may have given by mistake: `believed` says of
    /// which states it is not to be asked for. Gives when the rest is worth asking for again.
    ///
    /// # Errors
    /// [`FillError`].
    pub async fn verify(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        believed: impl Fn(Knowledge) -> bool,
    ) -> Result<Option<Timestamp>, FillError> {
        let _turn = self.busy.enter(series).await;
        let range = self.closed_part(series.interval, range);
        Ok(self.inquire(series, instrument, (range, false), believed).await?.1)
    }

    /// Makes a gap known that lies in the exchange's reach, behind which the same gap may go on. Gives up to where it has
    /// come, and when what it left unknown before that is worth asking for again.
    pub(super) async fn inquire(
        &self,
        series: &Series,
        instrument: &Arc<Instrument>,
        (gap, goes_on): (TimeRange, bool),
        believed: impl Fn(Knowledge) -> bool,
    ) -> Result<(Timestamp, Option<Timestamp>), FillError> {
        let rules = self.page_rules(series.interval);
        if gap.start() < rules.reach {
            let range = TimeRange::new(series.interval.ceil(Timestamp::EPOCH), rules.reach);
            let claims = vec![CoveredRange { range, state: Knowledge::Unavailable }];
            self.writer.write(SeriesWrite { series: series.clone(), candles: Vec::new(), claims }).await?;
        }
        let gap = TimeRange::new(gap.start().max(rules.reach), gap.end().max(rules.reach));
        let known = self.store.coverage(series, Inquiry::around(series.interval, rules, gap)).await?;
        let known = known.ranges().iter().copied().filter(|known| believed(known.state)).collect();
        let mut inquiry = Inquiry::new((series, &self.suspects, rules), gap, goes_on, known);
        while let Some(asked) = inquiry.next(self.exchange_clock.now()) {
            let answer = self.ask(series, instrument, asked.range).await?;
            if answer.blank {
                // Another of the exchange's hosts may know more.
                self.rest.prefer_next_origin();
            }
            let now = self.exchange_clock.now();
            let learnt = inquiry.learn(asked, answer, now);
            if !learnt.claims.is_empty() {
                let (candles, claims) = (learnt.candles, learnt.claims);
                self.writer.write(SeriesWrite { series: series.clone(), candles, claims }).await?;
            }
        }
        let (now, there) = (self.clock.now(), self.exchange_clock.now());
        let due = inquiry.due().map(|due| now + due.since(there));
        let more = inquiry.is_exhausted().then(|| now + LATE_ROWS);
        Ok((inquiry.reached(), due.into_iter().chain(more).min()))
    }

    /// Fetches a range that is known, because the exchange has changed it since. A candle that it leaves out stays: it was
    /// there before.
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
        let mut from = range.start().max(self.page_rules(series.interval).reach);
        while from < range.end() {
            let next = self.page_end(series.interval, from).min(range.end());
            let Answer { candles, claims, .. } = self.ask(series, instrument, TimeRange::new(from, next)).await?;
            let claims = claims.ranges().to_vec();
            if !claims.is_empty() {
                self.writer.write(SeriesWrite { series: series.clone(), candles, claims }).await?;
            }
            from = next;
        }
        Ok(())
    }

    /// Asks for one page.
    async fn ask(&self, series: &Series, instrument: &Arc<Instrument>, range: TimeRange) -> Result<Answer, FillError> {
        let asked_at = self.exchange_clock.latest();
        let page = CandlePage { instrument: Arc::clone(instrument), interval: series.interval, range, asked_at };
        let Some(call) = self.exchange.candles(&page) else { return Ok(Answer::default()) };
        let rows = self.rest.call_with(&call, self.urgency).await?;
        if let Some(first) = rows.skipped.first() {
            let (exchange, rows, now) = (series.exchange, rows.skipped.len(), self.clock.now());
            RowsSkipped { series, exchange, rows, example: &first.reason, now }.emit();
        }
        let answer = read_answer(series.interval, range, &rows, self.exchange_clock.now(), self.settled());
        let (candles, rejected) = (answer.candles.len(), answer.defects.len());
        RangeFilled { series, exchange: series.exchange, range, candles, rejected }.emit();
        Ok(answer)
    }

    /// What the exchange's pages of an interval are like.
    fn page_rules(&self, interval: Interval) -> PageRules {
        let profile = self.exchange.profile();
        // The window ends with the candle that is forming now, and it moves while the request is on its way.
        let reach = profile.reach_rows.map(|rows| interval.back(self.exchange_clock.latest(), rows.saturating_sub(2)));
        PageRules {
            rows: profile.page_rows,
            wide: profile.wide_pages,
            gapless: profile.minutes == MinuteCandles::Flagged,
            reach: reach.unwrap_or(Timestamp::EPOCH),
        }
    }

    /// Where a page that begins at `from` ends, with room for the candles next to it.
    pub fn page_end(&self, interval: Interval, from: Timestamp) -> Timestamp {
        interval.forward(from, self.exchange.profile().page_rows.saturating_sub(2).max(1))
    }
}
