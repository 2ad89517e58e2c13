//! Addresses, limits and capabilities.

use std::num::NonZeroU32;

use super::rest;
use crate::exchanges::prelude::*;

/// Addresses, limits and capabilities of the exchange.
pub(super) static PROFILE: Profile = Profile {
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
    intervals: &codec::intervals_of(&rest::INTERVAL_NAMES),
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
