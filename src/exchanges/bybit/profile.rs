//! Addresses, limits and capabilities.

use std::num::NonZeroU32;

use super::rest;
use crate::exchanges::prelude::*;

/// Addresses, limits and capabilities of the exchange.
pub(super) static PROFILE: Profile = Profile {
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
    intervals: &codec::intervals_of(&rest::INTERVAL_NAMES),
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
