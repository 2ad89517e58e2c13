//! Bybit's REST calls and how their replies are read.

use super::super::codec::{self, Blank, Int, Named, price};
use super::super::listing::{self, Notes};
use super::super::refusal::classify_with;
use super::super::rows::first_column;
use super::super::{CandlePage, CandleRows, Listing, Parse, Reply, ReplyError, ReplyErrorKind, RestCall, ServerTime};
use super::wire::{self, Answer, CandleRow, Listed, Status, Ticker};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, Interval, TickerPatch, Timestamp};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// The name of the only scope.
pub(super) const SCOPE: &str = "rest";

/// The most candles of a page.
pub(super) const ROWS: u32 = 1_000;

/// The intervals that are asked for. Weeks (`W`) and months (`M`) there are, too, but where they open is not documented.
/// <https://bybit-exchange.github.io/docs/v5/enum#interval>
const NAMES: [(Interval, &str); 11] = [
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

pub(super) const INTERVALS: &[Interval] = &{
    let (mut intervals, mut at) = ([Interval::M1; NAMES.len()], 0);
    while at < NAMES.len() {
        intervals[at] = NAMES[at].0;
        at += 1;
    }
    intervals
};

/// The interval that Bybit calls so.
pub(super) fn interval_named(name: &str) -> Option<Interval> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(interval, _)| *interval)
}

