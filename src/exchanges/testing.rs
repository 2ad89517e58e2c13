//! Helpers for the tests of the exchange adapters.

use std::sync::Arc;

use super::adapter::Exchange;
use super::feed::{FeedError, FeedSession, Frame, Notice, Outbox, Subscription};
use super::response::{RestError, RestErrorKind, RestResponse};
use super::rest::RestCall;
use crate::model::{Channel, ExchangeId, Instrument, MarketEvent, Timestamp};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_000);

/// Page of a firewall.
pub(super) const FIREWALL_PAGE: &str =
    "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>";
/// Page of a CDN that blocks a region.
pub(super) const REGION_BLOCK_PAGE: &str = "<HTML><H1>403 ERROR</H1>The request could not be satisfied. The Amazon CloudFront distribution is \
                          configured to block access from your country.</HTML>";

/// A market; `stream_native` is its id on the stream if it differs from `native`.
pub(super) fn instrument(exchange: ExchangeId, symbol: &str, native: &str, stream_native: Option<&str>) -> Instrument {
    Instrument {
        stream_native: stream_native.map(str::to_owned),
        ..Instrument::new(exchange, symbol.parse().unwrap(), native)
    }
}

/// Subscriptions to all channels of an instrument.
pub(super) fn all_channels(instrument: Instrument) -> Vec<Subscription> {
    let instrument = Arc::new(instrument);
    Channel::ALL.map(|channel| Subscription { channel, instrument: Arc::clone(&instrument) }).to_vec()
}

/// A session with a settable clock.
pub(super) struct TestSession {
    pub session: Box<dyn FeedSession>,
    pub now: Timestamp,
}

impl TestSession {
    /// Opens the first connection for `subscriptions`; also returns the frames that it sends.
    pub fn open(exchange: &dyn Exchange, subscriptions: &[Subscription]) -> (Self, Vec<serde_json::Value>) {
        let plan = exchange.connections(subscriptions).into_iter().next().unwrap();
        let mut test = Self { session: (plan.session)(plan.subscriptions), now: NOW };
        let mut out = Outbox::default();
        test.session.on_open(NOW, &mut out);
        (test, sent_frames(&out))
    }

    pub fn decoder(exchange: &dyn Exchange) -> Self {
        Self { session: exchange.decoder(), now: NOW }
    }

    pub fn receive(&mut self, text: &str) -> (Outbox, Result<(), FeedError>) {
        let mut out = Outbox::default();
        let result = self.session.on_frame(Frame::Text(text), self.now, &mut out);
        (out, result)
    }

    /// Receives a valid frame.
    pub fn frame(&mut self, text: &str) -> Outbox {
        let (out, result) = self.receive(text);
        assert_eq!(result, Ok(()), "{text}");
        out
    }

    /// Receives a valid frame; returns its events as JSON.
    pub fn events(&mut self, text: &str) -> Vec<String> {
        self.frame(text).events.iter().map(json).collect()
    }

    pub fn update(&mut self, add: &[Subscription], remove: &[Subscription]) -> Vec<serde_json::Value> {
        let mut out = Outbox::default();
        self.session.update_subscriptions(add, remove, self.now, &mut out);
        sent_frames(&out)
    }

    pub fn timer(&mut self, now: Timestamp) -> (Vec<serde_json::Value>, Result<(), FeedError>) {
        let mut out = Outbox::default();
        let result = self.session.on_timer(now, &mut out);
        (sent_frames(&out), result)
    }
}

/// An event as sent to subscribers.
pub(super) fn json(event: &MarketEvent) -> String {
    String::from_utf8(crate::model::wire::event_data(event, false)).unwrap()
}

pub(super) fn sent_frames(out: &Outbox) -> Vec<serde_json::Value> {
    out.frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
}

/// The topics of all acknowledged subscriptions.
pub(super) fn acknowledged(out: &Outbox) -> Vec<String> {
    let topics = |notice: &Notice| match notice {
        Notice::Acknowledged(all) => all.iter().map(|one| one.topic().to_string()).collect(),
        _ => vec![],
    };
    out.notices.iter().flat_map(topics).collect()
}

/// The topics of all rejected subscriptions.
pub(super) fn rejected(out: &Outbox) -> Vec<String> {
    let topic = |notice: &Notice| match notice {
        Notice::Rejected { subscription, .. } => Some(subscription.topic().to_string()),
        _ => None,
    };
    out.notices.iter().filter_map(topic).collect()
}

/// Parses a response with HTTP 200.
pub(super) fn parse<T>(call: &RestCall<T>, body: &str) -> Result<T, RestError> {
    parse_status(call, 200, body)
}

pub(super) fn parse_status<T>(call: &RestCall<T>, status: u16, body: &str) -> Result<T, RestError> {
    (call.parse)(&RestResponse { status, body: body.as_bytes() }, NOW)
}

/// How a response with an error status is classified.
pub(super) fn error_kind(exchange: &dyn Exchange, status: u16, body: &str) -> RestErrorKind {
    exchange.classify_response(&RestResponse { status, body: body.as_bytes() }, Timestamp::EPOCH).kind
}
