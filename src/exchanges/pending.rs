//! Requests on a connection that the exchange has not answered yet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{FeedError, Profile, Recovery, Subscription};
use crate::model::Timestamp;

/// Open requests by their id, each with the time until which it must be answered.
pub(super) struct Pending {
    ack_timeout: Duration,
    /// Time between two messages.
    pace: Duration,
    /// When the last request that was queued is on the wire.
    sent_at: Timestamp,
    last_id: u64,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    subscriptions: Vec<Subscription>,
    deadline: Timestamp,
}

impl Pending {
    pub fn new(profile: &Profile) -> Self {
        Self {
            ack_timeout: profile.ack_timeout,
            pace: profile.pace(),
            sent_at: Timestamp::EPOCH,
            last_id: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// An id for a message whose answer nobody waits for.
    pub fn id(&mut self, now: Timestamp) -> u64 {
        // Messages leave at the exchange's pace, so that the last of many has its time too.
        self.sent_at = self.sent_at.max(now) + self.pace;
        self.last_id += 1;
        self.last_id
    }

    /// An id for a request that asks for these.
    pub fn request(&mut self, subscriptions: Vec<Subscription>, now: Timestamp) -> u64 {
        let id = self.id(now);
        let deadline = self.sent_at + self.ack_timeout;
        self.waiting.insert(id, Waiting { subscriptions, deadline });
        id
    }

    /// The oldest request that is not answered, for exchanges that answer in order and without an id.
    pub fn oldest(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }

    /// The whole request was answered: what it asked for and is not yet answered.
    pub fn answered(&mut self, id: u64) -> Option<Vec<Subscription>> {
        self.waiting.remove(&id).map(|waiting| waiting.subscriptions)
    }

    /// One part of a request was answered: that part. Without an id, of any request.
    pub fn part(&mut self, id: Option<u64>, is: impl Fn(&Subscription) -> bool) -> Option<Subscription> {
        let mut requests = self.waiting.iter_mut().filter(|(request, _)| id.is_none_or(|id| id == **request));
        let (request, part) = requests.find_map(|(request, waiting)| {
            let at = waiting.subscriptions.iter().position(&is)?;
            Some((*request, waiting.subscriptions.swap_remove(at)))
        })?;
        if self.waiting.get(&request).is_some_and(|waiting| waiting.subscriptions.is_empty()) {
            self.waiting.remove(&request);
        }
        Some(part)
    }

    /// Fails when an answer is overdue: the connection is to be made anew.
    pub fn check(&self, now: Timestamp) -> Result<(), FeedError> {
        let Some((id, waiting)) = self.waiting.iter().find(|(_, waiting)| waiting.deadline <= now) else {
            return Ok(());
        };
        let topics = waiting.subscriptions.iter().take(3).map(|one| one.topic().to_string()).collect::<Vec<_>>();
        let (count, timeout) = (waiting.subscriptions.len(), self.ack_timeout.as_secs());
        Err(FeedError {
            recovery: Recovery::Reconnect { after: Duration::ZERO },
            message: format!(
                "request {id} was not answered within {timeout} s; it asked for {count} subscriptions: {} …",
                topics.join(", ")
            ),
        })
    }
}
