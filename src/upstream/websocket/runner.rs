//! Runs a connection: dials, reads, reconnects, and rotates before the exchange closes it.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connection::{ActiveSubscription, CloseReason, ConnectionEvent, OpenConnection};
use super::dial::DialError;
use super::feed::{DialTarget, Dialed, Feed, FeedItem};
use super::handle::ConnectionHandle;
use super::liveness::LivenessMonitor;
use super::lost_topics::{LostTopics, gap};
use super::skip_log::SkipLog;
use crate::exchanges::{ConnectionPlan, Encoding, Notice, SessionFactory, Subscription};
use crate::model::{ExchangeId, FeedState, Symbol, Timestamp, Topic};
use crate::telemetry::upstream::{
    ConnectionFailed, ConnectionGivenUp, ConnectionLost, ConnectionOpened, ConnectionRotated, ConnectionStale,
    FrameSkipped, FramesReceived, SubscriptionRejected,
};
use crate::upstream::Backoff;
use crate::upstream::tap::ConnectionTap;

/// Maximum reconnect delay.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// After this many consecutive dial failures the connection is down.
const DOWN_AFTER: u32 = 3;
/// Timeout for a new connection to get all acknowledgements.
const TAKEOVER_TIMEOUT: Duration = Duration::from_mins(2);
/// How long both connections run in parallel once the new one is fully acknowledged: the old one may lag behind.
const OVERLAP: Duration = Duration::from_secs(2);
/// Minimum delay after a takeover, successful or not, before the next.
const TAKEOVER_PAUSE: Duration = Duration::from_mins(1);
/// Upper bound of a sleep. A longer one occurs only without subscriptions.
const MAX_SLEEP: Duration = Duration::from_hours(1);

impl Feed {
    /// Opens a connection called `name` (`binance.1`) for `plan`. Nothing happens until the returned future is polled.
    /// It ends when `stop` is cancelled (with a close frame), when `items` is closed, or after [`FeedItem::GaveUp`].
    ///
    /// A full `items` blocks the reader and, through TCP back-pressure, the exchange. Nothing is dropped.
    pub fn open(
        &self,
        name: impl Into<String>,
        plan: ConnectionPlan,
        items: mpsc::Sender<FeedItem>,
        stop: CancellationToken,
    ) -> (ConnectionHandle, impl Future<Output = ()> + Send + 'static) {
        let handle = ConnectionHandle::new(name.into(), plan.subscriptions, plan.spare_capacity);
        let target = plan.address.map_or(DialTarget::Path(plan.path), DialTarget::Assigned);
        let runner = Runner::new(self.clone(), (target, plan.encoding, plan.session), handle.clone(), items, stop);
        (handle, runner.run())
    }
}

struct Runner {
    feed: Feed,
    exchange: ExchangeId,
    target: DialTarget,
    encoding: Encoding,
    session: SessionFactory,
    handle: ConnectionHandle,
    items: mpsc::Sender<FeedItem>,
    stop: CancellationToken,
    /// None while disconnected; two while the second takes over from the first.
    connections: Vec<OpenConnection>,
    dialing: Option<BoxFuture<'static, Result<Dialed, DialError>>>,
    /// The next socket is opened no earlier than this, by the clock's `elapsed`.
    dial_at: Duration,
    /// Index of the origin to try first: the one that worked last.
    origin: usize,
    backoff: Backoff,
    was_connected: bool,
    takeover: Option<Takeover>,
    lost: LostTopics,
    skip_log: SkipLog,
    /// Liveness as of the last connection.
    liveness: LivenessMonitor,
    /// The last connection timed out without data although its socket worked. Only data make the next one live.
    is_stalled: bool,
    given_up: bool,
    /// Items to send next.
    outgoing: Vec<FeedItem>,
}

struct Takeover {
    deadline: Duration,
    /// When the new connection was fully acknowledged.
    acked_at: Option<Duration>,
}

