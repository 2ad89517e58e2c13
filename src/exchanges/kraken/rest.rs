//! Kraken's REST calls and how their replies are read.

use super::super::codec::{self, Int, level, price};
use super::super::listing::{self, Notes};
use super::super::refusal::classify_with;
use super::super::rows::first_column;
use super::super::{CandlePage, CandleRows, Listing, Parse, Reply, ReplyError, ReplyErrorKind, RestCall, ServerTime};
use super::symbols;
use super::wire::{Answer, AssetPair, ByPair, OhlcRow, TickerInfo, Time};
use crate::model::{Candle, ExchangeId, Instrument, InstrumentStatus, TickerPatch, Timestamp};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// The name of the only scope.
pub(super) const SCOPE: &str = "rest";

/// How many candles there ever are, the forming one among them; `since` reaches no further back.
/// <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>
pub(super) const ROWS: u32 = 720;

/// What time it is there.
pub(super) fn server_time() -> RestCall<ServerTime> {
    call("/0/public/Time", vec![], |body, received| {
        let time: Time = result(body, received)?;
        Ok(ServerTime { at: Timestamp::from_secs(time.unixtime.0), resolution: Duration::from_secs(1) })
    })
}

/// The listing.
pub(super) fn instruments() -> RestCall<Listing> {
    call("/0/public/AssetPairs", vec![], |body, received| {
        let pairs: ByPair<'_> = result(body, received)?;
        listing::read(pairs.iter().map(|(key, row)| (Some(&**key), *row)), "altname", instrument)
    })
}

/// Best bid and ask and the last 24 hours. The reply carries no time, and no open but today's.
pub(super) fn ticker(instrument: &Instrument) -> RestCall<TickerPatch> {
    let native = instrument.native.clone();
    call("/0/public/Ticker", vec![("pair", native.clone())], move |body, received| {
        let info: TickerInfo = codec::read(only(body, &native, received)?)?;
        let (bid, bid_size) = level(info.b[0], info.b[2]);
        let (ask, ask_size) = level(info.a[0], info.a[2]);
        Ok(TickerPatch {
            last: price(info.c[0]),
            bid,
            bid_size,
            ask,
            ask_size,
            high: price(info.h[1]),
            low: price(info.l[1]),
            base_volume: Some(info.v[1].0),
            ..TickerPatch::default()
        })
    })
}

/// A page of candles. Rows come from after `since`, so that the second before the first open time asks for it too; the
/// forming candle comes always.
pub(super) fn candles(page: &CandlePage) -> RestCall<CandleRows> {
    let (interval, range, native) = (page.interval, page.range, page.instrument.native.clone());
    let query = vec![
        ("pair", native.clone()),
        ("interval", (interval.max_millis() / 60_000).to_string()),
        ("since", (range.start().millis() / 1000 - 1).max(0).to_string()),
    ];
    call("/0/public/OHLC", query, move |body, received| {
        let rows: Vec<&RawValue> = codec::read_list(only(body, &native, received)?)?;
        let open = |row| first_column(row).map(|secs| Timestamp::from_secs(secs.0));
        let rows = CandleRows::decode(&rows, received, open, candle);
        // A full reply was cut at its old end: what is missing there is not empty but gone.
        if rows.count() >= ROWS as usize && rows.oldest() > Some(range.start()) && range.start() > Timestamp::EPOCH {
            let message = format!("the exchange has the newest {ROWS} candles of {interval} only");
            return Err(ReplyError::new(ReplyErrorKind::Refused, message));
        }
        Ok(rows.into_page(interval, range, received))
    })
}

fn call<T: 'static>(
    path: &str,
    query: Vec<(&'static str, String)>,
    read: impl Fn(&[u8], Timestamp) -> Result<T, ReplyError> + Send + Sync + 'static,
) -> RestCall<T> {
    let parse: Parse<T> = Arc::new(move |reply: &Reply<'_>, received| {
        if (200..300).contains(&reply.status) {
            read(reply.body, received)
        } else {
            Err(classify_with(own_error, reply, received))
        }
    });
    RestCall { path: path.to_owned(), query, scope: SCOPE, weight: 1, parse }
}

/// The result, unless the reply says that something went wrong. Entries that begin with `W` are warnings.
fn result<'a, T: Deserialize<'a>>(body: &'a [u8], received: Timestamp) -> Result<T, ReplyError> {
    let answer: Answer<'a, T> = codec::read(body)?;
    match (answer.error.iter().find(|error| !error.starts_with('W')), answer.result) {
        (Some(error), _) => Err(refusal(error, received)),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(codec::malformed("neither error nor result", body)),
    }
}

