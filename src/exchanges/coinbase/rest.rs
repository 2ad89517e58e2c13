//! Coinbase's REST calls and how their replies are read.

use super::super::codec::{self, price};
use super::super::listing::{self, Notes};
use super::super::refusal::classify_with;
use super::super::{CandlePage, CandleRows, Listing, Parse, Reply, ReplyError, ReplyErrorKind, RestCall, ServerTime};
use super::symbols;
use super::wire::{self, Candles, LastTrades, ListedProduct, Product, Products, Refusal, Start};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Interval, TickerPatch, Timestamp};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// The name of the only scope.
pub(super) const SCOPE: &str = "rest";

/// The most candles of a page. The documentation says 350, but a time of 350 candles is refused: "number of candles
/// requested should be less than 350"; whether a part of a candle counts as one is not documented.
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles>
pub(super) const ROWS: u32 = 349;

const PRODUCTS: &str = "/api/v3/brokerage/market/products";

/// The intervals that Coinbase has, all of them on our grid. Four hours came later than the others:
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
const fn granularity(interval: Interval) -> Option<&'static str> {
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

/// What time it is there.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/api/v3/brokerage/time".to_owned(), vec![], |body| {
        let time: wire::Time = codec::read(body)?;
        Ok(ServerTime { at: time.epoch_millis.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing of spot markets.
pub(super) fn instruments() -> RestCall<Listing> {
    call(PRODUCTS.to_owned(), vec![("product_type", "SPOT".to_owned())], |body| {
        let listed: Products<'_> = codec::read(body)?;
        listing::read(listed.products.into_iter().map(|row| (None, row)), "product_id", instrument)
    })
}

fn instrument(product: ListedProduct<'_>, notes: &mut Notes) -> Result<Option<Instrument>, String> {
    if product.kind.as_deref().is_some_and(|kind| kind != "SPOT") {
        return Ok(None);
    }
    let symbol = match (product.base_currency_id.as_deref(), product.quote_currency_id.as_deref()) {
        (Some(base), Some(quote)) => codec::symbol(base, quote),
        _ => symbols::guess(&product.id),
    };
    let symbol = symbol.ok_or_else(|| format!("no symbol in `{}`", &*product.id))?;
    let is_online = product.status.as_deref().is_none_or(|status| status == "online");
    // `limit_only` is left out on purpose: such a market matches limit orders, and so do 30 of the 920 listed ones each day.
    // <https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-all-known-trading-pairs>
    let is_restricted = product.is_disabled
        || product.trading_disabled
        || product.view_only
        || product.cancel_only
        || product.post_only
        || product.auction_mode;
    Ok(Some(Instrument {
        exchange: ExchangeId::Coinbase,
        symbol,
        // The stream knows a market by the id of its book only: what listens to `BTC-USDC` hears of `BTC-USD`. Those who ask
        // for either see the same book: <https://github.com/ccxt/ccxt/issues/26465>, <https://github.com/ccxt/ccxt/pull/30567>
        stream_native: product.alias.filter(|alias| !alias.is_empty()).map(|alias| alias.0.into_owned()),
        native: product.id.into_owned(),
        price_step: notes
            .step("price_increment", product.price_increment)
            .or_else(|| notes.step("quote_increment", product.quote_increment)),
        amount_step: notes.step("base_increment", product.base_increment),
        status: match product.status.as_deref() {
            Some("delisted") => InstrumentStatus::Delisted,
            _ if is_online && !is_restricted => InstrumentStatus::Trading,
            _ => InstrumentStatus::Halted,
        },
    }))
}

/// The last 24 hours of one market.
pub(super) fn product(instrument: &Instrument) -> RestCall<TickerPatch> {
    call(format!("{PRODUCTS}/{}", instrument.native), vec![], |body| {
        let product: Product<'_> = codec::read(body)?;
        if let Some(kind) = product.kind.as_deref().filter(|kind| *kind != "SPOT") {
            let message = format!("the product is of {kind}, not of a spot market");
            return Err(ReplyError::new(ReplyErrorKind::Refused, message));
        }
        Ok(TickerPatch {
            last: product.price.0.and_then(price),
            high: product.high_24h.0.and_then(price),
            low: product.low_24h.0.and_then(price),
            base_volume: product.volume_24h.0.map(|volume| volume.0),
            change_percent: product.price_percentage_change_24h.0.map(|change| change.0),
            ..TickerPatch::default()
        })
    })
}

/// The last trade, and the best bid and ask.
pub(super) fn last_trade(instrument: &Instrument) -> RestCall<TickerPatch> {
    call(format!("{PRODUCTS}/{}/ticker", instrument.native), vec![("limit", "1".to_owned())], |body| {
        let reply: LastTrades<'_> = codec::read(body)?;
        let last = reply.trades.first();
        Ok(TickerPatch {
            last: last.and_then(|trade| price(trade.price)),
            bid: reply.best_bid.0.and_then(price),
            ask: reply.best_ask.0.and_then(price),
            timestamp: last.and_then(|trade| trade.time.as_deref()).and_then(moment),
            ..TickerPatch::default()
        })
    })
}

/// A time; the year 0001 stands for none.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    codec::time(text).ok().filter(|at| *at > Timestamp::EPOCH)
}

/// A page of candles. `start` and `end` are seconds, and both inclusive: the last open time is the end.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    let seconds = |millis: i64| millis.div_euclid(1_000).to_string();
    let query = vec![
        ("start", seconds(range.start().millis())),
        ("end", seconds(range.end().millis() - 1)),
        ("granularity", granularity(interval)?.to_owned()),
        ("limit", ROWS.to_string()),
    ];
    let path = format!("{PRODUCTS}/{}/candles", page.instrument.native);
    Some(call_at(path, query, move |body, received| {
        let reply: Candles<'_> = codec::read(body)?;
        Ok(CandleRows::decode(&reply.candles, received, start, candle).into_page(interval, range, received))
    }))
}

