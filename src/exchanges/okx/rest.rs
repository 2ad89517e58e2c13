//! REST calls of OKX and the parsers of their responses.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::wire::{CandleRow, ListedInstrument, ResponseBody, Ticker, Time};
use crate::exchanges::candle_rows::{CandleRows, first_column};
use crate::exchanges::codec::{self, Int, Object, OptionalNumber, nonzero_price, price_level};
use crate::exchanges::errors::classify_with;
use crate::exchanges::listing::{self, Listing, RowIssue};
use crate::exchanges::rest::{CandlePage, Parse, RestCall, RestError, RestErrorKind, RestResponse, ServerTime};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Interval, TickerPatch, Timestamp};

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
const NEWEST_ROWS: u32 = 1_440 - 5;

/// Intervals on our grid; see [`interval_name`].
pub(super) const INTERVALS: &[Interval] = &[
    Interval::M1,
    Interval::M3,
    Interval::M5,
    Interval::M15,
    Interval::M30,
    Interval::H1,
    Interval::H2,
    Interval::H4,
    Interval::H6,
    Interval::H12,
    Interval::D1,
    Interval::W1,
    Interval::Mo1,
];

/// OKX's name of an interval: <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>.
///
/// From six hours on, candles with plain names open in Hong Kong time, those with `utc` in UTC, which is our grid.
/// There is no `8H`. The origin of `3Dutc` is not documented, so that three-day candles are rollups of days. Rows off
/// our grid fail [`Candle::check`].
const fn interval_name(interval: Interval) -> Option<&'static str> {
    Some(match interval {
        Interval::M1 => "1m",
        Interval::M3 => "3m",
        Interval::M5 => "5m",
        Interval::M15 => "15m",
        Interval::M30 => "30m",
        Interval::H1 => "1H",
        Interval::H2 => "2H",
        Interval::H4 => "4H",
        Interval::H6 => "6Hutc",
        Interval::H12 => "12Hutc",
        Interval::D1 => "1Dutc",
        Interval::W1 => "1Wutc",
        Interval::Mo1 => "1Mutc",
        Interval::H8 | Interval::D3 => return None,
    })
}

/// The interval with one of OKX's names.
pub(super) fn interval_by_name(name: &str) -> Option<Interval> {
    INTERVALS.iter().copied().find(|interval| interval_name(*interval) == Some(name))
}

/// The exchange's clock.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/api/v5/public/time", vec![], TIME_RATE_LIMIT, |body, _| {
        let rows: Vec<Time> = parse_result(body)?;
        let time = rows.first().ok_or_else(|| codec::malformed("no time", body))?;
        Ok(ServerTime { at: time.ts.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing of spot markets.
pub(super) fn instruments() -> RestCall<Listing> {
    let query = vec![("instType", "SPOT".to_owned())];
    call("/api/v5/public/instruments", query, INSTRUMENTS_RATE_LIMIT, |body, _| {
        let rows: Vec<&RawValue> = parse_result(body)?;
        listing::parse_rows(rows.into_iter().map(|row| (None, row)), "instId", instrument)
    })
}

/// Best bid and ask and the 24-hour statistics of one market.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let native = instrument.native.clone();
    call("/api/v5/market/ticker", vec![("instId", native.clone())], TICKER_RATE_LIMIT, move |body, _| {
        let rows: Vec<Object<Ticker<'_>>> = parse_result(body)?;
        let row = rows.iter().find(|row| row.inst_id.as_deref() == Some(&*native));
        let row = row.ok_or_else(|| codec::malformed("no ticker of the market", body))?;
        // The volumes of derivatives are in contracts.
        match row.inst_type.as_deref() {
            Some("SPOT") | None => Ok(ticker_patch(row)),
            Some(kind) => {
                Err(RestError::new(RestErrorKind::Rejected, format!("the ticker is of type {kind}, not SPOT")))
            }
        }
    })
}

/// A page of candles, newest first. `after` and `before` are exclusive and refer to this order: rows after `after` are
/// older. The newest candles and the history have separate paths.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    let (path, scope) = if range.start() >= interval.back(page.requested_at, NEWEST_ROWS) {
        ("/api/v5/market/candles", CANDLES_RATE_LIMIT)
    } else {
        ("/api/v5/market/history-candles", HISTORY_CANDLES_RATE_LIMIT)
    };
    let query = vec![
        ("instId", page.instrument.native.clone()),
        ("bar", interval_name(interval)?.to_owned()),
        ("before", range.start().millis().saturating_sub(1).max(0).to_string()),
        ("after", range.end().millis().to_string()),
        ("limit", PAGE_ROWS.to_string()),
    ];
    Some(call(path, query, scope, move |body, received| {
        let rows: Vec<&RawValue> = parse_result(body)?;
        let open_time = |row| first_column(row).map(Int::millis);
        Ok(CandleRows::parse(&rows, received, open_time, candle).into_flagged_page(range))
    }))
}

