//! Addresses, limits and capabilities.

use std::num::NonZeroU32;

use super::rest;
use crate::exchanges::prelude::*;

/// Addresses, limits and capabilities of the exchange.
pub(super) static PROFILE: Profile = Profile {
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
