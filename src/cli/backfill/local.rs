//! Fetches in this process.

use anyhow::{anyhow, bail};
use futures_util::stream::{self, StreamExt};

use crate::app;
use crate::cli::progress::ProgressGroup;
use crate::cli::ranges::{Outcome, SeriesRange};
use crate::clock::Clock;
use crate::config::Config;
use crate::market::similar_symbols;
use crate::model::{BudgetState, Coverage, ExchangeId, Series, TimeRange};

/// Number of series fetched concurrently within one rate-limit budget.
const CONCURRENT_SERIES: usize = 4;

/// Fetches all series, some of them concurrently. The outcomes are in the order of `series_ranges`.
pub async fn fetch(
    config: &Config,
    exchange: ExchangeId,
    series_ranges: &[SeriesRange],
    group: &ProgressGroup,
    clock: &Clock,
) -> anyhow::Result<Vec<Outcome>> {
    let (fetcher, store) = app::one_shot_fetcher(config, exchange, clock.clone()).await?;
    let mut markets = Vec::new();
    for SeriesRange { symbol, .. } in series_ranges {
        let Some(market) = fetcher.instrument(symbol) else {
            let similar = similar_symbols(fetcher.symbols(), symbol.as_str());
            let hint =
                if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(", ")) };
            bail!("{} does not list {symbol}{hint}", exchange.name());
        };
        markets.push(market);
    }
    let outcomes = stream::iter(series_ranges.iter().zip(markets)).map(async |(series_range, market)| {
        let SeriesRange { symbol, interval, range } = series_range;
        let series = Series { exchange, symbol: symbol.clone(), interval: *interval };
        let coverage = fetcher.coverage(&series, *range).await?;
        let gaps: Vec<TimeRange> = coverage.unknown_ranges(*range);
        let candles = |range: TimeRange| interval.open_times(range).map(|_| 1_u64).sum::<u64>();
        let total: u64 = gaps.iter().map(|gap| candles(*gap)).sum();
        let line = group.add(&series_range.label(), total);
        let mut done = 0;
        for gap in gaps {
            let filled = fetcher.fill(&series, market, gap, |reached| {
                let fetched = done + candles(TimeRange::new(gap.start(), reached));
                line.set(fetched, &budget_usage(exchange, &fetcher.budgets()));
            });
            if let Err(error) = filled.await {
                line.finish("failed");
                return anyhow::Ok(Err(error.to_string()));
            }
            done += candles(gap);
        }
        line.set(total, "");
        line.finish("");
        Ok(Ok(summary(series_range, &fetcher.coverage(&series, *range).await?)))
    });
    let outcomes: Vec<_> = outcomes.buffered(CONCURRENT_SERIES).collect().await;
    let outcomes = outcomes.into_iter().collect::<anyhow::Result<Vec<_>>>();
    group.message("computing longer candles");
    fetcher.finish().await;
    store.close().await;
    outcomes.map_err(|error| anyhow!("the candle store failed: {error}"))
}

/// Describes the coverage of a range after it was fetched.
fn summary(series_range: &SeriesRange, coverage: &Coverage) -> String {
    let SeriesRange { interval, range, .. } = series_range;
    let (start, end) = (range.start(), range.end());
    if coverage.is_complete(*range) {
        return format!("complete from {start} to {end}");
    }
    let count = |ranges: &mut dyn Iterator<Item = TimeRange>| {
        ranges.map(|range| interval.open_times(range).count()).sum::<usize>()
    };
    let unavailable = coverage.ranges().iter().filter(|claim| claim.state.is_unobtainable());
    let unavailable = count(&mut unavailable.map(|claim| claim.range));
    let unknown = count(&mut coverage.unknown_ranges(*range).into_iter());
    let missing = [(unavailable, "are unavailable from the exchange"), (unknown, "are not stored yet")];
    let missing =
        missing.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} candles {reason}"));
    format!("from {start} to {end}: {}", missing.collect::<Vec<_>>().join(", "))
}

/// The highest used share of the exchange's rate limits.
fn budget_usage(exchange: ExchangeId, budgets: &[BudgetState]) -> String {
    let share = |budget: &BudgetState| u64::from(budget.used) * 100 / u64::from(budget.limit.max(1));
    match budgets.iter().map(share).max() {
        Some(share) => format!("{exchange} {share} % of its limit"),
        None => String::new(),
    }
}
