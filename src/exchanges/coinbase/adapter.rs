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

/// Coinbase Advanced Trade.
#[derive(Debug)]
pub struct Coinbase;

/// Maximum number of subscriptions per connection. The exchange documents no limit; with 200 markets per connection, a
/// channel needs one message.
const SUBSCRIPTIONS_PER_CONNECTION: usize = 400;

impl Exchange for Coinbase {
    fn id(&self) -> ExchangeId {
        ExchangeId::Coinbase
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
        vec![rest::ticker(instrument), rest::last_trade(instrument)]
    }

    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        rest::candles(page)
    }

    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        rest::api_error(response, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        let streamed: Vec<_> =
            subscriptions.iter().filter(|one| PROFILE.channels.contains(&one.channel)).cloned().collect();
        let plan = |part: &[Subscription]| ConnectionPlan {
            path: "/".to_owned(),
            subscriptions: part.to_vec(),
            spare_capacity: SUBSCRIPTIONS_PER_CONNECTION - part.len(),
            session: |subscriptions| Box::new(session::Session::new(subscriptions)),
        };
        streamed.chunks(SUBSCRIPTIONS_PER_CONNECTION).map(plan).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess_symbol(native)
    }
}
