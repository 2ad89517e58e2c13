//! The interface of an exchange adapter.

use super::candle_rows::CandleRows;
use super::errors::classify;
use super::feed::{ConnectionPlan, FeedSession, Subscription};
use super::listing::Listing;
use super::profile::Profile;
use super::response::{RestError, RestResponse};
use super::rest::{CandlePage, MarketResponse, RestCall, ServerTime};
use crate::model::{ExchangeId, Instrument, Symbol, TickerPatch, Timestamp};

/// An exchange: data and pure functions.
pub trait Exchange: Send + Sync + 'static {
    /// The id of the exchange.
    fn id(&self) -> ExchangeId;

    /// Addresses, limits and capabilities.
    fn profile(&self) -> &Profile;

    /// The exchange's clock. `None` where the API has no such call.
    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        None
    }

    /// The listing.
    fn instruments(&self) -> RestCall<Listing>;

    /// The calls whose merged responses make a ticker; later ones override earlier ones.
    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>>;

    /// One page of candles, with forming ones marked as not closed, and the rows that cannot be parsed. `None` where
    /// the exchange does not offer the interval on our grid.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>>;

    /// Parses an error body in the exchange's documented form; `None` for any other body, such as the page of a proxy.
    /// [`Exchange::classify_response`] classifies the response as a whole.
    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        let _ = (response, received);
        None
    }

    /// Classifies a response with an error status.
    fn classify_response(&self, response: &RestResponse<'_>, received: Timestamp) -> RestError {
        classify(response, self.api_error(response, received))
    }

    /// Distributes `subscriptions` over connections, by socket path and by the exchange's limits.
    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan>;

    /// A session that accepts frames of any market, without the listing; see [`Exchange::guess_symbol`].
    fn decoder(&self) -> Box<dyn FeedSession>;

    /// Splits the body of a REST response with several markets into one response per market. Empty if it cannot be
    /// split.
    fn split_markets<'a>(&self, body: &'a [u8]) -> Vec<MarketResponse<'a>> {
        let _ = body;
        Vec::new()
    }

    /// Derives the symbol from the native id of a spot market without the listing, by known quote assets: `BTCUSDT` is
    /// `BTC/USDT`.
    fn guess_symbol(&self, native: &str) -> Option<Symbol>;

    /// Whether a WebSocket URL carries spot markets. Recordings may contain several URLs.
    fn is_spot_stream(&self, url: &str) -> bool {
        let _ = url;
        true
    }
}
