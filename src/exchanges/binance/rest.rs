//! REST calls of Binance and the parsers of their responses.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::wire::{CandleRow, ErrorBody, Filter, InstrumentList, ListedInstrument, RestTicker, Time};
use crate::exchanges::candle_rows::{CandleRows, first_column};
use crate::exchanges::codec::{self, Int, nonzero_price, price_level};
use crate::exchanges::errors::classify_with;
use crate::exchanges::listing::{self, Listing, RowIssue, Step};
use crate::exchanges::rest::{CandlePage, Parse, RestCall, RestError, RestErrorKind, RestResponse, ServerTime};
use crate::model::{
    Candle, ExchangeId, Instrument, InstrumentStatus, Interval, Number, Symbol, TickerPatch, Timestamp,
};

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Maximum number of candles per page.
pub(super) const PAGE_ROWS: u32 = 1_000;

/// Intervals on our grid. Weeks open on Monday. `3d` is left out: it counts from the listing of BTCUSDT, 2017-08-17,
/// not from the epoch.
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
    Interval::H8,
    Interval::H12,
    Interval::D1,
    Interval::W1,
    Interval::Mo1,
];

/// The exchange's clock; weight 1.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/api/v3/time", vec![], 1, |body, _| {
        let time: Time = codec::parse_object(body)?;
        Ok(ServerTime { at: time.server_time.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing; weight 20.
pub(super) fn instruments() -> RestCall<Listing> {
    call("/api/v3/exchangeInfo", vec![], 20, |body, _| {
        let info: InstrumentList<'_> = codec::parse_object(body)?;
        listing::parse_rows(info.symbols.into_iter().map(|row| (None, row)), "symbol", instrument)
    })
}

/// Best bid and ask and the 24-hour statistics of one market; weight 2.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let query = vec![("symbol", instrument.native.clone())];
    call("/api/v3/ticker/24hr", query, 2, |body, _| Ok(ticker_patch(&codec::parse_object(body)?)))
}

/// A page of candles; weight 2. `endTime` is inclusive.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    if !INTERVALS.contains(&interval) {
        return None;
    }
    let query = vec![
        ("symbol", page.instrument.native.clone()),
        ("interval", interval.as_str().to_owned()),
        ("startTime", range.start().millis().to_string()),
        ("endTime", range.end().millis().saturating_sub(1).to_string()),
        ("limit", PAGE_ROWS.to_string()),
    ];
    Some(call("/api/v3/klines", query, 2, move |body, received| {
        let rows: Vec<&RawValue> = codec::parse_list(body)?;
        let open_time = |row| first_column(row).map(Int::millis);
        Ok(CandleRows::parse(&rows, received, open_time, candle).into_page(interval, range, received))
    }))
}

