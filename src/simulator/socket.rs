//! A WebSocket connection, common to all protocols: message rates, pings, timeouts and faults.

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

use super::corrupt::{self, CANDLE_ROW};
use super::faults::{FaultKind, ScheduleCursor};
use super::shared::Shared;
use super::stats::increment;
use super::trades::MINUTE;

/// Streams publish at multiples of this interval, in milliseconds, so that their data do not depend on task scheduling.
pub const TICK: i64 = 250;
/// Time between the notice of a shutdown and the close frame, in milliseconds.
const SHUTDOWN_NOTICE: i64 = 5_000;
/// Delay of a response while the `slow` fault applies.
pub const SLOW_RESPONSE_DELAY: Duration = Duration::from_secs(4);
/// Repetitions of a frame per tick of a burst: 20,000 per second.
const BURST_FRAMES: usize = 5_000;
/// Time after which a connection ends if the client does not read, or if it is silent, in milliseconds.
const CLIENT_TIMEOUT: i64 = 600_000;
/// Maximum size of a received message in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// Connection rules of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct SocketRules {
    pub exchange: ExchangeId,
    /// Maximum number of new connections per IP address, and the window in milliseconds.
    pub connection_limit: (usize, i64),
    /// Maximum number of messages that the client may send per second.
    pub messages_per_second: Option<i64>,
    /// Ping interval and pong timeout in milliseconds.
    pub ping: Option<(i64, i64)>,
    /// Maximum age of a connection in milliseconds.
    pub max_age: Option<i64>,
}

/// A text frame of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An acknowledgement, rejection, heartbeat or notice.
    Control(String),
    Ticker(String),
    Trade(String),
    Candle(String),
}

impl Frame {
    /// Order within a tick: a candle closes after its trades.
    const fn rank(&self) -> u8 {
        match self {
            Self::Control(_) => 0,
            Self::Trade(_) => 1,
            Self::Ticker(_) => 2,
            Self::Candle(_) => 3,
        }
    }
}

/// Whether a connection continues, or how it ends.
pub type Flow = ControlFlow<Disconnect>;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// Without a close frame.
    Abort,
    /// With a close frame of this code and reason.
    Close(u16, &'static str),
}

/// The exchange's side of one connection. Times are Unix milliseconds.
pub trait StreamProtocol: Send {
    fn rules(&self) -> SocketRules;
    /// Called once the connection is open.
    fn on_open(&mut self, now: i64, out: &mut Vec<Frame>);
    /// Handles a text message of the client.
    fn on_text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow;
    /// Publishes what became known in the last [`TICK`] milliseconds before `at`.
    fn on_tick(&mut self, at: i64, out: &mut Vec<Frame>);
    /// Checks the protocol's timeouts after the frames of a tick.
    fn check_timeouts(&mut self, _at: i64) -> Flow {
        ControlFlow::Continue(())
    }
    /// Whether a candle frame contains only candles without trades. For exchanges that publish such candles.
    fn is_empty_candle(&self, text: &str) -> bool {
        let _ = text;
        false
    }
    /// A ticker frame whose data are replaced by a candle row.
    fn with_candle_row(&self, text: &str) -> String {
        corrupt::replace_data(text, "data", &format!("[{CANDLE_ROW}]"))
    }
    /// Sends the exchange's notice of a shutdown, if it has one.
    fn announce_shutdown(&mut self, now: i64, out: &mut Vec<Frame>);
}

/// Serves a connection until one side ends it.
pub async fn serve(
    shared: Arc<Shared>,
    upgraded: poem::Upgraded,
    protocol: Box<dyn StreamProtocol>,
    stop: CancellationToken,
) {
    let counters = &shared.counters[protocol.rules().exchange];
    increment(&counters.sockets_opened);
    increment(&counters.sockets_open);
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    Session::new(&shared, protocol).run(stream, stop).await;
    counters.sockets_open.fetch_sub(1, Ordering::Relaxed);
}

