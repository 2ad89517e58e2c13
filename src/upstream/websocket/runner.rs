//! The life of a connection: dialled, listened to, lost, dialled again; and replaced before it is cut.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dial::dial;
use super::link::{End, Link, Listening, Told};
use super::rhythm::Rhythm;
use super::{ConnectionHandle, DialError, Feed, FeedItem, Socket};
use crate::exchanges::{FeedSession, Notice, Subscription};
use crate::model::{ExchangeId, FeedState, Gap, GapReason, MarketEvent, Symbol, TimeRange, Timestamp, Topic};
use crate::telemetry::upstream::{
    FeedConnected, FeedDialFailed, FeedGaveUp, FeedLost, FeedRotated, FeedStale, FrameSkipped, FramesReceived,
    SubscriptionRefused,
};
use crate::upstream::Backoff;
use crate::upstream::tap::ConnectionTap;

/// The longest wait before connecting anew.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// After so many failures in a row the exchange counts as down.
const DOWN_AFTER: u32 = 3;
/// How long a new connection may take until everything on it is confirmed.
const TAKEOVER: Duration = Duration::from_mins(2);
/// How long both connections run side by side once the new one is whole: the old one may lag behind.
const OVERLAP: Duration = Duration::from_secs(2);
/// How long after a takeover, or one that failed, the next is tried.
const TAKEOVER_PAUSE: Duration = Duration::from_mins(1);
/// Nothing is due for longer than this only while nothing is wanted.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// How often skipped frames are logged.
const SKIP_LOG: Duration = Duration::from_secs(10);

pub(super) struct Runner {
    feed: Feed,
    exchange: ExchangeId,
    path: String,
    session: fn(Vec<Subscription>) -> Box<dyn FeedSession>,
    handle: ConnectionHandle,
    items: mpsc::Sender<FeedItem>,
    stop: CancellationToken,
    /// None while broken; two while the second takes over from the first.
    links: Vec<Link>,
    dialing: Option<BoxFuture<'static, Result<(usize, Socket), DialError>>>,
    /// Not before then, by the clock's `elapsed`, is the next socket opened.
    dial_at: Duration,
    /// The origin that is tried first: the one that worked last.
    origin: usize,
    backoff: Backoff,
    was_connected: bool,
    /// When the new one of two links came, and when it was whole.
    takeover: Option<Takeover>,
    /// Topics that broke off and did not come back yet, with the last frame before.
    lost: BTreeMap<Topic, Timestamp>,
    skips: SkipLog,
    /// How often data come, as the last link left it.
    rhythm: Rhythm,
    /// The last link ended without data although its socket was alive: only data prove the next one.
    is_mute: bool,
    given_up: bool,
    /// What is to be told next.
    told: Vec<FeedItem>,
}

struct Takeover {
    by: Duration,
    whole_at: Option<Duration>,
}

#[derive(Default)]
struct SkipLog {
    logged_at: Option<Duration>,
    unlogged: u64,
}

