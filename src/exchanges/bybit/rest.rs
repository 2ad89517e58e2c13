//! REST calls of Bybit and the parsers of their responses.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::{CandleRow, ListedInstrument, ResponseBody, ResponseStatus, ResultList, Ticker, Time};
use crate::exchanges::candle_rows::{CandleRows, first_column};
use crate::exchanges::codec::{self, Int, Object, OptionalNumber, nonzero_price};
use crate::exchanges::errors::classify_with;
use crate::exchanges::listing::{self, Listing, RowIssue};
use crate::exchanges::rest::{CandlePage, Parse, RestCall, RestError, RestErrorKind, RestResponse, ServerTime};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Interval, TickerPatch, Timestamp};

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Maximum number of candles per page.
pub(super) const PAGE_ROWS: u32 = 1_000;

/// Intervals on our grid and their names. Weeks (`W`) and months (`M`) are left out: their open times are not
/// documented. <https://bybit-exchange.github.io/docs/v5/enum#interval>
const INTERVAL_NAMES: [(Interval, &str); 11] = [
    (Interval::M1, "1"),
    (Interval::M3, "3"),
    (Interval::M5, "5"),
    (Interval::M15, "15"),
    (Interval::M30, "30"),
    (Interval::H1, "60"),
    (Interval::H2, "120"),
    (Interval::H4, "240"),
    (Interval::H6, "360"),
    (Interval::H12, "720"),
    (Interval::D1, "D"),
];

/// The intervals of [`INTERVAL_NAMES`].
pub(super) const INTERVALS: &[Interval] = &{
    let (mut intervals, mut at) = ([Interval::M1; INTERVAL_NAMES.len()], 0);
    while at < INTERVAL_NAMES.len() {
        intervals[at] = INTERVAL_NAMES[at].0;
        at += 1;
    }
    intervals
};

/// Bybit's name of an interval.
fn interval_name(interval: Interval) -> Option<&'static str> {
    INTERVAL_NAMES.iter().find(|(known, _)| *known == interval).map(|(_, name)| *name)
}

/// The interval with one of Bybit's names.
pub(super) fn interval_by_name(name: &str) -> Option<Interval> {
    INTERVAL_NAMES.iter().find(|(_, known)| *known == name).map(|(interval, _)| *interval)
}

/// The exchange's clock.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/v5/market/time", vec![], |body, _| {
        let time: Time = codec::parse_object(body)?;
        if time.ret_code.0 != 0 {
            return Err(codec::malformed("no time", body));
        }
        Ok(ServerTime { at: time.time.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing of spot markets; it has no pages.
pub(super) fn instruments() -> RestCall<Listing> {
    call("/v5/market/instruments-info", vec![], |body, _| {
        let (rows, _): (Vec<&RawValue>, _) = parse_result(body)?;
        listing::parse_rows(rows.into_iter().map(|row| (None, row)), "symbol", instrument)
    })
}

/// Best bid and ask and the 24-hour statistics of one market. Only the envelope has a time.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let native = instrument.native.clone();
    call("/v5/market/tickers", vec![("symbol", native.clone())], move |body, _| {
        let (rows, time): (Vec<Object<Ticker<'_>>>, _) = parse_result(body)?;
        let row = rows.iter().find(|row| row.symbol == *native).ok_or_else(|| codec::malformed("no ticker", body))?;
        let (bid, bid_size) = side(row.bid1_price, row.bid1_size);
        let (ask, ask_size) = side(row.ask1_price, row.ask1_size);
        Ok(TickerPatch { bid, bid_size, ask, ask_size, timestamp: time, ..statistics(row) })
    })
}

/// A page of candles. `start` and `end` are both inclusive; if there are more rows, the response has the newest.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    let query = vec![
        ("symbol", page.instrument.native.clone()),
        ("interval", interval_name(interval)?.to_owned()),
        ("start", range.start().millis().to_string()),
        ("end", (range.end().millis() - 1).to_string()),
        ("limit", PAGE_ROWS.to_string()),
    ];
    Some(call("/v5/market/kline", query, move |body, received| {
        let (rows, _): (Vec<&RawValue>, _) = parse_result(body)?;
        let open_time = |row| first_column(row).map(Int::millis);
        Ok(CandleRows::parse(&rows, received, open_time, candle).into_page(interval, range, received))
    }))
}

