//! One WebSocket connection: what all dialects have in common. Reads, paces, pings, cuts, and lets faults befall.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

use crate::model::{ExchangeId, Timestamp};

use super::Shared;
use super::faults::{FaultKind, Seen};
use super::spoil;
use super::stats::count;
use super::tape::MINUTE;

/// Streams speak at moments this far apart, in milliseconds: what they say does not depend on when a task runs.
pub const INSTANT: i64 = 250;
/// How long after its notice a shutdown cuts, in milliseconds.
const NOTICE: i64 = 5_000;
/// How late an answer of a slow exchange is.
pub const SLOWNESS: Duration = Duration::from_secs(4);
/// How often a frame comes in a moment of a burst: 20,000 in a second.
const BURST: usize = 5_000;
/// A client that leaves frames unread for so long is cut, and so is a silent socket after so long.
const PATIENCE: i64 = 600_000;
/// The longest message that is read, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// How an exchange keeps its sockets.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub exchange: ExchangeId,
    /// The most connections of an address in so many milliseconds.
    pub connects: (usize, i64),
    /// The most messages in a second.
    pub messages_per_second: Option<i64>,
    /// How often it pings, and how long it waits for the pong, in milliseconds.
    pub ping: Option<(i64, i64)>,
    /// How old a connection gets, in milliseconds.
    pub max_age: Option<i64>,
}

/// What a dialect says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An answer, a heartbeat, a notice.
    Reply(String),
    Ticker(String),
    Trade(String),
    Candle(String),
}

impl Frame {
    /// The order within a moment: a candle closes after its trades.
    const fn rank(&self) -> u8 {
        match self {
            Self::Reply(_) => 0,
            Self::Trade(_) => 1,
            Self::Ticker(_) => 2,
            Self::Candle(_) => 3,
        }
    }
}

/// Whether a connection goes on, or how it ends.
pub type Flow = ControlFlow<End>;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Without a word.
    Cut,
    /// With a close frame.
    Close(u16, &'static str),
}

/// An exchange's side of one connection. Times are Unix milliseconds.
pub trait Dialect: Send {
    fn habits(&self) -> Habits;
    /// The connection stands.
    fn open(&mut self, now: i64, out: &mut Vec<Frame>);
    /// The client said something.
    fn text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow;
    /// Tells what became known in the last [`INSTANT`] before `at`.
    fn instant(&mut self, at: i64, out: &mut Vec<Frame>);
    /// Whether the connection goes on at a moment, after what was said at it.
    fn goes_on(&mut self, _at: i64) -> Flow {
        ControlFlow::Continue(())
    }
    /// Announces the end.
    fn farewell(&mut self, now: i64, out: &mut Vec<Frame>);
}

/// Serves one connection until either side ends it.
pub async fn serve(shared: Arc<Shared>, upgraded: poem::Upgraded, dialect: Box<dyn Dialect>, stop: CancellationToken) {
    let counters = &shared.counters[dialect.habits().exchange as usize];
    count(&counters.sockets_opened);
    count(&counters.sockets_open);
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    Session::new(&shared, dialect).run(stream, stop).await;
    counters.sockets_open.fetch_sub(1, Ordering::Relaxed);
}

