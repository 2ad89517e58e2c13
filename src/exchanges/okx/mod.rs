//! OKX spot, version 5.
//!
//! Documentation: <https://www.okx.com/docs-v5/en/>, read in November 2026.

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

/// OKX spot.
#[derive(Debug)]
pub struct Okx;

/// Each path is metered on its own, by address: <https://www.okx.com/docs-v5/en/#overview-rate-limits>.
const fn every_two_seconds(name: &'static str, limit: u32) -> Scope {
    Scope { name, limit, window: Duration::from_secs(2), used_header: None }
}

static PROFILE: Profile = Profile {
    // <https://www.okx.com/docs-v5/en/#overview-production-trading-services> names the second one; the first, which it
    // named before, serves the same.
    rest_origins: &["https://www.okx.com", "https://openapi.okx.com"],
    ws_origins: &["wss://ws.okx.com:8443"],
    rest_headers: &[],
    probe_path: "/api/v5/public/time",
    scopes: &[
        // <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-system-time>
        every_two_seconds(rest::TIME, 10),
        // By address and kind of instrument: <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>
        every_two_seconds(rest::INSTRUMENTS, 20),
        // <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-ticker>
        every_two_seconds(rest::TICKER, 20),
        // <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>
        every_two_seconds(rest::CANDLES, 40),
        // <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history>
        every_two_seconds(rest::HISTORY_CANDLES, 20),
    ],
    // "3 requests per second (based on IP)": <https://www.okx.com/docs-v5/en/#overview-websocket-connect>; over two
    // seconds, since connections do not take the same time to arrive.
    connects: Scope { name: "connections", limit: 3, window: Duration::from_secs(2), used_header: None },
    // A refusal names no time, and windows are short.
    ban_pause: Duration::from_secs(10),
    reset_header: None,
    page_cost: PageCost { scope: rest::HISTORY_CANDLES, weight: 1 },
    channels: &Channel::ALL,
    minutes: MinuteCandles::Flagged,
    wide_pages: false,
    intervals: rest::INTERVALS,
    // The most of both paths.
    page_rows: 300,
    rest_lag: Duration::ZERO,
    reach_rows: None,
    // A ping goes out after 20 s of silence, and must be answered within as long.
    idle_timeout: Duration::from_secs(40),
    ack_timeout: Duration::from_secs(10),
    // Documented are 3 connections a second and 480 requests an hour on one connection, which change subscriptions; see
    // <https://www.okx.com/docs-v5/en/#overview-websocket-connect>. Messages a second are not: a conservative number.
    messages_per_second: NonZeroU32::MIN.saturating_add(2),
    max_connection_age: None,
};

/// Subscriptions that one connection gets. Their "total length" may be 64 KB, each taking about 50 bytes; there is also
/// a number that is not documented (close code 4008): <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>.
const SUBSCRIPTIONS_PER_CONNECTION: usize = 400;

/// Where a channel is told. The other path answers with error 60018:
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel>.
const fn path_of(channel: Channel) -> &'static str {
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

    fn refusal(&self, reply: &Reply<'_>, received: Timestamp) -> Option<ReplyError> {
        rest::own_error(reply, received)
    }

    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        let mut plans = Vec::new();
        for path in [path_of(Channel::Ticker), path_of(Channel::Candles)] {
            let here: Vec<&Subscription> = subscriptions.iter().filter(|one| path_of(one.channel) == path).collect();
            plans.extend(here.chunks(SUBSCRIPTIONS_PER_CONNECTION).map(|part| ConnectionPlan {
                path: path.to_owned(),
                subscriptions: part.iter().copied().cloned().collect(),
                spare: SUBSCRIPTIONS_PER_CONNECTION - part.len(),
                session: |subscriptions| Box::new(session::Session::new(subscriptions)),
            }));
        }
        plans
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess(native)
    }
}

/// What OKX calls an interval: <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>.
///
/// From six hours on the plain names open on Hong Kong's time, and those with `utc` on ours. There is no `8H`. Where
/// `3Dutc` counts from is not documented, so that three days are made of days. A row off our grid is left out.
const fn bar_name(interval: Interval) -> Option<&'static str> {
    Some(match interval {
        Interval::M1 => "1m",
        Interval::M3 => "3m",
        Interval::M5 => "5m",
        Interval::M15 => "15m",
        Interval::M30 => "30m",
        Interval::H1 => "1H",
        Interval::H2 => "2H",
        Interval::H4 => "4H",
        Interval::H6 => "6Hutc",
        Interval::H12 => "12Hutc",
        Interval::D1 => "1Dutc",
        Interval::W1 => "1Wutc",
        Interval::Mo1 => "1Mutc",
        Interval::H8 | Interval::D3 => return None,
    })
}
