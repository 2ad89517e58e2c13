//! The channel `status`: states of exchanges, sent at the start and after every change.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use super::frame_sink::FrameSink;
use crate::model::{EndedSymbol, ExchangeId, ExchangeState, FeedState, Timestamp};

/// The exchanges whose state a client subscribes to.
#[derive(Default)]
pub struct StatusFeed {
    states: Option<watch::Receiver<Vec<Arc<ExchangeState>>>>,
    /// The last sent state of each exchange.
    sent: BTreeMap<ExchangeId, Option<Arc<ExchangeState>>>,
    is_new: bool,
}

/// The topic of an exchange's state.
pub fn topic(exchange: ExchangeId) -> String {
    format!("{TOPIC}{exchange}")
}

/// The prefix of status topics.
pub const TOPIC: &str = "status:";

impl StatusFeed {
    /// Subscribes to an exchange; `states` receives the states from the hub.
    pub fn subscribe(&mut self, exchange: ExchangeId, states: &watch::Receiver<Vec<Arc<ExchangeState>>>) {
        self.sent.entry(exchange).or_default();
        self.states.get_or_insert_with(|| states.clone());
        self.is_new = true;
    }

    /// Unsubscribes from an exchange. Returns whether the client was subscribed.
    pub fn unsubscribe(&mut self, exchange: ExchangeId) -> bool {
        let was_subscribed = self.sent.remove(&exchange).is_some();
        if self.sent.is_empty() {
            self.states = None;
        }
        was_subscribed
    }

    /// The topics, sorted.
    pub fn topics(&self) -> impl Iterator<Item = String> {
        self.sent.keys().copied().map(topic)
    }

    /// Waits for a change.
    pub async fn changed(&mut self) {
        if self.is_new {
            return;
        }
        match &mut self.states {
            Some(states) if !self.sent.is_empty() => match states.changed().await {
                Ok(()) => self.is_new = true,
                // The sender is gone: the process is shutting down.
                Err(_) => pending().await,
            },
            _ => pending().await,
        }
    }

    /// Writes states that changed since they were sent last.
    pub fn write_changes(&mut self, out: &mut impl FrameSink) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        let Some(states) = &mut self.states else { return };
        for state in states.borrow_and_update().iter() {
            let Some(sent) = self.sent.get_mut(&state.exchange) else { continue };
            let is_unchanged = sent.as_ref().is_some_and(|sent| sent.has_same_status(state));
            if !is_unchanged {
                out.text(&frame(state));
                *sent = Some(Arc::clone(state));
            }
        }
    }
}

/// The status frame.
#[derive(Serialize)]
struct Status<'a> {
    r#type: &'static str,
    exchange: ExchangeId,
    state: FeedState,
    since: Timestamp,
    simulated: bool,
    /// Markets that are no longer collected, because the exchange does not list or trade them any more.
    ended: &'a [EndedSymbol],
}

fn frame(state: &ExchangeState) -> Vec<u8> {
    let ExchangeState { exchange, state: feed, since, simulated, ended, .. } = state;
    let status =
        Status { r#type: "status", exchange: *exchange, state: *feed, since: *since, simulated: *simulated, ended };
    serde_json::to_vec(&status).expect("map keys are strings")
}