struct Session<'a> {
    shared: &'a Shared,
    dialect: Box<dyn Dialect>,
    habits: Habits,
    opened: i64,
    /// The last moment that was told.
    told: i64,
    /// The faults that have befallen it by then, or never will.
    seen: Seen,
    /// Gives no data any more, but answers and pings.
    is_dataless: bool,
    /// Never speaks again.
    mute_since: Option<i64>,
    /// When it is cut after a notice.
    ends_at: Option<i64>,
    pinged: i64,
    /// When the first ping without a pong was sent.
    unanswered: Option<i64>,
    /// When the allowance of messages is whole again.
    full_at: i64,
    /// Frames of candles that come late, and when.
    held: VecDeque<(i64, Message)>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, dialect: Box<dyn Dialect>) -> Self {
        let now = shared.now(dialect.habits().exchange).millis();
        Self {
            shared,
            held: VecDeque::new(),
            habits: dialect.habits(),
            dialect,
            opened: now,
            told: now,
            seen: shared.faults.seen(Timestamp::from_millis(now)),
            is_dataless: false,
            mute_since: None,
            ends_at: None,
            pinged: now,
            unanswered: None,
            full_at: now,
        }
    }

    async fn run(mut self, stream: WebSocketStream<poem::Upgraded>, stop: CancellationToken) {
        let clock = &self.shared.clock;
        let (mut sink, mut incoming) = stream.split();
        let (mut frames, mut messages) = (Vec::new(), Vec::new());
        self.dialect.open(self.opened, &mut frames);
        self.shape(&mut frames, &mut messages, self.opened);
        let end = loop {
            if !messages.is_empty() {
                let send = async {
                    for message in messages.drain(..) {
                        sink.feed(message).await?;
                    }
                    sink.flush().await
                };
                match clock.timeout(Duration::from_millis(PATIENCE.unsigned_abs()), send).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => break End::Cut,
                }
            }
            let next = Timestamp::from_millis((self.told / INSTANT + 1) * INSTANT);
            let now = self.now();
            let silent = self.is_silent(now);
            let flow = tokio::select! {
                () = stop.cancelled() => ControlFlow::Break(End::Close(1001, "")),
                () = clock.sleep(next.since(Timestamp::from_millis(now))) => self.advance(self.now(), &mut messages),
                // Who is silent does not even answer a ping, which reading would do.
                message = incoming.next(), if !silent => match message {
                    Some(Ok(message)) => self.receive(message, &mut messages).await,
                    Some(Err(_)) | None => ControlFlow::Break(End::Cut),
                },
            };
            if let ControlFlow::Break(end) = flow {
                break end;
            }
        };
        if let End::Close(code, reason) = end {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            let farewell = async {
                for message in messages.drain(..).chain([Message::Close(Some(frame))]) {
                    sink.feed(message).await?;
                }
                sink.flush().await?;
                // Closing with something unread would reset the connection, and the client might not see the frame.
                while incoming.next().await.is_some_and(|message| message.is_ok()) {}
                Ok::<_, tokio_tungstenite::tungstenite::Error>(())
            };
            // The connection ends either way.
            let _ = clock.timeout(Duration::from_secs(1), farewell).await;
        }
    }

    fn now(&self) -> i64 {
        self.shared.now(self.habits.exchange).millis()
    }

    fn is_silent(&self, now: i64) -> bool {
        self.mute_since.is_some() || self.befalls(FaultKind::Silent, now)
    }

    fn befalls(&self, kind: FaultKind, at: i64) -> bool {
        self.shared.faults.lasts(self.habits.exchange, kind, Timestamp::from_millis(at))
    }

    /// Tells everything up to `now`, moment by moment.
    fn advance(&mut self, now: i64, messages: &mut Vec<Message>) -> Flow {
        if now - self.told > PATIENCE {
            return ControlFlow::Break(End::Close(1008, "too slow"));
        }
        let mut frames = Vec::new();
        loop {
            let at = (self.told / INSTANT + 1) * INSTANT;
            if at > now {
                return ControlFlow::Continue(());
            }
            self.trouble(at, messages)?;
            self.told = at;
            self.dialect.instant(at, &mut frames);
            frames.sort_by_key(Frame::rank);
            self.keep_alive(at, messages)?;
            while self.held.front().is_some_and(|(due, _)| *due <= at) {
                messages.extend(self.held.pop_front().map(|(_, message)| message));
            }
            self.shape(&mut frames, messages, at);
            self.dialect.goes_on(at)?;
        }
    }

    /// The faults that end a connection, or announce its end.
    fn trouble(&mut self, at: i64, messages: &mut Vec<Message>) -> Flow {
        let until = Timestamp::from_millis(at);
        let (faults, exchange) = (&self.shared.faults, self.habits.exchange);
        let seen = std::mem::replace(&mut self.seen, faults.seen(until));
        if [FaultKind::Drop, FaultKind::Dark].into_iter().any(|kind| faults.began(exchange, kind, seen, until))
            || self.befalls(FaultKind::Dark, at)
        {
            return ControlFlow::Break(End::Cut);
        }
        self.is_dataless |= faults.began_once(exchange, FaultKind::PingsOnly, seen, until);
        if faults.began_once(exchange, FaultKind::Silent, seen, until) {
            self.mute_since.get_or_insert(at);
        }
        if self.mute_since.is_some_and(|since| at - since > PATIENCE) {
            return ControlFlow::Break(End::Cut);
        }
        let old = self.habits.max_age.is_some_and(|age| at - self.opened > age - 60_000);
        if self.ends_at.is_none() && (old || faults.began(exchange, FaultKind::ShutdownNotice, seen, until)) {
            self.ends_at = Some(if old { self.opened + self.habits.max_age.unwrap_or(0) } else { at + NOTICE });
            let mut frames = Vec::new();
            self.dialect.farewell(at, &mut frames);
            self.shape(&mut frames, messages, at);
        }
        match self.ends_at {
            Some(end) if end <= at => ControlFlow::Break(End::Close(1001, "")),
            _ => ControlFlow::Continue(()),
        }
    }

    fn keep_alive(&mut self, at: i64, messages: &mut Vec<Message>) -> Flow {
        let Some((every, patience)) = self.habits.ping else { return ControlFlow::Continue(()) };
        if self.is_silent(at) {
            self.unanswered = None;
            self.pinged = at;
        } else if self.unanswered.is_some_and(|since| at - since > patience) {
            return ControlFlow::Break(End::Close(1008, "Pong timeout"));
        } else if at - self.pinged >= every {
            self.pinged = at;
            self.unanswered.get_or_insert(at);
            messages.push(Message::Ping(Bytes::from(at.to_string())));
        }
        ControlFlow::Continue(())
    }

    async fn receive(&mut self, message: Message, messages: &mut Vec<Message>) -> Flow {
        if matches!(message, Message::Close(_)) {
            return ControlFlow::Break(End::Cut);
        }
        let now = self.now();
        if let Some(allowed) = self.habits.messages_per_second {
            self.full_at = self.full_at.max(now) + 1_000 / allowed;
            // One more than allowed, so that who keeps exactly to the limit is not cut for a late network.
            if self.full_at - now > 1_000 + 1_000 / allowed {
                count(&self.shared.counters[self.habits.exchange as usize].messages_over_rate);
                return ControlFlow::Break(End::Close(1008, "Too many requests"));
            }
        }
        match message {
            Message::Pong(_) => self.unanswered = None,
            Message::Text(text) => {
                if self.shared.faults.strikes(self.habits.exchange, FaultKind::Slow, Timestamp::from_millis(now)) {
                    self.shared.clock.sleep(SLOWNESS).await;
                }
                let mut frames = Vec::new();
                let now = self.now();
                let flow = self.dialect.text(&text, now, &mut frames);
                self.shape(&mut frames, messages, now);
                return flow;
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Makes messages of frames, as the faults want them.
    fn shape(&mut self, frames: &mut Vec<Frame>, messages: &mut Vec<Message>, at: i64) {
        let mut burst = false;
        if self.is_silent(at) {
            frames.clear();
        }
        let (shared, exchange) = (self.shared, self.habits.exchange);
        let strikes = |kind| shared.faults.strikes(exchange, kind, Timestamp::from_millis(at));
        if self.is_dataless || self.befalls(FaultKind::PingsOnly, at) {
            let is_heartbeat = |text: &str| text.contains("\"channel\":\"heartbeat");
            frames.retain(|frame| matches!(frame, Frame::Reply(text) if !is_heartbeat(text)));
        }
        for frame in frames.drain(..) {
            if let Frame::Ticker(text) = &frame {
                if strikes(FaultKind::WrongEvent) {
                    messages.push(Message::text(spoil::with_candle_row(exchange, text)));
                }
                if strikes(FaultKind::Burst) && !std::mem::replace(&mut burst, true) {
                    messages.extend(std::iter::repeat_n(Message::text(text.clone()), BURST));
                }
            }
            let (text, data, doubled) = match frame {
                Frame::Candle(_) if self.befalls(FaultKind::SkipCandle, at) => continue,
                Frame::Candle(text) if self.befalls(FaultKind::NoClose, at) && is_flat(&text) => continue,
                Frame::Candle(text)
                    if !self.held.is_empty() || (at % MINUTE == 0 && self.befalls(FaultKind::LateClose, at)) =>
                {
                    // What follows on the stream of candles does not overtake it.
                    let due = self.held.back().map_or_else(|| at + lateness(at), |(due, _)| *due);
                    self.held.push_back((due, Message::text(text)));
                    continue;
                }
                Frame::Reply(text) => (text, false, false),
                Frame::Ticker(text) => (text, true, false),
                Frame::Trade(text) | Frame::Candle(text) => (text, true, strikes(FaultKind::Duplicate)),
            };
            let text = if data && has_millis(&text) && strikes(FaultKind::Microseconds) {
                in_microseconds(&text)
            } else {
                text
            };
            if data && strikes(FaultKind::Malformed) {
                // Every frame is ASCII.
                messages.push(Message::text(&text[..text.len() / 2]));
            }
            if data && strikes(FaultKind::AbsurdNumbers) {
                messages.push(Message::text(spoil::absurd(&text, at)));
            }
            if doubled {
                messages.push(Message::text(text.clone()));
            }
            messages.push(Message::text(text));
        }
    }
}

/// How late a candle that ends at `end` is told, in milliseconds: 0.2 to 10 s.
const fn lateness(end: i64) -> i64 {
    200 + (end / MINUTE * 7_919) % 9_800 / INSTANT * INSTANT
}

/// Whether a frame of candles tells of nothing but candles without trades: of a volume of zero, in the dialects that tell
/// of such.
fn is_flat(text: &str) -> bool {
    let binance = text.contains("\"n\":0,");
    let bybit = text.contains("\"confirm\":")
        && text.matches("\"volume\":\"0\"").count() == text.matches("\"confirm\":").count();
    let okx = text.contains("\"channel\":\"candle") && text.contains(",\"0\",\"0\",\"0\",\"");
    binance || bybit || okx
}

/// Where the digits of a time in Unix milliseconds of this century stand.
fn millis_at(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let is_digit = move |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    (1..bytes.len()).filter(move |&at| {
        (at..at + 13).all(is_digit)
            && !is_digit(at + 13)
            && bytes[at] == b'1'
            && matches!(bytes[at - 1], b':' | b'"')
            && matches!(bytes.get(at + 13), Some(b',' | b'"' | b'}'))
    })
}

fn has_millis(text: &str) -> bool {
    millis_at(text).next().is_some()
}

/// The same frame with all of its times in Unix microseconds.
fn in_microseconds(text: &str) -> String {
    let mut told = text.to_owned();
    let places: Vec<usize> = millis_at(text).collect();
    places.into_iter().rev().for_each(|at| told.insert_str(at + 13, "000"));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::simulator::{Simulator, SimulatorConfig, binance};

    const DAY: i64 = 86_400_000;

    #[test]
    fn times_become_microseconds() {
        let frame = r#"{"E":1763672430123,"x":"1763672430123","i":17636724301234,"y":[1763672430123]}"#;
        let told = r#"{"E":1763672430123000,"x":"1763672430123000","i":17636724301234,"y":[1763672430123]}"#;
        assert_eq!((in_microseconds(frame).as_str(), has_millis(told)), (told, false));
    }

    #[test]
    fn binance_ends_a_connection_after_a_day_with_a_notice_before() {
        let clock = Clock::manual(Timestamp::from_millis(1_763_672_430_000));
        let shared = Simulator::new(SimulatorConfig::default(), clock).0;
        let mut session = Session::new(&shared, Box::new(binance::Feed::new(Arc::clone(&shared), true, "")));
        let notice = |messages: &[Message]| {
            let texts = messages.iter().filter_map(|message| message.to_text().ok());
            texts.filter(|text| text.contains("serverShutdown")).count()
        };
        let (opened, mut messages) = (session.opened, Vec::new());
        session.told = opened + DAY - 62_000;
        assert_eq!(session.advance(opened + DAY - 60_000, &mut messages), ControlFlow::Continue(()));
        assert_eq!(notice(&messages), 0);
        session.unanswered = None;
        assert_eq!(session.advance(opened + DAY - 59_000, &mut messages), ControlFlow::Continue(()));
        assert_eq!(notice(&messages), 1);
        session.told = opened + DAY - 1_000;
        assert_eq!(session.advance(opened + DAY - 250, &mut messages), ControlFlow::Continue(()));
        assert_eq!(session.advance(opened + DAY, &mut messages), ControlFlow::Break(End::Close(1001, "")));
        assert_eq!(notice(&messages), 1, "once is enough");
    }
}
