//! The adapter: REST calls and connections.

use super::profile::PROFILE;
use super::rest::{INTERVAL_NAMES, PAGE_ROWS, RATE_LIMIT, api_error, candle_rows, instrument, last_trade, statistics};
use super::stream::Codec;
use super::wire::{InstrumentList, Ticker, Time};
use super::{split, symbols};
use crate::exchanges::prelude::*;

/// Coinbase Advanced Trade.
#[derive(Debug)]
pub struct Adapter;

const PRODUCTS: &str = "/api/v3/brokerage/market/products";

fn get(path: impl Into<String>) -> RestCall<()> {
    RestCall::get(path).scope(RATE_LIMIT).errors(api_error)
}

impl Exchange for Adapter {
    fn id(&self) -> ExchangeId {
        ExchangeId::COINBASE
    }

    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        Some(get("/api/v3/brokerage/time").read(|body, _| {
            let time: Time = codec::parse_object(body)?;
            Ok(ServerTime { at: time.epoch_millis.millis(), resolution: Duration::from_millis(1) })
        }))
    }

    fn instruments(&self) -> RestCall<Listing> {
        get(PRODUCTS).query("product_type", "SPOT").read(|body, _| {
            let list: InstrumentList<'_> = codec::parse_object(body)?;
            listing::parse_list(list.products, "product_id", instrument)
        })
    }

    /// The statistics have no best bid and ask; the last trade overrides the price of the statistics.
    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>> {
        let product = format!("{PRODUCTS}/{}", instrument.native);
        let last = get(format!("{product}/ticker")).query("limit", 1);
        let statistics = get(product).read(|body, _| {
            let ticker: Ticker<'_> = codec::parse_object(body)?;
            match ticker.product_type.as_deref().filter(|kind| *kind != "SPOT") {
                None => Ok(statistics(&ticker)),
                Some(kind) => {
                    let message = format!("the product is of type {kind}, not SPOT");
                    Err(RestError::new(RestErrorKind::Rejected, message))
                }
            }
        });
        vec![statistics, last.read(|body, _| last_trade(body))]
    }

    /// `start` and `end` are in seconds and both inclusive: a candle that opens at `end` is included.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        let (interval, range) = (page.interval, page.range);
        let call = get(format!("{PRODUCTS}/{}/candles", page.instrument.native))
            .query("start", range.start().millis().div_euclid(1_000))
            .query("end", (range.end().millis() - 1).div_euclid(1_000))
            .query("granularity", codec::interval_name(&INTERVAL_NAMES, interval)?)
            .query("limit", PAGE_ROWS);
        Some(call.read(move |body, received| Ok(candle_rows(body, received)?.into_page(interval, range, received))))
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        Session::<Codec>::plans("/", subscriptions)
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
