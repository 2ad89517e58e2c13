//! One open connection: a socket, the session that understands it, and the time by which something is due.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::Socket;
use super::rhythm::Rhythm;
use super::wire::Wire;
use crate::clock::Clock;
use crate::exchanges::{FeedError, FeedSession, Frame, Notice, Outbox, Profile, Recovery, Subscription};
use crate::model::{MarketEvent, Timestamp, Topic};
use crate::upstream::tap::ConnectionTap;

/// How often a session's timer runs.
const TIMER: Duration = Duration::from_secs(1);
/// How long before the exchange cuts a connection it is replaced, at the latest; and over how long the replacements of
/// several connections are spread before that.
const ROTATION_MARGIN: Duration = Duration::from_mins(10);

/// One open connection.
pub(super) struct Link {
    /// Where it goes to, by the order of the feed's origins.
    pub origin: usize,
    wire: Wire,
    session: Box<dyn FeedSession>,
    clock: Clock,
    idle_timeout: Duration,
    /// What the session was told to listen to.
    pub topics: BTreeMap<Topic, Listening>,
    outbox: Outbox,
    /// When the last frame came, by the clock's `elapsed` as all `Duration`s here.
    heard_at: Duration,
    timer_at: Duration,
    /// When the last frame came.
    pub last_frame: Timestamp,
    /// When data or a heartbeat came last.
    pub last_data: Timestamp,
    /// How often data come.
    pub rhythm: Rhythm,
    /// Data or a heartbeat came that the rhythm does not know yet.
    has_heard_data: bool,
    /// When a new connection shall take over.
    pub rotate_at: Option<Duration>,
    /// Whether it gave anything yet.
    pub has_data: bool,
}

/// One subscription of a link.
pub(super) struct Listening {
    pub subscription: Subscription,
    pub is_confirmed: bool,
}

/// What a link tells its runner, in order.
pub(super) enum Told {
    Events(Vec<MarketEvent>),
    Notice(Notice),
    Skipped(String),
    /// So many data frames came.
    Frames(usize),
}

/// How a link ended.
pub(super) enum End {
    /// The socket was closed or broke.
    Closed(String),
    /// Nothing came for so long.
    Silent(Duration),
    /// The socket is alive, but no data came for so long.
    NoData(Duration),
    /// The session wants another connection, not before so long.
    Reconnect { message: String, after: Duration },
    /// The session does not want to go on.
    GaveUp(String),
}

impl Link {
    /// Starts a session on an open socket.
    pub fn open(
        (origin, socket): (usize, Socket),
        session: fn(Vec<Subscription>) -> Box<dyn FeedSession>,
        wanted: BTreeMap<Topic, Subscription>,
        profile: &Profile,
        clock: &Clock,
        mut rhythm: Rhythm,
        tap: Option<ConnectionTap>,
    ) -> Self {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let rotate_at = profile.max_connection_age.map(|age| {
            let margin = ROTATION_MARGIN.min(age / 10);
            elapsed + age.saturating_sub(margin + clock.jitter(margin))
        });
        rhythm.begin(elapsed);
        let mut session = session(wanted.values().cloned().collect());
        let mut outbox = Outbox::default();
        session.on_open(now, &mut outbox);
        let listening = |subscription| Listening { subscription, is_confirmed: false };
        let mut wire = Wire::new(socket, profile, clock, tap);
        wire.send(outbox.frames.drain(..));
        Self {
            origin,
            wire,
            session,
            clock: clock.clone(),
            idle_timeout: profile.idle_timeout,
            topics: wanted.into_iter().map(|(topic, subscription)| (topic, listening(subscription))).collect(),
            outbox,
            heard_at: elapsed,
            timer_at: elapsed + TIMER,
            last_frame: now,
            last_data: now,
            rhythm,
            has_heard_data: false,
            rotate_at,
            has_data: false,
        }
    }

    /// Whether everything that it listens to is confirmed.
    pub fn is_settled(&self) -> bool {
        self.topics.values().all(|listening| listening.is_confirmed)
    }

    /// Whether the events of `topic` are whole here.
    pub fn is_whole(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_some_and(|listening| listening.is_confirmed)
    }

    /// When there is something to do even if nothing comes.
    pub fn deadline(&self) -> Duration {
        let idle_at = self.heard_at + self.idle_timeout;
        self.timer_at
            .min(idle_at)
            .min(self.rhythm.deadline(self.idle_timeout))
            .min(self.wire.send_at().unwrap_or(Duration::MAX))
    }

