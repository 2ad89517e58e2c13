//! Fetches in this process.

use anyhow::{anyhow, bail};
use futures_util::stream::{self, StreamExt};

use super::{AT_A_TIME, Outcome, Wanted, summary, used};
use crate::app;
use crate::cli::progress::Group;
use crate::clock::Clock;
use crate::config::Config;
use crate::market::near;
use crate::model::{ExchangeId, Series, TimeRange};

/// Fetches all that is wanted, some series at a time. The outcomes have the order of `wanted`.
pub async fn fetch(
    config: &Config,
    exchange: ExchangeId,
    wanted: &[Wanted],
    group: &Group,
    clock: &Clock,
) -> anyhow::Result<Vec<Outcome>> {
    let (errand, store) = app::errand(config, exchange, clock.clone()).await?;
    let mut markets = Vec::new();
    for Wanted { symbol, .. } in wanted {
        let Some(market) = errand.find(symbol) else {
            let near = near(errand.symbols(), symbol.as_str());
            let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
            bail!("{} does not list {symbol}{hint}", exchange.name());
        };
        markets.push(market);
    }
    let outcomes = stream::iter(wanted.iter().zip(markets)).map(async |(wanted, market)| {
        let Wanted { symbol, interval, range } = wanted;
        let series = Series { exchange, symbol: symbol.clone(), interval: *interval };
        let known = errand.coverage(&series, *range).await?;
        let missing: Vec<TimeRange> = known.unknown(*range);
        let candles = |range: TimeRange| interval.opens(range).map(|_| 1_u64).sum::<u64>();
        let total: u64 = missing.iter().map(|hole| candles(*hole)).sum();
        let line = group.add(&wanted.name(), total);
        let mut done = 0;
        for hole in missing {
            let filled = errand.fill(&series, market, hole, |reached| {
                line.set(done + candles(TimeRange::new(hole.start(), reached)), &used(exchange, &errand.budgets()));
            });
            if let Err(error) = filled.await {
                line.finish("failed");
                return anyhow::Ok(Err(error.to_string()));
            }
            done += candles(hole);
        }
        line.set(total, "");
        line.finish("");
        Ok(Ok(summary(wanted, &errand.coverage(&series, *range).await?)))
    });
    let outcomes: Vec<_> = outcomes.buffered(AT_A_TIME).collect().await;
    let outcomes = outcomes.into_iter().collect::<anyhow::Result<Vec<_>>>();
    group.say("deriving longer candles");
    errand.end().await;
    store.close().await;
    outcomes.map_err(|error| anyhow!("the candle store failed: {error}"))
}