impl Runner {
    fn new(
        feed: Feed,
        (target, encoding, session): (DialTarget, Encoding, SessionFactory),
        handle: ConnectionHandle,
        items: mpsc::Sender<FeedItem>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            exchange: feed.exchange.id(),
            lost: LostTopics::new(feed.exchange.id()),
            feed,
            target,
            encoding,
            session,
            handle,
            items,
            stop,
            connections: Vec::new(),
            dialing: None,
            dial_at: Duration::ZERO,
            origin: 0,
            backoff: Backoff::new(Duration::from_secs(1), MAX_BACKOFF),
            was_connected: false,
            takeover: None,
            skip_log: SkipLog::default(),
            liveness: LivenessMonitor::default(),
            is_stalled: false,
            given_up: false,
            outgoing: Vec::new(),
        }
    }

    /// Runs until `stop` is cancelled, `items` is closed, or the session gives up.
    async fn run(mut self) {
        while !self.given_up {
            self.dial_if_due();
            let wait = self.deadline().saturating_sub(self.feed.clock.elapsed()).min(MAX_SLEEP);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.items.closed() => break,
                () = self.handle.changed() => self.sync_subscriptions(),
                dialed = poll_fn(|context| match &mut self.dialing {
                    Some(dialing) => dialing.poll_unpin(context),
                    None => Poll::Pending,
                }) => self.on_dialed(dialed),
                () = poll_fn(|context| {
                    let connections = self.connections.iter_mut();
                    let ready = connections.filter_map(|open| open.poll(context).is_ready().then_some(()));
                    if ready.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
                }) => {}
                () = self.feed.clock.sleep(wait) => {}
            }
            self.process();
            self.advance_takeover();
            if !self.send_items().await {
                break;
            }
        }
        for open in self.connections.drain(..) {
            open.close().await;
        }
    }

    /// Sends the pending items; waits while the channel is full. Returns whether to go on.
    async fn send_items(&mut self) -> bool {
        for item in self.outgoing.drain(..) {
            tokio::select! {
                biased;
                sent = self.items.send(item) => if sent.is_err() { return false },
                () = self.stop.cancelled() => return false,
            }
        }
        true
    }

    /// When the runner must act even if nothing is received.
    fn deadline(&self) -> Duration {
        let mut deadline = self.connections.iter().map(OpenConnection::deadline).min().unwrap_or(Duration::MAX);
        if let Some(takeover) = &self.takeover {
            deadline = deadline.min(takeover.acked_at.map_or(takeover.deadline, |at| at + OVERLAP));
        }
        deadline.min(self.next_dial().unwrap_or(Duration::MAX))
    }

    /// When to open the next socket, if one is needed.
    fn next_dial(&self) -> Option<Duration> {
        if self.dialing.is_some() || self.connections.len() > 1 || self.handle.is_idle() {
            return None;
        }
        match self.connections.first() {
            None => Some(self.dial_at),
            Some(open) => open.rotate_at.map(|at| at.max(self.dial_at)),
        }
    }

    fn dial_if_due(&mut self) {
        if self.next_dial().is_some_and(|at| at <= self.feed.clock.elapsed()) {
            self.dialing = Some(self.feed.clone().dial(self.origin, self.target.clone()).boxed());
        }
    }

    fn on_dialed(&mut self, dialed: Result<Dialed, DialError>) {
        self.dialing = None;
        let now = self.feed.clock.elapsed();
        let connection = self.handle.name();
        match dialed {
            Ok(opened) => {
                self.origin = opened.origin;
                let subscriptions = self.handle.target();
                let (exchange, origin) = (self.exchange, opened.name.as_str());
                ConnectionOpened { exchange, connection, origin, subscriptions: subscriptions.len() }.emit();
                let tap = self.feed.tap.as_ref().map(|tap| ConnectionTap::new(tap, connection, opened.url.clone()));
                let profile = self.feed.exchange.profile();
                let liveness = self.connections.first().map_or(self.liveness, |open| open.liveness);
                let session = (self.session, self.encoding);
                let open =
                    OpenConnection::open(opened, session, subscriptions, profile, &self.feed.clock, liveness, tap);
                if !self.connections.is_empty() {
                    self.takeover = Some(Takeover { deadline: now + TAKEOVER_TIMEOUT, acked_at: None });
                } else if std::mem::replace(&mut self.was_connected, true) {
                    self.handle.update_status(|status| status.reconnects += 1);
                }
                self.connections.push(open);
            }
            Err(error) if self.connections.is_empty() => {
                let wait = self.backoff.next(&self.feed.clock).max(error.retry_after.unwrap_or_default());
                self.dial_at = now + wait;
                let (exchange, error) = (self.exchange, error.message.as_str());
                ConnectionFailed { exchange, connection, error, retry_after: wait }.emit();
                if self.backoff.attempts() >= DOWN_AFTER {
                    self.handle.update_status(|status| status.state = FeedState::Down);
                }
            }
            Err(error) => {
                self.dial_at = now + TAKEOVER_PAUSE.max(error.retry_after.unwrap_or_default());
                ConnectionRotated { exchange: self.exchange, connection, outcome: Err(&error.message) }.emit();
            }
        }
    }

    /// Applies the target subscriptions to every connection.
    fn sync_subscriptions(&mut self) {
        let target = self.handle.target();
        self.lost.retain(&target);
        if target.is_empty() {
            // A connection without subscriptions would time out. The next one is opened with the next subscription.
            self.takeover = None;
            for open in self.connections.drain(..) {
                tokio::spawn(open.close());
            }
            self.handle.update_status(|status| status.state = FeedState::Connecting);
            return;
        }
        for index in 0..self.connections.len() {
            let mut events = Vec::new();
            self.connections[index].sync_subscriptions(&target, &mut events);
            for event in events {
                self.handle_event(index, event);
            }
        }
    }

    fn process(&mut self) {
        let mut index = 0;
        while index < self.connections.len() {
            let mut events = Vec::new();
            let result = self.connections[index].process(&mut events);
            for event in events {
                self.handle_event(index, event);
            }
            match result {
                Ok(()) => index += 1,
                Err(reason) => self.on_closed(index, reason),
            }
        }
    }

    /// Ends a takeover that is complete or timed out.
    fn advance_takeover(&mut self) {
        let Some(takeover) = &mut self.takeover else { return };
        let [_, new] = &*self.connections else {
            self.takeover = None;
            return;
        };
        let now = self.feed.clock.elapsed();
        if !new.is_fully_acked() {
            takeover.acked_at = None;
            if takeover.deadline <= now {
                self.on_closed(1, CloseReason::Closed("not all subscriptions were acknowledged in time".to_owned()));
            }
        } else if *takeover.acked_at.get_or_insert(now) + OVERLAP <= now {
            self.takeover = None;
            // An exchange may announce the end of each new connection at once: rotate with a pause.
            self.dial_at = now + TAKEOVER_PAUSE;
            let old = self.connections.remove(0);
            ConnectionRotated { exchange: self.exchange, connection: self.handle.name(), outcome: Ok(()) }.emit();
            // The closing handshake takes up to a second and must not delay the new connection.
            tokio::spawn(old.close());
        }
    }

    /// Handles the end of a connection: reports lost topics and schedules the reconnect.
    fn on_closed(&mut self, index: usize, reason: CloseReason) {
        let closed = self.connections.remove(index);
        self.takeover = None;
        let since = if matches!(reason, CloseReason::NoData(_)) { closed.last_data } else { closed.last_frame };
        self.liveness = closed.liveness;
        if !closed.has_data {
            self.origin = (closed.origin + 1) % self.feed.origins.len().max(1);
        }
        self.report_lost(closed, since);
        let (exchange, connection) = (self.exchange, self.handle.name());
        let (state, reason, after) = match reason {
            CloseReason::Closed(reason) => (FeedState::Reconnecting, reason, Duration::ZERO),
            CloseReason::Reconnect { message, after } => (FeedState::Reconnecting, message, after),
            CloseReason::Idle(silent_for) => {
                ConnectionStale { exchange, connection, silent_for }.emit();
                (FeedState::Stale, "no frames received".to_owned(), Duration::ZERO)
            }
            CloseReason::NoData(silent_for) => {
                self.liveness.record_timeout();
                self.is_stalled = true;
                ConnectionStale { exchange, connection, silent_for }.emit();
                let reason = format!("connected, but no data for {} s", silent_for.as_secs());
                (FeedState::Stale, reason, Duration::ZERO)
            }
            CloseReason::GaveUp(reason) => return self.give_up(reason),
        };
        let replaced = !self.connections.is_empty();
        ConnectionLost { exchange, connection, reason: &reason, since, replaced }.emit();
        if !replaced {
            self.schedule_reconnect(state, after);
        } else if index == 1 {
            self.dial_at = self.feed.clock.elapsed() + TAKEOVER_PAUSE;
            ConnectionRotated { exchange, connection, outcome: Err(&reason) }.emit();
        }
    }

    /// Reports the topics that were interrupted by the end of a connection: those that no other connection delivers.
    fn report_lost(&mut self, closed: OpenConnection, since: Timestamp) {
        let mut lost = Vec::new();
        for (topic, active) in closed.topics {
            if !self.handle.contains(&topic) || self.connections.iter().any(|open| open.is_acked(&topic)) {
                continue;
            }
            // Data may arrive before the acknowledgement. `Lost` is only for topics that were reported as acknowledged.
            if active.is_acked || closed.has_data {
                self.lost.add(topic, since);
            }
            if active.is_acked {
                lost.push(active.subscription);
            }
        }
        if !lost.is_empty() {
            self.outgoing.push(FeedItem::Lost { subscriptions: lost, since });
        }
    }

    /// Schedules the next connection, not before `after`.
    fn schedule_reconnect(&mut self, state: FeedState, after: Duration) {
        self.dial_at = self.feed.clock.elapsed() + self.backoff.next(&self.feed.clock).max(after);
        self.handle.update_status(|status| {
            // `Down` changes only to `Live`.
            if status.state != FeedState::Down {
                status.state = state;
            }
        });
    }

    /// Ends the feed: a retry does not help.
    fn give_up(&mut self, reason: String) {
        ConnectionGivenUp { exchange: self.exchange, connection: self.handle.name(), reason: &reason }.emit();
        self.handle.update_status(|status| status.state = FeedState::Down);
        self.outgoing.push(FeedItem::GaveUp { subscriptions: self.handle.subscriptions(), reason });
        self.given_up = true;
    }

    fn handle_event(&mut self, index: usize, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Frames(frames) => {
                FramesReceived { exchange: self.exchange, frames: frames as u64 }.emit();
            }
            ConnectionEvent::Events(events) => {
                self.record_liveness();
                self.record_data(index);
                let events = self.lost.insert_gaps(events, self.feed.clock.now());
                self.outgoing.push(FeedItem::Events(events));
            }
            ConnectionEvent::Notice(Notice::Acknowledged(subscriptions)) => self.on_acknowledged(index, subscriptions),
            ConnectionEvent::Notice(Notice::Rejected { subscription, reason }) => {
                self.on_rejected(subscription, reason);
            }
            // A connection that takes over may not be complete yet.
            ConnectionEvent::Notice(Notice::CompleteUntil(at)) if index == 0 => {
                self.record_liveness();
                self.outgoing.push(FeedItem::CompleteUntil { connection: self.handle.name().into(), at });
            }
            ConnectionEvent::Notice(Notice::CompleteUntil(_) | Notice::Heartbeat) => self.record_liveness(),
            ConnectionEvent::Notice(Notice::TradeSkipped(symbol)) => self.on_trade_skipped(index, symbol.as_ref()),
            ConnectionEvent::Notice(Notice::Rotate) => {
                self.connections[index].rotate_at = Some(self.feed.clock.elapsed());
            }
            ConnectionEvent::FrameSkipped(error) => {
                let unlogged = self.skip_log.record(self.feed.clock.elapsed());
                let connection = self.handle.name();
                FrameSkipped { exchange: self.exchange, connection, error: &error, unlogged }.emit();
            }
        }
    }

    /// Records that a connection delivered data. Only this resets the backoff, because a server may accept a connection
    /// and then send nothing.
    fn record_data(&mut self, index: usize) {
        self.connections[index].has_data = true;
        self.backoff.reset();
        if !self.is_stalled {
            self.handle.update_status(|status| status.state = FeedState::Live);
        }
    }

    /// Records data or a heartbeat.
    fn record_liveness(&mut self) {
        let now = self.feed.clock.now();
        let was_stalled = std::mem::take(&mut self.is_stalled);
        self.handle.update_status(|status| {
            status.last_message = Some(now);
            if was_stalled {
                status.state = FeedState::Live;
            }
        });
    }

    /// Handles a skipped trade: reports a gap in the trades of its market, or of all markets if the market is not
    /// known.
    fn on_trade_skipped(&mut self, index: usize, symbol: Option<&Symbol>) {
        let open = &self.connections[index];
        let is_affected = |topic: &Topic, active: &ActiveSubscription| {
            matches!(topic, Topic::Trades { .. })
                && active.is_acked
                && symbol.is_none_or(|symbol| topic.symbol() == symbol)
        };
        let affected = open.topics.iter().filter(|(topic, active)| is_affected(topic, active));
        let (topics, subscriptions): (Vec<_>, Vec<_>) =
            affected.map(|(topic, active)| (topic.clone(), active.subscription.clone())).unzip();
        if topics.is_empty() {
            return;
        }
        let (at, since) = (self.feed.clock.now(), open.last_frame);
        let gap = gap(self.exchange, topics, since, at);
        self.outgoing.push(FeedItem::Lost { subscriptions: subscriptions.clone(), since });
        self.outgoing.push(FeedItem::Events(vec![gap]));
        self.outgoing.push(FeedItem::Acknowledged { subscriptions, at });
    }

    fn on_acknowledged(&mut self, index: usize, subscriptions: Vec<Subscription>) {
        self.record_data(index);
        let at = self.feed.clock.now();
        let (mut acknowledged, mut topics) = (Vec::new(), Vec::new());
        for subscription in subscriptions {
            let topic = subscription.topic();
            // During a takeover the old connection may already have the acknowledgement.
            let was_acked = self.connections.iter().any(|open| open.is_acked(&topic));
            let Some(active) = self.connections[index].topics.get_mut(&topic) else { continue };
            active.is_acked = true;
            topics.push(topic);
            if !was_acked {
                acknowledged.push(subscription);
            }
        }
        let gaps = self.lost.resume(topics, at);
        if !gaps.is_empty() {
            self.outgoing.push(FeedItem::Events(gaps));
        }
        if !acknowledged.is_empty() {
            self.outgoing.push(FeedItem::Acknowledged { subscriptions: acknowledged, at });
        }
    }

    fn on_rejected(&mut self, subscription: Subscription, reason: String) {
        let topic = subscription.topic();
        let (channel, symbol) = (subscription.channel.as_str(), subscription.instrument.symbol.as_str());
        SubscriptionRejected { exchange: self.exchange, channel, symbol, reason: &reason }.emit();
        self.handle.remove(&topic);
        self.lost.remove(&topic);
        for open in &mut self.connections {
            open.topics.remove(&topic);
        }
        self.outgoing.push(FeedItem::Rejected { subscription, reason });
    }
}
