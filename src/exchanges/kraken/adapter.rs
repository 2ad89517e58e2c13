//! The adapter: REST calls and connections.

use super::profile::PROFILE;
use super::rest::{
    INTERVALS, RATE_LIMIT, api_error, candle_rows, instrument, interval_minutes, parse_result, parse_single_result,
    ticker_patch,
};
use super::stream::Codec;
use super::wire::{RestTicker, ResultByPair, Time};
use super::{split, symbols};
use crate::exchanges::prelude::*;

/// Kraken spot.
#[derive(Debug)]
pub struct Adapter;

fn get(path: &str) -> RestCall<()> {
    RestCall::get(path).scope(RATE_LIMIT).errors(api_error)
}

impl Exchange for Adapter {
    fn id(&self) -> ExchangeId {
        ExchangeId::KRAKEN
    }

    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        Some(get("/0/public/Time").read(|body, received| {
            let time: Time = parse_result(body, received)?;
            Ok(ServerTime { at: Timestamp::from_secs(time.unixtime.0), resolution: Duration::from_secs(1) })
        }))
    }

    fn instruments(&self) -> RestCall<Listing> {
        get("/0/public/AssetPairs").read(|body, received| {
            let pairs: ResultByPair<'_> = parse_result(body, received)?;
            listing::parse_rows(pairs.iter().map(|(key, row)| (Some(&**key), *row)), "altname", instrument)
        })
    }

    /// The response has no time, and only the open of the current day.
    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>> {
        let native = instrument.native.clone();
        vec![get("/0/public/Ticker").query("pair", &native).read(move |body, received| {
            let ticker: RestTicker = codec::parse_object(parse_single_result(body, &native, received)?)?;
            Ok(ticker_patch(&ticker))
        })]
    }

    /// The response has the rows after `since`, so `since` is one second before the first open time. It always includes
    /// the forming candle.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        let (interval, range, native) = (page.interval, page.range, page.instrument.native.clone());
        let call = get("/0/public/OHLC")
            .query("pair", &native)
            .query("interval", interval_minutes(interval))
            .query("since", (range.start().millis() / 1000 - 1).max(0));
        INTERVALS.contains(&interval).then(|| {
            call.read(move |body, received| {
                let rows = candle_rows(parse_single_result(body, &native, received)?, interval, range, received)?;
                Ok(rows.into_page(interval, range, received))
            })
        })
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        Session::<Codec>::plans("/v2", subscriptions)
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