fn call<T: 'static>(
    path: &str,
    query: Vec<(&'static str, String)>,
    scope: &'static str,
    parse: impl Fn(&[u8], Timestamp) -> Result<T, RestError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |response: &RestResponse<'_>, received| {
        if (200..300).contains(&response.status) {
            parse(response.body, received)
        } else {
            Err(classify_with(api_error, response, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope, weight: 1, parse }
}

/// The rows of a response, or its error.
fn parse_result<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, RestError> {
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

fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    if listed.inst_type != "SPOT" {
        return Ok(None);
    }
    let symbol = codec::symbol(&listed.base_ccy, &listed.quote_ccy)
        .ok_or_else(|| format!("no symbol in `{}` and `{}`", &*listed.base_ccy, &*listed.quote_ccy))?;
    Ok(Some(Instrument {
        exchange: ExchangeId::Okx,
        symbol,
        native: listed.inst_id.into_owned(),
        stream_native: None,
        price_step: issue.step("tickSz", listed.tick_sz),
        amount_step: issue.step("lotSz", listed.lot_sz),
        // The listing has a minimum amount (`minSz`), but no minimum value.
        min_notional: None,
        contract: None,
        // live, suspend, preopen, rebase, test. The listing does not include delisted markets.
        // <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>
        status: if listed.state == "live" { InstrumentStatus::Trading } else { InstrumentStatus::Halted },
    }))
}

/// The values of a ticker, of the stream or of REST. OKX sends no change, and none is computed.
pub(super) fn ticker_patch(row: &Ticker<'_>) -> TickerPatch {
    let price = |value: OptionalNumber| value.0.and_then(nonzero_price);
    let side = |price: OptionalNumber, size: OptionalNumber| {
        price.0.zip(size.0).map(|(price, size)| price_level(price, size)).unwrap_or_default()
    };
    let (bid, bid_size) = side(row.bid_px, row.bid_sz);
    let (ask, ask_size) = side(row.ask_px, row.ask_sz);
    TickerPatch {
        last: price(row.last),
        bid,
        bid_size,
        ask,
        ask_size,
        open: price(row.open24h),
        high: price(row.high24h),
        low: price(row.low24h),
        base_volume: row.vol24h.0.map(|volume| volume.0),
        quote_volume: row.vol_ccy24h.0.map(|volume| volume.0),
        change_percent: None,
        timestamp: Some(row.ts.millis()),
    }
}

/// The candle of a row, of the stream or of REST. OKX does not count trades.
pub(super) fn candle(row: &CandleRow) -> Candle {
    Candle {
        timestamp: row.0.millis(),
        open: row.1.0,
        high: row.2.0,
        low: row.3.0,
        close: row.4.0,
        volume: row.5.0,
        quote_volume: Some(row.7.0),
        trades: None,
        closed: row.8.0 == 1,
        revision: 0,
    }
}
