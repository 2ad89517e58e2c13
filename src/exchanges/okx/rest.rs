//! Parsers of OKX's REST responses.

use super::wire::{CandleRow, ListedInstrument, ResponseBody, Ticker};
use crate::exchanges::prelude::*;

/// Names of the rate limits: every path has its own.
pub(super) const TIME_RATE_LIMIT: &str = "time";
pub(super) const INSTRUMENTS_RATE_LIMIT: &str = "instruments";
pub(super) const TICKER_RATE_LIMIT: &str = "ticker";
pub(super) const CANDLES_RATE_LIMIT: &str = "candles";
pub(super) const HISTORY_CANDLES_RATE_LIMIT: &str = "history-candles";

/// Maximum number of candles per page, for both paths.
pub(super) const PAGE_ROWS: u32 = 300;

/// Number of candles back from now that the path of the newest candles serves: "the latest 1,440 data entries". Reduced,
/// since the forming candle is one of them, and time passes between request and response.
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>
pub(super) const NEWEST_ROWS: u32 = 1_440 - 5;

/// Intervals on our grid and their names:
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>.
///
/// From six hours on, candles with plain names open in Hong Kong time, those with `utc` in UTC, which is our grid.
/// There is no `8H`. The origin of `3Dutc` is not documented, so that three-day candles are rollups of days. Rows off
/// our grid fail [`Candle::check`].
pub(super) const INTERVAL_NAMES: [(Interval, &str); 13] = [
    (Interval::M1, "1m"),
    (Interval::M3, "3m"),
    (Interval::M5, "5m"),
    (Interval::M15, "15m"),
    (Interval::M30, "30m"),
    (Interval::H1, "1H"),
    (Interval::H2, "2H"),
    (Interval::H4, "4H"),
    (Interval::H6, "6Hutc"),
    (Interval::H12, "12Hutc"),
    (Interval::D1, "1Dutc"),
    (Interval::W1, "1Wutc"),
    (Interval::Mo1, "1Mutc"),
];

/// The rows of a response, or its error.
pub(super) fn parse_result<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, RestError> {
    let response: ResponseBody<'a, T> = codec::parse_object(body)?;
    if response.code.0 == 0 {
        return response.data.ok_or_else(|| codec::malformed("no data", body));
    }
    Err(to_rest_error(response.code.0, response.msg.as_deref().unwrap_or_default()))
}

/// Parses an error in OKX's own form: <https://www.okx.com/docs-v5/en/#error-code-rest-api>.
pub(super) fn api_error(response: &RestResponse<'_>, _: Timestamp) -> Option<RestError> {
    let response: ResponseBody<'_, IgnoredAny> = serde_json::from_slice(response.body).ok()?;
    // OKX's codes have five digits: a smaller one is the status of a proxy that responds in JSON.
    (response.code.0 >= 50_000).then(|| to_rest_error(response.code.0, response.msg.as_deref().unwrap_or_default()))
}

/// Converts an error code: <https://www.okx.com/docs-v5/en/#error-code-rest-api-public>.
fn to_rest_error(code: i64, message: &str) -> RestError {
    let kind = match code {
        // Instrument ID doesn't exist.
        51001 => RestErrorKind::UnknownSymbol,
        // Rate limit reached; too many requests.
        50011 | 50061 => RestErrorKind::RateLimited,
        // Temporarily unavailable, timeout, inactive, busy, system error.
        50001 | 50004 | 50005 | 50013 | 50026 => RestErrorKind::Unavailable,
        _ => RestErrorKind::Rejected,
    };
    RestError::new(kind, format!("{message} (code {code})"))
}

pub(super) fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    if &*listed.inst_type != "SPOT" {
        return Ok(None);
    }
    let symbol = codec::listed_symbol(&listed.base_ccy, &listed.quote_ccy)?;
    Ok(Some(Instrument {
        price_step: issue.step("tickSz", listed.tick_sz),
        amount_step: issue.step("lotSz", listed.lot_sz),
        // The listing has a minimum amount (`minSz`), but no minimum value: `min_notional` is `None`.
        // live, suspend, preopen, rebase, test. The listing does not include delisted markets.
        // <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>
        status: if &*listed.state == "live" { InstrumentStatus::Trading } else { InstrumentStatus::Halted },
        ..Instrument::new(ExchangeId::OKX, symbol, listed.inst_id.0)
    }))
}

/// The values of a ticker, of the stream or of REST. OKX sends no change, and none is computed.
pub(super) fn ticker_patch(row: &Ticker<'_>) -> TickerPatch {
    let (bid, bid_size) = optional_level(row.bid_px.0, row.bid_sz.0);
    let (ask, ask_size) = optional_level(row.ask_px.0, row.ask_sz.0);
    TickerPatch {
        last: row.last.price(),
        bid,
        bid_size,
        ask,
        ask_size,
        open: row.open24h.price(),
        high: row.high24h.price(),
        low: row.low24h.price(),
        base_volume: row.vol24h.value(),
        quote_volume: row.vol_ccy24h.value(),
        change_percent: None,
        timestamp: Some(row.ts.millis()),
    }
}

/// The candle of a row, of the stream or of REST. OKX does not count trades.
pub(super) fn candle(row: &CandleRow) -> Candle {
    let prices = [row.1, row.2, row.3, row.4];
    Candle { quote_volume: Some(row.7.0), closed: row.8.0 == 1, ..new_candle(row.0.millis(), prices, row.5) }
}
