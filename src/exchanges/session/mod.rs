//! One connection as a state machine, the same for all exchanges.
//!
//! [`Session`] subscribes in batches, tracks acknowledgements and their deadlines, repeats refused requests with one
//! subscription each to find the refused one, unsubscribes, and sends pings. A [`StreamCodec`] knows only the dialect:
//! the text of requests and the meaning of frames. Data go to a [`Sink`], which adds exchange and symbol and checks
//! the values.

mod codec;
mod requests;
mod sink;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

pub(super) use self::codec::{
    Answer, Answers, Inbound, NativeTopic, Operation, Ping, Request, StreamCodec, StreamRules,
};
use self::requests::{PendingTopic, Requests};
pub(super) use self::sink::{NewTrade, Sink};
use super::feed::{
    ConnectionPlan, FeedError, FeedSession, Frame, Notice, Outbox, Recovery, SocketAddress, Subscription,
};
use super::markets::Markets;
use super::rest::RestCall;
use crate::model::{Channel, Symbol, Timestamp};

/// One connection to an exchange with dialect `C`.
pub(super) struct Session<C: StreamCodec> {
    codec: C,
    /// Subscriptions to request when the connection is ready; `None` from then on.
    initial: Option<Vec<Subscription>>,
    markets: Markets<C::State>,
    requests: Requests,
    /// Overrides the interval of the rules.
    ping_interval: Option<Duration>,
    /// When the last ping was sent or, for [`Ping::only_if_idle`], a frame was received.
    last_ping: Timestamp,
}

/// The pending requests that an answer refers to.
enum Matched {
    /// Single topics of a request whose other topics are answered separately.
    Topics(Vec<PendingTopic>),
    /// A request as a whole.
    Request(Vec<PendingTopic>),
    /// No request can be identified.
    Unknown,
}

impl<C: StreamCodec> Session<C> {
    /// A session with initial subscriptions.
    pub fn open(subscriptions: Vec<Subscription>) -> Box<dyn FeedSession> {
        let markets = Markets::subscribed(&subscriptions);
        Box::new(Self::new(markets, Some(subscriptions)))
    }

    /// A session that accepts frames of any market. `guess_symbol` derives the symbol from a native id.
    pub fn decoder(guess_symbol: fn(&str) -> Option<Symbol>) -> Box<dyn FeedSession> {
        Box::new(Self::new(Markets::any(guess_symbol), None))
    }

    fn new(markets: Markets<C::State>, initial: Option<Vec<Subscription>>) -> Self {
        Self {
            codec: C::default(),
            initial,
            markets,
            requests: Requests::new(C::RULES.profile),
            ping_interval: None,
            last_ping: Timestamp::EPOCH,
        }
    }

    /// Distributes the subscriptions of the exchange's channels over connections to `path`.
    pub fn plans(path: &str, subscriptions: &[Subscription]) -> Vec<ConnectionPlan> {
        Self::plans_with_address(path, None, subscriptions)
    }

    /// Like [`Session::plans`], for an exchange that assigns an address to each connection.
    pub fn plans_with_address(
        path: &str,
        address: Option<fn() -> RestCall<SocketAddress>>,
        subscriptions: &[Subscription],
    ) -> Vec<ConnectionPlan> {
        let capacity = C::RULES.topics_per_connection;
        let max_topics = Channel::ALL.map(|channel| C::channels(channel).len()).into_iter().max().unwrap_or(1);
        let mut parts: Vec<(usize, Vec<Subscription>)> = Vec::new();
        for subscription in subscriptions {
            let topics = C::channels(subscription.channel).len();
            match parts.last_mut() {
                _ if topics == 0 => {}
                Some((used, part)) if *used + topics <= capacity => {
                    *used += topics;
                    part.push(subscription.clone());
                }
                _ => parts.push((topics, vec![subscription.clone()])),
            }
        }
        let plan = |(used, subscriptions)| ConnectionPlan {
            path: path.to_owned(),
            address,
            encoding: C::RULES.encoding,
            subscriptions,
            spare_capacity: (capacity - used) / max_topics.max(1),
            session: Self::open,
        };
        parts.into_iter().map(plan).collect()
    }

    /// Requests the initial subscriptions.
    fn start(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(initial) = self.initial.take() else { return };
        if let Some(channel) = C::RULES.connection_channel {
            self.subscribe_topics(vec![PendingTopic { channel, subscription: None }], now, out);
        }
        self.subscribe(&initial, now, out);
    }

    fn subscribe(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for batch in batches::<C>(subscriptions) {
            self.subscribe_topics(batch, now, out);
        }
    }

    /// Sends one request to subscribe.
    fn subscribe_topics(&mut self, topics: Vec<PendingTopic>, now: Timestamp, out: &mut Outbox) {
        let id = self.requests.next_id(now);
        out.frames.push(request_text::<C>(Operation::Subscribe, &topics, id, now));
        self.requests.add(id, topics);
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for batch in batches::<C>(subscriptions) {
            let id = self.requests.next_id(now);
            out.frames.push(request_text::<C>(Operation::Unsubscribe, &batch, id, now));
            if C::RULES.answers == Answers::TopicList {
                // Its answer must not be taken for that of another request.
                self.requests.add(id, Vec::new());
            }
        }
    }

