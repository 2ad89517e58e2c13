//! Which series and which range an export means, and what to say where the store has nothing of it.

use anyhow::{anyhow, bail};

use super::Args;
use super::report::{Report, backfill, short};
use crate::exchanges::exchange;
use crate::market::near;
use crate::model::{CLOSING_GRACE, Interval, Series, Symbol, TimeRange, Timestamp};
use crate::store::{CandleStore, StoreError, Take};

const EVER: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);

/// The series that is asked for, and the closed part of the range, on the grid.
pub(super) async fn find(store: &dyn CandleStore, args: &Args, now: Timestamp) -> anyhow::Result<(Series, TimeRange)> {
    let (symbol, hint) = market(store, args).await?;
    let series = Series { exchange: args.exchange, symbol, interval: args.interval };
    let Some(held) = held(store, &series).await? else {
        bail!(unknown(store, &series, &hint).await?);
    };
    let interval = series.interval;
    let since = args.since.unwrap_or(held.start());
    // What closes at this moment is on its way into the store.
    let until = args.until.unwrap_or(now - CLOSING_GRACE);
    if since >= until {
        bail!("--since ({}) must lie before --until ({})", short(since), short(until));
    }
    let range = TimeRange::new(interval.ceil(since), interval.ceil(until).min(interval.floor(now)));
    if range.is_empty() {
        bail!("no candle of {interval} opens and closes from {} to {} and until now", short(since), short(until));
    }
    Ok((series, range))
}

/// The market by any spelling, and markets that may have been meant if the exchange lists none like that.
async fn market(store: &dyn CandleStore, args: &Args) -> anyhow::Result<(Symbol, String)> {
    let listing = store.instruments(args.exchange).await?.instruments;
    let symbol = args.symbol.parse::<Symbol>();
    let listed = listing.iter().find(|one| {
        symbol.as_ref().is_ok_and(|symbol| one.symbol == *symbol) || one.native.eq_ignore_ascii_case(&args.symbol)
    });
    if let Some(listed) = listed {
        return Ok((listed.symbol.clone(), String::new()));
    }
    let near = near(listing.iter().map(|one| &one.symbol), &args.symbol);
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    let symbol = symbol.map_err(|error| anyhow!("`{}` is no market: {error}{hint}", args.symbol))?;
    Ok((symbol, hint))
}

/// The time from the first to the last that the store knows of a series.
async fn held(store: &dyn CandleStore, series: &Series) -> Result<Option<TimeRange>, StoreError> {
    let ever = TimeRange::new(EVER.0, EVER.1);
    let first = store.candles(series, ever, Take::First(1)).await?;
    let last = store.candles(series, ever, Take::Last(1)).await?;
    let coverage = store.coverage(series, ever).await?;
    // The years before a market was listed are known, too, and of no use.
    let mut ranges = coverage.ranges().iter().filter(|one| one.state.has_candle()).map(|one| one.range);
    let begin = ranges.next().map(TimeRange::start);
    let end = coverage.ranges().last().map(|one| one.range.end());
    let (first, last) = (first.first().map(|one| one.timestamp), last.last().map(|one| one.timestamp));
    let begin = begin.into_iter().chain(first).min().or_else(|| coverage.ranges().first().map(|one| one.range.start()));
    let end = end.into_iter().chain(last.map(|last| series.interval.next(last))).max();
    Ok(begin.zip(end).map(|(begin, end)| TimeRange::new(begin, end)))
}

/// What to say of a series that the store knows nothing of.
async fn unknown(store: &dyn CandleStore, series: &Series, hint: &str) -> anyhow::Result<String> {
    let Series { exchange: id, symbol, interval } = series;
    let profile = exchange(*id).profile();
    if !profile.offers(*interval) {
        let has: Vec<&str> =
            Interval::ALL.into_iter().filter(|one| profile.offers(*one)).map(Interval::as_str).collect();
        return Ok(format!("{id} has no candles of {interval}; it has {}", has.join(", ")));
    }
    if !hint.is_empty() {
        return Ok(format!("{id} lists no {symbol}, and the store has nothing of it{hint}"));
    }
    let mut others = Vec::new();
    for other in Interval::ALL {
        if held(store, &Series { interval: other, ..series.clone() }).await?.is_some() {
            others.push(other.as_str());
        }
    }
    let range = TimeRange::new(EVER.0, EVER.1);
    Ok(if others.is_empty() {
        format!(
            "the store has nothing of {id} {symbol}; a service that collects it fills the store from now on, and \
             `{}` fetches what was before",
            backfill(series, range)
        )
    } else {
        format!(
            "the store has no candles of {interval} of {id} {symbol}, but of {}; `{}` fetches them",
            others.join(", "),
            backfill(series, range)
        )
    })
}

/// What to say of a range of which the store knows nothing, though it knows the series.
pub(super) async fn nothing(store: &dyn CandleStore, report: &Report) -> anyhow::Result<String> {
    let (series, range) = (&report.series, report.range);
    let held = held(store, series).await?;
    let held = held.map_or(String::new(), |held| {
        format!("; what it has lies between {} and {}", short(held.start()), short(held.end()))
    });
    Ok(format!(
        "the store knows nothing of {} {} {} from {} to {}{held}; `{}` fetches it",
        series.exchange,
        series.symbol,
        series.interval,
        short(range.start()),
        short(range.end()),
        backfill(series, range)
    ))
}
