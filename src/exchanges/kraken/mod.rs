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
    CandlePage, CandleRows, ConnectionPlan, Exchange, FeedSession, Listing, MinuteCandles, PageCost, Profile, Reply,
    ReplyError, RestCall, Scope, ServerTime, Subscription,
};
use crate::model::{Channel, ExchangeId, Instrument, Interval, Symbol, TickerPatch, Timestamp};

/// Kraken spot.
#[derive(Debug)]
pub struct Kraken;

static PROFILE: Profile = Profile {
    rest_origins: &["https://api.kraken.com"],
    ws_origins: &["wss://ws.kraken.com"],
    rest_headers: &[],
    probe_path: "/0/public/Time",
    // "A frequency of 1 per second (or less)" by address:
    // <https://support.kraken.com/articles/206548367-what-are-the-api-rate-limits->; kept as an average, so that a
    // few questions at once need not queue.
    scopes: &[Scope { name: rest::SCOPE, limit: 10, window: Duration::from_secs(10), used_header: None }],
    // "Approximately 150 attempts per rolling 10 minutes", by address; who passes them is banned for 10 minutes:
    // <https://docs.kraken.com/api/docs/guides/spot-ws-intro>
    connects: Scope { name: "connections", limit: 150, window: Duration::from_mins(10), used_header: None },
    // The exchange names no time.
    ban_pause: Duration::from_secs(30),
    reset_header: None,
    page_cost: PageCost { scope: rest::SCOPE, weight: 1 },
    channels: &Channel::ALL,
    minutes: MinuteCandles::Unflagged,
    wide_pages: false,
    // <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>: also 10080 (weeks, which open on Thursday) and 21600
    // minutes, neither of which is on our grid.
    intervals: &[Interval::M1, Interval::M5, Interval::M15, Interval::M30, Interval::H1, Interval::H4, Interval::D1],
    page_rows: rest::ROWS,
    // The forming candle is one of the rows, and minutes may pass between question and answer.
    rest_lag: Duration::ZERO,
    reach_rows: Some(rest::ROWS - 5),
    // A heartbeat comes each second without other traffic:
    // <https://docs.kraken.com/api/docs/websocket-v2/heartbeat>
    idle_timeout: Duration::from_secs(30),
    ack_timeout: Duration::from_secs(10),
    // No number is documented ("Exceeded msg rate" is the answer to too many; the limit varies with the load): a conservative one.
    messages_per_second: NonZeroU32::MIN.saturating_add(4),
    max_connection_age: None,
};

/// Subscriptions that one connection gets. The exchange documents no limit; this keeps one connection's traffic small.
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
        PROFILE.intervals.contains(&page.interval).then(|| rest::candles(page))
    }

    fn refusal(&self, reply: &Reply<'_>, received: Timestamp) -> Option<ReplyError> {
        rest::own_error(reply, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        let plan = |part: &[Subscription]| ConnectionPlan {
            path: "/v2".to_owned(),
            subscriptions: part.to_vec(),
            spare: SUBSCRIPTIONS_PER_CONNECTION - part.len(),
            session: |subscriptions| Box::new(session::Session::new(subscriptions)),
        };
        subscriptions.chunks(SUBSCRIPTIONS_PER_CONNECTION).map(plan).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess(native)
    }
}
