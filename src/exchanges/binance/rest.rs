//! Parsers of Binance's REST responses.

use super::wire::{CandleRow, ErrorBody, Filter, ListedInstrument, Ticker};
use crate::exchanges::prelude::*;

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Maximum number of candles per page.
pub(super) const PAGE_ROWS: u32 = 1_000;

/// Intervals on our grid. Weeks open on Monday. `3d` is left out: it counts from the listing of BTCUSDT, 2017-08-17,
/// not from the epoch.
pub(super) const INTERVALS: &[Interval] = {
    use Interval::{D1, H1, H2, H4, H6, H8, H12, M1, M3, M5, M15, M30, Mo1, W1};
    &[M1, M3, M5, M15, M30, H1, H2, H4, H6, H8, H12, D1, W1, Mo1]
};

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
    let mut rest_error = RestError::new(kind, format!("{} (code {})", &*error.msg, error.code.0));
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

pub(super) fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    // Only derivatives have a contract type.
    if !listed.is_spot_trading_allowed || listed.contract_type.is_some() {
        return Ok(None);
    }
    let symbol = codec::listed_symbol(&listed.base_asset, &listed.quote_asset)?;
    let (mut price_step, mut amount_step, mut min_notional) = (Step::Missing, Step::Missing, Step::Missing);
    let filters = listed.filters.and_then(|filters| serde_json::from_str::<Vec<&RawValue>>(filters.get()).ok());
    if filters.is_none() {
        issue.record(|| "no list of filters".to_owned());
    }
    for filter in filters.unwrap_or_default() {
        match serde_json::from_str::<Filter<'_>>(filter.get()) {
            Ok(filter) => match &*filter.kind {
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
        // TRADING, END_OF_DAY, HALT, BREAK, CANCEL_ONLY:
        // <https://developers.binance.com/docs/binance-spot-api-docs/enums>. None of them means that the market is
        // delisted: BREAK is also the status during maintenance.
        status: if &*listed.status == "TRADING" { InstrumentStatus::Trading } else { InstrumentStatus::Halted },
        ..Instrument::new(ExchangeId::BINANCE, symbol, listed.symbol.0)
    }))
}

/// The 24-hour statistics of a ticker, of the stream or of REST.
pub(super) fn statistics(ticker: &Ticker<'_>) -> TickerPatch {
    TickerPatch {
        last: nonzero_price(ticker.last),
        open: nonzero_price(ticker.open),
        high: nonzero_price(ticker.high),
        low: nonzero_price(ticker.low),
        base_volume: Some(ticker.volume.0),
        quote_volume: Some(ticker.quote_volume.0),
        change_percent: Some(ticker.change_percent.0),
        timestamp: Some(ticker.at.millis()),
        ..TickerPatch::default()
    }
}

pub(super) fn candle(row: &CandleRow) -> Candle {
    let prices = [row.1, row.2, row.3, row.4];
    Candle { quote_volume: Some(row.7.0), trades: row.8.count(), ..new_candle(row.0.millis(), prices, row.5) }
}
