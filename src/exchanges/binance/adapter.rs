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

/// Binance spot.
#[derive(Debug)]
pub struct Binance;

/// Maximum number of streams per connection:
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>.
const STREAMS_PER_CONNECTION: usize = 1024;

impl Exchange for Binance {
    fn id(&self) -> ExchangeId {
        ExchangeId::Binance
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
        let mut plans: Vec<(usize, Vec<Subscription>)> = Vec::new();
        for subscription in subscriptions {
            let streams = session::stream_names(subscription).count();
            match plans.last_mut() {
                Some((used, planned)) if *used + streams <= STREAMS_PER_CONNECTION => {
                    *used += streams;
                    planned.push(subscription.clone());
                }
                _ => plans.push((streams, vec![subscription.clone()])),
            }
        }
        let plan = |(used, subscriptions)| ConnectionPlan {
            path: "/stream".to_owned(),
            subscriptions,
            spare_capacity: (STREAMS_PER_CONNECTION - used) / session::MAX_STREAMS_PER_SUBSCRIPTION,
            session: |subscriptions| Box::new(session::Session::new(subscriptions)),
        };
        plans.into_iter().map(plan).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess_symbol(native)
    }
}
