//! The adapter: REST calls and connections.

use super::profile::PROFILE;
use super::rest::{INTERVALS, PAGE_ROWS, RATE_LIMIT, api_error, candle, instrument, statistics};
use super::stream::Codec;
use super::wire::{InstrumentList, Ticker, Time};
use super::{split, symbols};
use crate::exchanges::prelude::*;

/// Binance spot.
#[derive(Debug)]
pub struct Adapter;

fn get(path: &str, weight: u32) -> RestCall<()> {
    RestCall::get(path).scope(RATE_LIMIT).weight(weight).errors(api_error)
}

impl Exchange for Adapter {
    fn id(&self) -> ExchangeId {
        ExchangeId::BINANCE
    }

    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        Some(get("/api/v3/time", 1).read(|body, _| {
            let time: Time = codec::parse_object(body)?;
            Ok(ServerTime { at: time.server_time.millis(), resolution: Duration::from_millis(1) })
        }))
    }

    fn instruments(&self) -> RestCall<Listing> {
        get("/api/v3/exchangeInfo", 20).read(|body, _| {
            let info: InstrumentList<'_> = codec::parse_object(body)?;
            listing::parse_list(info.symbols, "symbol", instrument)
        })
    }

    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>> {
        let call = get("/api/v3/ticker/24hr", 2).query("symbol", &instrument.native);
        vec![call.read(|body, _| {
            let ticker: Ticker<'_> = codec::parse_object(body)?;
            let (bid, bid_size) = optional_level(ticker.bid.0, ticker.bid_size.0);
            let (ask, ask_size) = optional_level(ticker.ask.0, ticker.ask_size.0);
            Ok(TickerPatch { bid, bid_size, ask, ask_size, ..statistics(&ticker) })
        })]
    }

    /// `endTime` is inclusive.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        let (interval, range) = (page.interval, page.range);
        let call = get("/api/v3/klines", 2)
            .query("symbol", &page.instrument.native)
            .query("interval", interval)
            .query("startTime", range.start().millis())
            .query("endTime", range.end().millis().saturating_sub(1))
            .query("limit", PAGE_ROWS);
        INTERVALS.contains(&interval).then(|| {
            call.read(move |body, received| {
                let rows: Vec<&RawValue> = codec::parse_list(body)?;
                let open_time = |row| first_column(row).map(Int::millis);
                Ok(CandleRows::parse(&rows, received, open_time, candle).into_page(interval, range, received))
            })
        })
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        Session::<Codec>::plans("/stream", subscriptions)
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
