//! The WebSocket of one client. Batches outgoing frames, disconnects clients that are idle, do not read or violate the
//! protocol, and announces the shutdown.

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
use poem::Upgraded;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::client_feed::MAX_BATCH_BYTES;
use super::message;
use crate::clock::{Clock, Timer};
use crate::hub::put_text_frame;
use crate::telemetry::hub::ClientEvicted;

/// A client that sends nothing for this long is pinged.
const PING_AFTER: Duration = Duration::from_secs(30);

/// A client that sends nothing for this long is disconnected.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A client that reads nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a client has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    /// Batch buffer shared by all sockets of a thread. It is small enough to stay in the CPU cache, and a socket that
    /// could write its whole batch holds no buffer of its own.
    static SHARED_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The server side of a WebSocket.
pub type Socket = WebSocketStream<Upgraded>;

/// The client is disconnected.
#[derive(Debug)]
pub struct Disconnected;

/// What [`ClientSocket::next_event`] waited for.
pub enum SocketEvent<T> {
    Text(Utf8Bytes),
    /// A binary message, which is not supported.
    Binary,
    /// Nothing was sent for a heartbeat interval.
    HeartbeatDue,
    /// The result of the caller's future.
    Other(T),
}

/// The socket of one client.
pub struct ClientSocket {
    socket: Socket,
    clock: Clock,
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    shutdown_notice: Duration,
    /// When the socket closes, during shutdown.
    close_timer: Option<Timer>,
    /// Woken by client messages, heartbeats and shutdown. These are rare, so they are polled only when woken, not with
    /// every event of a topic.
    wake_source: Arc<WakeSource>,
    /// The batch. Bytes before `written` are already written.
    out: Vec<u8>,
    written: usize,
    /// The WebSocket library may have a reply to send, such as a pong.
    flush_needed: bool,
    heartbeat_interval: Duration,
    next_heartbeat: Timer,
    sent_at: Duration,
    received_at: Duration,
    pinged_at: Duration,
}

/// A rare event, as opposed to events of topics.
enum ControlEvent {
    Draining,
    CloseTimer,
    HeartbeatDue,
    Message(Option<Result<Message, Error>>),
}

/// Wakes the task of a socket and records that it did.
#[derive(Default)]
struct WakeSource {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for WakeSource {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl ClientSocket {
    /// Creates a socket. When `draining` is cancelled, it announces the shutdown and closes after `shutdown_notice`.
    pub fn new(
        socket: Socket,
        clock: Clock,
        heartbeat_interval: Duration,
        draining: CancellationToken,
        shutdown_notice: Duration,
    ) -> Self {
        let now = clock.elapsed();
        Self {
            socket,
            next_heartbeat: clock.timer(heartbeat_interval),
            clock,
            draining: Some(Box::pin(draining.cancelled_owned())),
            shutdown_notice,
            close_timer: None,
            wake_source: Arc::new(WakeSource { woken: AtomicBool::new(true), task: AtomicWaker::new() }),
            out: Vec::new(),
            written: 0,
            flush_needed: false,
            heartbeat_interval,
            sent_at: now,
            received_at: now,
            pinged_at: now,
        }
    }

    /// Adds a JSON text to the batch.
    pub fn push_text(&mut self, json: &[u8]) {
        put_text_frame(self.out(), json);
    }

    /// Adds an encoded WebSocket frame to the batch.
    pub fn push_frame(&mut self, frame: &[u8]) {
        self.out().extend_from_slice(frame);
    }

    fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = SHARED_BUFFER.take();
        }
        &mut self.out
    }

    /// Number of bytes to add before the batch is written.
    pub const fn remaining_capacity(&self) -> usize {
        MAX_BATCH_BYTES.saturating_sub(self.out.len())
    }

    /// Writes the batch, then waits for the client, a due heartbeat, or `other`.
    pub async fn next_event<T>(&mut self, other: impl Future<Output = T>) -> Result<SocketEvent<T>, Disconnected> {
        tokio::pin!(other);
        loop {
            self.write().await?;
            let event = poll_fn(|context| match self.poll_control(context) {
                Poll::Ready(control) => Poll::Ready(Err(control)),
                Poll::Pending => other.as_mut().poll(context).map(Ok),
            });
            let control = match event.await {
                Ok(output) => return Ok(SocketEvent::Other(output)),
                Err(control) => control,
            };
            match control {
                ControlEvent::Draining => {
                    self.draining = None;
                    self.close_timer = Some(self.clock.timer(self.shutdown_notice));
                    let announcement = message::shutdown(self.shutdown_notice);
                    self.push_text(&announcement);
                }
                ControlEvent::CloseTimer => return self.close(CloseCode::Away, "shutting down").await,
                ControlEvent::HeartbeatDue => {
                    if self.check_liveness().await? {
                        return Ok(SocketEvent::HeartbeatDue);
                    }
                }
                ControlEvent::Message(message) => match self.receive(message).await? {
                    Some(Message::Text(text)) => return Ok(SocketEvent::Text(text)),
                    Some(Message::Binary(_)) => return Ok(SocketEvent::Binary),
                    _ => {}
                },
            }
        }
    }

