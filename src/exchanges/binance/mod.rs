//! Binance spot.
//!
//! Documentation: <https://developers.binance.com/docs/binance-spot-api-docs>.

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

/// Binance spot.
#[derive(Debug)]
pub struct Binance;

static PROFILE: Profile = Profile {
    // <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information>; the second one serves
    // public market data only, which is all that is asked for, also to regions that the others are closed to.
    rest_origins: &[
        "https://api.binance.com",
        "https://data-api.binance.vision",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
    ],
    // <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>: both ports; the second host serves market
    // data only.
    ws_origins: &["wss://stream.binance.com:9443", "wss://data-stream.binance.vision", "wss://stream.binance.com:443"],
    rest_headers: &[],
    probe_path: "/api/v3/ping",
    // <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
    scopes: &[Scope {
        name: rest::SCOPE,
        limit: 6000,
        window: Duration::from_mins(1),
        used_header: Some("x-mbx-used-weight-1m"),
    }],
    // "300 connections per attempt every 5 minutes per IP":
    // <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>
    connects: Scope { name: "connections", limit: 300, window: Duration::from_mins(5), used_header: None },
    // "Usually, a WAF ban will have a duration of 5 minutes": <https://www.binance.com/en/support/articles/360004492232>. Bans by
    // rate last from two minutes to three days, and a 418 names its own time:
    // <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
    ban_pause: Duration::from_mins(5),
    reset_header: None,
    page_cost: PageCost { scope: rest::SCOPE, weight: 2 },
    channels: &Channel::ALL,
    minutes: MinuteCandles::Flagged,
    // `startTime` without rows behind it gives the first rows there are.
    wide_pages: true,
    // Weeks open on Monday. `3d` is left out: it counts from the listing of BTCUSDT, 2017-08-17, and not from the epoch.
    intervals: &[
        Interval::M1,
        Interval::M3,
        Interval::M5,
        Interval::M15,
        Interval::M30,
        Interval::H1,
        Interval::H2,
        Interval::H4,
        Interval::H6,
        Interval::H8,
        Interval::H12,
        Interval::D1,
        Interval::W1,
        Interval::Mo1,
    ],
    page_rows: 1000,
    rest_lag: Duration::ZERO,
    reach_rows: None,
    // A ping comes every 20 s.
    idle_timeout: Duration::from_mins(1),
    ack_timeout: Duration::from_secs(10),
    // Five a second are allowed, pongs included; a burst and its refill may fall into one second.
    messages_per_second: NonZeroU32::MIN.saturating_add(1),
    max_connection_age: Some(Duration::from_hours(24)),
};

/// Streams that one connection takes: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>.
const STREAMS_PER_CONNECTION: usize = 1024;

/// The most streams that one subscription takes, those of a ticker.
const STREAMS_PER_SUBSCRIPTION: usize = 2;

impl Exchange for Binance {
    fn id(&self) -> ExchangeId {
        ExchangeId::Binance
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
        let mut plans: Vec<(usize, Vec<Subscription>)> = Vec::new();
        for subscription in subscriptions {
            let streams = session::stream_names(subscription).count();
            match plans.last_mut() {
                Some((used, plan)) if *used + streams <= STREAMS_PER_CONNECTION => {
                    *used += streams;
                    plan.push(subscription.clone());
                }
                _ => plans.push((streams, vec![subscription.clone()])),
            }
        }
        let plan = |(used, subscriptions)| ConnectionPlan {
            path: "/stream".to_owned(),
            subscriptions,
            spare: (STREAMS_PER_CONNECTION - used) / STREAMS_PER_SUBSCRIPTION,
            session: |subscriptions| Box::new(session::Session::new(subscriptions)),
        };
        plans.into_iter().map(plan).collect()
    }

    fn decoder(&self) -> Box<dyn FeedSession> {
        Box::new(session::Session::decoder())
    }

    fn guess_symbol(&self, native: &str) -> Option<Symbol> {
        symbols::guess(native)
    }
}
