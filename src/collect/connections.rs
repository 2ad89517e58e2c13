//! The WebSocket connections of one exchange. They open as subscriptions need them and close together.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::CollectError;
use super::tasks::Tasks;
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Subscription};
use crate::model::{BudgetState, Channel, ConnectionState, Symbol, Timestamp};
use crate::upstream::{ConnectionHandle, Dialer, Feed, FeedItem, RestClient};

/// Capacity of the queue to the collector. When it is full, the sockets are no longer read.
const QUEUE_CAPACITY: usize = 1_024;

/// All connections of one exchange.
pub struct Connections {
    exchange: &'static dyn Exchange,
    feed: Feed,
    open: Vec<OpenConnection>,
    tasks: Tasks,
    items: mpsc::Sender<FeedItem>,
    stop: CancellationToken,
}

struct OpenConnection {
    /// URL path: connections with the same path carry the same kind of subscription.
    path: String,
    handle: ConnectionHandle,
    /// Everything before this exchange time has been received. `None` if the exchange does not report it.
    complete_until: Option<Timestamp>,
}

impl Connections {
    /// Starts without connections. The receiver gets the items of all connections opened later.
    pub fn new(
        exchange: &'static dyn Exchange,
        origins: Vec<String>,
        clock: Clock,
        budgets: Option<Arc<dyn Budgets>>,
        rest: Arc<RestClient>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<FeedItem>) {
        let (items, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let mut feed = Feed::new(exchange, origins, Arc::new(Dialer), clock).with_rest(rest);
        if let Some(budgets) = budgets {
            feed = feed.with_shared_budgets(budgets);
        }
        (Self { exchange, feed, open: Vec::new(), tasks: Tasks::default(), items, stop }, receiver)
    }

    /// Subscribes, on open connections while they have capacity, then on new ones.
    pub fn add(&mut self, mut subscriptions: Vec<Subscription>) {
        for open in &self.open {
            let fitting: Vec<Subscription> = self
                .exchange
                .connections(&subscriptions)
                .into_iter()
                .filter(|plan| plan.path == open.path)
                .flat_map(|plan| plan.subscriptions)
                .take(open.handle.spare_capacity())
                .collect();
            if !fitting.is_empty() && open.handle.update_subscriptions(&fitting, &[]).is_ok() {
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
            self.open.push(OpenConnection { path, handle, complete_until: None });
        }
    }

    /// Unsubscribes from a market.
    pub fn remove(&self, symbol: &Symbol) {
        for OpenConnection { handle, .. } in &self.open {
            let mut removed = handle.subscriptions();
            removed.retain(|one| one.instrument.symbol == *symbol);
            if !removed.is_empty() {
                // Removing always fits.
                let _ = handle.update_subscriptions(&[], &removed);
            }
        }
    }

    /// The state of each connection with at least one topic.
    pub fn states(&self) -> Vec<ConnectionState> {
        self.open.iter().map(|open| open.handle.state()).filter(|state| state.topics > 0).collect()
    }

    /// Records that everything before `at` (exchange time) has been received on a connection.
    pub fn set_complete_until(&mut self, connection: &str, at: Timestamp) {
        if let Some(open) = self.open.iter_mut().find(|open| open.handle.name() == connection) {
            open.complete_until = Some(at);
        }
    }

    /// By market: everything before this exchange time has been received on the connection of its `channel`.
    pub fn complete_until(&self, channel: Channel) -> HashMap<Symbol, Timestamp> {
        self.by_market(channel, |open| open.complete_until)
    }

    fn by_market(
        &self,
        channel: Channel,
        time: impl Fn(&OpenConnection) -> Option<Timestamp>,
    ) -> HashMap<Symbol, Timestamp> {
        let markets = |open: &OpenConnection| {
            let time = time(open);
            let markets = open.handle.subscriptions().into_iter().filter(move |one| one.channel == channel);
            markets.filter_map(move |one| Some((one.instrument.symbol.clone(), time?))).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(markets).collect()
    }

    /// By market: when the connection of its `channel` last received a message, as exchange time by `at_exchange`.
    /// Messages of one connection arrive in order.
    pub fn received_until(
        &self,
        channel: Channel,
        at_exchange: impl Fn(Timestamp) -> Timestamp,
    ) -> HashMap<Symbol, Timestamp> {
        self.by_market(channel, |open| open.handle.state().last_message.map(&at_exchange))
    }

    /// Usage of the exchange's limit of new connections.
    pub fn budget(&self) -> BudgetState {
        self.feed.budget()
    }

    /// Waits until a connection task ends. Without a shutdown, none should.
    pub async fn wait_for_end(&mut self) -> CollectError {
        self.tasks.wait_for_end().await
    }

    /// Closes all connections, and waits until they are closed.
    pub async fn close(&mut self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}
