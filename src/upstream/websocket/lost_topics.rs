//! Interrupted topics, and the gaps that report them.

use std::collections::BTreeMap;

use crate::exchanges::Subscription;
use crate::model::{ExchangeId, Gap, GapReason, MarketEvent, TimeRange, Timestamp, Topic};

/// Topics that were interrupted and have not resumed, with the time of the last frame before.
pub(super) struct LostTopics {
    exchange: ExchangeId,
    since: BTreeMap<Topic, Timestamp>,
}

impl LostTopics {
    pub fn new(exchange: ExchangeId) -> Self {
        Self { exchange, since: BTreeMap::new() }
    }

    /// Adds a topic, unless it has been interrupted for longer.
    pub fn add(&mut self, topic: Topic, since: Timestamp) {
        self.since.entry(topic).or_insert(since);
    }

    /// Forgets a topic.
    pub fn remove(&mut self, topic: &Topic) {
        self.since.remove(topic);
    }

    /// Forgets all topics but these.
    pub fn retain(&mut self, subscribed: &BTreeMap<Topic, Subscription>) {
        self.since.retain(|topic, _| subscribed.contains_key(topic));
    }

    /// Takes the topics as resumed at `at`. Returns a gap for each group of topics that was interrupted together.
    pub fn resume(&mut self, topics: impl IntoIterator<Item = Topic>, at: Timestamp) -> Vec<MarketEvent> {
        let mut resumed = BTreeMap::<_, Vec<_>>::new();
        for topic in topics {
            if let Some(since) = self.since.remove(&topic) {
                resumed.entry(since).or_default().push(topic);
            }
        }
        resumed.into_iter().map(|(since, topics)| gap(self.exchange, topics, since, at)).collect()
    }

    /// Inserts a gap before the first event of each lost topic that resumes before its acknowledgement.
    pub fn insert_gaps(&mut self, events: Vec<MarketEvent>, at: Timestamp) -> Vec<MarketEvent> {
        if self.since.is_empty() {
            return events;
        }
        let mut with_gaps = Vec::with_capacity(events.len() + 1);
        for event in events {
            with_gaps.extend(self.resume(topic(&event), at));
            with_gaps.push(event);
        }
        with_gaps
    }
}

/// The gap of topics of an exchange that missed the events from `since` to `until`.
pub(super) fn gap(exchange: ExchangeId, topics: Vec<Topic>, since: Timestamp, until: Timestamp) -> MarketEvent {
    let (missed, reason) = (TimeRange::new(since, until), GapReason::UpstreamDisconnect);
    MarketEvent::Gap(Gap { exchange, topics, missed, reason })
}

/// The topic of an event.
fn topic(event: &MarketEvent) -> Option<Topic> {
    match event {
        MarketEvent::Ticker(ticker) => Some(Topic::Ticker { exchange: ticker.exchange, symbol: ticker.symbol.clone() }),
        MarketEvent::Trade(trade) => Some(Topic::Trades { exchange: trade.exchange, symbol: trade.symbol.clone() }),
        MarketEvent::Candle(update) => Some(Topic::Candles(update.series.clone())),
        MarketEvent::Gap(_) => None,
    }
}
