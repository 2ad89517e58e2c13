//! One open connection: a socket, its session, and its timers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::decompress::Decompressor;
use super::feed::Dialed;
use super::framed_socket::FramedSocket;
use super::liveness::LivenessMonitor;
use crate::clock::Clock;
use crate::exchanges::{
    Encoding, FeedError, FeedSession, Frame, Notice, Outbox, Profile, Recovery, SessionFactory, Subscription,
};
use crate::model::{MarketEvent, Timestamp, Topic};
use crate::upstream::tap::ConnectionTap;

/// Interval of the session's timer.
const TIMER_INTERVAL: Duration = Duration::from_secs(1);
/// A connection is replaced at least this long before the exchange closes it. The rotations of several connections are
/// spread over as much time again.
const ROTATION_MARGIN: Duration = Duration::from_mins(10);

/// One open connection.
pub(super) struct OpenConnection {
    /// Index of its origin.
    pub origin: usize,
    socket: FramedSocket,
    decompressor: Decompressor,
    session: Box<dyn FeedSession>,
    clock: Clock,
    idle_timeout: Duration,
    /// The session's subscriptions.
    pub topics: BTreeMap<Topic, ActiveSubscription>,
    outbox: Outbox,
    /// When the last frame was received, by the clock's `elapsed`, as all `Duration`s here.
    idle_since: Duration,
    timer_at: Duration,
    /// When the last frame was received.
    pub last_frame: Timestamp,
    /// When data or a heartbeat was last received.
    pub last_data: Timestamp,
    /// Timeout without data.
    pub liveness: LivenessMonitor,
    /// Data or a heartbeat was received since the last update of `liveness`.
    has_new_data: bool,
    /// When to open the connection that takes over.
    pub rotate_at: Option<Duration>,
    /// Whether it has delivered anything.
    pub has_data: bool,
}

/// One subscription of a connection.
pub(super) struct ActiveSubscription {
    pub subscription: Subscription,
    pub is_acked: bool,
}

/// What a connection reports to its runner, in order.
pub(super) enum ConnectionEvent {
    Events(Vec<MarketEvent>),
    Notice(Notice),
    FrameSkipped(String),
    /// Number of data frames received.
    Frames(usize),
}

/// Why a connection ended.
pub(super) enum CloseReason {
    /// The socket was closed or broke.
    Closed(String),
    /// No frame for this long.
    Idle(Duration),
    /// Frames, but no data for this long.
    NoData(Duration),
    /// The session asks for a new connection, after this delay.
    Reconnect { message: String, after: Duration },
    /// The session cannot go on.
    GaveUp(String),
}

impl OpenConnection {
    /// Starts a session on an open socket.
    pub fn open(
        Dialed { origin, socket, ping_interval, .. }: Dialed,
        (session, encoding): (SessionFactory, Encoding),
        subscriptions: BTreeMap<Topic, Subscription>,
        profile: &Profile,
        clock: &Clock,
        mut liveness: LivenessMonitor,
        tap: Option<ConnectionTap>,
    ) -> Self {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let rotate_at = profile.max_connection_age.map(|age| {
            let margin = ROTATION_MARGIN.min(age / 10);
            elapsed + age.saturating_sub(margin + clock.jitter(margin))
        });
        liveness.start(elapsed);
        let mut session = session(subscriptions.values().cloned().collect());
        if let Some(interval) = ping_interval {
            session.set_ping_interval(interval);
        }
        let mut outbox = Outbox::default();
        session.on_open(now, &mut outbox);
        let active = |subscription| ActiveSubscription { subscription, is_acked: false };
        let mut socket = FramedSocket::new(socket, profile, clock, tap);
        socket.send(outbox.frames.drain(..));
        Self {
            origin,
            socket,
            decompressor: Decompressor::new(encoding),
            session,
            clock: clock.clone(),
            idle_timeout: profile.idle_timeout,
            topics: subscriptions.into_iter().map(|(topic, subscription)| (topic, active(subscription))).collect(),
            outbox,
            idle_since: elapsed,
            timer_at: elapsed + TIMER_INTERVAL,
            last_frame: now,
            last_data: now,
            liveness,
            has_new_data: false,
            rotate_at,
            has_data: false,
        }
    }

    /// Whether all subscriptions are acknowledged.
    pub fn is_fully_acked(&self) -> bool {
        self.topics.values().all(|active| active.is_acked)
    }

    /// Whether the subscription to `topic` is acknowledged, so that its events are complete.
    pub fn is_acked(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_some_and(|active| active.is_acked)
    }

    /// When [`OpenConnection::process`] must be called even if nothing is received.
    pub fn deadline(&self) -> Duration {
        let idle_at = self.idle_since + self.idle_timeout;
        self.timer_at
            .min(idle_at)
            .min(self.liveness.deadline(self.idle_timeout))
            .min(self.socket.send_at().unwrap_or(Duration::MAX))
    }

