//! The adapter: delegates to the other files of this folder.

use super::profile::PROFILE;
use super::{rest, session, symbols};
use crate::exchanges::adapter::Exchange;
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::feed::{ConnectionPlan, FeedSession, Subscription};
use crate::exchanges::listing::Listing;
use crate::exchanges::profile::Profile;
use crate::exchanges::rest::{CandlePage, RestCall, RestError, RestResponse, ServerTime};
use crate::model::{Channel, ExchangeId, Instrument, Symbol, TickerPatch, Timestamp};

/// OKX spot.
#[derive(Debug)]
pub struct Okx;

/// Maximum number of subscriptions per connection. Their "total length" may be 64 KB, at about 50 bytes each; there is
/// also an undocumented maximum number (close code 4008):
/// <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>.
const SUBSCRIPTIONS_PER_CONNECTION: usize = 400;

/// WebSocket path of a channel. The other path responds with error 60018:
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel>.
const fn socket_path(channel: Channel) -> &'static str {
    match channel {
        Channel::Ticker | Channel::Trades => "/ws/v5/public",
        Channel::Candles => "/ws/v5/business",
    }
}

impl Exchange for Okx {
    fn id(&self) -> ExchangeId {
        ExchangeId::Okx
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
        let mut plans = Vec::new();
        for path in [socket_path(Channel::Ticker), socket_path(Channel::Candles)] {
            let on_path: Vec<&Subscription> =
                subscriptions.iter().filter(|one| socket_path(one.channel) == path).collect();
            plans.extend(on_path.chunks(SUBSCRIPTIONS_PER_CONNECTION).map(|part| ConnectionPlan {
                path: path.to_owned(),
                subscriptions: part.iter().copied().cloned().collect(),
                spare_capacity: SUBSCRIPTIONS_PER_CONNECTION - part.len(),
                session: |subscriptions| Box::new(session::Session::new(subscriptions)),
            }));
        }
        plans
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess_symbol(native)
    }
}