    /// Handles a frame that is not data.
    #[cold]
    fn on_control(&mut self, inbound: Inbound<'_>, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        // A decoder has no requests.
        if self.markets.accepts_any() {
            return Ok(());
        }
        match inbound {
            Inbound::Data | Inbound::Ignored => {}
            Inbound::Notice(notice) => out.notices.push(notice),
            Inbound::Reply(text) => {
                self.requests.next_id(now);
                out.frames.push(text);
            }
            Inbound::Welcome => {
                self.requests.take_oldest_if_empty();
                self.start(now, out);
            }
            Inbound::Ack(answer) => match self.matched(&answer) {
                Matched::Topics(topics) | Matched::Request(topics) => self.acknowledge(topics, out),
                Matched::Unknown => {}
            },
            Inbound::TopicList(topics) => {
                let (listed, missing) = self.requests.take_listed(&topics);
                self.acknowledge(listed, out);
                self.reject(missing, "missing in the exchange's list of subscriptions", out);
            }
            Inbound::AlreadySubscribed(answer) => self.on_already_subscribed(&answer, now, out),
            Inbound::Refusal { answer, reason } => return self.on_refusal(&answer, &reason, now, out),
            Inbound::Overloaded { reason, retry_after } => {
                let recovery = Recovery::Reconnect { after: retry_after };
                return Err(FeedError { recovery, message: format!("error of the exchange: {reason}") });
            }
        }
        Ok(())
    }

    /// Removes what `answer` refers to from the pending requests.
    fn matched(&mut self, answer: &Answer<'_>) -> Matched {
        let answers = C::RULES.answers;
        if answers == Answers::ByTopic
            && let Some(market) = &answer.market
        {
            return Matched::Topics(self.requests.take_topics(answer.request, answer.channel.as_deref(), market));
        }
        let oldest = || match answers {
            Answers::InOrder | Answers::TopicList => self.requests.oldest(answer.channel.as_deref()),
            Answers::ByRequest | Answers::ByTopic => None,
        };
        match answer.request.or_else(oldest) {
            Some(id) => Matched::Request(self.requests.take(id)),
            None => Matched::Unknown,
        }
    }

    /// Reports the subscriptions whose last pending topic was acknowledged.
    fn acknowledge(&self, topics: Vec<PendingTopic>, out: &mut Outbox) {
        let mut acknowledged = distinct_subscriptions(topics);
        acknowledged.retain(|one| self.markets.is_subscribed(one) && !self.requests.is_pending(one));
        if !acknowledged.is_empty() {
            out.notices.push(Notice::Acknowledged(acknowledged));
        }
    }

    fn reject(&mut self, topics: Vec<PendingTopic>, reason: &str, out: &mut Outbox) {
        for subscription in distinct_subscriptions(topics) {
            if self.markets.remove(&subscription) {
                out.notices.push(Notice::Rejected { subscription, reason: reason.to_owned() });
            }
        }
    }

    /// A topic is subscribed already, so that the exchange refused its request: the topic counts as acknowledged, and
    /// the others of a request that was refused as a whole are requested again. Terminates, since each refusal names a
    /// topic of the request, or ends in requests of one subscription each.
    fn on_already_subscribed(&mut self, answer: &Answer<'_>, now: Timestamp, out: &mut Outbox) {
        match self.matched(answer) {
            Matched::Topics(topics) => self.acknowledge(topics, out),
            Matched::Request(topics) => {
                let (named, others): (Vec<_>, Vec<_>) = topics.into_iter().partition(|topic| topic.is_named_by(answer));
                if !named.is_empty() {
                    if !others.is_empty() {
                        self.subscribe_topics(others, now, out);
                    }
                    // Only now: the others may belong to the same subscription.
                    self.acknowledge(named, out);
                } else if let Some(single) = self.split(others, now, out) {
                    self.acknowledge(single, out);
                }
            }
            Matched::Unknown => {}
        }
    }

    /// # Errors
    /// The exchange does not say which request it refused.
    fn on_refusal(
        &mut self,
        answer: &Answer<'_>,
        reason: &str,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        match self.matched(answer) {
            Matched::Topics(topics) => self.reject(topics, reason, out),
            Matched::Request(topics) => {
                self.requests.count_answer();
                self.refuse(topics, reason, now, out);
            }
            Matched::Unknown => {
                let message = format!("the exchange rejected an unidentified request: {reason}");
                return Err(FeedError { recovery: Recovery::SkipFrame, message });
            }
        }
        Ok(())
    }

    /// Handles a request that was refused as a whole.
    fn refuse(&mut self, topics: Vec<PendingTopic>, reason: &str, now: Timestamp, out: &mut Outbox) {
        if let Some(single) = self.split(topics, now, out) {
            self.reject(single, reason, out);
        }
    }

