//! Binance's REST calls and how their replies are read.

use std::sync::Arc;
use std::time::Duration;

use super::super::codec::{self, Int, level, price};
use super::super::listing::{self, Notes, Step};
use super::super::refusal::classify_with;
use super::super::rows::first_column;
use super::super::{CandlePage, CandleRows, Listing, Parse, Reply, ReplyError, ReplyErrorKind, RestCall, ServerTime};
use super::PROFILE;
use super::wire::{ErrorBody, ExchangeInfo, Filter, KlineRow, Listed, Ticker24, Time};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Number, Symbol, TickerPatch, Timestamp};
use rust_decimal::Decimal;
use serde_json::value::RawValue;

/// The name of the only scope.
pub(super) const SCOPE: &str = "rest";

/// What time it is there.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/api/v3/time", vec![], 1, |body, _| {
        let time: Time = codec::read(body)?;
        Ok(ServerTime { at: time.server_time.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing; weight 20.
pub(super) fn instruments() -> RestCall<Listing> {
    call("/api/v3/exchangeInfo", vec![], 20, |body, _| {
        let info: ExchangeInfo<'_> = codec::read(body)?;
        listing::read(info.symbols.into_iter().map(|row| (None, row)), "symbol", instrument)
    })
}

/// Statistics of the last 24 hours of one symbol; weight 2.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let query = vec![("symbol", instrument.native.clone())];
    call("/api/v3/ticker/24hr", query, 2, |body, _| Ok(patch(&codec::read(body)?)))
}

/// A page of candles; weight 2. `endTime` is inclusive.
pub(super) fn candles(page: &CandlePage) -> RestCall<CandleRows> {
    let (interval, range) = (page.interval, page.range);
    let query = vec![
        ("symbol", page.instrument.native.clone()),
        ("interval", interval.as_str().to_owned()),
        ("startTime", range.start().millis().to_string()),
        ("endTime", range.end().millis().saturating_sub(1).to_string()),
        ("limit", PROFILE.page_rows.to_string()),
    ];
    call("/api/v3/klines", query, 2, move |body, received| {
        let rows: Vec<&RawValue> = codec::read_list(body)?;
        let open = |row| first_column(row).map(Int::millis);
        Ok(CandleRows::decode(&rows, received, open, candle).into_page(interval, range, received))
    })
}

fn call<T: 'static>(
    path: &str,
    query: Vec<(&'static str, String)>,
    weight: u32,
    read: impl Fn(&[u8], Timestamp) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |reply: &Reply<'_>, received| {
        if (200..300).contains(&reply.status) {
            let result = read(reply.body, received);
            result.map_err(|unread| own_error(reply, received).unwrap_or(unread))
        } else {
            Err(classify_with(own_error, reply, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope: SCOPE, weight, parse }
}

/// What an error body means: <https://developers.binance.com/docs/binance-spot-api-docs/errors>.
/// Its codes are negative. The one for a closed region is not documented; it was seen with 0:
/// <https://github.com/eprbell/dali-rp2/pull/237>.
pub(super) fn own_error(reply: &Reply<'_>, received: Timestamp) -> Option<ReplyError> {
    let error: ErrorBody<'_> = serde_json::from_slice(reply.body).ok()?;
    let kind = match error.code.0 {
        0 if error.msg.contains("restricted location") => ReplyErrorKind::RegionClosed,
        0.. => return None,
        // Bad symbol; illegal characters in it, or none.
        -1121 => ReplyErrorKind::UnknownSymbol,
        -1100 | -1105 if error.msg.contains("'symbol'") => ReplyErrorKind::UnknownSymbol,
        // Too many requests, too many orders.
        -1003 | -1015 => ReplyErrorKind::RateLimited,
        // Unknown, disconnected, unexpected response, timeout, busy, shutting down.
        -1000 | -1001 | -1006 | -1007 | -1008 | -1016 => ReplyErrorKind::Unavailable,
        _ => ReplyErrorKind::Refused,
    };
    let mut refusal = ReplyError::new(kind, format!("{} (code {})", error.msg, error.code.0));
    if kind == ReplyErrorKind::RateLimited {
        refusal.retry_after = banned_until(&error.msg).map(|until| until.since(received));
    }
    Some(refusal)
}

/// `Way too much request weight used; IP banned until 1659146400000. Please use WebSocket …`
fn banned_until(message: &str) -> Option<Timestamp> {
    let (_, rest) = message.split_once("until ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Timestamp::from_millis).filter(|until| until.since(Timestamp::EPOCH) > Duration::ZERO)
}

fn instrument(listed: Listed<'_>, notes: &mut Notes) -> Result<Option<Instrument>, String> {
    // Only contracts say of what kind they are.
    if !listed.is_spot_trading_allowed || listed.contract_type.is_some() {
        return Ok(None);
    }
    let symbol = codec::symbol(&listed.base_asset, &listed.quote_asset)
        .ok_or_else(|| format!("no symbol in `{}` and `{}`", &*listed.base_asset, &*listed.quote_asset))?;
    let (mut price_step, mut amount_step) = (Step::Missing, Step::Missing);
    let filters = listed.filters.map(|filters| serde_json::from_str::<Vec<&RawValue>>(filters.get()));
    let Some(Ok(filters)) = filters else {
        notes.note(|| "no list of filters".to_owned());
        return Ok(Some(market(listed, symbol, None, None)));
    };
    for filter in filters {
        match serde_json::from_str::<Filter<'_>>(filter.get()) {
            Ok(filter) => match filter.kind.as_ref() {
                "PRICE_FILTER" => price_step = filter.tick,
                "LOT_SIZE" => amount_step = filter.step,
                _ => {}
            },
            Err(error) => notes.note(|| format!("a filter: {error}")),
        }
    }
    let (price_step, amount_step) = (notes.step("tickSize", price_step), notes.step("stepSize", amount_step));
    Ok(Some(market(listed, symbol, price_step, amount_step)))
}

fn market(listed: Listed<'_>, symbol: Symbol, price_step: Option<Decimal>, amount_step: Option<Decimal>) -> Instrument {
    Instrument {
        exchange: ExchangeId::Binance,
        symbol,
        native: listed.symbol.into_owned(),
        stream_native: None,
        price_step,
        amount_step,
        // TRADING, END_OF_DAY, HALT, BREAK, CANCEL_ONLY: <https://developers.binance.com/docs/binance-spot-api-docs/enums>. None of them
        // says that a market has closed for good: BREAK is the state of maintenance, too.
        status: if listed.status == "TRADING" { InstrumentStatus::Trading } else { InstrumentStatus::Halted },
    }
}

fn patch(ticker: &Ticker24) -> TickerPatch {
    let side =
        |at: Option<Number>, size: Option<Number>| at.zip(size).map_or((None, None), |(at, size)| level(at, size));
    let (bid, bid_size) = side(ticker.bid_price, ticker.bid_qty);
    let (ask, ask_size) = side(ticker.ask_price, ticker.ask_qty);
    TickerPatch {
        last: price(ticker.last_price),
        bid,
        bid_size,
        ask,
        ask_size,
        open: price(ticker.open_price),
        high: price(ticker.high_price),
        low: price(ticker.low_price),
        base_volume: Some(ticker.volume.0),
        quote_volume: Some(ticker.quote_volume.0),
        change_percent: Some(ticker.price_change_percent.0),
        timestamp: Some(ticker.close_time.millis()),
    }
}

fn candle(row: &KlineRow) -> Candle {
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