    /// Polls the rare events, if one of them woke the task.
    fn poll_control(&mut self, context: &Context<'_>) -> Poll<ControlEvent> {
        self.wake_source.task.register(context.waker());
        if !self.wake_source.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.wake_source));
        let context = &mut Context::from_waker(&waker);
        let draining = self.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(context).is_ready());
        let control = if draining {
            ControlEvent::Draining
        } else if self.close_timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready()) {
            ControlEvent::CloseTimer
        } else if self.next_heartbeat.as_mut().poll(context).is_ready() {
            ControlEvent::HeartbeatDue
        } else if let Poll::Ready(message) = self.socket.poll_next_unpin(context) {
            ControlEvent::Message(message)
        } else {
            return Poll::Pending;
        };
        // Other rare events may be ready as well.
        self.wake_source.woken.store(true, Ordering::Release);
        Poll::Ready(control)
    }

    /// Pings an idle client, or disconnects it. Returns whether a heartbeat is due.
    async fn check_liveness(&mut self) -> Result<bool, Disconnected> {
        let now = self.clock.elapsed();
        if now.saturating_sub(self.received_at) >= IDLE_TIMEOUT {
            return Err(Disconnected);
        }
        if now.saturating_sub(self.received_at.max(self.pinged_at)) >= PING_AFTER {
            self.pinged_at = now;
            let ping = self.clock.timeout(SEND_TIMEOUT, self.socket.send(Message::Ping(Bytes::new()))).await;
            ping.map_err(|_| Disconnected)?.map_err(|_| Disconnected)?;
        }
        let idle = now.saturating_sub(self.sent_at);
        let is_due = idle >= self.heartbeat_interval;
        let interval = self.heartbeat_interval;
        self.next_heartbeat = self.clock.timer(if is_due { interval } else { interval.saturating_sub(idle) });
        Ok(is_due)
    }

    async fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<Option<Message>, Disconnected> {
        self.received_at = self.clock.elapsed();
        // The library answers pings.
        self.flush_needed = true;
        match message {
            Some(Ok(Message::Close(_))) => {
                self.read_until_closed().await;
                Err(Disconnected)
            }
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(Error::Capacity(_))) => self.close(CloseCode::Size, "a message is longer than 65536 bytes").await,
            Some(Err(Error::Utf8(_))) => self.close(CloseCode::Invalid, "a text message is not UTF-8").await,
            Some(Err(Error::Protocol(_))) => self.close(CloseCode::Protocol, "invalid WebSocket frame").await,
            _ => Err(Disconnected),
        }
    }

    /// Writes the batch, in one call if the network accepts it.
    async fn write(&mut self) -> Result<(), Disconnected> {
        if self.flush_needed {
            let flushed = self.clock.timeout(SEND_TIMEOUT, self.socket.flush()).await;
            flushed.map_err(|_| Disconnected)?.map_err(|_| Disconnected)?;
            self.flush_needed = false;
        }
        if self.out.is_empty() {
            return Ok(());
        }
        if self.write_buffer().await.is_err() {
            return self.evict("slow", "too slow").await;
        }
        self.out.clear();
        let out = std::mem::take(&mut self.out);
        if out.capacity() <= 2 * MAX_BATCH_BYTES {
            SHARED_BUFFER.set(out);
        }
        self.written = 0;
        self.sent_at = self.clock.elapsed();
        Ok(())
    }

    async fn write_buffer(&mut self) -> Result<(), Disconnected> {
        while self.written < self.out.len() {
            // Bypasses the library, which has nothing to send now.
            let writing = self.socket.get_mut().write(&self.out[self.written..]);
            tokio::pin!(writing);
            let result = match poll!(&mut writing) {
                Poll::Ready(result) => result,
                Poll::Pending => self.clock.timeout(SEND_TIMEOUT, writing).await.map_err(|_| Disconnected)?,
            };
            match result {
                Ok(0) | Err(_) => return Err(Disconnected),
                Ok(count) => self.written += count,
            }
        }
        Ok(())
    }

    /// Disconnects a client that violates a limit.
    pub async fn evict<T>(&mut self, reason: &'static str, text: &'static str) -> Result<T, Disconnected> {
        ClientEvicted { reason }.emit();
        self.close(CloseCode::Policy, text).await
    }

    /// Closes the socket and waits briefly for the client's close frame. Writes the batch first.
    pub async fn close<T>(&mut self, code: CloseCode, reason: &'static str) -> Result<T, Disconnected> {
        let clock = self.clock.clone();
        let handshake = async {
            self.write_buffer().await?;
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            self.socket.send(Message::Close(Some(frame))).await.map_err(|_| Disconnected)?;
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, Disconnected>(())
        };
        let _ = clock.timeout(CLOSE_TIMEOUT, handshake).await;
        Err(Disconnected)
    }

    /// Reads until the connection closes, which also sends the reply to a close frame.
    async fn read_until_closed(&mut self) {
        let drained = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = self.clock.timeout(CLOSE_TIMEOUT, drained).await;
    }
}
