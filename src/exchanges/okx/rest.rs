//! OKX's REST calls and how their replies are read.

use super::super::codec::{self, Int, Named};
use super::super::listing::{self, Notes};
use super::super::refusal::classify_with;
use super::super::rows::first_column;
use super::super::{CandlePage, CandleRows, Listing, Parse, Reply, ReplyError, ReplyErrorKind, RestCall, ServerTime};
use super::wire::{Answer, CandleRow, Listed, Ticker, Time};
use super::{PROFILE, bar_name};
use crate::model::{ExchangeId, Instrument, InstrumentStatus, Interval, TickerPatch, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// The names of the scopes: every path has its own.
pub(super) const INSTRUMENTS: &str = "instruments";
pub(super) const TICKER: &str = "ticker";
pub(super) const CANDLES: &str = "candles";
pub(super) const HISTORY_CANDLES: &str = "history-candles";

/// The intervals that OKX has on our grid; see [`bar_name`].
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

/// How many candles back from now the path for the newest ones reaches: "the latest 1,440 data entries". A few less, since
/// the forming candle is one of them, and time passes between question and answer.
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>
const NEWEST_ROWS: u32 = 1_440 - 5;

/// The scope of the question for the time.
pub(super) const TIME: &str = "time";

/// What time it is there.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/api/v5/public/time", vec![], TIME, |body| {
        let rows: Vec<Time> = data(body)?;
        let time = rows.first().ok_or_else(|| codec::malformed("no time", body))?;
        Ok(ServerTime { at: time.ts.millis(), resolution: Duration::from_millis(1) })
    })
}

/// The listing of spot markets.
pub(super) fn instruments() -> RestCall<Listing> {
    call("/api/v5/public/instruments", vec![("instType", "SPOT".to_owned())], INSTRUMENTS, |body| {
        let rows: Vec<&RawValue> = data(body)?;
        listing::read(rows.into_iter().map(|row| (None, row)), "instId", instrument)
    })
}

/// Best bid and ask and the last 24 hours of one market.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let asked = instrument.native.clone();
    call("/api/v5/market/ticker", vec![("instId", asked.clone())], TICKER, move |body| {
        let rows: Vec<Named<Ticker<'_>>> = data(body)?;
        let row = rows.iter().find(|row| row.inst_id.as_deref() == Some(&*asked));
        let row = row.ok_or_else(|| codec::malformed("no ticker of the market", body))?;
        // A derivative's volumes are counted in contracts.
        match row.inst_type.as_deref() {
            Some("SPOT") | None => Ok(row.values()),
            Some(kind) => {
                Err(ReplyError::new(ReplyErrorKind::Refused, format!("the ticker is of {kind}, not of a spot market")))
            }
        }
    })
}

/// A page of candles, which come newest first. `after` and `before` are exclusive, and are named as seen from the
/// newest: rows after `after` are older. The newest candles are told apart from the history.
pub(super) fn candles(page: &CandlePage) -> Option<RestCall<CandleRows>> {
    let (interval, range) = (page.interval, page.range);
    let (path, scope) = if range.start() >= interval.back(page.asked_at, NEWEST_ROWS) {
        ("/api/v5/market/candles", CANDLES)
    } else {
        ("/api/v5/market/history-candles", HISTORY_CANDLES)
    };
    let query = vec![
        ("instId", page.instrument.native.clone()),
        ("bar", bar_name(interval)?.to_owned()),
        ("before", range.start().millis().saturating_sub(1).max(0).to_string()),
        ("after", range.end().millis().to_string()),
        ("limit", PROFILE.page_rows.to_string()),
    ];
    Some(call_at(path, query, scope, move |body, received| {
        let rows: Vec<&RawValue> = data(body)?;
        let open = |row| first_column(row).map(Int::millis);
        Ok(CandleRows::decode(&rows, received, open, CandleRow::candle).into_flagged_page(range))
    }))
}

fn call<T: 'static>(
    path: &str,
    query: Vec<(&'static str, String)>,
    scope: &'static str,
    read: impl Fn(&[u8]) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    call_at(path, query, scope, move |body, _| read(body))
}

fn call_at<T: 'static>(
    path: &str,
    query: Vec<(&'static str, String)>,
    scope: &'static str,
    read: impl Fn(&[u8], Timestamp) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |reply: &Reply<'_>, received| {
        if (200..300).contains(&reply.status) {
            read(reply.body, received)
        } else {
            Err(classify_with(own_error, reply, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope, weight: 1, parse }
}

/// The rows of a reply, unless it says that something went wrong.
fn data<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, ReplyError> {
    let answer: Answer<'a, T> = codec::read(body)?;
    if answer.code.0 == 0 {
        return answer.data.ok_or_else(|| codec::malformed("no data", body));
    }
    Err(refusal(answer.code.0, answer.msg.as_deref().unwrap_or_default()))
}

/// An error in OKX's own form: <https://www.okx.com/docs-v5/en/#error-code-rest-api>.
pub(super) fn own_error(reply: &Reply<'_>, _: Timestamp) -> Option<ReplyError> {
    let answer: Answer<'_, IgnoredAny> = serde_json::from_slice(reply.body).ok()?;
    // Its codes have five digits: a smaller one is the status of a proxy that answers in JSON.
    (answer.code.0 >= 50_000).then(|| refusal(answer.code.0, answer.msg.as_deref().unwrap_or_default()))
}

/// What an error means: <https://www.okx.com/docs-v5/en/#error-code-rest-api-public>.
fn refusal(code: i64, message: &str) -> ReplyError {
    let kind = match code {
        // Instrument ID doesn't exist.
        51001 => ReplyErrorKind::UnknownSymbol,
        // Rate limit reached; too many requests.
        50011 | 50061 => ReplyErrorKind::RateLimited,
        // Temporarily unavailable, timeout, inactive, busy, system error.
        50001 | 50004 | 50005 | 50013 | 50026 => ReplyErrorKind::Unavailable,
        _ => ReplyErrorKind::Refused,
    };
    ReplyError::new(kind, format!("{message} (code {code})"))
}

fn instrument(listed: Listed<'_>, notes: &mut Notes) -> Result<Option<Instrument>, String> {
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
        price_step: notes.step("tickSz", listed.tick_sz),
        amount_step: notes.step("lotSz", listed.lot_sz),
        // live, suspend, preopen, rebase, test: what is delisted is not in the listing any more.
        // <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>
        status: if listed.state == "live" { InstrumentStatus::Trading } else { InstrumentStatus::Halted },
    }))
}
