//! Coinbase: the public market data of Advanced Trade, without a key.
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
    CandlePage, CandleRows, ConnectionPlan, Exchange, FeedSession, Listing, MinuteCandles, PageCost, Profile, Reply,
    ReplyError, RestCall, Scope, ServerTime, Subscription,
};
use crate::model::{Channel, ExchangeId, Instrument, Symbol, TickerPatch, Timestamp};

/// Coinbase Advanced Trade.
#[derive(Debug)]
pub struct Coinbase;

static PROFILE: Profile = Profile {
    rest_origins: &["https://api.coinbase.com"],
    ws_origins: &["wss://advanced-trade-ws.coinbase.com"],
    // Public answers are "cached for 1 second" unless that is declined:
    // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api#public-endpoints>
    rest_headers: &[("cache-control", "no-cache")],
    probe_path: "/api/v3/brokerage/time",
    // Public endpoints: 10 a second by address:
    // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api#rate-limits>
    scopes: &[Scope { name: rest::SCOPE, limit: 10, window: Duration::from_secs(1), used_header: None }],
    // "8 per second per IP address":
    // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits>
    connects: Scope { name: "connections", limit: 8, window: Duration::from_secs(1), used_header: None },
    // Not documented.
    ban_pause: Duration::from_secs(30),
    reset_header: None,
    page_cost: PageCost { scope: rest::SCOPE, weight: 1 },
    // Its channel `candles` is of five minutes only.
    channels: &[Channel::Ticker, Channel::Trades],
    minutes: MinuteCandles::FromTrades,
    intervals: rest::INTERVALS,
    page_rows: rest::ROWS,
    wide_pages: false,
    // Not documented; the newest minutes of its candles are seen to be missing or not whole for up to a minute.
    rest_lag: Duration::from_mins(1),
    reach_rows: None,
    // The channel `heartbeats` speaks each second.
    idle_timeout: Duration::from_secs(10),
    ack_timeout: Duration::from_secs(10),
    // "Unauthenticated messages are rate-limited at 8 per second per IP address"; half of it, since several connections
    // share an address.
    messages_per_second: NonZeroU32::MIN.saturating_add(3),
    max_connection_age: None,
};

/// Subscriptions that one connection gets. The exchange documents no limit; with 200 markets each request is one message.
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
        vec![rest::product(instrument), rest::last_trade(instrument)]
    }

    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>> {
        rest::candles(page)
    }

    fn refusal(&self, reply: &Reply<'_>, received: Timestamp) -> Option<ReplyError> {
        rest::own_error(reply, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        let streamed: Vec<_> =
            subscriptions.iter().filter(|one| PROFILE.channels.contains(&one.channel)).cloned().collect();
        let plan = |part: &[Subscription]| ConnectionPlan {
            path: "/".to_owned(),
            subscriptions: part.to_vec(),
            spare: SUBSCRIPTIONS_PER_CONNECTION - part.len(),
            session: |subscriptions| Box::new(session::Session::new(subscriptions)),
        };
        streamed.chunks(SUBSCRIPTIONS_PER_CONNECTION).map(plan).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess(native)
    }
}
