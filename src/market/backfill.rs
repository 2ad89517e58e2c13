//! Backfills: asked for here, worked off by the collector of the exchange.

use std::time::Duration;

use super::{BackfillAnswer, InvalidParameter, Listed, Market, MarketError};
use crate::model::{Backfill, BackfillState, CLOSING_GRACE, Interval, TimeRange, Timestamp};
use crate::store::{Backfills, CandleStore};

/// The most backfills of an exchange that wait or are under way.
const MOST_OPEN: usize = 100;

/// How many backfills are told at a time.
const TOLD: usize = 100;

/// When to ask again where too many wait.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// What to fetch, as it stands in a request; `None` where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackfillFields<'a> {
    pub interval: Option<&'a str>,
    pub since: &'a str,
    pub until: Option<&'a str>,
}

/// A checked range to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillQuery {
    pub interval: Interval,
    /// Open times; ends at `now` at the latest.
    pub range: TimeRange,
}

impl BackfillQuery {
    /// Checks all fields at once.
    ///
    /// # Errors
    /// One entry for each field that is wrong.
    pub fn new(fields: BackfillFields<'_>, now: Timestamp) -> Result<Self, Vec<InvalidParameter>> {
        let mut wrong = Vec::new();
        let mut refuse = |parameter, detail: String| wrong.push(InvalidParameter { parameter, detail });
        let interval = fields.interval.map_or(Ok(Interval::M1), str::parse).unwrap_or_else(|error| {
            refuse("interval", format!("`interval` is none that there is: {error}"));
            Interval::M1
        });
        let mut time = |parameter, text: &str| {
            Timestamp::parse(text)
                .map_err(|error| refuse(parameter, format!("`{parameter}` is not a time: {error}")))
                .ok()
        };
        let since = time("since", fields.since);
        // A candle that has only just closed may not be shown yet.
        let newest = now - CLOSING_GRACE;
        let until = fields.until.map_or(Some(newest), |text| time("until", text));
        let (Some(since), Some(until)) = (since, until) else { return Err(wrong) };
        let range = TimeRange::new(interval.floor(since), interval.floor(until.min(newest)));
        if since >= now {
            refuse("since", format!("`since` ({since}) lies in the future: there is nothing to fetch yet"));
        } else if since >= until {
            refuse("since", format!("`since` ({since}) must lie before `until` ({until})"));
        } else if range.is_empty() {
            refuse("since", format!("no candle of {interval} has closed between `since` and `until`"));
        }
        if wrong.is_empty() { Ok(Self { interval, range }) } else { Err(wrong) }
    }
}

impl Market {
    /// Asks for a range of a series to be fetched. Where one that is under way holds it already, that one is the answer;
    /// says whether it is new.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `TooMany`, `StoreUnavailable`.
    pub async fn begin_backfill(
        &self,
        listed: &Listed,
        query: &BackfillQuery,
    ) -> Result<(BackfillAnswer, bool), MarketError> {
        self.check_interval(listed, query.interval).await?;
        let series = super::history::series(listed, query.interval);
        let store = self.stores.of(listed.simulated);
        let open = store.backfills(Backfills::Open(listed.exchange)).await?;
        let holds = |one: &Backfill| one.series == series && one.range.intersection(query.range) == query.range;
        if let Some(same) = open.iter().find(|one| holds(one)) {
            return Ok((self.told(&**store, same.clone(), listed.simulated).await?, false));
        }
        if open.len() >= MOST_OPEN {
            let detail =
                format!("{MOST_OPEN} backfills of {} wait already; ask again when some are done", listed.exchange);
            return Err(MarketError::TooMany { detail, retry_after: ASK_AGAIN });
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
        Ok((self.told(&**store, backfill, listed.simulated).await?, true))
    }

    /// The backfill of an id, and how far it is.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub async fn backfill(&self, id: &str) -> Result<BackfillAnswer, MarketError> {
        for (store, simulated) in self.both_stores() {
            if let Some(backfill) = store.backfills(Backfills::Id(id)).await?.pop() {
                return self.told(store, backfill, simulated).await;
            }
        }
        Err(MarketError::NotFound(format!("there is no backfill `{id}`; `GET /v1/backfills` lists the latest ones")))
    }

    /// The latest backfills, the newest first.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn backfills(&self) -> Result<Vec<BackfillAnswer>, MarketError> {
        let mut all = Vec::new();
        for (store, simulated) in self.both_stores() {
            for backfill in store.backfills(Backfills::Newest).await?.into_iter().take(TOLD) {
                all.push(self.told(store, backfill, simulated).await?);
            }
        }
        all.sort_by_key(|answer| std::cmp::Reverse(answer.backfill.created_at));
        all.truncate(TOLD);
        Ok(all)
    }

    fn both_stores(&self) -> impl Iterator<Item = (&dyn CandleStore, bool)> {
        let kept = (&*self.stores.kept, false);
        std::iter::once(kept).chain(self.stores.simulated.as_deref().map(|store| (store, true)))
    }

    /// How far a backfill is, by the ledger.
    async fn told(
        &self,
        store: &dyn CandleStore,
        backfill: Backfill,
        simulated: bool,
    ) -> Result<BackfillAnswer, MarketError> {
        let coverage = store.coverage(&backfill.series, backfill.range).await?;
        let unknown: Duration = coverage.unknown(backfill.range).iter().map(|hole| hole.duration()).sum();
        let known = backfill.range.duration().saturating_sub(unknown);
        Ok(BackfillAnswer { complete: coverage.completes(backfill.range), known, backfill, simulated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_672_430_000);

    fn wrong(fields: BackfillFields<'_>) -> Vec<&'static str> {
        BackfillQuery::new(fields, NOW)
            .map_or_else(|wrong| wrong.iter().map(|one| one.parameter).collect(), |_| Vec::new())
    }

    #[test]
    fn a_range_is_of_whole_candles_and_ends_now() {
        let fields = BackfillFields { interval: Some("1h"), since: "1763600400001", until: Some("1863672430000") };
        let query = BackfillQuery::new(fields, NOW).unwrap();
        let at = |millis| Timestamp::from_millis(millis);
        assert_eq!(query.range, TimeRange::new(at(1_763_600_400_000), at(1_763_668_800_000 + 3_600_000)));
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        let fields = BackfillFields::default();
        assert_eq!(
            wrong(BackfillFields { interval: Some("7m"), since: "soon", until: Some("x") }),
            ["interval", "since", "until"]
        );
        assert_eq!(wrong(BackfillFields { since: "1863672430000", ..fields }), ["since"]);
        assert_eq!(wrong(BackfillFields { since: "1763600400000", until: Some("1763600400000"), ..fields }), ["since"]);
        assert_eq!(wrong(BackfillFields { since: "1763672420000", interval: Some("1d"), ..fields }), ["since"]);
    }
}
