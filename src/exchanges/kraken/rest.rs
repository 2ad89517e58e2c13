//! Parsers of Kraken's REST responses.

use super::symbols;
use super::wire::{CandleRow, ListedInstrument, ResponseBody, RestTicker, ResultByPair};
use crate::exchanges::prelude::*;
use crate::model::TimeRange;

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Number of candles that Kraken serves, including the forming one; `since` reaches no further back.
/// <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>
pub(super) const PAGE_ROWS: u32 = 720;

/// Intervals on our grid. Kraken also has 10080 minutes (weeks, which open on Thursday) and 21600 minutes, which are
/// not on our grid: <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>
pub(super) const INTERVALS: &[Interval] =
    &[Interval::M1, Interval::M5, Interval::M15, Interval::M30, Interval::H1, Interval::H4, Interval::D1];

/// Length of an interval in minutes, which is its name in the API.
pub(super) const fn interval_minutes(interval: Interval) -> i64 {
    interval.max_millis() / 60_000
}

/// The interval of a length in minutes.
pub(super) fn interval_by_minutes(minutes: i64) -> Option<Interval> {
    INTERVALS.iter().copied().find(|interval| interval_minutes(*interval) == minutes)
}

/// Parses the rows of a page of candles.
///
/// # Errors
/// The page starts after `range`: earlier candles are unavailable, not empty.
pub(super) fn candle_rows(
    body: &[u8],
    interval: Interval,
    range: TimeRange,
    received: Timestamp,
) -> Result<CandleRows, RestError> {
    let rows: Vec<&RawValue> = codec::parse_list(body)?;
    let open_time = |row| first_column(row).map(|secs| Timestamp::from_secs(secs.0));
    let rows = CandleRows::parse(&rows, received, open_time, candle);
    // A full response is truncated at its oldest row.
    let is_full = rows.count() >= PAGE_ROWS as usize;
    if is_full && rows.oldest_open_time() > Some(range.start()) && range.start() > Timestamp::EPOCH {
        let message = format!("the exchange has only the newest {PAGE_ROWS} candles of {interval}");
        return Err(RestError::new(RestErrorKind::Rejected, message));
    }
    Ok(rows)
}

/// The result of a response, or its error. Entries that begin with `W` are warnings.
pub(super) fn parse_result<'a, T: Deserialize<'a>>(body: &'a [u8], received: Timestamp) -> Result<T, RestError> {
    let response: ResponseBody<'a, T> = codec::parse_object(body)?;
    match (response.error.iter().find(|error| !error.starts_with('W')), response.result) {
        (Some(error), _) => Err(to_rest_error(error, received)),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(codec::malformed("neither error nor result", body)),
    }
}

/// The result of one market. If its key is not the requested id, the only key other than `last`.
pub(super) fn parse_single_result<'a>(
    body: &'a [u8],
    native: &str,
    received: Timestamp,
) -> Result<&'a [u8], RestError> {
    let by_pair: ResultByPair<'a> = parse_result(body, received)?;
    let mut markets = by_pair.iter().filter(|(key, _)| *key != "last");
    let found = match (by_pair.get(native), markets.next(), markets.next()) {
        (Some(exact), ..) | (None, Some((_, exact)), None) => *exact,
        (None, None, _) => return Err(codec::malformed("no market", body)),
        (None, Some(_), Some(_)) => return Err(codec::malformed(format_args!("several markets, not {native}"), body)),
    };
    Ok(found.get().as_bytes())
}

/// Parses an error in Kraken's own form.
pub(super) fn api_error(response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
    let response: ResponseBody<'_, IgnoredAny> = serde_json::from_slice(response.body).ok()?;
    let error = response.error.iter().find(|error| !error.starts_with('W'))?;
    Some(to_rest_error(error, received))
}

/// Converts an error: <https://docs.kraken.com/api/docs/guides/spot-errors>.
fn to_rest_error(error: &str, received: Timestamp) -> RestError {
    let (category, detail) = error.split_once(':').unwrap_or((error, ""));
    let is = |text: &str| detail.to_ascii_lowercase().contains(text);
    let kind = match category {
        "EQuery" if is("unknown asset") => RestErrorKind::UnknownSymbol,
        "EAPI" if is("rate limit") => RestErrorKind::RateLimited,
        "EGeneral" if is("too many requests") || is("lockout") => RestErrorKind::RateLimited,
        "EService" if is("throttled") => RestErrorKind::RateLimited,
        "EGeneral" if is("internal error") => RestErrorKind::Unavailable,
        "EService" => RestErrorKind::Unavailable,
        _ => RestErrorKind::Rejected,
    };
    let mut rest_error = RestError::new(kind, error);
    // `EService:Throttled: 1688671200`
    if kind == RestErrorKind::RateLimited {
        let until = detail.rsplit(' ').next().and_then(|secs| secs.parse().ok());
        rest_error.retry_after = until.map(|secs| Timestamp::from_secs(secs).since(received));
    }
    rest_error
}

pub(super) fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    // Markets without a name for the WebSocket, such as the dark pools.
    let Some(name) = listed.wsname.as_deref() else { return Ok(None) };
    let (symbol, stream_native) =
        symbols::parse_pair(name).zip(symbols::stream_name(name)).ok_or_else(|| format!("no symbol in `{name}`"))?;
    Ok(Some(Instrument {
        stream_native: Some(stream_native),
        price_step: issue.step("tick_size", listed.tick_size).or_else(|| step_of_decimals(listed.pair_decimals)),
        amount_step: step_of_decimals(listed.lot_decimals),
        min_notional: issue.step("costmin", listed.costmin),
        status: match listed.status.as_deref() {
            None | Some("online") => InstrumentStatus::Trading,
            // Documented for the listing of FIX and of the channel `instrument`:
            // <https://docs.kraken.com/api/docs/websocket-v2/instrument>
            Some("delisted") => InstrumentStatus::Delisted,
            // cancel_only, post_only, limit_only, reduce_only:
            // <https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs>; in the channel `instrument` also
            // maintenance and work_in_progress. With limit_only "no order matching (trades) will occur":
            // <https://support.kraken.com/hc/en-us/articles/360055614211>.
            Some(_) => InstrumentStatus::Halted,
        },
        ..Instrument::new(ExchangeId::KRAKEN, symbol, listed.altname.0)
    }))
}

/// The step of a number of decimals.
fn step_of_decimals(decimals: Option<Int>) -> Option<Decimal> {
    Decimal::try_new(1, u32::try_from(decimals?.0).ok()?).ok()
}

pub(super) fn ticker_patch(ticker: &RestTicker) -> TickerPatch {
    let (bid, bid_size) = price_level(ticker.b[0], ticker.b[2]);
    let (ask, ask_size) = price_level(ticker.a[0], ticker.a[2]);
    TickerPatch {
        last: nonzero_price(ticker.c[0]),
        bid,
        bid_size,
        ask,
        ask_size,
        high: nonzero_price(ticker.h[1]),
        low: nonzero_price(ticker.l[1]),
        base_volume: Some(ticker.v[1].0),
        ..TickerPatch::default()
    }
}

fn candle(row: &CandleRow) -> Candle {
    let prices = [row.1, row.2, row.3, row.4];
    Candle { trades: row.7.count(), ..new_candle(Timestamp::from_secs(row.0.0), prices, row.6) }
}