fn call<T: 'static>(
    path: &str,
    query: Vec<(&'static str, String)>,
    weight: u32,
    parse: impl Fn(&[u8], Timestamp) -> Result<T, RestError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |response: &RestResponse<'_>, received| {
        if (200..300).contains(&response.status) {
            let result = parse(response.body, received);
            result.map_err(|error| api_error(response, received).unwrap_or(error))
        } else {
            Err(classify_with(api_error, response, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope: RATE_LIMIT, weight, parse }
}

/// Parses an error in Binance's own form: <https://developers.binance.com/docs/binance-spot-api-docs/errors>.
/// The codes are negative. The code of a region block is not documented; 0 was seen:
/// <https://github.com/eprbell/dali-rp2/pull/237>.
pub(super) fn api_error(response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
    let error: ErrorBody<'_> = serde_json::from_slice(response.body).ok()?;
    let kind = match error.code.0 {
        0 if error.msg.contains("restricted location") => RestErrorKind::RegionBlocked,
        0.. => return None,
        // Bad symbol; illegal characters in the symbol; empty symbol.
        -1121 => RestErrorKind::UnknownSymbol,
        -1100 | -1105 if error.msg.contains("'symbol'") => RestErrorKind::UnknownSymbol,
        // Too many requests, too many orders.
        -1003 | -1015 => RestErrorKind::RateLimited,
        // Unknown, disconnected, unexpected response, timeout, busy, shutting down.
        -1000 | -1001 | -1006 | -1007 | -1008 | -1016 => RestErrorKind::Unavailable,
        _ => RestErrorKind::Rejected,
    };
    let mut rest_error = RestError::new(kind, format!("{} (code {})", error.msg, error.code.0));
    if kind == RestErrorKind::RateLimited {
        rest_error.retry_after = banned_until(&error.msg).map(|until| until.since(received));
    }
    Some(rest_error)
}

/// The end of a ban: `Way too much request weight used; IP banned until 1659146400000. Please use WebSocket …`
fn banned_until(message: &str) -> Option<Timestamp> {
    let (_, rest) = message.split_once("until ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Timestamp::from_millis).filter(|until| until.since(Timestamp::EPOCH) > Duration::ZERO)
}

fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    // Only derivatives have a contract type.
    if !listed.is_spot_trading_allowed || listed.contract_type.is_some() {
        return Ok(None);
    }
    let symbol = codec::symbol(&listed.base_asset, &listed.quote_asset)
        .ok_or_else(|| format!("no symbol in `{}` and `{}`", &*listed.base_asset, &*listed.quote_asset))?;
    let (mut price_step, mut amount_step, mut min_notional) = (Step::Missing, Step::Missing, Step::Missing);
    let filters = listed.filters.map(|filters| serde_json::from_str::<Vec<&RawValue>>(filters.get()));
    let Some(Ok(filters)) = filters else {
        issue.record(|| "no list of filters".to_owned());
        return Ok(Some(build_instrument(listed, symbol)));
    };
    for filter in filters {
        match serde_json::from_str::<Filter<'_>>(filter.get()) {
            Ok(filter) => match filter.kind.as_ref() {
                "PRICE_FILTER" => price_step = filter.tick,
                "LOT_SIZE" => amount_step = filter.step,
                "NOTIONAL" | "MIN_NOTIONAL" => min_notional = filter.min_notional,
                _ => {}
            },
            Err(error) => issue.record(|| format!("invalid filter: {error}")),
        }
    }
    Ok(Some(Instrument {
        price_step: issue.step("tickSize", price_step),
        amount_step: issue.step("stepSize", amount_step),
        min_notional: issue.step("minNotional", min_notional),
        ..build_instrument(listed, symbol)
    }))
}

/// An instrument without the values of its filters.
fn build_instrument(listed: ListedInstrument<'_>, symbol: Symbol) -> Instrument {
    Instrument {
        exchange: ExchangeId::Binance,
        symbol,
        native: listed.symbol.into_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        min_notional: None,
        contract: None,
        // TRADING, END_OF_DAY, HALT, BREAK, CANCEL_ONLY:
        // <https://developers.binance.com/docs/binance-spot-api-docs/enums>. None of them means that the market is
        // delisted: BREAK is also the status during maintenance.
        status: if listed.status == "TRADING" { InstrumentStatus::Trading } else { InstrumentStatus::Halted },
    }
}

fn ticker_patch(ticker: &RestTicker) -> TickerPatch {
    let side = |price: Option<Number>, size: Option<Number>| {
        price.zip(size).map_or((None, None), |(price, size)| price_level(price, size))
    };
    let (bid, bid_size) = side(ticker.bid_price, ticker.bid_qty);
    let (ask, ask_size) = side(ticker.ask_price, ticker.ask_qty);
    TickerPatch {
        last: nonzero_price(ticker.last_price),
        bid,
        bid_size,
        ask,
        ask_size,
        open: nonzero_price(ticker.open_price),
        high: nonzero_price(ticker.high_price),
        low: nonzero_price(ticker.low_price),
        base_volume: Some(ticker.volume.0),
        quote_volume: Some(ticker.quote_volume.0),
        change_percent: Some(ticker.price_change_percent.0),
        timestamp: Some(ticker.close_time.millis()),
    }
}

fn candle(row: &CandleRow) -> Candle {
    Candle {
        timestamp: row.0.millis(),
        open: row.1.0,
        high: row.2.0,
        low: row.3.0,
        close: row.4.0,
        volume: row.5.0,
        quote_volume: Some(row.7.0),
        trades: row.8.count(),
        closed: false,
        revision: 0,
    }
}
