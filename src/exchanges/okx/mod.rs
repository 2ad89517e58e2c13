//! OKX spot, version 5.
//!
//! Documentation: <https://www.okx.com/docs-v5/en/>, as of 2026-11.

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

/// OKX spot.
#[derive(Debug)]
pub struct Okx;

/// A limit per two seconds. Each path has its own limit per address:
/// <https://www.okx.com/docs-v5/en/#overview-rate-limits>.
const fn rate_limit(name: &'static str, limit: u32) -> RateLimit {
    RateLimit { name, limit, window: Duration::from_secs(2), used_header: None }
}

static PROFILE: Profile = Profile {
    // <https://www.okx.com/docs-v5/en/#overview-production-trading-services> names the second origin; the first, which
    // it named before, serves the same data.
    rest_origins: &["https://www.okx.com", "https://openapi.okx.com"],
    ws_origins: &["wss://ws.okx.com:8443"],
    rest_headers: &[],
    probe_path: "/api/v5/public/time",
    rate_limits: &[
        // <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-system-time>
        rate_limit(rest::TIME_RATE_LIMIT, 10),
        // Per address and instrument type: <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>
        rate_limit(rest::INSTRUMENTS_RATE_LIMIT, 20),
        // <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-ticker>
        rate_limit(rest::TICKER_RATE_LIMIT, 20),
        // <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>
        rate_limit(rest::CANDLES_RATE_LIMIT, 40),
        // <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history>
        rate_limit(rest::HISTORY_CANDLES_RATE_LIMIT, 20),
    ],
    // "3 requests per second (based on IP)": <https://www.okx.com/docs-v5/en/#overview-websocket-connect>. Applied per
    // two seconds, since the delay until a connection arrives varies.
    connection_limit: RateLimit { name: "connections", limit: 3, window: Duration::from_secs(2), used_header: None },
    // Errors name no duration, and windows are short.
    default_ban_duration: Duration::from_secs(10),
    reset_header: None,
    page_cost: PageCost { scope: rest::HISTORY_CANDLES_RATE_LIMIT, weight: 1 },
    channels: &Channel::ALL,
    minute_candles: MinuteCandles::Flagged,
    accepts_long_ranges: false,
    intervals: rest::INTERVALS,
    page_rows: rest::PAGE_ROWS,
    rest_lag: Duration::ZERO,
    history_rows: None,
    // The session sends a ping after 20 s without a frame; the exchange has another 20 s to answer.
    idle_timeout: Duration::from_secs(40),
    ack_timeout: Duration::from_secs(10),
    // <https://www.okx.com/docs-v5/en/#overview-websocket-connect> documents 3 connections per second, and 480
    // subscription requests per hour per connection. Messages per second are not documented: a conservative value.
    messages_per_second: NonZeroU32::MIN.saturating_add(2),
    max_connection_age: None,
};

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
