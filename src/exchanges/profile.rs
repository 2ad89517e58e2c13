//! Addresses, limits and capabilities of an exchange.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::model::{Channel, Interval};

/// Addresses, limits and capabilities of an exchange. The source of each value is cited where the value is set.
#[derive(Debug)]
pub struct Profile {
    /// REST origins, tried in order: `https://api.example.com`, without a path.
    pub rest_origins: &'static [&'static str],
    /// WebSocket origins, tried in order.
    pub ws_origins: &'static [&'static str],
    /// Headers of every REST request in addition to `User-Agent`; names in lower case.
    pub rest_headers: &'static [(&'static str, &'static str)],
    /// Inexpensive path that answers 200 whenever the exchange is available.
    pub probe_path: &'static str,
    /// Rate limits of the REST API, each counted separately. Probes count towards the first one.
    pub rate_limits: &'static [RateLimit],
    /// Limit of new WebSocket connections per client address.
    pub connection_limit: RateLimit,
    /// Pause after a ban (403, 418) that names no duration. After a rate limit (429) that names none, the pause is the
    /// window of that limit.
    pub default_ban_duration: Duration,
    /// Response header with the end of the window of an exhausted limit, in Unix milliseconds.
    pub reset_header: Option<&'static str>,
    /// Cost of one page of candles.
    pub page_cost: PageCost,
    /// Channels of the WebSocket API; `Candles` means one-minute candles.
    pub channels: &'static [Channel],
    /// Source of one-minute candles while they form.
    pub minute_candles: MinuteCandles,
    /// Intervals whose native open times are on our grid.
    pub intervals: &'static [Interval],
    /// Maximum number of candles per page.
    pub page_rows: u32,
    /// Whether a page request may span more than `page_rows` candles; the response then has the first `page_rows`.
    pub accepts_long_ranges: bool,
    /// How long after its end a candle may still be missing or incomplete in REST, which lags behind the streams.
    pub rest_lag: Duration,
    /// Number of candles back from now that REST serves; `None` if it serves all since the listing of the market.
    pub history_rows: Option<u32>,
    /// A connection that receives no frame for this long is dead.
    pub idle_timeout: Duration,
    /// Maximum time until a subscription is acknowledged.
    pub ack_timeout: Duration,
    /// Maximum number of messages sent per second on one connection.
    pub messages_per_second: NonZeroU32,
    /// Age at which the exchange closes a connection.
    pub max_connection_age: Option<Duration>,
}

impl Profile {
    /// Whether candles of this interval are available, natively or as a rollup of a native interval.
    #[must_use]
    pub fn supports_interval(&self, interval: Interval) -> bool {
        self.intervals.contains(&interval) || self.intervals.iter().any(|native| native.divides(interval))
    }

    /// Minimum time between two messages on one connection. It leaves a fifth of the exchange's limit unused: pongs
    /// count towards the limit too, and two messages sent at different times may arrive together.
    #[must_use]
    pub fn send_interval(&self) -> Duration {
        let limit = self.messages_per_second.get();
        Duration::from_secs(1) / (limit - limit.div_ceil(5)).max(1)
    }
}

/// Cost of a page of candles.
#[derive(Clone, Copy, Debug)]
pub struct PageCost {
    /// Name of the [`RateLimit`]. If old candles have a separate limit, the name of that one.
    pub scope: &'static str,
    pub weight: u32,
}

/// Source of one-minute candles while they form, and what closes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinuteCandles {
    /// A stream whose candles have a closed flag. Nothing else closes a candle. The REST APIs of these exchanges also
    /// return candles for intervals without trades.
    Flagged,
    /// A stream without a closed flag: the next candle or the clock closes a candle, and its trades must add up to it.
    Unflagged,
    /// No stream: candles are built from trades.
    FromTrades,
}

/// A rate limit of an exchange: weight per window.
#[derive(Debug)]
pub struct RateLimit {
    /// Name of the limit; the `scope` in the API and in metrics.
    pub name: &'static str,
    /// Maximum weight per window.
    pub limit: u32,
    /// Length of a window.
    pub window: Duration,
    /// Response header with the weight used in the current window.
    pub used_header: Option<&'static str>,
}
