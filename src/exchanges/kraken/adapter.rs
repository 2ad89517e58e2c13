//! The adapter: delegates to the other files of this folder.

use super::profile::PROFILE;
use super::{rest, session, symbols};
use crate::exchanges::adapter::Exchange;
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::feed::{ConnectionPlan, FeedSession, Subscription};
use crate::exchanges::listing::Listing;
use crate::exchanges::profile::Profile;
use crate::exchanges::rest::{CandlePage, RestCall, RestError, RestResponse, ServerTime};
use crate::model::{ExchangeId, Instrument, Symbol, TickerPatch, Timestamp};

/// Kraken spot.
#[derive(Debug)]
pub struct Kraken;

/// Maximum number of subscriptions per connection. The exchange documents no limit; this limits the traffic of a
/// connection.
const SUBSCRIPTIONS_PER_CONNECTION: usize = 600;

impl Exchange for Kraken {
    fn id(&self) -> ExchangeId {
        ExchangeId::Kraken
    }

    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        Some(rest::server_time())
    }

    fn instruments(&self) -> RestCall<Listing> {
        rest::instruments()
    }

    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>> {
        vec![rest::ticker(instrument)]
    }

    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        rest::candles(page)
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        rest::api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        let plan = |part: &[Subscription]| ConnectionPlan {
            path: "/v2".to_owned(),
            subscriptions: part.to_vec(),
            spare_capacity: SUBSCRIPTIONS_PER_CONNECTION - part.len(),
            session: |subscriptions| Box::new(session::Session::new(subscriptions)),
        };
        subscriptions.chunks(SUBSCRIPTIONS_PER_CONNECTION).map(plan).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess_symbol(native)
    }
}
