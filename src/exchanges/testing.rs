//! What the tests of every dialect need.

use std::sync::Arc;

use super::{Exchange, FeedError, FeedSession, Frame, Notice, Outbox, Reply, ReplyError, RestCall, Subscription};
use crate::model::{Channel, ExchangeId, Instrument, InstrumentStatus, MarketEvent, Timestamp};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_000);

/// A market whose stream names it like the symbol where `stream_native` says so.
pub(super) fn instrument(exchange: ExchangeId, symbol: &str, native: &str, stream_native: Option<&str>) -> Instrument {
    Instrument {
        exchange,
        symbol: symbol.parse().unwrap(),
        native: native.to_owned(),
        stream_native: stream_native.map(str::to_owned),
        price_step: None,
        amount_step: None,
        status: InstrumentStatus::Trading,
    }
}

/// Every channel of an instrument.
pub(super) fn every_channel(instrument: Instrument) -> Vec<Subscription> {
    let instrument = Arc::new(instrument);
    Channel::ALL.map(|channel| Subscription { channel, instrument: Arc::clone(&instrument) }).to_vec()
}

/// A session with its outbox.
pub(super) struct Driven {
    pub session: Box<dyn FeedSession>,
    pub now: Timestamp,
}

impl Driven {
    /// A session for these, opened; with the frames that it sent.
    pub fn open(exchange: &dyn Exchange, subscriptions: &[Subscription]) -> (Self, Vec<serde_json::Value>) {
        let plan = exchange.connections(subscriptions).into_iter().next().unwrap();
        let mut driven = Self { session: (plan.session)(plan.subscriptions), now: NOW };
        let mut out = Outbox::default();
        driven.session.on_open(NOW, &mut out);
        (driven, sent(&out))
    }

    pub fn decoder(exchange: &dyn Exchange) -> Self {
        Self { session: exchange.decoder(), now: NOW }
    }

    pub fn receive(&mut self, text: &str) -> (Outbox, Result<(), FeedError>) {
        let mut out = Outbox::default();
        let result = self.session.on_frame(Frame::Text(text), self.now, &mut out);
        (out, result)
    }

    /// What a good frame gave.
    pub fn frame(&mut self, text: &str) -> Outbox {
        let (out, result) = self.receive(text);
        assert_eq!(result, Ok(()), "{text}");
        out
    }

    /// The events of a good frame as JSON.
    pub fn events(&mut self, text: &str) -> Vec<String> {
        self.frame(text).events.iter().map(json).collect()
    }

    pub fn change(&mut self, add: &[Subscription], remove: &[Subscription]) -> Vec<serde_json::Value> {
        let mut out = Outbox::default();
        self.session.change(add, remove, self.now, &mut out);
        sent(&out)
    }

    pub fn timer(&mut self, now: Timestamp) -> (Vec<serde_json::Value>, Result<(), FeedError>) {
        let mut out = Outbox::default();
        let result = self.session.on_timer(now, &mut out);
        (sent(&out), result)
    }
}

/// An event as its subscribers get it.
pub(super) fn json(event: &MarketEvent) -> String {
    String::from_utf8(crate::model::wire::event_data(event, false)).unwrap()
}

pub(super) fn sent(out: &Outbox) -> Vec<serde_json::Value> {
    out.frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
}

/// The topics of all subscriptions that were confirmed.
pub(super) fn confirmed(out: &Outbox) -> Vec<String> {
    let of = |notice: &Notice| match notice {
        Notice::Confirmed(all) => all.iter().map(|one| one.topic().to_string()).collect(),
        _ => vec![],
    };
    out.notices.iter().flat_map(of).collect()
}

/// The topics of all subscriptions that were refused.
pub(super) fn refused(out: &Outbox) -> Vec<String> {
    let of = |notice: &Notice| match notice {
        Notice::Refused { subscription, .. } => Some(subscription.topic().to_string()),
        _ => None,
    };
    out.notices.iter().filter_map(of).collect()
}

/// Reads a reply with HTTP 200.
pub(super) fn parse<T>(call: &RestCall<T>, body: &str) -> Result<T, ReplyError> {
    parse_status(call, 200, body)
}

pub(super) fn parse_status<T>(call: &RestCall<T>, status: u16, body: &str) -> Result<T, ReplyError> {
    (call.parse)(&Reply { status, body: body.as_bytes() }, NOW)
}
