//! Parsers of Bybit's REST responses.

use super::wire::{CandleRow, ListedInstrument, ResponseBody, ResponseStatus, ResultList, Ticker};
use crate::exchanges::prelude::*;

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Maximum number of candles per page.
pub(super) const PAGE_ROWS: u32 = 1_000;

/// Intervals on our grid and their names. Weeks (`W`) and months (`M`) are left out: their open times are not
/// documented. <https://bybit-exchange.github.io/docs/v5/enum#interval>
pub(super) const INTERVAL_NAMES: [(Interval, &str); 11] = [
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

/// The rows and the time of a response, or its error.
pub(super) fn parse_result<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(Vec<T>, Option<Timestamp>), RestError> {
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

pub(super) fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    // Only derivatives have a contract type.
    if listed.contract_type.is_some() {
        return Ok(None);
    }
    let symbol = codec::listed_symbol(&listed.base_coin, &listed.quote_coin)?;
    let price_step = listed.price_filter.map(|filter| filter.tick_size).unwrap_or_default();
    let lot_size = listed.lot_size_filter.unwrap_or_default();
    Ok(Some(Instrument {
        price_step: issue.step("tickSize", price_step),
        amount_step: issue.step("basePrecision", lot_size.base_precision),
        min_notional: issue.step("minOrderAmt", lot_size.min_order_amt),
        // <https://bybit-exchange.github.io/docs/v5/enum#status>
        status: match listed.status.as_deref() {
            None | Some("Trading") => InstrumentStatus::Trading,
            Some("Closed") => InstrumentStatus::Delisted,
            // PreLaunch, Delivering.
            Some(_) => InstrumentStatus::Halted,
        },
        ..Instrument::new(ExchangeId::BYBIT, symbol, listed.symbol.0)
    }))
}

/// The 24-hour statistics of a ticker. Converts the change from a fraction to percent.
pub(super) fn statistics(row: &Ticker<'_>) -> TickerPatch {
    let change = row.price24h_pcnt.value().and_then(|change| change.checked_mul(Decimal::ONE_HUNDRED));
    TickerPatch {
        last: row.last_price.price(),
        open: row.prev_price24h.price(),
        high: row.high_price24h.price(),
        low: row.low_price24h.price(),
        base_volume: row.volume24h.value(),
        quote_volume: row.turnover24h.value(),
        change_percent: change.map(|change| change.normalize()),
        ..TickerPatch::default()
    }
}

pub(super) fn candle(row: &CandleRow) -> Candle {
    let (start, open, high, low, close, volume, turnover) = *row;
    Candle { quote_volume: Some(turnover.0), ..new_candle(start.millis(), [open, high, low, close], volume) }
}
