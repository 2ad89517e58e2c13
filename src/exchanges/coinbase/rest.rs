//! Parsers of Coinbase's REST responses.

use super::symbols;
use super::wire::{CandleList, CandleRow, ErrorBody, LastTrades, ListedInstrument, OpenTime, Ticker};
use crate::exchanges::prelude::*;

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Maximum number of candles per page. The documentation says 350, but a range of 350 candles is rejected: "number of
/// candles requested should be less than 350". Whether a part of a candle counts as one is not documented.
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles>
pub(super) const PAGE_ROWS: u32 = 349;

/// The intervals of Coinbase and their names, all on our grid. Four hours was added later than the others:
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/get-product-candles>
pub(super) const INTERVAL_NAMES: [(Interval, &str); 9] = [
    (Interval::M1, "ONE_MINUTE"),
    (Interval::M5, "FIVE_MINUTE"),
    (Interval::M15, "FIFTEEN_MINUTE"),
    (Interval::M30, "THIRTY_MINUTE"),
    (Interval::H1, "ONE_HOUR"),
    (Interval::H2, "TWO_HOUR"),
    (Interval::H4, "FOUR_HOUR"),
    (Interval::H6, "SIX_HOUR"),
    (Interval::D1, "ONE_DAY"),
];

/// The 24-hour statistics of a ticker, of the stream or of REST.
pub(super) fn statistics(row: &Ticker<'_>) -> TickerPatch {
    TickerPatch {
        last: row.price.price(),
        high: row.high_24_h.price(),
        low: row.low_24_h.price(),
        base_volume: row.volume_24_h.value(),
        change_percent: row.price_percent_chg_24_h.value(),
        ..TickerPatch::default()
    }
}

/// The last trade and the best bid and ask of one market.
pub(super) fn last_trade(body: &[u8]) -> Result<TickerPatch, RestError> {
    let response: LastTrades<'_> = codec::parse_object(body)?;
    let last = response.trades.first();
    Ok(TickerPatch {
        last: last.and_then(|trade| nonzero_price(trade.price)),
        bid: response.best_bid.price(),
        ask: response.best_ask.price(),
        timestamp: last.and_then(|trade| trade.time.as_deref()).and_then(parse_time),
        ..TickerPatch::default()
    })
}

/// The rows of a page of candles.
pub(super) fn candle_rows(body: &[u8], received: Timestamp) -> Result<CandleRows, RestError> {
    let list: CandleList<'_> = codec::parse_object(body)?;
    let open_time = |row: &RawValue| {
        let OpenTime { start } = serde_json::from_str(row.get()).ok()?;
        Some(Timestamp::from_secs(start.0))
    };
    Ok(CandleRows::parse(&list.candles, received, open_time, |row: &CandleRow| {
        new_candle(Timestamp::from_secs(row.start.0), [row.open, row.high, row.low, row.close], row.volume)
    }))
}

/// Parses an error in Coinbase's own form, which has a code in `error`. The documentation does not list the codes.
pub(super) fn api_error(response: &RestResponse<'_>, _: Timestamp) -> Option<RestError> {
    let ErrorBody { error, message } = serde_json::from_slice(response.body).ok()?;
    // The codes look like those of gRPC; `Not Found` is an error of a proxy.
    let code = error.filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))?;
    let (status, message) = (response.status, message.as_deref().unwrap_or(""));
    let names_product = message.to_lowercase().contains("product");
    let kind = match (status, &*code) {
        (_, "NOT_FOUND") => RestErrorKind::UnknownSymbol,
        (400, _) if names_product => RestErrorKind::UnknownSymbol,
        (_, "RESOURCE_EXHAUSTED") => RestErrorKind::RateLimited,
        (_, "UNAVAILABLE" | "INTERNAL") => RestErrorKind::Unavailable,
        _ => RestErrorKind::Rejected,
    };
    Some(RestError::new(kind, format!("status {status}: {} {message}", &*code).trim_end().to_owned()))
}

pub(super) fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
    if listed.kind.as_deref().is_some_and(|kind| kind != "SPOT") {
        return Ok(None);
    }
    let symbol = match (listed.base_currency_id.as_deref(), listed.quote_currency_id.as_deref()) {
        (Some(base), Some(quote)) => codec::symbol(base, quote),
        _ => symbols::guess_symbol(&listed.id),
    };
    let symbol = symbol.ok_or_else(|| format!("no symbol in `{}`", &*listed.id))?;
    let is_online = listed.status.as_deref().is_none_or(|status| status == "online");
    // Without `limit_only`: such a market matches limit orders, as 30 of the 920 listed markets do every day.
    // <https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-all-known-trading-pairs>
    let is_restricted = listed.is_disabled
        || listed.trading_disabled
        || listed.view_only
        || listed.cancel_only
        || listed.post_only
        || listed.auction_mode;
    Ok(Some(Instrument {
        // The stream identifies a market only by the id of its order book: a subscription to `BTC-USDC` receives data
        // for `BTC-USD`. Both have the same order book: <https://github.com/ccxt/ccxt/issues/26465>,
        // <https://github.com/ccxt/ccxt/pull/30567>
        stream_native: listed.alias.filter(|alias| !alias.is_empty()).map(|alias| alias.0.into_owned()),
        price_step: issue
            .step("price_increment", listed.price_increment)
            .or_else(|| issue.step("quote_increment", listed.quote_increment)),
        amount_step: issue.step("base_increment", listed.base_increment),
        min_notional: issue.step("quote_min_size", listed.quote_min_size),
        status: match listed.status.as_deref() {
            Some("delisted") => InstrumentStatus::Delisted,
            _ if is_online && !is_restricted => InstrumentStatus::Trading,
            _ => InstrumentStatus::Halted,
        },
        ..Instrument::new(ExchangeId::COINBASE, symbol, listed.id.0)
    }))
}

/// Parses a time; `None` for the year 0001, which Coinbase sends for a missing time.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    codec::parse_time(text).ok().filter(|at| *at > Timestamp::EPOCH)
}
