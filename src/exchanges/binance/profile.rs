//! Addresses, limits and capabilities.

use std::num::NonZeroU32;

use super::rest;
use crate::exchanges::prelude::*;

/// Addresses, limits and capabilities of the exchange.
pub(super) static PROFILE: Profile = Profile {
    // <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information>. The second origin
    // serves public market data only, which is sufficient, and also serves regions that the others block.
    rest_origins: &[
        "https://api.binance.com",
        "https://data-api.binance.vision",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
    ],
    // <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams> has both ports. The second host
    // serves market data only.
    ws_origins: &["wss://stream.binance.com:9443", "wss://data-stream.binance.vision", "wss://stream.binance.com:443"],
    rest_headers: &[],
    probe_path: "/api/v3/ping",
    // <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
    rate_limits: &[RateLimit {
        name: rest::RATE_LIMIT,
        limit: 6000,
        window: Duration::from_mins(1),
        used_header: Some("x-mbx-used-weight-1m"),
    }],
    // "300 connections per attempt every 5 minutes per IP":
    // <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>
    connection_limit: RateLimit { name: "connections", limit: 300, window: Duration::from_mins(5), used_header: None },
    // "Usually, a WAF ban will have a duration of 5 minutes":
    // <https://www.binance.com/en/support/articles/360004492232>. Bans for the request rate last from two minutes to
    // three days, and a 418 names its duration:
    // <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
    default_ban_duration: Duration::from_mins(5),
    reset_header: None,
    page_cost: PageCost { scope: rest::RATE_LIMIT, weight: 2 },
    channels: &Channel::ALL,
    minute_candles: MinuteCandles::Flagged,
    // If there are no rows at `startTime`, the response starts with the first row after it.
    accepts_long_ranges: true,
    intervals: rest::INTERVALS,
    page_rows: rest::PAGE_ROWS,
    rest_lag: Duration::ZERO,
    history_rows: None,
    // The exchange pings every 20 s.
    idle_timeout: Duration::from_mins(1),
    ack_timeout: Duration::from_secs(10),
    // Five per second are allowed, including pongs; a burst and its refill may fall into the same second.
    messages_per_second: NonZeroU32::MIN.saturating_add(1),
    max_connection_age: Some(Duration::from_hours(24)),
};
