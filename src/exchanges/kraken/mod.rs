//! Kraken spot: REST, and WebSocket v2.
//!
//! Documentation: <https://docs.kraken.com/api>.

mod rest;
mod session;
mod symbols;
#[cfg(test)]
mod tests;
mod wire;

use std::num::NonZeroU32;
use std::time::Duration;

use super::{
    CandlePage, CandleRows, ConnectionPlan, Exchange, FeedSession, Listing, MinuteCandles, PageCost, Profile,
    RateLimit, RestCall, RestError, RestResponse, ServerTime, Subscription,
};
use crate::model::{Channel, ExchangeId, Instrument, Symbol, TickerPatch, Timestamp};

/// Kraken spot.
#[derive(Debug)]
pub struct Kraken;

static PROFILE: Profile = Profile {
    rest_origins: &["https://api.kraken.com"],
    ws_origins: &["wss://ws.kraken.com"],
    rest_headers: &[],
    probe_path: "/0/public/Time",
    // "A frequency of 1 per second (or less)" per address:
    // <https://support.kraken.com/articles/206548367-what-are-the-api-rate-limits->. Applied as an average, so that a
    // few requests at once need not wait.
    rate_limits: &[RateLimit { name: rest::RATE_LIMIT, limit: 10, window: Duration::from_secs(10), used_header: None }],
    // "Approximately 150 attempts per rolling 10 minutes" per address; more attempts lead to a ban of 10 minutes:
    // <https://docs.kraken.com/api/docs/guides/spot-ws-intro>
    connection_limit: RateLimit { name: "connections", limit: 150, window: Duration::from_mins(10), used_header: None },
    // The exchange names no duration.
    default_ban_duration: Duration::from_secs(30),
    reset_header: None,
    page_cost: PageCost { scope: rest::RATE_LIMIT, weight: 1 },
    channels: &Channel::ALL,
    minute_candles: MinuteCandles::Unflagged,
    accepts_long_ranges: false,
    intervals: rest::INTERVALS,
    page_rows: rest::PAGE_ROWS,
    rest_lag: Duration::ZERO,
    // A few less than a page: the forming candle is one of the rows, and minutes may pass between request and response.
    history_rows: Some(rest::PAGE_ROWS - 5),
    // The exchange sends a heartbeat every second without other traffic:
    // <https://docs.kraken.com/api/docs/websocket-v2/heartbeat>
    idle_timeout: Duration::from_secs(30),
    ack_timeout: Duration::from_secs(10),
    // Not documented ("Exceeded msg rate" is the response to too many; the limit varies with the load): a conservative
    // value.
    messages_per_second: NonZeroU32::MIN.saturating_add(4),
    max_connection_age: None,
};

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