/// What time it is there.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/v5/market/time", vec![], |body, _| {
        let time: wire::Time = codec::read(body)?;
        if time.ret_code.0 != 0 {
            return Err(codec::malformed("no time", body));
        }
        Ok(ServerTime { at: time.time.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing of spot markets; it is not paged.
pub(super) fn instruments() -> RestCall<Listing> {
    call("/v5/market/instruments-info", vec![], |body, _| {
        let (listed, _): (Vec<&RawValue>, _) = rows(body)?;
        listing::read(listed.into_iter().map(|row| (None, row)), "symbol", instrument)
    })
}

fn instrument(listed: wire::Instrument<'_>, notes: &mut Notes) -> Result<Option<Instrument>, String> {
    // Only contracts say of what kind they are.
    if listed.contract_type.is_some() {
        return Ok(None);
    }
    let symbol = codec::symbol(&listed.base_coin, &listed.quote_coin)
        .ok_or_else(|| format!("no symbol in `{}` and `{}`", &*listed.base_coin, &*listed.quote_coin))?;
    let price_step = listed.price_filter.map(|filter| filter.tick_size).unwrap_or_default();
    let amount_step = listed.lot_size_filter.map(|filter| filter.base_precision).unwrap_or_default();
    Ok(Some(Instrument {
        exchange: ExchangeId::Bybit,
        symbol,
        native: listed.symbol.into_owned(),
        stream_native: None,
        price_step: notes.step("tickSize", price_step),
        amount_step: notes.step("basePrecision", amount_step),
        // <https://bybit-exchange.github.io/docs/v5/enum#status>
        status: match listed.status.as_deref() {
            None | Some("Trading") => InstrumentStatus::Trading,
            Some("Closed") => InstrumentStatus::Delisted,
            // PreLaunch, Delivering.
            Some(_) => InstrumentStatus::Halted,
        },
    }))
}

/// Best bid and ask and the last 24 hours of one market. Only the envelope has a time.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let asked = instrument.native.clone();
    call("/v5/market/tickers", vec![("symbol", asked.clone())], move |body, _| {
        let (rows, time): (Vec<Named<Ticker<'_>>>, _) = rows(body)?;
        let row = rows.iter().find(|row| row.symbol == *asked).ok_or_else(|| codec::malformed("no ticker", body))?;
        let (bid, bid_size) = side(row.bid1_price, row.bid1_size);
        let (ask, ask_size) = side(row.ask1_price, row.ask1_size);
        Ok(TickerPatch { bid, bid_size, ask, ask_size, timestamp: time, ..statistics(row) })
    })
}

fn side(at: Blank, size: Blank) -> (Option<Decimal>, Option<Decimal>) {
    match at.0.and_then(price) {
        Some(at) => (Some(at), size.0.map(|size| size.0)),
        None => (None, None),
    }
}

/// The last 24 hours. The change is a fraction there, and in per cent here.
pub(super) fn statistics(row: &Ticker<'_>) -> TickerPatch {
    TickerPatch {
        last: row.last_price.0.and_then(price),
        open: row.prev_price24h.0.and_then(price),
        high: row.high_price24h.0.and_then(price),
        low: row.low_price24h.0.and_then(price),
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

/// A page of candles. `start` and `end` are both inclusive; where there are more rows, the newest come.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    let (_, name) = NAMES.iter().find(|(known, _)| *known == interval)?;
    let query = vec![
        ("symbol", page.instrument.native.clone()),
        ("interval", (*name).to_owned()),
        ("start", range.start().millis().to_string()),
        ("end", (range.end().millis() - 1).to_string()),
        ("limit", ROWS.to_string()),
    ];
    Some(call("/v5/market/kline", query, move |body, received| {
        let (rows, _): (Vec<&RawValue>, _) = rows(body)?;
        let open = |row| first_column(row).map(Int::millis);
        Ok(CandleRows::decode(&rows, received, open, candle).into_page(interval, range, received))
    }))
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

fn call<T: 'static>(
    path: &str,
    mut query: Vec<(&'static str, String)>,
    read: impl Fn(&[u8], Timestamp) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    query.insert(0, ("category", "spot".to_owned()));
    let parse: Parse<T> = Arc::new(move |reply: &Reply<'_>, received| {
        if (200..300).contains(&reply.status) {
            read(reply.body, received)
        } else {
            Err(classify_with(own_error, reply, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope: SCOPE, weight: 1, parse }
}

/// The rows of a reply and its time, unless it says that something went wrong.
fn rows<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(Vec<T>, Option<Timestamp>), ReplyError> {
    let status: Status<'_> = codec::read(body)?;
    if status.ret_code.0 != 0 {
        return Err(refusal(status.ret_code.0, status.ret_msg.as_deref().unwrap_or("")));
    }
    let answer: Answer<'_, T> = codec::read(body)?;
    let Named(Listed { category, list }) =
        answer.result.ok_or_else(|| codec::malformed("neither error nor result", body))?;
    if let Some(category) = category.filter(|category| !category.is_empty() && **category != *"spot") {
        let message = format!("the reply is of {}, not of spot markets", &*category);
        return Err(ReplyError::new(ReplyErrorKind::Refused, message));
    }
    Ok((list, answer.time.map(codec::Int::millis)))
}

/// An error in Bybit's own form.
///
/// A 403 is a ban where it says "403, access too frequent" (<https://bybit-exchange.github.io/docs/v5/rate-limit>), else a
/// region: "IP addresses located in the US or Mainland China are restricted and will return a 403 Forbidden error"
/// (<https://bybit-exchange.github.io/docs/v5/guide>).
pub(super) fn own_error(reply: &Reply<'_>, _: Timestamp) -> Option<ReplyError> {
    if reply.status == 403 {
        let is_ban = String::from_utf8_lossy(reply.body).to_lowercase().contains("access too frequent");
        let kind = if is_ban { ReplyErrorKind::Banned } else { ReplyErrorKind::RegionClosed };
        return Some(ReplyError::new(kind, format!("status 403{}", if is_ban { ", access too frequent" } else { "" })));
    }
    let status: Status<'_> = serde_json::from_slice(reply.body).ok()?;
    (status.ret_code.0 != 0).then(|| refusal(status.ret_code.0, status.ret_msg.as_deref().unwrap_or("")))
}

/// What an error means: <https://bybit-exchange.github.io/docs/v5/error>.
fn refusal(code: i64, message: &str) -> ReplyError {
    let kind = match code {
        10_006 | 10_018 => ReplyErrorKind::RateLimited,
        // "Service Restricted: … unavailable for your region"; "Compliance rules triggered".
        10_009 | 10_024 => ReplyErrorKind::RegionClosed,
        10_000 | 10_016 | 10_429 => ReplyErrorKind::Unavailable,
        // "Request parameter error"; the message says which.
        10_001 if message.to_lowercase().contains("symbol") => ReplyErrorKind::UnknownSymbol,
        10_029 | 170_121 => ReplyErrorKind::UnknownSymbol,
        _ => ReplyErrorKind::Refused,
    };
    ReplyError::new(kind, format!("{message} (code {code})"))
}
