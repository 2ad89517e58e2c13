//! The WebSocket connections of one exchange: opened as subscriptions need them, closed together.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::collector::CollectError;
use super::tasks::Tasks;
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Subscription};
use crate::model::{BudgetState, Channel, ConnectionState, Symbol, Timestamp};
use crate::upstream::{ConnectionHandle, Dialer, Feed, FeedItem};

/// How many items may wait for the collector; then the sockets wait.
const ITEMS: usize = 1_024;

/// All connections of one exchange.
pub struct Connections {
    exchange: &'static dyn Exchange,
    feed: Feed,
    open: Vec<Open>,
    tasks: Tasks,
    items: mpsc::Sender<FeedItem>,
    stop: CancellationToken,
}

struct Open {
    /// The kind of socket, by its path.
    path: String,
    handle: ConnectionHandle,
    /// Up to when of the exchange's clock everything was told, where it says so.
    reached: Option<Timestamp>,
}

impl Connections {
    /// No connections yet, and where those to come tell what they hear.
    pub fn new(
        exchange: &'static dyn Exchange,
        origins: Vec<String>,
        clock: Clock,
        budgets: Option<Arc<dyn Budgets>>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<FeedItem>) {
        let (items, told) = mpsc::channel(ITEMS);
        let mut feed = Feed::new(exchange, origins, Arc::new(Dialer), clock);
        if let Some(budgets) = budgets {
            feed = feed.sharing(budgets);
        }
        (Self { exchange, feed, open: Vec::new(), tasks: Tasks::default(), items, stop }, told)
    }

    /// Listens to more, on open connections as long as they have room.
    pub fn add(&mut self, mut subscriptions: Vec<Subscription>) {
        for open in &self.open {
            let fitting: Vec<Subscription> = self
                .exchange
                .connections(&subscriptions)
                .into_iter()
                .filter(|plan| plan.path == open.path)
                .flat_map(|plan| plan.subscriptions)
                .take(open.handle.spare())
                .collect();
            if !fitting.is_empty() && open.handle.change(&fitting, &[]).is_ok() {
                subscriptions.retain(|one| !fitting.contains(one));
            }
        }
        if subscriptions.is_empty() {
            return;
        }
        for plan in self.exchange.connections(&subscriptions) {
            let name = format!("{}.{}", self.exchange.id(), self.open.len() + 1);
            let path = plan.path.clone();
            let (handle, run) = self.feed.open(name.clone(), plan, self.items.clone(), self.stop.clone());
            self.tasks.spawn(format!("connection {name}"), run);
            self.open.push(Open { path, handle, reached: None });
        }
    }

    /// Listens to a market no longer.
    pub fn remove(&self, symbol: &Symbol) {
        for Open { handle, .. } in &self.open {
            let mut gone = handle.subscriptions();
            gone.retain(|one| one.instrument.symbol == *symbol);
            if !gone.is_empty() {
                // Removing always fits.
                let _ = handle.change(&[], &gone);
            }
        }
    }

    /// How each connection is that carries anything.
    pub fn states(&self) -> Vec<ConnectionState> {
        self.open.iter().map(|open| open.handle.state()).filter(|state| state.topics > 0).collect()
    }

    /// A connection has told everything up to a moment of the exchange's clock.
    pub fn reached(&mut self, connection: &str, at: Timestamp) {
        if let Some(open) = self.open.iter_mut().find(|open| open.handle.name() == connection) {
            open.reached = Some(at);
        }
    }

    /// Up to when everything was told on the connections that carry the markets' `channel`.
    pub fn told_until(&self, channel: Channel) -> HashMap<Symbol, Timestamp> {
        self.until(channel, |open| open.reached)
    }

    fn until(&self, channel: Channel, known: impl Fn(&Open) -> Option<Timestamp>) -> HashMap<Symbol, Timestamp> {
        let of = |open: &Open| {
            let reached = known(open);
            let markets = open.handle.subscriptions().into_iter().filter(move |one| one.channel == channel);
            markets.filter_map(move |one| Some((one.instrument.symbol.clone(), reached?))).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of).collect()
    }

    /// Up to when something was heard on the connections that carry the markets' `channel`: `at_exchange` says what time
    /// it was at the exchange then. Frames of a connection come in order.
    pub fn heard_until(
        &self,
        channel: Channel,
        at_exchange: impl Fn(Timestamp) -> Timestamp,
    ) -> HashMap<Symbol, Timestamp> {
        self.until(channel, |open| open.handle.state().last_message.map(&at_exchange))
    }

    /// How many of the connections that the exchange allows were opened.
    pub fn budget(&self) -> BudgetState {
        self.feed.budget()
    }

    /// Waits until a connection's task ends, which none does unasked.
    pub async fn ended(&mut self) -> CollectError {
        self.tasks.ended().await
    }

    /// Closes all connections and waits until they are.
    pub async fn close(&mut self) {
        self.stop.cancel();
        self.tasks.finished().await;
    }
}
