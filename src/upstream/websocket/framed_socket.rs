//! The socket of a connection: reads frames in batches, sends frames at the exchange's rate.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::dial::Socket;
use super::pacer::SendPacer;
use crate::clock::Clock;
use crate::exchanges::Profile;
use crate::upstream::tap::ConnectionTap;

/// Maximum number of frames per read.
const BATCH: usize = 64;
/// Timeout of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open socket. No method but [`FramedSocket::close`] waits; [`FramedSocket::send_at`] is the time of the next
/// write.
pub(super) struct FramedSocket {
    socket: Socket,
    pacer: SendPacer,
    clock: Clock,
    inbox: Vec<Message>,
    outgoing: VecDeque<String>,
    /// The next frame is sent no earlier than this, by the clock's `elapsed`.
    send_at: Duration,
    /// The socket accepts no frame now; it wakes the task when it does.
    is_blocked: bool,
    is_unflushed: bool,
    /// A frame of any kind was received.
    has_received: bool,
    /// Why the socket ended.
    ended: Option<String>,
    tap: Option<ConnectionTap>,
}

impl FramedSocket {
    pub fn new(socket: Socket, profile: &Profile, clock: &Clock, tap: Option<ConnectionTap>) -> Self {
        Self {
            socket,
            pacer: SendPacer::new(profile.send_interval(), clock),
            clock: clock.clone(),
            inbox: Vec::new(),
            outgoing: VecDeque::new(),
            send_at: clock.elapsed(),
            is_blocked: false,
            is_unflushed: false,
            has_received: false,
            ended: None,
            tap,
        }
    }

    /// Queues frames to send.
    pub fn send(&mut self, frames: impl IntoIterator<Item = String>) {
        self.outgoing.extend(frames);
    }

    /// When [`FramedSocket::poll`] must be called even if the socket does not wake the task.
    pub fn send_at(&self) -> Option<Duration> {
        (!self.outgoing.is_empty() && !self.is_blocked).then_some(self.send_at)
    }

    /// Writes the frames that are due and reads up to one batch. Ready when something was received or the socket ended.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = self.poll_write(context) {
            self.end(&error);
        }
        for _ in 0..BATCH {
            match self.socket.poll_next_unpin(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(message))) => {
                    self.has_received = true;
                    match message {
                        Message::Text(_) | Message::Binary(_) => {
                            if let Some(tap) = &self.tap {
                                tap.received(&message);
                            }
                            self.inbox.push(message);
                        }
                        // tungstenite answers pings on the next read.
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                        Message::Close(frame) => {
                            let reason = frame.map_or_else(|| "no reason given".to_owned(), |frame| frame.to_string());
                            self.ended.get_or_insert(format!("closed by the exchange: {reason}"));
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
        if self.has_received || self.ended.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether a frame of any kind was received since the last call.
    pub fn take_received(&mut self) -> bool {
        std::mem::take(&mut self.has_received)
    }

    /// Takes the received data frames. Return the list with [`FramedSocket::reuse`].
    pub fn take_frames(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.inbox)
    }

    /// Reuses the list for the next batch.
    pub fn reuse(&mut self, mut frames: Vec<Message>) {
        frames.clear();
        self.inbox = frames;
    }

    /// Why the socket ended. Returned once.
    pub fn take_ended(&mut self) -> Option<String> {
        self.ended.take()
    }

    /// Sends a close frame and waits briefly for the answer.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let handshake = async {
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(message)) = self.socket.next().await {
                    if message.is_close() {
                        break;
                    }
                }
            }
        };
        // A peer that does not answer in time is dropped.
        let _ = self.clock.timeout(CLOSE_TIMEOUT, handshake).await;
    }

    fn end(&mut self, error: &Error) {
        self.ended.get_or_insert_with(|| error.to_string());
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        self.is_blocked = false;
        while !self.outgoing.is_empty() && self.send_at <= self.clock.elapsed() {
            let Poll::Ready(ready) = self.socket.poll_ready_unpin(context) else {
                self.is_blocked = true;
                return Ok(());
            };
            ready?;
            if let Err(at) = self.pacer.take() {
                self.send_at = at;
            } else if let Some(frame) = self.outgoing.pop_front() {
                if let Some(tap) = &self.tap {
                    tap.sent(&frame);
                }
                Pin::new(&mut self.socket).start_send(Message::text(frame))?;
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
}
