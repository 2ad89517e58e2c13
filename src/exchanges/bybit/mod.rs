//! Bybit, version 5, spot.
//!
//! Documentation: <https://bybit-exchange.github.io/docs/v5/intro>, as of 2026-11.

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

/// Bybit spot.
#[derive(Debug)]
pub struct Bybit;

/// WebSocket path of spot markets.
const PATH: &str = "/v5/public/spot";

static PROFILE: Profile = Profile {
    // <https://bybit-exchange.github.io/docs/v5/guide#authentication>: both serve the same data.
    rest_origins: &["https://api.bybit.com", "https://api.bytick.com"],
    ws_origins: &["wss://stream.bybit.com"],
    rest_headers: &[],
    probe_path: "/v5/market/time",
    // "600 requests within a 5-second window per IP": <https://bybit-exchange.github.io/docs/v5/rate-limit>
    rate_limits: &[RateLimit { name: rest::RATE_LIMIT, limit: 600, window: Duration::from_secs(5), used_header: None }],
    // "Do not establish more than 500 connections within a 5-minute window", on the same page.
    connection_limit: RateLimit { name: "connections", limit: 500, window: Duration::from_mins(5), used_header: None },
    // "403, access too frequent […] wait for at least 10 minutes", on the same page.
    default_ban_duration: Duration::from_mins(10),
    // "X-Bapi-Limit-Reset-Timestamp: the timestamp indicating when your request limit resets", on the same page.
    reset_header: Some("x-bapi-limit-reset-timestamp"),
    page_cost: PageCost { scope: rest::RATE_LIMIT, weight: 1 },
    channels: &Channel::ALL,
    minute_candles: MinuteCandles::Flagged,
    intervals: rest::INTERVALS,
    page_rows: rest::PAGE_ROWS,
    accepts_long_ranges: false,
    rest_lag: Duration::ZERO,
    history_rows: None,
    // More than two ping intervals; each ping is answered.
    idle_timeout: Duration::from_secs(45),
    ack_timeout: Duration::from_secs(10),
    // Not documented: a conservative value.
    messages_per_second: NonZeroU32::MIN.saturating_add(4),
    max_connection_age: None,
};

/// Maximum number of subscriptions per connection. "The length of the args array" may be 21,000 characters; this stays
/// far below. <https://bybit-exchange.github.io/docs/v5/ws/connect>
const SUBSCRIPTIONS_PER_CONNECTION: usize = 300;

impl Exchange for Bybit {
    fn id(&self) -> ExchangeId {
        ExchangeId::Bybit
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
            path: PATH.to_owned(),
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

    fn is_spot_stream(&self, url: &str) -> bool {
        url.ends_with(PATH)
    }
}
