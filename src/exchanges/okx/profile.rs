//! Addresses, limits and capabilities.

use std::num::NonZeroU32;

use super::rest;
use crate::exchanges::prelude::*;

/// A limit per two seconds. Each path has its own limit per address:
/// <https://www.okx.com/docs-v5/en/#overview-rate-limits>.
const fn rate_limit(name: &'static str, limit: u32) -> RateLimit {
    RateLimit { name, limit, window: Duration::from_secs(2), used_header: None }
}

/// Addresses, limits and capabilities of the exchange.
pub(super) static PROFILE: Profile = Profile {
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
    intervals: &codec::intervals_of(&rest::INTERVAL_NAMES),
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
