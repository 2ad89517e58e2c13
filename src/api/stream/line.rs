//! One client's socket: what is to be sent is gathered and written at once; who says nothing for long, takes nothing, or
//! breaks the protocol is seen off; and everyone is told when the process ends.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use futures_util::{SinkExt, StreamExt, poll};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::feed::GATHER_BYTES;
use super::message;
use super::upgrade::Socket;
use crate::clock::{Clock, Timer};
use crate::hub::put_text_frame;
use crate::telemetry::hub::ClientEvicted;

/// A client that was silent for so long is pinged.
const PING_AFTER: Duration = Duration::from_secs(30);

/// A client that was silent for so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(90);

/// How long a client may take nothing at all before it is cut off.
const SEND_TIME: Duration = Duration::from_secs(10);

/// How long a client may take to answer a close.
const CLOSE_TIME: Duration = Duration::from_secs(1);

thread_local! {
    /// Where sockets gather what they write at once. It is small enough to stay near the processor, and a socket that
    /// could write all of it keeps no room of its own.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The client is gone; nobody is left to be told anything.
#[derive(Debug)]
pub struct Lost;

/// What a socket waited for.
pub enum Turn<T> {
    Text(Utf8Bytes),
    /// A message that is no text.
    Binary,
    /// Nothing was sent for a beat.
    Beat,
    /// What the caller waited for, too.
    Other(T),
}

/// The socket of one client.
pub struct Line {
    socket: Socket,
    clock: Clock,
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    notice: Duration,
    /// When the socket is closed, once the process is ending.
    end: Option<Timer>,
    /// Woken by the client, the beat and the end: what is seldom is not looked at with every event of a topic.
    nudge: Arc<Nudge>,
    /// Gathered and not yet written from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// The library may have an answer of its own to send.
    owes: bool,
    beat: Duration,
    next_beat: Timer,
    wrote_at: Duration,
    heard_at: Duration,
    pinged_at: Duration,
}

enum Seldom {
    Draining,
    End,
    Beat,
    Heard(Option<Result<Message, Error>>),
}

/// Wakes the task of a socket, and remembers that it was this that woke it.
#[derive(Default)]
struct Nudge {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Line {
    /// A socket with a heartbeat of this pace; everyone is told `notice` before it is closed because of `draining`.
    pub fn new(socket: Socket, clock: Clock, beat: Duration, draining: CancellationToken, notice: Duration) -> Self {
        let now = clock.elapsed();
        Self {
            socket,
            next_beat: clock.timer(beat),
            clock,
            draining: Some(Box::pin(draining.cancelled_owned())),
            notice,
            end: None,
            nudge: Arc::new(Nudge { woken: AtomicBool::new(true), task: AtomicWaker::new() }),
            out: Vec::new(),
            sent: 0,
            owes: false,
            beat,
            wrote_at: now,
            heard_at: now,
            pinged_at: now,
        }
    }

    /// Gathers a JSON text.
    pub fn text(&mut self, json: &[u8]) {
        put_text_frame(self.out(), json);
    }

    /// Gathers what is framed already.
    pub fn framed(&mut self, frame: &[u8]) {
        self.out().extend_from_slice(frame);
    }

    fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = SCRATCH.take();
        }
        &mut self.out
    }

    /// How much more should be gathered before it is written.
    pub const fn room(&self) -> usize {
        GATHER_BYTES.saturating_sub(self.out.len())
    }

    /// Writes what was gathered, then waits for the client, the beat, or `other`.
    pub async fn turn<T>(&mut self, other: impl Future<Output = T>) -> Result<Turn<T>, Lost> {
        tokio::pin!(other);
        loop {
            self.write().await?;
            let event = poll_fn(|context| match self.poll_seldom(context) {
                Poll::Ready(seldom) => Poll::Ready(Err(seldom)),
                Poll::Pending => other.as_mut().poll(context).map(Ok),
            });
            let seldom = match event.await {
                Ok(output) => return Ok(Turn::Other(output)),
                Err(seldom) => seldom,
            };
            match seldom {
                Seldom::Draining => {
                    self.draining = None;
                    self.end = Some(self.clock.timer(self.notice));
                    let notice = message::shutdown(self.notice);
                    self.text(&notice);
                }
                Seldom::End => return self.close(CloseCode::Away, "shutting down").await,
                Seldom::Beat => {
                    if self.beats().await? {
                        return Ok(Turn::Beat);
                    }
                }
                Seldom::Heard(message) => match self.heard(message).await? {
                    Some(Message::Text(text)) => return Ok(Turn::Text(text)),
                    Some(Message::Binary(_)) => return Ok(Turn::Binary),
                    _ => {}
                },
            }
        }
    }

    /// Looks at what happens seldom, if one of it has called.
    fn poll_seldom(&mut self, context: &Context<'_>) -> Poll<Seldom> {
        self.nudge.task.register(context.waker());
        if !self.nudge.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.nudge));
        let context = &mut Context::from_waker(&waker);
        let draining = self.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(context).is_ready());
        let seldom = if draining {
            Seldom::Draining
        } else if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            Seldom::End
        } else if self.next_beat.as_mut().poll(context).is_ready() {
            Seldom::Beat
        } else if let Poll::Ready(message) = self.socket.poll_next_unpin(context) {
            Seldom::Heard(message)
        } else {
            return Poll::Pending;
        };
        // The others may have something, too.
        self.nudge.woken.store(true, Ordering::Release);
        Poll::Ready(seldom)
    }

    /// Looks after the client; says whether nothing was sent for a beat.
    async fn beats(&mut self) -> Result<bool, Lost> {
        let now = self.clock.elapsed();
        if now.saturating_sub(self.heard_at) >= LOST_AFTER {
            return Err(Lost);
        }
        if now.saturating_sub(self.heard_at.max(self.pinged_at)) >= PING_AFTER {
            self.pinged_at = now;
            let ping = self.clock.timeout(SEND_TIME, self.socket.send(Message::Ping(Bytes::new()))).await;
            ping.map_err(|_| Lost)?.map_err(|_| Lost)?;
        }
        let silent = now.saturating_sub(self.wrote_at);
        let is_due = silent >= self.beat;
        self.next_beat = self.clock.timer(if is_due { self.beat } else { self.beat.saturating_sub(silent) });
        Ok(is_due)
    }

    async fn heard(&mut self, message: Option<Result<Message, Error>>) -> Result<Option<Message>, Lost> {
        self.heard_at = self.clock.elapsed();
        // Pings are answered below us.
        self.owes = true;
        match message {
            Some(Ok(Message::Close(_))) => {
                self.see_off().await;
                Err(Lost)
            }
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(Error::Capacity(_))) => self.close(CloseCode::Size, "a message has at most 65536 bytes").await,
            Some(Err(Error::Utf8(_))) => self.close(CloseCode::Invalid, "a text must be UTF-8").await,
            Some(Err(Error::Protocol(_))) => self.close(CloseCode::Protocol, "that is no WebSocket frame").await,
            _ => Err(Lost),
        }
    }

    /// Writes what was gathered, in one go where the network takes it.
    async fn write(&mut self) -> Result<(), Lost> {
        if self.owes {
            let flushed = self.clock.timeout(SEND_TIME, self.socket.flush()).await;
            flushed.map_err(|_| Lost)?.map_err(|_| Lost)?;
            self.owes = false;
        }
        if self.out.is_empty() {
            return Ok(());
        }
        if self.put().await.is_err() {
            return self.cut_off("slow", "too slow").await;
        }
        self.out.clear();
        let out = std::mem::take(&mut self.out);
        if out.capacity() <= 2 * GATHER_BYTES {
            SCRATCH.set(out);
        }
        self.sent = 0;
        self.wrote_at = self.clock.elapsed();
        Ok(())
    }

    async fn put(&mut self) -> Result<(), Lost> {
        while self.sent < self.out.len() {
            // Goes by the library, which has nothing of its own to send now.
            let writing = self.socket.get_mut().write(&self.out[self.sent..]);
            tokio::pin!(writing);
            let written = match poll!(&mut writing) {
                std::task::Poll::Ready(written) => written,
                std::task::Poll::Pending => self.clock.timeout(SEND_TIME, writing).await.map_err(|_| Lost)?,
            };
            match written {
                Ok(0) | Err(_) => return Err(Lost),
                Ok(count) => self.sent += count,
            }
        }
        Ok(())
    }

    /// Ends the connection of a client that does not keep the rules.
    pub async fn cut_off<T>(&mut self, reason: &'static str, text: &'static str) -> Result<T, Lost> {
        ClientEvicted { reason }.emit();
        self.close(CloseCode::Policy, text).await
    }

    /// Says goodbye and waits a moment for the answer. What was gathered goes before it.
    pub async fn close<T>(&mut self, code: CloseCode, reason: &'static str) -> Result<T, Lost> {
        let clock = self.clock.clone();
        let goodbye = async {
            self.put().await?;
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            self.socket.send(Message::Close(Some(frame))).await.map_err(|_| Lost)?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, Lost>(())
        };
        let _ = clock.timeout(CLOSE_TIME, goodbye).await;
        Err(Lost)
    }

    /// Reads until the connection is closed, which also sends the answer to a close.
    async fn see_off(&mut self) {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = self.clock.timeout(CLOSE_TIME, end).await;
    }
}