/// The result of one market. It may be named otherwise than it was asked for: the one name that is not `last`.
fn only<'a>(body: &'a [u8], native: &str, received: Timestamp) -> Result<&'a [u8], ReplyError> {
    let by_pair: ByPair<'a> = result(body, received)?;
    let mut markets = by_pair.iter().filter(|(name, _)| *name != "last");
    let found = match (by_pair.get(native), markets.next(), markets.next()) {
        (Some(exact), ..) | (None, Some((_, exact)), None) => *exact,
        (None, None, _) => return Err(codec::malformed("no market", body)),
        (None, Some(_), Some(_)) => return Err(codec::malformed(format_args!("several markets, not {native}"), body)),
    };
    Ok(found.get().as_bytes())
}

/// An error in Kraken's own form.
pub(super) fn own_error(reply: &Reply<'_>, received: Timestamp) -> Option<ReplyError> {
    let answer: Answer<'_, IgnoredAny> = serde_json::from_slice(reply.body).ok()?;
    let error = answer.error.iter().find(|error| !error.starts_with('W'))?;
    Some(refusal(error, received))
}

/// What an error means: <https://docs.kraken.com/api/docs/guides/spot-errors>.
fn refusal(error: &str, received: Timestamp) -> ReplyError {
    let (category, detail) = error.split_once(':').unwrap_or((error, ""));
    let is = |text: &str| detail.to_ascii_lowercase().contains(text);
    let kind = match category {
        "EQuery" if is("unknown asset") => ReplyErrorKind::UnknownSymbol,
        "EAPI" if is("rate limit") => ReplyErrorKind::RateLimited,
        "EGeneral" if is("too many requests") || is("lockout") => ReplyErrorKind::RateLimited,
        "EService" if is("throttled") => ReplyErrorKind::RateLimited,
        "EGeneral" if is("internal error") => ReplyErrorKind::Unavailable,
        "EService" => ReplyErrorKind::Unavailable,
        _ => ReplyErrorKind::Refused,
    };
    let mut refusal = ReplyError::new(kind, error);
    // `EService:Throttled: 1688671200`
    if kind == ReplyErrorKind::RateLimited {
        let until = detail.rsplit(' ').next().and_then(|secs| secs.parse().ok());
        refusal.retry_after = until.map(|secs| Timestamp::from_secs(secs).since(received));
    }
    refusal
}

fn instrument(pair: AssetPair<'_>, notes: &mut Notes) -> Result<Option<Instrument>, String> {
    // Without a name for the WebSocket, such as the dark pools.
    let Some(name) = pair.wsname.as_deref() else { return Ok(None) };
    let (symbol, stream_native) =
        symbols::of_pair(name).zip(symbols::stream_name(name)).ok_or_else(|| format!("no symbol in `{name}`"))?;
    Ok(Some(Instrument {
        exchange: ExchangeId::Kraken,
        native: pair.altname.into_owned(),
        stream_native: Some(stream_native),
        symbol,
        price_step: notes.step("tick_size", pair.tick_size).or_else(|| step(pair.pair_decimals)),
        amount_step: step(pair.lot_decimals),
        status: match pair.status.as_deref() {
            None | Some("online") => InstrumentStatus::Trading,
            // The listing that FIX and the channel `instrument` give names it: <https://docs.kraken.com/api/docs/websocket-v2/instrument>
            Some("delisted") => InstrumentStatus::Delisted,
            // cancel_only, post_only, limit_only, reduce_only: <https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs>;
            // in the channel `instrument` also maintenance and work_in_progress. With limit_only "no order matching (trades) will
            // occur": <https://support.kraken.com/hc/en-us/articles/360055614211>.
            Some(_) => InstrumentStatus::Halted,
        },
    }))
}

/// The step of so many decimals.
fn step(decimals: Option<Int>) -> Option<Decimal> {
    Decimal::try_new(1, u32::try_from(decimals?.0).ok()?).ok()
}

fn candle(row: &OhlcRow) -> Candle {
    Candle {
        timestamp: Timestamp::from_secs(row.0.0),
        open: row.1.0,
        high: row.2.0,
        low: row.3.0,
        close: row.4.0,
        volume: row.6.0,
        quote_volume: None,
        trades: row.7.count(),
        closed: false,
        revision: 0,
    }
}