/// The open time of a row alone.
fn start(row: &RawValue) -> Option<Timestamp> {
    let Start { start } = serde_json::from_str(row.get()).ok()?;
    Some(Timestamp::from_secs(start.0))
}

fn candle(row: &wire::Candle) -> Candle {
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

fn call<T: 'static>(
    path: String,
    query: Vec<(&'static str, String)>,
    read: impl Fn(&[u8]) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    call_at(path, query, move |body, _| read(body))
}

fn call_at<T: 'static>(
    path: String,
    query: Vec<(&'static str, String)>,
    read: impl Fn(&[u8], Timestamp) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |reply: &Reply<'_>, received| match reply.status {
        200..300 => read(reply.body, received),
        _ => Err(classify_with(own_error, reply, received)),
    });
    RestCall { path, query, scope: SCOPE, weight: 1, parse }
}

/// An error in Coinbase's own form: it names itself in `error`. The documentation has no list of them.
pub(super) fn own_error(reply: &Reply<'_>, _: Timestamp) -> Option<ReplyError> {
    let Refusal { error, message } = serde_json::from_slice(reply.body).ok()?;
    // Its names are as those of gRPC; `Not Found` is a proxy's.
    let error = error.filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))?;
    let (status, message) = (reply.status, message.as_deref().unwrap_or(""));
    let is_of_product = message.to_lowercase().contains("product");
    let kind = match (status, &*error) {
        (_, "NOT_FOUND") => ReplyErrorKind::UnknownSymbol,
        (400, _) if is_of_product => ReplyErrorKind::UnknownSymbol,
        (_, "RESOURCE_EXHAUSTED") => ReplyErrorKind::RateLimited,
        (_, "UNAVAILABLE" | "INTERNAL") => ReplyErrorKind::Unavailable,
        _ => ReplyErrorKind::Refused,
    };
    Some(ReplyError::new(kind, format!("status {status}: {} {message}", &*error).trim_end().to_owned()))
}
