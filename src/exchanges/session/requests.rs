//! Requests of a connection that the exchange has not answered yet.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::{Answer, NativeTopic};
use crate::exchanges::feed::{FeedError, Recovery, Subscription};
use crate::exchanges::profile::Profile;
use crate::model::Timestamp;

/// A topic that the exchange has not acknowledged yet.
#[derive(Clone, Debug)]
pub struct PendingTopic {
    pub channel: &'static str,
    /// The subscription that needs the topic; `None` for a channel of the connection.
    pub subscription: Option<Subscription>,
}

impl PendingTopic {
    pub fn new(channel: &'static str, subscription: &Subscription) -> Self {
        Self { channel, subscription: Some(subscription.clone()) }
    }

    pub fn native(&self) -> NativeTopic<'_> {
        let market = self.subscription.as_ref().map_or("", |one| one.instrument.stream_name());
        NativeTopic { channel: self.channel, market }
    }

    /// Whether `answer` names this topic.
    pub fn is_named_by(&self, answer: &Answer<'_>) -> bool {
        let NativeTopic { channel, market } = self.native();
        answer.market.as_deref() == Some(market) && answer.channel.as_deref().is_none_or(|named| named == channel)
    }
}

/// Pending requests by id, each with its deadline.
pub struct Requests {
    ack_timeout: Duration,
    /// Minimum time between two messages.
    send_interval: Duration,
    /// When the last queued message is sent.
    last_send_at: Timestamp,
    last_id: u64,
    pending: BTreeMap<u64, Pending>,
    /// Number of answers received, on an exchange that answers every message in order.
    answers: u64,
    /// The last list of all topics of the connection.
    listed: TopicList,
}

/// Topics as channel and market, sorted.
#[derive(Default)]
struct TopicList(Vec<(Box<str>, Box<str>)>);

impl TopicList {
    fn new(mut topics: Vec<(Box<str>, Box<str>)>) -> Self {
        topics.sort_unstable();
        Self(topics)
    }

    fn contains(&self, topic: &PendingTopic) -> bool {
        let NativeTopic { channel, market } = topic.native();
        // A channel without markets is listed with its own name.
        let market = if market.is_empty() { channel } else { market };
        self.0.binary_search_by(|(own, listed)| (&**own, &**listed).cmp(&(channel, market))).is_ok()
    }
}

struct Pending {
    topics: Vec<PendingTopic>,
    deadline: Timestamp,
}

impl Requests {
    pub fn new(profile: &Profile) -> Self {
        Self {
            ack_timeout: profile.ack_timeout,
            send_interval: profile.send_interval(),
            last_send_at: Timestamp::EPOCH,
            last_id: 0,
            pending: BTreeMap::new(),
            answers: 0,
            listed: TopicList::default(),
        }
    }

    /// The id of a message.
    pub fn next_id(&mut self, now: Timestamp) -> u64 {
        // Messages are queued and sent at intervals, so the deadline of the last of many is later.
        self.last_send_at = self.last_send_at.max(now) + self.send_interval;
        self.last_id += 1;
        self.last_id
    }

    /// Adds the request with the id of the last message.
    pub fn add(&mut self, id: u64, topics: Vec<PendingTopic>) {
        let deadline = self.last_send_at + self.ack_timeout;
        self.pending.insert(id, Pending { topics, deadline });
    }

    /// The oldest pending request, or the oldest one of `channel`.
    pub fn oldest(&self, channel: Option<&str>) -> Option<u64> {
        let is_of_channel = |topic: &PendingTopic| channel.is_none_or(|channel| topic.channel == channel);
        let mut requests = self.pending.iter();
        requests.find(|(_, one)| channel.is_none() || one.topics.iter().any(is_of_channel)).map(|(id, _)| *id)
    }

    /// Removes a request that is answered as a whole; returns its topics that are not answered yet.
    pub fn take(&mut self, id: u64) -> Vec<PendingTopic> {
        self.pending.remove(&id).map(|request| request.topics).unwrap_or_default()
    }

    /// Removes the oldest request if it has no topics.
    pub fn take_oldest_if_empty(&mut self) {
        if let Some(oldest) = self.pending.first_entry()
            && oldest.get().topics.is_empty()
        {
            oldest.remove();
        }
    }