struct Session<'a> {
    shared: &'a Shared,
    protocol: Box<dyn StreamProtocol>,
    rules: SocketRules,
    opened: i64,
    /// The last published tick.
    last_tick: i64,
    /// The faults handled until the last tick.
    cursor: ScheduleCursor,
    /// Sends acknowledgements and pings but no data.
    is_data_suppressed: bool,
    /// When the connection became permanently silent.
    silent_since: Option<i64>,
    /// When the connection closes after a notice.
    closes_at: Option<i64>,
    last_ping_at: i64,
    /// Time of the first ping without a pong.
    unanswered_ping_at: Option<i64>,
    /// When the message budget of the client is full again.
    message_budget_full_at: i64,
    /// Delayed candle frames, and when each is due.
    delayed_candles: VecDeque<(i64, Message)>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, protocol: Box<dyn StreamProtocol>) -> Self {
        let now = shared.now(protocol.rules().exchange).millis();
        Self {
            shared,
            delayed_candles: VecDeque::new(),
            rules: protocol.rules(),
            protocol,
            opened: now,
            last_tick: now,
            cursor: shared.faults.cursor(Timestamp::from_millis(now)),
            is_data_suppressed: false,
            silent_since: None,
            closes_at: None,
            last_ping_at: now,
            unanswered_ping_at: None,
            message_budget_full_at: now,
        }
    }

    async fn run(mut self, stream: WebSocketStream<poem::Upgraded>, stop: CancellationToken) {
        let clock = &self.shared.clock;
        let (mut sink, mut incoming) = stream.split();
        let (mut frames, mut messages) = (Vec::new(), Vec::new());
        self.protocol.on_open(self.opened, &mut frames);
        self.apply_frame_faults(&mut frames, &mut messages, self.opened);
        let end = loop {
            if !messages.is_empty() {
                let send = async {
                    for message in messages.drain(..) {
                        sink.feed(message).await?;
                    }
                    sink.flush().await
                };
                match clock.timeout(Duration::from_millis(CLIENT_TIMEOUT.unsigned_abs()), send).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => break Disconnect::Abort,
                }
            }
            let next = Timestamp::from_millis((self.last_tick / TICK + 1) * TICK);
            let now = self.now();
            let silent = self.is_silent(now);
            let flow = tokio::select! {
                () = stop.cancelled() => ControlFlow::Break(Disconnect::Close(1001, "")),
                () = clock.sleep(next.since(Timestamp::from_millis(now))) => self.advance(self.now(), &mut messages),
                // Reading would answer pings, which a silent connection must not do.
                message = incoming.next(), if !silent => match message {
                    Some(Ok(message)) => self.receive(message, &mut messages).await,
                    Some(Err(_)) | None => ControlFlow::Break(Disconnect::Abort),
                },
            };
            if let ControlFlow::Break(end) = flow {
                break end;
            }
        };
        if let Disconnect::Close(code, reason) = end {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            let closing_handshake = async {
                for message in messages.drain(..).chain([Message::Close(Some(frame))]) {
                    sink.feed(message).await?;
                }
                sink.flush().await?;
                // Closing a socket with unread data resets the connection; the client might then miss the close frame.
                while incoming.next().await.is_some_and(|message| message.is_ok()) {}
                Ok::<_, tokio_tungstenite::tungstenite::Error>(())
            };
            // The connection ends even if the handshake fails or times out.
            let _ = clock.timeout(Duration::from_secs(1), closing_handshake).await;
        }
    }

    fn now(&self) -> i64 {
        self.shared.now(self.rules.exchange).millis()
    }

    fn is_silent(&self, now: i64) -> bool {
        self.silent_since.is_some() || self.is_active(FaultKind::Silent, now)
    }

    fn is_active(&self, kind: FaultKind, at: i64) -> bool {
        self.shared.faults.is_active(self.rules.exchange, kind, Timestamp::from_millis(at))
    }

    /// Publishes all ticks up to `now`.
    fn advance(&mut self, now: i64, messages: &mut Vec<Message>) -> Flow {
        if now - self.last_tick > CLIENT_TIMEOUT {
            return ControlFlow::Break(Disconnect::Close(1008, "too slow"));
        }
        let mut frames = Vec::new();
        loop {
            let at = (self.last_tick / TICK + 1) * TICK;
            if at > now {
                return ControlFlow::Continue(());
            }
            self.apply_connection_faults(at, messages)?;
            self.last_tick = at;
            self.protocol.on_tick(at, &mut frames);
            frames.sort_by_key(Frame::rank);
            self.keep_alive(at, messages)?;
            while self.delayed_candles.front().is_some_and(|(due, _)| *due <= at) {
                messages.extend(self.delayed_candles.pop_front().map(|(_, message)| message));
            }
            self.apply_frame_faults(&mut frames, messages, at);
            self.protocol.check_timeouts(at)?;
        }
    }

    /// Applies the faults that close a connection or announce that it closes.
    fn apply_connection_faults(&mut self, at: i64, messages: &mut Vec<Message>) -> Flow {
        let until = Timestamp::from_millis(at);
        let (faults, exchange) = (&self.shared.faults, self.rules.exchange);
        let cursor = std::mem::replace(&mut self.cursor, faults.cursor(until));
        if [FaultKind::Drop, FaultKind::Dark].into_iter().any(|kind| faults.has_begun(exchange, kind, cursor, until))
            || self.is_active(FaultKind::Dark, at)
        {
            return ControlFlow::Break(Disconnect::Abort);
        }
        self.is_data_suppressed |= faults.has_begun_once(exchange, FaultKind::PingsOnly, cursor, until);
        if faults.has_begun_once(exchange, FaultKind::Silent, cursor, until) {
            self.silent_since.get_or_insert(at);
        }
        if self.silent_since.is_some_and(|since| at - since > CLIENT_TIMEOUT) {
            return ControlFlow::Break(Disconnect::Abort);
        }
        let expires = self.rules.max_age.is_some_and(|age| at - self.opened > age - 60_000);
        let has_notice = || faults.has_begun(exchange, FaultKind::ShutdownNotice, cursor, until);
        if self.closes_at.is_none() && (expires || has_notice()) {
            self.closes_at =
                Some(if expires { self.opened + self.rules.max_age.unwrap_or(0) } else { at + SHUTDOWN_NOTICE });
            let mut frames = Vec::new();
            self.protocol.announce_shutdown(at, &mut frames);
            self.apply_frame_faults(&mut frames, messages, at);
        }
        match self.closes_at {
            Some(end) if end <= at => ControlFlow::Break(Disconnect::Close(1001, "")),
            _ => ControlFlow::Continue(()),
        }
    }

    fn keep_alive(&mut self, at: i64, messages: &mut Vec<Message>) -> Flow {
        let Some((interval, timeout)) = self.rules.ping else { return ControlFlow::Continue(()) };
        if self.is_silent(at) {
            self.unanswered_ping_at = None;
            self.last_ping_at = at;
        } else if self.unanswered_ping_at.is_some_and(|since| at - since > timeout) {
            return ControlFlow::Break(Disconnect::Close(1008, "Pong timeout"));
        } else if at - self.last_ping_at >= interval {
            self.last_ping_at = at;
            self.unanswered_ping_at.get_or_insert(at);
            messages.push(Message::Ping(Bytes::from(at.to_string())));
        }
        ControlFlow::Continue(())
    }

    async fn receive(&mut self, message: Message, messages: &mut Vec<Message>) -> Flow {
        if matches!(message, Message::Close(_)) {
            return ControlFlow::Break(Disconnect::Abort);
        }
        let now = self.now();
        if let Some(limit) = self.rules.messages_per_second {
            self.message_budget_full_at = self.message_budget_full_at.max(now) + 1_000 / limit;
            // Allows one message above the limit: network jitter can bunch the messages of a compliant client.
            if self.message_budget_full_at - now > 1_000 + 1_000 / limit {
                increment(&self.shared.counters[self.rules.exchange].messages_over_rate);
                return ControlFlow::Break(Disconnect::Close(1008, "Too many requests"));
            }
        }
        match message {
            Message::Pong(_) => self.unanswered_ping_at = None,
            Message::Text(text) => {
                if self.shared.faults.trigger(self.rules.exchange, FaultKind::Slow, Timestamp::from_millis(now)) {
                    self.shared.clock.sleep(SLOW_RESPONSE_DELAY).await;
                }
                let mut frames = Vec::new();
                let now = self.now();
                let flow = self.protocol.on_text(&text, now, &mut frames);
                self.apply_frame_faults(&mut frames, messages, now);
                return flow;
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Turns frames into messages and applies the faults that change them.
    fn apply_frame_faults(&mut self, frames: &mut Vec<Frame>, messages: &mut Vec<Message>, at: i64) {
        let mut has_burst = false;
        if self.is_silent(at) {
            frames.clear();
        }
        let (shared, exchange) = (self.shared, self.rules.exchange);
        let trigger = |kind| shared.faults.trigger(exchange, kind, Timestamp::from_millis(at));
        if self.is_data_suppressed || self.is_active(FaultKind::PingsOnly, at) {
            let is_heartbeat = |text: &str| text.contains("\"channel\":\"heartbeat");
            frames.retain(|frame| matches!(frame, Frame::Control(text) if !is_heartbeat(text)));
        }
        for frame in frames.drain(..) {
            if let Frame::Ticker(text) = &frame {
                if trigger(FaultKind::WrongEvent) {
                    messages.push(Message::text(self.protocol.with_candle_row(text)));
                }
                if trigger(FaultKind::Burst) && !std::mem::replace(&mut has_burst, true) {
                    messages.extend(std::iter::repeat_n(Message::text(text.clone()), BURST_FRAMES));
                }
            }
            let (text, is_data, is_duplicated) = match frame {
                Frame::Candle(_) if self.is_active(FaultKind::SkipCandle, at) => continue,
                Frame::Candle(text)
                    if self.is_active(FaultKind::NoClose, at) && self.protocol.is_empty_candle(&text) =>
                {
                    continue;
                }
                Frame::Candle(text)
                    if !self.delayed_candles.is_empty()
                        || (at % MINUTE == 0 && self.is_active(FaultKind::LateClose, at)) =>
                {
                    // Later candle frames stay in order.
                    let due = self.delayed_candles.back().map_or_else(|| at + close_delay(at), |(due, _)| *due);
                    self.delayed_candles.push_back((due, Message::text(text)));
                    continue;
                }
                Frame::Control(text) => (text, false, false),
                Frame::Ticker(text) => (text, true, false),
                Frame::Trade(text) | Frame::Candle(text) => (text, true, trigger(FaultKind::Duplicate)),
            };
            let text = if is_data && has_timestamp(&text) && trigger(FaultKind::Microseconds) {
                in_microseconds(&text)
            } else {
                text
            };
            if is_data && trigger(FaultKind::Malformed) {
                // All frames are ASCII, so every index is a character boundary.
                messages.push(Message::text(&text[..text.len() / 2]));
            }
            if is_data && trigger(FaultKind::AbsurdNumbers) {
                messages.push(Message::text(corrupt::with_absurd_number(&text, at)));
            }
            if is_duplicated {
                messages.push(Message::text(text.clone()));
            }
            messages.push(Message::text(text));
        }
    }
}

/// Delay of the frame that closes a candle at `end`, in milliseconds: 0.2 to 10 s.
const fn close_delay(end: i64) -> i64 {
    200 + (end / MINUTE * 7_919) % 9_800 / TICK * TICK
}

/// Byte positions of 13-digit Unix times in milliseconds that begin with 1.
fn timestamp_positions(text: &str) -> impl Iterator<Item = usize> {
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

fn has_timestamp(text: &str) -> bool {
    timestamp_positions(text).next().is_some()
}

/// The frame with all Unix times in microseconds.
fn in_microseconds(text: &str) -> String {
    let mut frame = text.to_owned();
    let positions: Vec<usize> = timestamp_positions(text).collect();
    positions.into_iter().rev().for_each(|at| frame.insert_str(at + 13, "000"));
    frame
}

#[cfg(test)]
mod tests;