impl Runner {
    pub fn new(
        feed: Feed,
        path: String,
        session: fn(Vec<Subscription>) -> Box<dyn FeedSession>,
        handle: ConnectionHandle,
        items: mpsc::Sender<FeedItem>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            exchange: feed.exchange.id(),
            feed,
            path,
            session,
            handle,
            items,
            stop,
            links: Vec::new(),
            dialing: None,
            dial_at: Duration::ZERO,
            origin: 0,
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_BACKOFF),
            was_connected: false,
            takeover: None,
            lost: BTreeMap::new(),
            skips: SkipLog::default(),
            rhythm: Rhythm::default(),
            is_mute: false,
            given_up: false,
            told: Vec::new(),
        }
    }

    /// Runs until it is stopped, nobody listens, or the session gives up.
    pub async fn run(mut self) {
        while !self.given_up {
            self.dial_if_due();
            let wait = self.deadline().saturating_sub(self.feed.clock.elapsed()).min(LONGEST_SLEEP);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.items.closed() => break,
                () = self.handle.changed() => self.sync(),
                dialed = poll_fn(|context| match &mut self.dialing {
                    Some(dialing) => dialing.poll_unpin(context),
                    None => Poll::Pending,
                }) => self.dialed(dialed),
                () = poll_fn(|context| {
                    let ready = self.links.iter_mut().filter_map(|link| link.poll(context).is_ready().then_some(()));
                    if ready.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
                }) => {}
                () = self.feed.clock.sleep(wait) => {}
            }
            self.work();
            self.take_over();
            if !self.deliver().await {
                break;
            }
        }
        for link in self.links.drain(..) {
            link.close().await;
        }
    }

    /// Tells what there is to tell, waiting for whoever listens. Says whether to go on.
    async fn deliver(&mut self) -> bool {
        for item in self.told.drain(..) {
            tokio::select! {
                biased;
                sent = self.items.send(item) => if sent.is_err() { return false },
                () = self.stop.cancelled() => return false,
            }
        }
        true
    }

    /// When there is something to do even if nothing comes.
    fn deadline(&self) -> Duration {
        let mut deadline = self.links.iter().map(Link::deadline).min().unwrap_or(Duration::MAX);
        if let Some(takeover) = &self.takeover {
            deadline = deadline.min(takeover.whole_at.map_or(takeover.by, |at| at + OVERLAP));
        }
        deadline.min(self.next_dial().unwrap_or(Duration::MAX))
    }

    /// When the next socket shall be opened, if one shall.
    fn next_dial(&self) -> Option<Duration> {
        if self.dialing.is_some() || self.links.len() > 1 || self.handle.is_idle() {
            return None;
        }
        match self.links.first() {
            None => Some(self.dial_at),
            Some(link) => link.rotate_at.map(|at| at.max(self.dial_at)),
        }
    }

    fn dial_if_due(&mut self) {
        if self.next_dial().is_some_and(|at| at <= self.feed.clock.elapsed()) {
            self.dialing = Some(dial(self.feed.clone(), self.origin, self.path.clone()).boxed());
        }
    }

    fn dialed(&mut self, dialed: Result<(usize, Socket), DialError>) {
        self.dialing = None;
        let now = self.feed.clock.elapsed();
        let connection = self.handle.name();
        match dialed {
            Ok(opened) => {
                self.origin = opened.0;
                let wanted = self.handle.wanted();
                let (exchange, origin) = (self.exchange, self.feed.origins[opened.0].as_str());
                FeedConnected { exchange, connection, origin, subscriptions: wanted.len() }.emit();
                let address = || format!("{}{}", origin.trim_end_matches('/'), self.path);
                let tap = self.feed.tap.as_ref().map(|tap| ConnectionTap::new(tap, connection, address()));
                let profile = self.feed.exchange.profile();
                let rhythm = self.links.first().map_or(self.rhythm, |link| link.rhythm);
                let link = Link::open(opened, self.session, wanted, profile, &self.feed.clock, rhythm, tap);
                if !self.links.is_empty() {
                    self.takeover = Some(Takeover { by: now + TAKEOVER, whole_at: None });
                } else if std::mem::replace(&mut self.was_connected, true) {
                    self.handle.update(|status| status.reconnects += 1);
                }
                self.links.push(link);
            }
            Err(error) if self.links.is_empty() => {
                let wait = self.backoff.next(&self.feed.clock).max(error.retry_after.unwrap_or_default());
                self.dial_at = now + wait;
                let (exchange, error) = (self.exchange, error.message.as_str());
                FeedDialFailed { exchange, connection, error, retry_after: wait }.emit();
                if self.backoff.tries() >= DOWN_AFTER {
                    self.handle.update(|status| status.state = FeedState::Down);
                }
            }
            Err(error) => {
                self.dial_at = now + TAKEOVER_PAUSE.max(error.retry_after.unwrap_or_default());
                FeedRotated { exchange: self.exchange, connection, outcome: Err(&error.message) }.emit();
            }
        }
    }

    /// Makes every link listen to what is wanted now.
    fn sync(&mut self) {
        let wanted = self.handle.wanted();
        self.lost.retain(|topic, _| wanted.contains_key(topic));
        if wanted.is_empty() {
            // A connection without a topic would fall silent; the next one is opened when something is wanted again.
            self.takeover = None;
            for link in self.links.drain(..) {
                tokio::spawn(link.close());
            }
            self.handle.update(|status| status.state = FeedState::Connecting);
            return;
        }
        for index in 0..self.links.len() {
            let mut told = Vec::new();
            self.links[index].sync(&wanted, &mut told);
            for told in told {
                self.tell(index, told);
            }
        }
    }

    fn work(&mut self) {
        let mut index = 0;
        while index < self.links.len() {
            let mut told = Vec::new();
            let result = self.links[index].work(&mut told);
            for told in told {
                self.tell(index, told);
            }
            match result {
                Ok(()) => index += 1,
                Err(end) => self.ended(index, end),
            }
        }
    }

    /// Ends a takeover that succeeded or took too long.
    fn take_over(&mut self) {
        let Some(takeover) = &mut self.takeover else { return };
        let [_, new] = &*self.links else {
            self.takeover = None;
            return;
        };
        let now = self.feed.clock.elapsed();
        if !new.is_settled() {
            takeover.whole_at = None;
            if takeover.by <= now {
                self.ended(1, End::Closed("not everything was confirmed in time".to_owned()));
            }
        } else if *takeover.whole_at.get_or_insert(now) + OVERLAP <= now {
            self.takeover = None;
            // An exchange that announces its end on each new connection is not followed from one to the next at once.
            self.dial_at = now + TAKEOVER_PAUSE;
            let old = self.links.remove(0);
            FeedRotated { exchange: self.exchange, connection: self.handle.name(), outcome: Ok(()) }.emit();
            // Its leave must not hold up the new one; it takes a second at most.
            tokio::spawn(old.close());
        }
    }

    /// A link is gone: says what was lost with it, and when to connect again.
    fn ended(&mut self, index: usize, end: End) {
        let link = self.links.remove(index);
        self.takeover = None;
        let now = self.feed.clock.elapsed();
        let since = if matches!(end, End::NoData(_)) { link.last_data } else { link.last_frame };
        self.rhythm = link.rhythm;
        let mut gone = Vec::new();
        for (topic, listening) in link.topics {
            if !self.handle.is_wanted(&topic) || self.links.iter().any(|link| link.is_whole(&topic)) {
                continue;
            }
            // Data may come before the confirmation; what was not confirmed was never said to be whole.
            if listening.is_confirmed || link.has_data {
                self.lost.entry(topic).or_insert(since);
            }
            if listening.is_confirmed {
                gone.push(listening.subscription);
            }
        }
        if !gone.is_empty() {
            self.told.push(FeedItem::Lost { subscriptions: gone, since });
        }
        if !link.has_data {
            self.origin = (link.origin + 1) % self.feed.origins.len().max(1);
        }
        let (exchange, connection, replaced) = (self.exchange, self.handle.name(), !self.links.is_empty());
        let (state, reason, after) = match end {
            End::Closed(reason) => (FeedState::Reconnecting, reason, Duration::ZERO),
            End::Reconnect { message, after } => (FeedState::Reconnecting, message, after),
            End::Silent(silent_for) => {
                FeedStale { exchange, connection, silent_for }.emit();
                (FeedState::Stale, "connected, but silent".to_owned(), Duration::ZERO)
            }
            End::NoData(silent_for) => {
                self.rhythm.ended_silent();
                self.is_mute = true;
                FeedStale { exchange, connection, silent_for }.emit();
                let reason = format!("the socket is alive, but no data came for {} s", silent_for.as_secs());
                (FeedState::Stale, reason, Duration::ZERO)
            }
            End::GaveUp(reason) => {
                FeedGaveUp { exchange, connection, reason: &reason }.emit();
                self.handle.update(|status| status.state = FeedState::Down);
                self.told.push(FeedItem::GaveUp { subscriptions: self.handle.subscriptions(), reason });
                self.given_up = true;
                return;
            }
        };
        FeedLost { exchange, connection, reason: &reason, since, replaced }.emit();
        if !replaced {
            self.dial_at = now + self.backoff.next(&self.feed.clock).max(after);
            self.handle.update(|status| {
                // Down is left only for live.
                if status.state != FeedState::Down {
                    status.state = state;
                }
            });
        } else if index == 1 {
            self.dial_at = now + TAKEOVER_PAUSE;
            FeedRotated { exchange, connection, outcome: Err(&reason) }.emit();
        }
    }

    fn tell(&mut self, index: usize, told: Told) {
        match told {
            Told::Frames(frames) => {
                FramesReceived { exchange: self.exchange, frames: frames as u64 }.emit();
            }
            Told::Events(events) => {
                self.heard_data();
                self.gave_data(index);
                let events = if self.lost.is_empty() { events } else { self.with_gaps(events) };
                self.told.push(FeedItem::Events(events));
            }
            Told::Notice(Notice::Confirmed(subscriptions)) => self.confirmed(index, subscriptions),
            Told::Notice(Notice::Refused { subscription, reason }) => self.refused(subscription, reason),
            // The one that takes over may not tell everything yet.
            Told::Notice(Notice::Reached(at)) if index == 0 => {
                self.heard_data();
                self.told.push(FeedItem::Reached { connection: self.handle.name().into(), at });
            }
            Told::Notice(Notice::Reached(_) | Notice::Alive) => self.heard_data(),
            Told::Notice(Notice::TradeSkipped(symbol)) => self.trade_skipped(index, symbol.as_ref()),
            Told::Notice(Notice::Rotate) => self.links[index].rotate_at = Some(self.feed.clock.elapsed()),
            Told::Skipped(error) => {
                let unlogged = self.skips.skip(self.feed.clock.elapsed());
                let connection = self.handle.name();
                FrameSkipped { exchange: self.exchange, connection, error: &error, unlogged }.emit();
            }
        }
    }

    /// It works: only this ends the growing of the backoff, since a server may well accept and then say nothing.
    fn gave_data(&mut self, index: usize) {
        self.links[index].has_data = true;
        self.backoff.reset();
        if !self.is_mute {
            self.handle.update(|status| status.state = FeedState::Live);
        }
    }

    /// Data or a heartbeat came.
    fn heard_data(&mut self) {
        let now = self.feed.clock.now();
        let was_mute = std::mem::take(&mut self.is_mute);
        self.handle.update(|status| {
            status.last_message = Some(now);
            if was_mute {
                status.state = FeedState::Live;
            }
        });
    }

    /// A trade was left out: what is built from the trades of that market, or of all of them where the market is not
    /// known, is not whole now.
    fn trade_skipped(&mut self, index: usize, symbol: Option<&Symbol>) {
        let link = &self.links[index];
        let is_concerned = |topic: &Topic, listening: &Listening| {
            matches!(topic, Topic::Trades { .. })
                && listening.is_confirmed
                && symbol.is_none_or(|symbol| topic.symbol() == symbol)
        };
        let concerned = link.topics.iter().filter(|(topic, listening)| is_concerned(topic, listening));
        let (topics, subscriptions): (Vec<_>, Vec<_>) =
            concerned.map(|(topic, listening)| (topic.clone(), listening.subscription.clone())).unzip();
        if topics.is_empty() {
            return;
        }
        let (at, since) = (self.feed.clock.now(), link.last_frame);
        let gap = self.gap(topics, since, at);
        self.told.push(FeedItem::Lost { subscriptions: subscriptions.clone(), since });
        self.told.push(FeedItem::Events(vec![gap]));
        self.told.push(FeedItem::Confirmed { subscriptions, at });
    }

    fn confirmed(&mut self, index: usize, subscriptions: Vec<Subscription>) {
        self.gave_data(index);
        let at = self.feed.clock.now();
        let (mut fresh, mut back) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for subscription in subscriptions {
            let topic = subscription.topic();
            // While a new link takes over, what was whole stays whole.
            let was_whole = self.links.iter().any(|link| link.is_whole(&topic));
            let Some(listening) = self.links[index].topics.get_mut(&topic) else { continue };
            listening.is_confirmed = true;
            if let Some(since) = self.lost.remove(&topic) {
                back.entry(since).or_default().push(topic);
            }
            if !was_whole {
                fresh.push(subscription);
            }
        }
        if !back.is_empty() {
            let gaps = back.into_iter().map(|(since, topics)| self.gap(topics, since, at)).collect();
            self.told.push(FeedItem::Events(gaps));
        }
        if !fresh.is_empty() {
            self.told.push(FeedItem::Confirmed { subscriptions: fresh, at });
        }
    }

    fn refused(&mut self, subscription: Subscription, reason: String) {
        let topic = subscription.topic();
        let (channel, symbol) = (subscription.channel.as_str(), subscription.instrument.symbol.as_str());
        SubscriptionRefused { exchange: self.exchange, channel, symbol, reason: &reason }.emit();
        self.handle.forget(&topic);
        self.lost.remove(&topic);
        for link in &mut self.links {
            link.topics.remove(&topic);
        }
        self.told.push(FeedItem::Refused { subscription, reason });
    }

    /// Puts a gap before the first event of each topic that comes back before its confirmation does.
    fn with_gaps(&mut self, events: Vec<MarketEvent>) -> Vec<MarketEvent> {
        let at = self.feed.clock.now();
        let mut whole = Vec::with_capacity(events.len() + 1);
        for event in events {
            if let Some(topic) = topic(&event)
                && let Some(since) = self.lost.remove(&topic)
            {
                whole.push(self.gap(vec![topic], since, at));
            }
            whole.push(event);
        }
        whole
    }

    fn gap(&self, topics: Vec<Topic>, since: Timestamp, until: Timestamp) -> MarketEvent {
        let (missed, reason) = (TimeRange::new(since, until), GapReason::UpstreamDisconnect);
        MarketEvent::Gap(Gap { exchange: self.exchange, topics, missed, reason })
    }
}

impl SkipLog {
    /// Counts a skipped frame; if it may be logged, says how many were not since the last.
    fn skip(&mut self, now: Duration) -> Option<u64> {
        if self.logged_at.is_some_and(|at| now < at + SKIP_LOG) {
            self.unlogged += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// Which topic an event belongs to.
fn topic(event: &MarketEvent) -> Option<Topic> {
    match event {
        MarketEvent::Ticker(ticker) => Some(Topic::Ticker { exchange: ticker.exchange, symbol: ticker.symbol.clone() }),
        MarketEvent::Trade(trade) => Some(Topic::Trades { exchange: trade.exchange, symbol: trade.symbol.clone() }),
        MarketEvent::Candle(update) => Some(Topic::Candles(update.series.clone())),
        MarketEvent::Gap(_) => None,
    }
}
