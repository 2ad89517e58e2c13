//! Requests on a connection that the exchange has not answered yet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::feed::{FeedError, Recovery, Subscription};
use super::profile::Profile;
use crate::model::Timestamp;

/// Pending requests by id, each with its deadline.
pub(super) struct PendingRequests {
    ack_timeout: Duration,
    /// Minimum time between two messages.
    send_interval: Duration,
    /// When the last queued message is sent.
    last_send_at: Timestamp,
    last_id: u64,
    requests: BTreeMap<u64, Request>,
}

struct Request {
    subscriptions: Vec<Subscription>,
    deadline: Timestamp,
}

impl PendingRequests {
    pub fn new(profile: &Profile) -> Self {
        Self {
            ack_timeout: profile.ack_timeout,
            send_interval: profile.send_interval(),
            last_send_at: Timestamp::EPOCH,
            last_id: 0,
            requests: BTreeMap::new(),
        }
    }

    /// The id of a message that needs no acknowledgement.
    pub fn next_id(&mut self, now: Timestamp) -> u64 {
        // Messages are queued and sent at intervals, so the deadline of the last of many is later.
        self.last_send_at = self.last_send_at.max(now) + self.send_interval;
        self.last_id += 1;
        self.last_id
    }

    /// Adds a request for `subscriptions` and returns its id.
    pub fn add(&mut self, subscriptions: Vec<Subscription>, now: Timestamp) -> u64 {
        let id = self.next_id(now);
        let deadline = self.last_send_at + self.ack_timeout;
        self.requests.insert(id, Request { subscriptions, deadline });
        id
    }

    /// The oldest pending request, for exchanges that answer in order and without an id.
    pub fn oldest_id(&self) -> Option<u64> {
        self.requests.keys().next().copied()
    }

    /// Removes a request that is answered as a whole; returns its subscriptions that are not answered yet.
    pub fn take(&mut self, id: u64) -> Option<Vec<Subscription>> {
        self.requests.remove(&id).map(|request| request.subscriptions)
    }

    /// Removes the first subscription that `matches` from a request, or, without an id, from any request.
    pub fn take_one(&mut self, id: Option<u64>, matches: impl Fn(&Subscription) -> bool) -> Option<Subscription> {
        let mut candidates = self.requests.iter_mut().filter(|(other, _)| id.is_none_or(|id| id == **other));
        let (id, subscription) = candidates.find_map(|(id, request)| {
            let at = request.subscriptions.iter().position(&matches)?;
            Some((*id, request.subscriptions.swap_remove(at)))
        })?;
        if self.requests.get(&id).is_some_and(|request| request.subscriptions.is_empty()) {
            self.requests.remove(&id);
        }
        Some(subscription)
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// A request is overdue: the runner must reconnect.
    pub fn check_deadlines(&self, now: Timestamp) -> Result<(), FeedError> {
        let Some((id, request)) = self.requests.iter().find(|(_, request)| request.deadline <= now) else {
            return Ok(());
        };
        let topics = request.subscriptions.iter().take(3).map(|one| one.topic().to_string()).collect::<Vec<_>>();
        let (count, timeout) = (request.subscriptions.len(), self.ack_timeout.as_secs());
        Err(FeedError {
            recovery: Recovery::Reconnect { after: Duration::ZERO },
            message: format!(
                "request {id} was not acknowledged within {timeout} s; it has {count} subscriptions: {} …",
                topics.join(", ")
            ),
        })
    }
}
