//! REST calls of Coinbase and the parsers of their responses.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::symbols;
use super::wire::{
    CandleList, CandleRow, ErrorBody, InstrumentList, LastTrades, ListedInstrument, OpenTime, RestTicker, Time,
};
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::codec::{self, nonzero_price};
use crate::exchanges::errors::classify_with;
use crate::exchanges::listing::{self, Listing, RowIssue};
use crate::exchanges::rest::{CandlePage, Parse, RestCall, RestError, RestErrorKind, RestResponse, ServerTime};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Interval, TickerPatch, Timestamp};

/// Name of the only rate limit.
pub(super) const RATE_LIMIT: &str = "rest";

/// Maximum number of candles per page. The documentation says 350, but a range of 350 candles is rejected: "number of
/// candles requested should be less than 350". Whether a part of a candle counts as one is not documented.
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles>
pub(super) const PAGE_ROWS: u32 = 349;

const PRODUCTS: &str = "/api/v3/brokerage/market/products";

/// The intervals of Coinbase, all on our grid. Four hours was added later than the others:
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/get-product-candles>
pub(super) const INTERVALS: &[Interval] = &[
    Interval::M1,
    Interval::M5,
    Interval::M15,
    Interval::M30,
    Interval::H1,
    Interval::H2,
    Interval::H4,
    Interval::H6,
    Interval::D1,
];

/// Coinbase's name of an interval.
const fn interval_name(interval: Interval) -> Option<&'static str> {
    Some(match interval {
        Interval::M1 => "ONE_MINUTE",
        Interval::M5 => "FIVE_MINUTE",
        Interval::M15 => "FIFTEEN_MINUTE",
        Interval::M30 => "THIRTY_MINUTE",
        Interval::H1 => "ONE_HOUR",
        Interval::H2 => "TWO_HOUR",
        Interval::H4 => "FOUR_HOUR",
        Interval::H6 => "SIX_HOUR",
        Interval::D1 => "ONE_DAY",
        _ => return None,
    })
}

/// The exchange's clock.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/api/v3/brokerage/time".to_owned(), vec![], |body, _| {
        let time: Time = codec::parse_object(body)?;
        Ok(ServerTime { at: time.epoch_millis.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing of spot markets.
pub(super) fn instruments() -> RestCall<Listing> {
    call(PRODUCTS.to_owned(), vec![("product_type", "SPOT".to_owned())], |body, _| {
        let list: InstrumentList<'_> = codec::parse_object(body)?;
        listing::parse_rows(list.products.into_iter().map(|row| (None, row)), "product_id", instrument)
    })
}

/// The 24-hour statistics of one market.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    call(format!("{PRODUCTS}/{}", instrument.native), vec![], |body, _| {
        let ticker: RestTicker<'_> = codec::parse_object(body)?;
        if let Some(kind) = ticker.kind.as_deref().filter(|kind| *kind != "SPOT") {
            let message = format!("the product is of type {kind}, not SPOT");
            return Err(RestError::new(RestErrorKind::Rejected, message));
        }
        Ok(TickerPatch {
            last: ticker.price.0.and_then(nonzero_price),
            high: ticker.high_24h.0.and_then(nonzero_price),
            low: ticker.low_24h.0.and_then(nonzero_price),
            base_volume: ticker.volume_24h.0.map(|volume| volume.0),
            change_percent: ticker.price_percentage_change_24h.0.map(|change| change.0),
            ..TickerPatch::default()
        })
    })
}

/// The last trade and the best bid and ask of one market.
pub(super) fn last_trade(instrument: &Instrument) -> RestCall<TickerPatch> {
    call(format!("{PRODUCTS}/{}/ticker", instrument.native), vec![("limit", "1".to_owned())], |body, _| {
        let response: LastTrades<'_> = codec::parse_object(body)?;
        let last = response.trades.first();
        Ok(TickerPatch {
            last: last.and_then(|trade| nonzero_price(trade.price)),
            bid: response.best_bid.0.and_then(nonzero_price),
            ask: response.best_ask.0.and_then(nonzero_price),
            timestamp: last.and_then(|trade| trade.time.as_deref()).and_then(parse_time),
            ..TickerPatch::default()
        })
    })
}

/// A page of candles. `start` and `end` are in seconds and both inclusive: a candle that opens at `end` is included.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    let seconds = |millis: i64| millis.div_euclid(1_000).to_string();
    let query = vec![
        ("start", seconds(range.start().millis())),
        ("end", seconds(range.end().millis() - 1)),
        ("granularity", interval_name(interval)?.to_owned()),
        ("limit", PAGE_ROWS.to_string()),
    ];
    let path = format!("{PRODUCTS}/{}/candles", page.instrument.native);
    Some(call(path, query, move |body, received| {
        let list: CandleList<'_> = codec::parse_object(body)?;
        Ok(CandleRows::parse(&list.candles, received, open_time, candle).into_page(interval, range, received))
    }))
}

fn call<T: 'static>(
    path: String,
    query: Vec<(&'static str, String)>,
    parse: impl Fn(&[u8], Timestamp) -> Result<T, RestError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |response: &RestResponse<'_>, received| {
        if (200..300).contains(&response.status) {
            parse(response.body, received)
        } else {
            Err(classify_with(api_error, response, received))
        }
    });
    RestCall { path, query, scope: RATE_LIMIT, weight: 1, parse }
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

fn instrument(listed: ListedInstrument<'_>, issue: &mut RowIssue) -> Result<Option<Instrument>, String> {
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
        exchange: ExchangeId::Coinbase,
        symbol,
        // The stream identifies a market only by the id of its order book: a subscription to `BTC-USDC` receives data
        // for `BTC-USD`. Both have the same order book: <https://github.com/ccxt/ccxt/issues/26465>,
        // <https://github.com/ccxt/ccxt/pull/30567>
        stream_native: listed.alias.filter(|alias| !alias.is_empty()).map(|alias| alias.0.into_owned()),
        native: listed.id.into_owned(),
        price_step: issue
            .step("price_increment", listed.price_increment)
            .or_else(|| issue.step("quote_increment", listed.quote_increment)),
        amount_step: issue.step("base_increment", listed.base_increment),
        min_notional: issue.step("quote_min_size", listed.quote_min_size),
        contract: None,
        status: match listed.status.as_deref() {
            Some("delisted") => InstrumentStatus::Delisted,
            _ if is_online && !is_restricted => InstrumentStatus::Trading,
            _ => InstrumentStatus::Halted,
        },
    }))
}

/// Parses a time; `None` for the year 0001, which Coinbase sends for a missing time.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    codec::parse_time(text).ok().filter(|at| *at > Timestamp::EPOCH)
}

/// Parses only the open time of a row.
fn open_time(row: &RawValue) -> Option<Timestamp> {
    let OpenTime { start } = serde_json::from_str(row.get()).ok()?;
    Some(Timestamp::from_secs(start.0))
}

fn candle(row: &CandleRow) -> Candle {
    Candle {
        timestamp: Timestamp::from_secs(row.start.0),
        open: row.open.0,
        high: row.high.0,
        low: row.low.0,
        close: row.close.0,
        volume: row.volume.0,
        quote_volume: None,
        trades: None,
        closed: false,
        revision: 0,
    }
}