    /// Reads and writes. Ready when [`Link::work`] has something to do.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wire.poll(context)
    }

    /// Gives what was read to the session, and what is due to its timer.
    pub fn work(&mut self, told: &mut Vec<Told>) -> Result<(), End> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        if self.wire.take_heard() {
            (self.heard_at, self.last_frame) = (elapsed, now);
        }
        let result = self.give_frames(now, told);
        let result = result.and_then(|()| {
            if elapsed < self.timer_at {
                return Ok(());
            }
            self.timer_at = elapsed + TIMER;
            self.with_session(told, |session, outbox| session.on_timer(now, outbox))
        });
        self.tell_events(told);
        if std::mem::take(&mut self.has_heard_data) {
            self.last_data = now;
            self.rhythm.heard(elapsed);
        }
        result?;
        if let Some(reason) = self.wire.take_ended() {
            return Err(End::Closed(reason));
        }
        let silent_for = elapsed.saturating_sub(self.heard_at);
        if silent_for >= self.idle_timeout {
            return Err(End::Silent(silent_for));
        }
        if elapsed >= self.rhythm.deadline(self.idle_timeout) {
            return Err(End::NoData(self.rhythm.silent_for(elapsed)));
        }
        Ok(())
    }

    fn give_frames(&mut self, now: Timestamp, told: &mut Vec<Told>) -> Result<(), End> {
        let frames = self.wire.take_frames();
        if frames.is_empty() {
            return Ok(());
        }
        told.push(Told::Frames(frames.len()));
        let result = frames.iter().try_for_each(|message| {
            self.with_session(told, |session, outbox| match message {
                Message::Text(text) => session.on_frame(Frame::Text(text), now, outbox),
                Message::Binary(bytes) => session.on_frame(Frame::Binary(bytes), now, outbox),
                _ => Ok(()),
            })
        });
        self.wire.reuse(frames);
        result
    }

    /// Makes the session listen to `wanted`, no more and no less.
    pub fn sync(&mut self, wanted: &BTreeMap<Topic, Subscription>, told: &mut Vec<Told>) {
        let remove: Vec<_> = self
            .topics
            .iter()
            .filter(|(topic, _)| !wanted.contains_key(topic))
            .map(|(_, listening)| listening.subscription.clone())
            .collect();
        let new = wanted.iter().filter(|(topic, _)| !self.topics.contains_key(topic));
        let new: Vec<_> = new.map(|(topic, subscription)| (topic.clone(), subscription.clone())).collect();
        if remove.is_empty() && new.is_empty() {
            return;
        }
        let add: Vec<_> = new.iter().map(|(_, subscription)| subscription.clone()).collect();
        self.rhythm.forget(self.clock.elapsed());
        self.topics.retain(|topic, _| wanted.contains_key(topic));
        for (topic, subscription) in new {
            self.topics.insert(topic, Listening { subscription, is_confirmed: false });
        }
        let now = self.clock.now();
        // A change cannot fail; what it leads to is told by later frames and timers.
        let _ = self.with_session(told, |session, outbox| {
            session.change(&add, &remove, now, outbox);
            Ok(())
        });
        self.tell_events(told);
    }

    /// Runs the session, and tells its notices after the events of earlier frames and before those of this one.
    fn with_session(
        &mut self,
        told: &mut Vec<Told>,
        run: impl FnOnce(&mut dyn FeedSession, &mut Outbox) -> Result<(), FeedError>,
    ) -> Result<(), End> {
        let earlier = self.outbox.events.len();
        // What an exchange says must not end the task: a session that panicked is thrown away with its connection.
        let (session, outbox) = (&mut *self.session, &mut self.outbox);
        let result = catch_unwind(AssertUnwindSafe(|| run(session, outbox))).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let recovery = Recovery::Reconnect { after: Duration::ZERO };
            Err(FeedError { recovery, message: format!("the session panicked: {what}") })
        });
        let is_alive = |notice: &Notice| matches!(notice, Notice::Reached(_) | Notice::Alive);
        self.has_heard_data |= self.outbox.events.len() > earlier || self.outbox.notices.iter().any(is_alive);
        self.wire.send(self.outbox.frames.drain(..));
        if !self.outbox.notices.is_empty() {
            let later = self.outbox.events.split_off(earlier);
            self.tell_events(told);
            self.outbox.events = later;
            told.extend(self.outbox.notices.drain(..).map(Told::Notice));
        }
        let Err(error) = result else { return Ok(()) };
        match error.recovery() {
            Recovery::SkipFrame => {
                told.push(Told::Skipped(error.message));
                Ok(())
            }
            Recovery::Reconnect { after } => Err(End::Reconnect { message: error.message, after }),
            Recovery::GiveUp => Err(End::GaveUp(error.message)),
        }
    }

    fn tell_events(&mut self, told: &mut Vec<Told>) {
        if !self.outbox.events.is_empty() {
            told.push(Told::Events(self.outbox.events.take()));
        }
    }

    /// Takes leave.
    pub async fn close(self) {
        self.wire.close().await;
    }
}
