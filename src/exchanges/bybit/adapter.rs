//! The adapter: REST calls and connections.

use super::profile::PROFILE;
use super::rest::{INTERVAL_NAMES, PAGE_ROWS, RATE_LIMIT, api_error, candle, instrument, parse_result, statistics};
use super::stream::Codec;
use super::wire::{Ticker, Time};
use super::{split, symbols};
use crate::exchanges::prelude::*;

/// Bybit spot.
#[derive(Debug)]
pub struct Adapter;

/// WebSocket path of spot markets.
const PATH: &str = "/v5/public/spot";

fn get(path: &str) -> RestCall<()> {
    RestCall::get(path).query("category", "spot").scope(RATE_LIMIT).errors(api_error)
}

impl Exchange for Adapter {
    fn id(&self) -> ExchangeId {
        ExchangeId::BYBIT
    }

    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        Some(get("/v5/market/time").read(|body, _| {
            let time: Time = codec::parse_object(body)?;
            if time.ret_code.0 != 0 {
                return Err(codec::malformed("no time", body));
            }
            Ok(ServerTime { at: time.time.millis(), resolution: Duration::from_millis(1) })
        }))
    }

    /// The listing has no pages.
    fn instruments(&self) -> RestCall<Listing> {
        get("/v5/market/instruments-info")
            .read(|body, _| listing::parse_list(parse_result(body)?.0, "symbol", instrument))
    }

    /// Only the envelope has a time.
    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>> {
        let native = instrument.native.clone();
        vec![get("/v5/market/tickers").query("symbol", &native).read(move |body, _| {
            let (rows, timestamp): (Vec<Object<Ticker<'_>>>, _) = parse_result(body)?;
            let row = rows.iter().find(|row| *row.symbol == *native);
            let row = row.ok_or_else(|| codec::malformed("no ticker", body))?;
            let (bid, bid_size) = optional_level(row.bid1_price.0, row.bid1_size.0);
            let (ask, ask_size) = optional_level(row.ask1_price.0, row.ask1_size.0);
            Ok(TickerPatch { bid, bid_size, ask, ask_size, timestamp, ..statistics(row) })
        })]
    }

    /// `start` and `end` are both inclusive; if there are more rows, the response has the newest.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        let (interval, range) = (page.interval, page.range);
        let call = get("/v5/market/kline")
            .query("symbol", &page.instrument.native)
            .query("interval", codec::interval_name(&INTERVAL_NAMES, interval)?)
            .query("start", range.start().millis())
            .query("end", range.end().millis() - 1)
            .query("limit", PAGE_ROWS);
        Some(call.read(move |body, received| {
            let (rows, _): (Vec<&RawValue>, _) = parse_result(body)?;
            let open_time = |row| first_column(row).map(Int::millis);
            Ok(CandleRows::parse(&rows, received, open_time, candle).into_page(interval, range, received))
        }))
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        Session::<Codec>::plans(PATH, subscriptions)
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

    fn is_spot_stream(&self, url: &str) -> bool {
        url.ends_with(PATH)
    }
}
