//! The channel `status`: how exchanges are doing, at once and at every change.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use super::feed::Outlet;
use crate::model::{EndedSymbol, ExchangeId, ExchangeState, FeedState, Timestamp};

/// The exchanges whose state a client follows.
#[derive(Default)]
pub struct StatusFeed {
    states: Option<watch::Receiver<Vec<Arc<ExchangeState>>>>,
    /// What was told last of each.
    told: BTreeMap<ExchangeId, Option<Arc<ExchangeState>>>,
    is_new: bool,
}

/// The topic of an exchange's state.
pub fn topic(exchange: ExchangeId) -> String {
    format!("{TOPIC}{exchange}")
}

/// What the topics of states begin with.
pub const TOPIC: &str = "status:";

impl StatusFeed {
    /// Follows an exchange; `states` are those of the hub.
    pub fn follow(&mut self, exchange: ExchangeId, states: &watch::Receiver<Vec<Arc<ExchangeState>>>) {
        self.told.entry(exchange).or_default();
        self.states.get_or_insert_with(|| states.clone());
        self.is_new = true;
    }

    /// Follows an exchange no longer; says whether it did.
    pub fn leave(&mut self, exchange: ExchangeId) -> bool {
        let did = self.told.remove(&exchange).is_some();
        if self.told.is_empty() {
            self.states = None;
        }
        did
    }

    /// The topics, in their order.
    pub fn topics(&self) -> impl Iterator<Item = String> {
        self.told.keys().copied().map(topic)
    }

    /// Waits for a change.
    pub async fn changed(&mut self) {
        if self.is_new {
            return;
        }
        match &mut self.states {
            Some(states) if !self.told.is_empty() => match states.changed().await {
                Ok(()) => self.is_new = true,
                // The process ends.
                Err(_) => pending().await,
            },
            _ => pending().await,
        }
    }

    /// Tells what is new.
    pub fn gather(&mut self, out: &mut impl Outlet) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        let Some(states) = &mut self.states else { return };
        for state in states.borrow_and_update().iter() {
            let Some(told) = self.told.get_mut(&state.exchange) else { continue };
            let same = told.as_ref().is_some_and(|told| told.reads_like(state));
            if !same {
                out.text(&frame(state));
                *told = Some(Arc::clone(state));
            }
        }
    }
}

/// What is told of a state.
#[derive(Serialize)]
struct Status<'a> {
    r#type: &'static str,
    exchange: ExchangeId,
    state: FeedState,
    since: Timestamp,
    simulated: bool,
    /// Markets that were collected and are gone.
    ended: &'a [EndedSymbol],
}

fn frame(state: &ExchangeState) -> Vec<u8> {
    let ExchangeState { exchange, state: feed, since, simulated, ended, .. } = state;
    let status =
        Status { r#type: "status", exchange: *exchange, state: *feed, since: *since, simulated: *simulated, ended };
    serde_json::to_vec(&status).expect("keys are texts")
}
