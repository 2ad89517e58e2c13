//! Coinbase: the public market data of Advanced Trade, without an API key.
//!
//! Documentation: <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/overview>, as of 2026-11.

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

/// Coinbase Advanced Trade.
#[derive(Debug)]
pub struct Coinbase;

static PROFILE: Profile = Profile {
    rest_origins: &["https://api.coinbase.com"],
    ws_origins: &["wss://advanced-trade-ws.coinbase.com"],
    // Public responses are "cached for 1 second" unless a request opts out:
    // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api#public-endpoints>
    rest_headers: &[("cache-control", "no-cache")],
    probe_path: "/api/v3/brokerage/time",
    // Public endpoints: 10 per second per address:
    // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api#rate-limits>
    rate_limits: &[RateLimit { name: rest::RATE_LIMIT, limit: 10, window: Duration::from_secs(1), used_header: None }],
    // "8 per second per IP address":
    // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits>
    connection_limit: RateLimit { name: "connections", limit: 8, window: Duration::from_secs(1), used_header: None },
    // Not documented.
    default_ban_duration: Duration::from_secs(30),
    reset_header: None,
    page_cost: PageCost { scope: rest::RATE_LIMIT, weight: 1 },
    // The channel `candles` has five-minute candles only.
    channels: &[Channel::Ticker, Channel::Trades],
    minute_candles: MinuteCandles::FromTrades,
    intervals: rest::INTERVALS,
    page_rows: rest::PAGE_ROWS,
    accepts_long_ranges: false,
    // Not documented; observed: the newest one-minute candles are missing or incomplete for up to a minute.
    rest_lag: Duration::from_mins(1),
    history_rows: None,
    // The channel `heartbeats` sends a message every second.
    idle_timeout: Duration::from_secs(10),
    ack_timeout: Duration::from_secs(10),
    // "Unauthenticated messages are rate-limited at 8 per second per IP address"; half of that, since several
    // connections share an address.
    messages_per_second: NonZeroU32::MIN.saturating_add(3),
    max_connection_age: None,
};

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
