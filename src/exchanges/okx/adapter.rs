//! The adapter: REST calls and connections.

use super::profile::PROFILE;
use super::rest::{self, INTERVAL_NAMES, NEWEST_ROWS, PAGE_ROWS, api_error, candle, instrument, parse_result};
use super::stream::Codec;
use super::wire::{Ticker, Time};
use super::{split, symbols};
use crate::exchanges::prelude::*;

/// OKX spot.
#[derive(Debug)]
pub struct Adapter;

/// WebSocket path of a channel. The other path responds with error 60018:
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel>.
const fn socket_path(channel: Channel) -> &'static str {
    match channel {
        Channel::Ticker | Channel::Trades => "/ws/v5/public",
        Channel::Candles => "/ws/v5/business",
    }
}

fn get(path: &str, scope: &'static str) -> RestCall<()> {
    RestCall::get(path).scope(scope).errors(api_error)
}

impl Exchange for Adapter {
    fn id(&self) -> ExchangeId {
        ExchangeId::OKX
    }

    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        Some(get("/api/v5/public/time", rest::TIME_RATE_LIMIT).read(|body, _| {
            let rows: Vec<Time> = parse_result(body)?;
            let time = rows.first().ok_or_else(|| codec::malformed("no time", body))?;
            Ok(ServerTime { at: time.ts.millis(), resolution: Duration::from_millis(1) })
        }))
    }

    fn instruments(&self) -> RestCall<Listing> {
        let call = get("/api/v5/public/instruments", rest::INSTRUMENTS_RATE_LIMIT).query("instType", "SPOT");
        call.read(|body, _| listing::parse_list(parse_result(body)?, "instId", instrument))
    }

    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>> {
        let native = instrument.native.clone();
        let call = get("/api/v5/market/ticker", rest::TICKER_RATE_LIMIT).query("instId", &native);
        vec![call.read(move |body, _| {
            let rows: Vec<Object<Ticker<'_>>> = parse_result(body)?;
            let row = rows.iter().find(|row| row.inst_id.as_deref() == Some(&*native));
            let row = row.ok_or_else(|| codec::malformed("no ticker of the market", body))?;
            // The volumes of derivatives are in contracts.
            match row.inst_type.as_deref() {
                Some("SPOT") | None => Ok(rest::ticker_patch(row)),
                Some(kind) => {
                    Err(RestError::new(RestErrorKind::Rejected, format!("the ticker is of type {kind}, not SPOT")))
                }
            }
        })]
    }

    /// Rows are newest first. `after` and `before` are exclusive and refer to this order: rows after `after` are older.
    /// The newest candles and the history have separate paths.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        let (interval, range) = (page.interval, page.range);
        let call = if range.start() >= interval.back(page.requested_at, NEWEST_ROWS) {
            get("/api/v5/market/candles", rest::CANDLES_RATE_LIMIT)
        } else {
            get("/api/v5/market/history-candles", rest::HISTORY_CANDLES_RATE_LIMIT)
        };
        let call = call
            .query("instId", &page.instrument.native)
            .query("bar", codec::interval_name(&INTERVAL_NAMES, interval)?)
            .query("before", range.start().millis().saturating_sub(1).max(0))
            .query("after", range.end().millis())
            .query("limit", PAGE_ROWS);
        Some(call.read(move |body, received| {
            let rows: Vec<&RawValue> = parse_result(body)?;
            let open_time = |row| first_column(row).map(Int::millis);
            Ok(CandleRows::parse(&rows, received, open_time, candle).into_flagged_page(range))
        }))
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        let plans = |path| {
            let on_path: Vec<_> =
                subscriptions.iter().filter(|one| socket_path(one.channel) == path).cloned().collect();
            Session::<Codec>::plans(path, &on_path)
        };
        [Channel::Ticker, Channel::Candles].map(socket_path).into_iter().flat_map(plans).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Session::<Codec>::decoder(symbols::guess_symbol)
    }

    fn split_markets<'a>(&self, body: &'a [u8]) -> Vec<MarketResponse<'a>> {
        split::split_markets(body)
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess_symbol(native)
    }
}