    /// Removes a topic from a request or, without an id, from the oldest request that has it. Several subscriptions may
    /// share the topic.
    pub fn take_topics(&mut self, id: Option<u64>, channel: Option<&str>, market: &str) -> Vec<PendingTopic> {
        let is_named = |topic: &PendingTopic| {
            let native = topic.native();
            native.market == market && channel.is_none_or(|channel| native.channel == channel)
        };
        let mut requests = self.pending.iter_mut().filter(|(other, _)| id.is_none_or(|id| id == **other));
        let Some((id, request)) = requests.find(|(_, request)| request.topics.iter().any(is_named)) else {
            return Vec::new();
        };
        let id = *id;
        let taken = request.topics.extract_if(.., |topic| is_named(topic)).collect();
        if request.topics.is_empty() {
            self.pending.remove(&id);
        }
        taken
    }

    /// Removes the topics that a list of all topics of the connection answers. Returns those that are listed, and those
    /// that are not although their request was answered: the exchange refused them.
    ///
    /// The exchange answers in order, so that the first list with a topic proves that the request of the topic and all
    /// earlier ones were answered. The position of a list proves nothing: lists may be repeated.
    pub fn take_listed(&mut self, list: &[(Cow<'_, str>, Cow<'_, str>)]) -> (Vec<PendingTopic>, Vec<PendingTopic>) {
        self.count_answer();
        let list = list.iter().map(|(channel, market)| ((&**channel).into(), (&**market).into())).collect();
        let (list, earlier) = (TopicList::new(list), std::mem::take(&mut self.listed));
        let is_new = |topic: &PendingTopic| list.contains(topic) && !earlier.contains(topic);
        let mut requests = self.pending.iter().rev();
        let last_answered = requests.find(|(_, one)| one.topics.iter().any(is_new)).map(|(id, _)| *id);
        let unanswered = self.pending.split_off(&last_answered.map_or(0, |id| id + 1));
        let answered = std::mem::replace(&mut self.pending, unanswered);
        if last_answered.is_none() {
            self.take_oldest_if_empty();
        }
        let topics = answered.into_values().flat_map(|request| request.topics);
        let (mut listed, missing): (Vec<_>, Vec<_>) = topics.partition(|topic| list.contains(topic));
        // A topic that was subscribed before, for another symbol.
        self.pending.retain(|_, request| {
            let before = listed.len();
            listed.extend(request.topics.extract_if(.., |topic| list.contains(topic)));
            listed.len() == before || !request.topics.is_empty()
        });
        self.listed = list;
        (listed, missing)
    }

    /// Counts an answer of an exchange that answers every message in order.
    pub fn count_answer(&mut self) {
        self.answers += 1;
    }

    /// Removes the overdue requests that an exchange which answers every message in order has answered without listing
    /// a topic of them: there were at least as many answers as messages.
    pub fn take_answered_overdue(&mut self, now: Timestamp) -> Vec<Vec<PendingTopic>> {
        let answers = self.answers;
        let overdue = self.pending.extract_if(..=answers, |_, request| request.deadline <= now);
        overdue.map(|(_, request)| request.topics).collect()
    }

    /// Whether a topic of the subscription is pending.
    pub fn is_pending(&self, subscription: &Subscription) -> bool {
        let mut topics = self.pending.values().flat_map(|request| &request.topics);
        topics.any(|topic| topic.subscription.as_ref() == Some(subscription))
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// A request is overdue: the runner must reconnect.
    pub fn check_deadlines(&self, now: Timestamp) -> Result<(), FeedError> {
        let Some((id, request)) = self.pending.iter().find(|(_, request)| request.deadline <= now) else {
            return Ok(());
        };
        let mut topics: Vec<_> = request.topics.iter().filter_map(|topic| topic.subscription.as_ref()).collect();
        topics.dedup();
        let (count, timeout) = (topics.len(), self.ack_timeout.as_secs());
        let shown: Vec<_> = topics.iter().take(3).map(|one| one.topic().to_string()).collect();
        Err(FeedError {
            recovery: Recovery::Reconnect { after: Duration::ZERO },
            message: format!(
                "request {id} was not acknowledged within {timeout} s; it has {count} subscriptions: {} …",
                shown.join(", ")
            ),
        })
    }
}
