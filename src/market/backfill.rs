//! Creates and reads backfills; the collector of the exchange executes them.

use std::time::Duration;

use super::{BackfillStatus, InvalidParameter, ListedMarket, MarketError, MarketService};
use crate::model::{Backfill, BackfillState, CANDLE_GRACE_PERIOD, Interval, TimeRange, Timestamp};
use crate::store::{BackfillFilter, CandleStore, Store};

/// Maximum number of waiting and running backfills per exchange.
const MAX_OPEN: usize = 100;

/// Maximum number of backfills in one result.
const MAX_RETURNED: usize = 100;

/// Retry delay when too many backfills are open.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Unparsed parameters of a backfill request; `None` where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackfillParams<'a> {
    pub interval: Option<&'a str>,
    pub since: &'a str,
    pub until: Option<&'a str>,
}

/// A validated backfill request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillQuery {
    pub interval: Interval,
    /// Open times; ends before the time of the request.
    pub range: TimeRange,
}

impl BackfillQuery {
    /// Validates all parameters.
    ///
    /// # Errors
    /// One entry for each invalid parameter.
    pub fn new(params: BackfillParams<'_>, now: Timestamp) -> Result<Self, Vec<InvalidParameter>> {
        let mut invalid = Vec::new();
        let mut reject = |parameter, detail: String| invalid.push(InvalidParameter { parameter, detail });
        let interval = params.interval.map_or(Ok(Interval::M1), str::parse).unwrap_or_else(|error| {
            reject("interval", format!("`interval` is not a known interval: {error}"));
            Interval::M1
        });
        let mut time = |parameter, text: &str| {
            Timestamp::parse(text)
                .map_err(|error| reject(parameter, format!("`{parameter}` is not a time: {error}")))
                .ok()
        };
        let since = time("since", params.since);
        // The exchange may not return a candle yet that has just closed.
        let newest = now - CANDLE_GRACE_PERIOD;
        let until = params.until.map_or(Some(newest), |text| time("until", text));
        let (Some(since), Some(until)) = (since, until) else { return Err(invalid) };
        let range = TimeRange::new(interval.floor(since), interval.floor(until.min(newest)));
        if since >= now {
            reject("since", format!("`since` ({since}) is in the future: there is nothing to fetch yet"));
        } else if since >= until {
            reject("since", format!("`since` ({since}) must be before `until` ({until})"));
        } else if range.is_empty() {
            reject("since", format!("no candle of {interval} has closed between `since` and `until`"));
        }
        if invalid.is_empty() { Ok(Self { interval, range }) } else { Err(invalid) }
    }
}

impl MarketService {
    /// Creates a backfill. If an open backfill already covers the range, returns that one. The flag says whether the
    /// backfill is new.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `TooManyRequests`, `StoreUnavailable`.
    pub async fn begin_backfill(
        &self,
        listed: &ListedMarket,
        query: &BackfillQuery,
    ) -> Result<(BackfillStatus, bool), MarketError> {
        self.check_interval(listed, query.interval).await?;
        let series = listed.series(query.interval);
        let store = self.stores.select(listed.simulated);
        let open = store.backfills(BackfillFilter::Open(listed.exchange)).await?;
        let covers = |one: &Backfill| one.series == series && one.range.intersection(query.range) == query.range;
        if let Some(same) = open.iter().find(|one| covers(one)) {
            return Ok((self.status(&**store, same.clone(), listed.simulated).await?, false));
        }
        if open.len() >= MAX_OPEN {
            let detail =
                format!("{MAX_OPEN} backfills of {} are already open; retry when some are done", listed.exchange);
            return Err(MarketError::TooManyRequests { detail, retry_after: RETRY_AFTER });
        }
        let now = self.clock.now();
        let backfill = Backfill {
            id: format!("{:016x}", self.clock.random_u64()),
            series,
            range: query.range,
            state: BackfillState::Waiting,
            detail: None,
            created_at: now,
            updated_at: now,
        };
        store.put_backfill(&backfill).await?;
        Ok((self.status(&**store, backfill, listed.simulated).await?, true))
    }

    /// The backfill with an id, and its progress.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn backfill(&self, id: &str) -> Result<BackfillStatus, MarketError> {
        for (store, simulated) in self.all_stores() {
            if let Some(backfill) = store.backfills(BackfillFilter::Id(id)).await?.pop() {
                return self.status(store, backfill, simulated).await;
            }
        }
        Err(MarketError::NotFound(format!("there is no backfill `{id}`; `GET /v1/backfills` lists the latest ones")))
    }

    /// The latest backfills, newest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn backfills(&self) -> Result<Vec<BackfillStatus>, MarketError> {
        let mut all = Vec::new();
        for (store, simulated) in self.all_stores() {
            for backfill in store.backfills(BackfillFilter::Newest).await?.into_iter().take(MAX_RETURNED) {
                all.push(self.status(store, backfill, simulated).await?);
            }
        }
        all.sort_by_key(|answer| std::cmp::Reverse(answer.backfill.created_at));
        all.truncate(MAX_RETURNED);
        Ok(all)
    }

    fn all_stores(&self) -> impl Iterator<Item = (&dyn Store, bool)> {
        std::iter::once((&*self.stores.real, false)).chain(self.stores.simulated.as_deref().map(|store| (store, true)))
    }

    /// The progress of a backfill according to the ledger.
    async fn status(
        &self,
        store: &dyn CandleStore,
        backfill: Backfill,
        simulated: bool,
    ) -> Result<BackfillStatus, MarketError> {
        let coverage = store.coverage(&backfill.series, backfill.range).await?;
        let unknown: Duration = coverage.unknown_ranges(backfill.range).iter().map(|range| range.duration()).sum();
        let known = backfill.range.duration().saturating_sub(unknown);
        Ok(BackfillStatus { complete: coverage.is_complete(backfill.range), known, backfill, simulated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_672_430_000);

    fn invalid(params: BackfillParams<'_>) -> Vec<&'static str> {
        BackfillQuery::new(params, NOW)
            .map_or_else(|invalid| invalid.iter().map(|one| one.parameter).collect(), |_| Vec::new())
    }

    #[test]
    fn range_is_aligned_to_candles_and_ends_now() {
        let params = BackfillParams { interval: Some("1h"), since: "1763600400001", until: Some("1863672430000") };
        let query = BackfillQuery::new(params, NOW).unwrap();
        let at = |millis| Timestamp::from_millis(millis);
        assert_eq!(query.range, TimeRange::new(at(1_763_600_400_000), at(1_763_668_800_000 + 3_600_000)));
    }

    #[test]
    fn rejects_ranges_that_cannot_be_fetched() {
        let params = BackfillParams::default();
        assert_eq!(
            invalid(BackfillParams { interval: Some("7m"), since: "soon", until: Some("x") }),
            ["interval", "since", "until"]
        );
        assert_eq!(invalid(BackfillParams { since: "1863672430000", ..params }), ["since"]);
        assert_eq!(
            invalid(BackfillParams { since: "1763600400000", until: Some("1763600400000"), ..params }),
            ["since"]
        );
        assert_eq!(invalid(BackfillParams { since: "1763672420000", interval: Some("1d"), ..params }), ["since"]);
    }
}