    /// Reads and writes. Ready when [`OpenConnection::process`] has something to do.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll(context)
    }

    /// Passes received frames to the session, runs its timer if due, and checks the timeouts.
    pub fn process(&mut self, events: &mut Vec<ConnectionEvent>) -> Result<(), CloseReason> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        if self.socket.take_received() {
            (self.idle_since, self.last_frame) = (elapsed, now);
        }
        let result = self.process_frames(now, events);
        let result = result.and_then(|()| {
            if elapsed < self.timer_at {
                return Ok(());
            }
            self.timer_at = elapsed + TIMER_INTERVAL;
            self.with_session(events, |session, outbox| session.on_timer(now, outbox))
        });
        self.flush_events(events);
        if std::mem::take(&mut self.has_new_data) {
            self.last_data = now;
            self.liveness.record_data(elapsed);
        }
        result?;
        if let Some(reason) = self.socket.take_ended() {
            return Err(CloseReason::Closed(reason));
        }
        let idle_for = elapsed.saturating_sub(self.idle_since);
        if idle_for >= self.idle_timeout {
            return Err(CloseReason::Idle(idle_for));
        }
        if elapsed >= self.liveness.deadline(self.idle_timeout) {
            return Err(CloseReason::NoData(self.liveness.silent_for(elapsed)));
        }
        Ok(())
    }

    fn process_frames(&mut self, now: Timestamp, events: &mut Vec<ConnectionEvent>) -> Result<(), CloseReason> {
        let frames = self.socket.take_frames();
        if frames.is_empty() {
            return Ok(());
        }
        events.push(ConnectionEvent::Frames(frames.len()));
        let mut decompressor = std::mem::take(&mut self.decompressor);
        let result = frames.iter().try_for_each(|message| {
            self.with_session(events, |session, outbox| match message {
                Message::Text(text) => session.on_frame(Frame::Text(text), now, outbox),
                Message::Binary(bytes) => match decompressor.text(bytes) {
                    Ok(Some(text)) => session.on_frame(Frame::Text(text), now, outbox),
                    Ok(None) => session.on_frame(Frame::Binary(bytes), now, outbox),
                    Err(message) => Err(FeedError { recovery: Recovery::SkipFrame, message }),
                },
                _ => Ok(()),
            })
        });
        self.decompressor = decompressor;
        self.socket.reuse(frames);
        result
    }

    /// Subscribes and unsubscribes until the session's subscriptions equal `target`.
    pub fn sync_subscriptions(&mut self, target: &BTreeMap<Topic, Subscription>, events: &mut Vec<ConnectionEvent>) {
        let remove: Vec<_> = self
            .topics
            .iter()
            .filter(|(topic, _)| !target.contains_key(topic))
            .map(|(_, active)| active.subscription.clone())
            .collect();
        let new = target.iter().filter(|(topic, _)| !self.topics.contains_key(topic));
        let new: Vec<_> = new.map(|(topic, subscription)| (topic.clone(), subscription.clone())).collect();
        if remove.is_empty() && new.is_empty() {
            return;
        }
        let add: Vec<_> = new.iter().map(|(_, subscription)| subscription.clone()).collect();
        self.liveness.reset(self.clock.elapsed());
        self.topics.retain(|topic, _| target.contains_key(topic));
        for (topic, subscription) in new {
            self.topics.insert(topic, ActiveSubscription { subscription, is_acked: false });
        }
        let now = self.clock.now();
        // This cannot fail; later frames and timers report the outcome.
        let _ = self.with_session(events, |session, outbox| {
            session.update_subscriptions(&add, &remove, now, outbox);
            Ok(())
        });
        self.flush_events(events);
    }

    /// Runs the session. Reports its notices after the events of earlier frames and before those of this one.
    fn with_session(
        &mut self,
        events: &mut Vec<ConnectionEvent>,
        run: impl FnOnce(&mut dyn FeedSession, &mut Outbox) -> Result<(), FeedError>,
    ) -> Result<(), CloseReason> {
        let earlier = self.outbox.events.len();
        // No frame of an exchange may end the task: a session that panicked is dropped with its connection.
        let (session, outbox) = (&mut *self.session, &mut self.outbox);
        let result = catch_unwind(AssertUnwindSafe(|| run(session, outbox))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let recovery = Recovery::Reconnect { after: Duration::ZERO };
            Err(FeedError { recovery, message: format!("the session panicked: {text}") })
        });
        let is_liveness = |notice: &Notice| matches!(notice, Notice::CompleteUntil(_) | Notice::Heartbeat);
        self.has_new_data |= self.outbox.events.len() > earlier || self.outbox.notices.iter().any(is_liveness);
        self.socket.send(self.outbox.frames.drain(..));
        if !self.outbox.notices.is_empty() {
            let later = self.outbox.events.split_off(earlier);
            self.flush_events(events);
            self.outbox.events = later;
            events.extend(self.outbox.notices.drain(..).map(ConnectionEvent::Notice));
        }
        let Err(error) = result else { return Ok(()) };
        match error.recovery() {
            Recovery::SkipFrame => {
                events.push(ConnectionEvent::FrameSkipped(error.message));
                Ok(())
            }
            Recovery::Reconnect { after } => Err(CloseReason::Reconnect { message: error.message, after }),
            Recovery::GiveUp => Err(CloseReason::GaveUp(error.message)),
        }
    }

    fn flush_events(&mut self, events: &mut Vec<ConnectionEvent>) {
        if !self.outbox.events.is_empty() {
            events.push(ConnectionEvent::Events(self.outbox.events.take()));
        }
    }

    /// Closes the socket with a close frame.
    pub async fn close(self) {
        self.socket.close().await;
    }
}
