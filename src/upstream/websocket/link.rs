//! One open connection: a socket, the session that understands it, and the time by which something is due.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Socket;
use super::pace::Pace;
use crate::clock::Clock;
use crate::exchanges::{FeedError, FeedSession, Frame, Notice, Outbox, Profile, Recovery, Subscription};
use crate::model::{MarketEvent, Timestamp, Topic};

/// How many frames are read together at most.
const BATCH: usize = 64;
/// How often a session's timer runs.
const TIMER: Duration = Duration::from_secs(1);
/// How long before the exchange cuts a connection it is replaced, at the latest; and over how long the replacements of
/// several connections are spread before that.
const ROTATION_MARGIN: Duration = Duration::from_secs(600);
/// How long taking leave may take.
const LEAVE: Duration = Duration::from_secs(1);

/// One open connection.
pub(super) struct Link {
    pub origin: usize,
    socket: Socket,
    session: Box<dyn FeedSession>,
    pace: Pace,
    clock: Clock,
    idle_timeout: Duration,
    /// What the session was told to listen to.
    pub topics: BTreeMap<Topic, Listening>,
    inbox: Vec<Message>,
    outbox: Outbox,
    outgoing: VecDeque<String>,
    /// Not before then, by the clock's `elapsed` as all `Duration`s here, may the next frame go out.
    send_at: Duration,
    /// The socket takes nothing now; it will wake us.
    is_blocked: bool,
    is_unflushed: bool,
    /// A frame of any kind was read since the last work.
    has_heard: bool,
    heard_at: Duration,
    timer_at: Duration,
    ended: Option<End>,
    /// When the last frame came.
    pub last_frame: Timestamp,
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
    ) -> Self {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let rotate_at = profile.max_connection_age.map(|age| {
            let margin = ROTATION_MARGIN.min(age / 10);
            elapsed + age.saturating_sub(margin + clock.jitter(margin))
        });
        let mut session = session(wanted.values().cloned().collect());
        let mut outbox = Outbox::default();
        session.on_open(now, &mut outbox);
        let listening = |subscription| Listening { subscription, is_confirmed: false };
        Self {
            origin,
            socket,
            session,
            pace: Pace::new(profile.messages_per_second, clock),
            clock: clock.clone(),
            idle_timeout: profile.idle_timeout,
            topics: wanted.into_iter().map(|(topic, subscription)| (topic, listening(subscription))).collect(),
            inbox: Vec::new(),
            outgoing: outbox.frames.drain(..).collect(),
            outbox,
            send_at: elapsed,
            is_blocked: false,
            is_unflushed: false,
            has_heard: false,
            heard_at: elapsed,
            timer_at: elapsed + TIMER,
            ended: None,
            last_frame: now,
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
        let send_at = (!self.outgoing.is_empty() && !self.is_blocked).then_some(self.send_at);
        let idle_at = self.heard_at + self.idle_timeout;
        self.timer_at.min(idle_at).min(send_at.unwrap_or(Duration::MAX))
    }

    /// Writes what may go out and reads what is there, up to a batch. Ready when [`Link::work`] has something to do.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = self.poll_write(context) {
            self.end(&error);
        }
        for _ in 0..BATCH {
            match self.socket.poll_next_unpin(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(message))) => {
                    self.has_heard = true;
                    match message {
                        Message::Text(_) | Message::Binary(_) => self.inbox.push(message),
                        // tungstenite answers pings as it reads on.
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                        Message::Close(frame) => {
                            let reason = frame.map_or_else(|| "no reason given".to_owned(), |frame| frame.to_string());
                            self.ended.get_or_insert(End::Closed(format!("closed by the exchange: {reason}")));
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.end(&error);
                    break;
                }
                Poll::Ready(None) => {
                    self.end(&Error::ConnectionClosed);
                    break;
                }
            }
        }
        if self.has_heard || self.ended.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn end(&mut self, error: &Error) {
        self.ended.get_or_insert_with(|| End::Closed(error.to_string()));
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        self.is_blocked = false;
        while !self.outgoing.is_empty() && self.send_at <= self.clock.elapsed() {
            let Poll::Ready(ready) = self.socket.poll_ready_unpin(context) else {
                self.is_blocked = true;
                return Ok(());
            };
            ready?;
            if let Err(at) = self.pace.take() {
                self.send_at = at;
            } else if let Some(frame) = self.outgoing.pop_front() {
                std::pin::Pin::new(&mut self.socket).start_send(Message::text(frame))?;
                self.is_unflushed = true;
            }
        }
        if self.is_unflushed
            && let Poll::Ready(flushed) = self.socket.poll_flush_unpin(context)
        {
            flushed?;
            self.is_unflushed = false;
        }
        Ok(())
    }

    /// Gives what was read to the session, and what is due to its timer.
    pub fn work(&mut self, told: &mut Vec<Told>) -> Result<(), End> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        if std::mem::take(&mut self.has_heard) {
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
        result?;
        if let Some(end) = self.ended.take() {
            return Err(end);
        }
        let silent_for = elapsed.saturating_sub(self.heard_at);
        if silent_for >= self.idle_timeout { Err(End::Silent(silent_for)) } else { Ok(()) }
    }

    fn give_frames(&mut self, now: Timestamp, told: &mut Vec<Told>) -> Result<(), End> {
        if self.inbox.is_empty() {
            return Ok(());
        }
        let mut frames = std::mem::take(&mut self.inbox);
        told.push(Told::Frames(frames.len()));
        let result = frames.drain(..).try_for_each(|message| {
            self.with_session(told, |session, outbox| match &message {
                Message::Text(text) => session.on_frame(Frame::Text(text), now, outbox),
                Message::Binary(bytes) => session.on_frame(Frame::Binary(bytes), now, outbox),
                _ => Ok(()),
            })
        });
        // The list is used again; what an ended session did not take is gone with it.
        self.inbox = frames_emptied(frames);
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
        let result = run(&mut *self.session, &mut self.outbox);
        self.outgoing.extend(self.outbox.frames.drain(..));
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
            told.push(Told::Events(std::mem::take(&mut self.outbox.events)));
        }
    }

    /// Takes leave: a close frame, and for a moment the answer.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let leave = async {
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(message)) = self.socket.next().await {
                    if message.is_close() {
                        break;
                    }
                }
            }
        };
        // Who does not answer is left without one.
        let _ = self.clock.timeout(LEAVE, leave).await;
    }
}

fn frames_emptied(mut frames: Vec<Message>) -> Vec<Message> {
    frames.clear();
    frames
}
