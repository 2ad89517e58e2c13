//! Selects the series and the range of an export, and explains missing data.

use anyhow::{anyhow, bail};

use super::args::Args;
use super::report::{Report, backfill_command, format_time};
use crate::exchanges::{Exchange, exchange};
use crate::market::similar_symbols;
use crate::model::{CANDLE_GRACE_PERIOD, Interval, Series, Symbol, TimeRange, Timestamp};
use crate::store::{CandleStore, InstrumentStore, Store, StoreError, Take};

const ALL_TIME: (Timestamp, Timestamp) = (Timestamp::EPOCH, Timestamp::MAX);

/// The requested series, and the closed part of the requested range, aligned to the interval.
pub(super) async fn select(store: &dyn Store, args: &Args, now: Timestamp) -> anyhow::Result<(Series, TimeRange)> {
    let (symbol, hint) = find_symbol(store, args).await?;
    let series = Series { exchange: args.exchange, symbol, interval: args.interval };
    let Some(stored) = stored_range(store, &series).await? else {
        bail!(no_series_message(store, &series, &hint).await?);
    };
    let interval = series.interval;
    let since = args.since.unwrap_or(stored.start());
    // Candles that have just closed may not be stored yet.
    let until = args.until.unwrap_or(now - CANDLE_GRACE_PERIOD);
    if since >= until {
        bail!("--since ({}) must be before --until ({})", format_time(since), format_time(until));
    }
    let range = TimeRange::new(interval.ceil(since), interval.ceil(until).min(interval.floor(now)));
    if range.is_empty() {
        bail!("there is no closed {interval} candle from {} to {}", format_time(since), format_time(until));
    }
    Ok((series, range))
}

/// The market in any accepted spelling. If the exchange does not list it, also a hint with similar symbols.
async fn find_symbol(store: &dyn InstrumentStore, args: &Args) -> anyhow::Result<(Symbol, String)> {
    let listing = store.instruments(args.exchange).await?.instruments;
    let symbol = args.symbol.parse::<Symbol>();
    let listed = listing.iter().find(|instrument| {
        symbol.as_ref().is_ok_and(|symbol| instrument.symbol == *symbol)
            || instrument.native.eq_ignore_ascii_case(&args.symbol)
    });
    if let Some(listed) = listed {
        return Ok((listed.symbol.clone(), String::new()));
    }
    let similar = similar_symbols(listing.iter().map(|instrument| &instrument.symbol), &args.symbol);
    let hint = if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(", ")) };
    let symbol = symbol.map_err(|error| anyhow!("`{}` is not a market: {error}{hint}", args.symbol))?;
    Ok((symbol, hint))
}

/// The range from the first to the last stored candle or coverage claim of a series.
async fn stored_range(store: &dyn CandleStore, series: &Series) -> Result<Option<TimeRange>, StoreError> {
    let all_time = TimeRange::new(ALL_TIME.0, ALL_TIME.1);
    let first = store.candles(series, all_time, Take::First(1)).await?;
    let last = store.candles(series, all_time, Take::Last(1)).await?;
    let coverage = store.coverage(series, all_time).await?;
    // Skips claims without candles at the start: those are usually the years before the market was listed.
    let mut ranges = coverage.ranges().iter().filter(|claim| claim.state.has_candle()).map(|claim| claim.range);
    let start = ranges.next().map(TimeRange::start);
    let end = coverage.ranges().last().map(|claim| claim.range.end());
    let (first, last) = (first.first().map(|candle| candle.timestamp), last.last().map(|candle| candle.timestamp));
    let first_claim = || coverage.ranges().first().map(|claim| claim.range.start());
    let start = start.into_iter().chain(first).min().or_else(first_claim);
    let end = end.into_iter().chain(last.map(|last| series.interval.next(last))).max();
    Ok(start.zip(end).map(|(start, end)| TimeRange::new(start, end)))
}

/// The error message for a series that is not in the store.
async fn no_series_message(store: &dyn CandleStore, series: &Series, hint: &str) -> anyhow::Result<String> {
    let Series { exchange: id, symbol, interval } = series;
    let profile = exchange(*id).map(Exchange::profile);
    if let Some(profile) = profile.filter(|profile| !profile.supports_interval(*interval)) {
        let supported: Vec<&str> = Interval::ALL
            .into_iter()
            .filter(|interval| profile.supports_interval(*interval))
            .map(Interval::as_str)
            .collect();
        return Ok(format!("{id} has no {interval} candles; it has {}", supported.join(", ")));
    }
    if !hint.is_empty() {
        return Ok(format!("{id} does not list {symbol}, and the store has no data of it{hint}"));
    }
    let mut others = Vec::new();
    for other in Interval::ALL {
        if stored_range(store, &Series { interval: other, ..series.clone() }).await?.is_some() {
            others.push(other.as_str());
        }
    }
    let range = TimeRange::new(ALL_TIME.0, ALL_TIME.1);
    Ok(if others.is_empty() {
        format!(
            "the store has no data of {id} {symbol}; a running service stores new candles, and `{}` fetches older ones",
            backfill_command(series, range)
        )
    } else {
        format!(
            "the store has no {interval} candles of {id} {symbol}, only {}; `{}` fetches them",
            others.join(", "),
            backfill_command(series, range)
        )
    })
}

/// The error message for a range without coverage in a stored series.
pub(super) async fn no_coverage_message(store: &dyn CandleStore, report: &Report) -> anyhow::Result<String> {
    let (series, range) = (&report.series, report.range);
    let stored = stored_range(store, series).await?;
    let stored = stored.map_or(String::new(), |stored| {
        format!("; it covers {} to {}", format_time(stored.start()), format_time(stored.end()))
    });
    Ok(format!(
        "the store has no coverage of {} {} {} from {} to {}{stored}; `{}` fetches the range",
        series.exchange,
        series.symbol,
        series.interval,
        format_time(range.start()),
        format_time(range.end()),
        backfill_command(series, range)
    ))
}