    /// Requests each subscription of a refused request separately, to find those that the exchange refuses. Returns the
    /// topics if the request was for one subscription.
    fn split(&mut self, mut topics: Vec<PendingTopic>, now: Timestamp, out: &mut Outbox) -> Option<Vec<PendingTopic>> {
        // Before those are left out that were removed meanwhile: the exchange may have refused one of them.
        let is_single = topics.iter().all(|topic| topic.subscription == topics[0].subscription);
        topics.retain(|topic| topic.subscription.as_ref().is_some_and(|one| self.markets.is_subscribed(one)));
        if is_single {
            return Some(topics);
        }
        while let Some(subscription) = topics.first().map(|topic| topic.subscription.clone()) {
            let (own, others) = topics.into_iter().partition(|topic| topic.subscription == subscription);
            self.subscribe_topics(own, now, out);
            topics = others;
        }
        None
    }

    fn send_ping_if_due(&mut self, now: Timestamp, out: &mut Outbox) {
        let Some(ping) = C::RULES.ping else { return };
        if now.since(self.last_ping) >= self.ping_interval.unwrap_or(ping.interval) {
            self.last_ping = now;
            out.frames.push((ping.message)(self.requests.next_id(now), now));
        }
    }
}

impl<C: StreamCodec> FeedSession for Session<C> {
    fn set_ping_interval(&mut self, interval: Duration) {
        self.ping_interval = Some(interval);
    }

    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        self.last_ping = now;
        if C::RULES.awaits_welcome {
            // The deadline of the welcome.
            let id = self.requests.next_id(now);
            self.requests.add(id, Vec::new());
        } else {
            self.start(now, out);
        }
    }

    fn update_subscriptions(
        &mut self,
        add: &[Subscription],
        remove: &[Subscription],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let mut removed: Vec<_> = remove.iter().filter(|one| self.markets.remove(one)).cloned().collect();
        // Another symbol of the same order book may still be subscribed.
        removed.retain(|one| !self.markets.has_channel(one.instrument.stream_name(), one.channel));
        let added: Vec<_> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        if let Some(initial) = &mut self.initial {
            initial.retain(|one| !remove.contains(one));
            initial.extend(added);
            return;
        }
        self.unsubscribe(&removed, now, out);
        self.subscribe(&added, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if C::RULES.ping.is_some_and(|ping| ping.only_if_idle) {
            self.last_ping = received;
        }
        let Frame::Text(text) = frame else { return Ok(()) };
        let mut sink = Sink::new(C::RULES.exchange, received, &mut self.markets, out);
        let inbound = self.codec.decode(text, &mut sink)?;
        if let Some(what) = sink.take_error() {
            return Err(FeedError::malformed(what, text));
        }
        match inbound {
            Inbound::Data | Inbound::Ignored => Ok(()),
            inbound => self.on_control(inbound, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        self.send_ping_if_due(now, out);
        if C::RULES.answers == Answers::TopicList {
            for topics in self.requests.take_answered_overdue(now) {
                self.refuse(topics, "missing in the exchange's list of subscriptions", now, out);
            }
        }
        self.requests.check_deadlines(now)
    }
}

/// The topics of each request for `subscriptions`. The topics of one subscription are in one request, unless requests
/// have one channel each.
fn batches<C: StreamCodec>(subscriptions: &[Subscription]) -> Vec<Vec<PendingTopic>> {
    let rules = C::RULES;
    let mut batches: Vec<Vec<PendingTopic>> = Vec::new();
    if rules.mixes_channels {
        for subscription in subscriptions {
            let topics =
                C::channels(subscription.channel).iter().map(|channel| PendingTopic::new(channel, subscription));
            match batches.last_mut() {
                _ if topics.len() == 0 => {}
                Some(batch) if batch.len() + topics.len() <= rules.topics_per_request => batch.extend(topics),
                _ => batches.push(topics.collect()),
            }
        }
        return batches;
    }
    for channel in Channel::ALL {
        for name in C::channels(channel) {
            let topics = subscriptions.iter().filter(|one| one.channel == channel);
            let topics: Vec<_> = topics.map(|one| PendingTopic::new(name, one)).collect();
            let size = if rules.single_topic_channels.contains(name) { 1 } else { rules.topics_per_request };
            batches.extend(topics.chunks(size).map(<[_]>::to_vec));
        }
    }
    batches
}

fn request_text<C: StreamCodec>(operation: Operation, topics: &[PendingTopic], id: u64, now: Timestamp) -> String {
    // Several symbols may share a topic.
    let mut seen = HashSet::new();
    let topics: Vec<NativeTopic<'_>> =
        topics.iter().map(PendingTopic::native).filter(|topic| seen.insert((topic.channel, topic.market))).collect();
    C::request(&Request { operation, topics: &topics, id, now })
}

/// The subscriptions of `topics`, each once, in order. An answer to several requests may have topics of a subscription
/// apart from each other.
fn distinct_subscriptions(topics: Vec<PendingTopic>) -> Vec<Subscription> {
    let mut seen = HashSet::new();
    let mut distinct: Vec<Subscription> = topics.into_iter().filter_map(|topic| topic.subscription).collect();
    distinct.retain(|one| seen.insert((one.channel, one.instrument.symbol.clone())));
    distinct
}