fn call<T: 'static>(
    path: &str,
    mut query: Vec<(&'static str, String)>,
    parse: impl Fn(&[u8], Timestamp) -> Result<T, RestError> + Send + Sync + 'static,
) -> RestCall<T> {
    query.insert(0, ("category", "spot".to_owned()));
    let parse: Parse<T> = Arc::new(move |response: &RestResponse<'_>, received| {
        if (200..300).contains(&response.status) {
            parse(response.body, received)
        } else {
            Err(classify_with(api_error, response, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope: RATE_LIMIT, weight: 1, parse }
}

/// The rows and the time of a response, or its error.
fn parse_result<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(Vec<T>, Option<Timestamp>), RestError> {
    let status: ResponseStatus<'_> = codec::parse_object(body)?;
    if status.ret_code.0 != 0 {
        return Err(to_rest_error(status.ret_code.0, status.ret_msg.as_deref().unwrap_or("")));
    }
    let response: ResponseBody<'_, T> = codec::parse_object(body)?;
    let Object(ResultList { category, list }) =
        response.result.ok_or_else(|| codec::malformed("neither error nor result", body))?;
    if let Some(category) = category.filter(|category| !category.is_empty() && **category != *"spot") {
        let message = format!("the response is for category {}, not for spot", &*category);
        return Err(RestError::new(RestErrorKind::Rejected, message));
    }
    Ok((list, response.time.map(Int::millis)))
}

/// Parses an error in Bybit's own form.
///
/// A 403 is a ban if it says "403, access too frequent" (<https://bybit-exchange.github.io/docs/v5/rate-limit>),
/// otherwise a region block: "IP addresses located in the US or Mainland China are restricted and will return a 403
/// Forbidden error" (<https://bybit-exchange.github.io/docs/v5/guide>).
pub(super) fn api_error(response: &RestResponse<'_>, _: Timestamp) -> Option<RestError> {
    if response.status == 403 {
        let is_ban = String::from_utf8_lossy(response.body).to_lowercase().contains("access too frequent");
        let kind = if is_ban { RestErrorKind::Banned } else { RestErrorKind::RegionBlocked };
        return Some(RestError::new(kind, format!("status 403{}", if is_ban { ", access too frequent" } else { "" })));
    }
    let status: ResponseStatus<'_> = serde_json::from_slice(response.body).ok()?;
    (status.ret_code.0 != 0).then(|| to_rest_error(status.ret_code.0, status.ret_msg.as_deref().unwrap_or("")))
}

/// Converts an error code: <https://bybit-exchange.github.io/docs/v5/error>.
fn to_rest_error(code: i64, message: &str) -> RestError {
    let kind = match code {
        10_006 | 10_018 => RestErrorKind::RateLimited,
        // "Service Restricted: … unavailable for your region"; "Compliance rules triggered".
        10_009 | 10_024 => RestErrorKind::RegionBlocked,
        10_000 | 10_016 | 10_429 => RestErrorKind::Unavailable,
        // "Request parameter error"; the message names the parameter.
        10_001 if message.to_lowercase().contains("symbol") => RestErrorKind::UnknownSymbol,
        10_029 | 170_121 => RestErrorKind::UnknownSymbol,
        _ => RestErrorKind::Rejected,
    };
    RestError::new(kind, format!("{message} (code {code})"))
}

fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    // Only derivatives have a contract type.
    if listed.contract_type.is_some() {
        return Ok(None);
    }
    let symbol = codec::symbol(&listed.base_coin, &listed.quote_coin)
        .ok_or_else(|| format!("no symbol in `{}` and `{}`", &*listed.base_coin, &*listed.quote_coin))?;
    let price_step = listed.price_filter.map(|filter| filter.tick_size).unwrap_or_default();
    let lot_size = listed.lot_size_filter.unwrap_or_default();
    Ok(Some(Instrument {
        exchange: ExchangeId::Bybit,
        symbol,
        native: listed.symbol.into_owned(),
        stream_native: None,
        price_step: issue.step("tickSize", price_step),
        amount_step: issue.step("basePrecision", lot_size.base_precision),
        min_notional: issue.step("minOrderAmt", lot_size.min_order_amt),
        contract: None,
        // <https://bybit-exchange.github.io/docs/v5/enum#status>
        status: match listed.status.as_deref() {
            None | Some("Trading") => InstrumentStatus::Trading,
            Some("Closed") => InstrumentStatus::Delisted,
            // PreLaunch, Delivering.
            Some(_) => InstrumentStatus::Halted,
        },
    }))
}

fn side(price: OptionalNumber, size: OptionalNumber) -> (Option<Decimal>, Option<Decimal>) {
    match price.0.and_then(nonzero_price) {
        Some(price) => (Some(price), size.0.map(|size| size.0)),
        None => (None, None),
    }
}

/// The 24-hour statistics of a ticker. Converts the change from a fraction to percent.
pub(super) fn statistics(row: &Ticker<'_>) -> TickerPatch {
    TickerPatch {
        last: row.last_price.0.and_then(nonzero_price),
        open: row.prev_price24h.0.and_then(nonzero_price),
        high: row.high_price24h.0.and_then(nonzero_price),
        low: row.low_price24h.0.and_then(nonzero_price),
        base_volume: row.volume24h.0.map(|volume| volume.0),
        quote_volume: row.turnover24h.0.map(|volume| volume.0),
        change_percent: row
            .price24h_pcnt
            .0
            .and_then(|change| change.0.checked_mul(Decimal::ONE_HUNDRED))
            .map(|change| change.normalize()),
        ..TickerPatch::default()
    }
}

fn candle(row: &CandleRow) -> Candle {
    let (start, open, high, low, close, volume, turnover) = row;
    Candle {
        timestamp: start.millis(),
        open: open.0,
        high: high.0,
        low: low.0,
        close: close.0,
        volume: volume.0,
        quote_volume: Some(turnover.0),
        trades: None,
        closed: false,
        revision: 0,
    }
}
