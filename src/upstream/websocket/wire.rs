//! The socket of a connection: frames in by the batch, frames out at the exchange's pace.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Socket;
use super::pace::Pace;
use crate::clock::Clock;
use crate::exchanges::Profile;
use crate::upstream::tap::ConnectionTap;

/// How many frames are read together at most.
const BATCH: usize = 64;
/// How long taking leave may take.
const LEAVE: Duration = Duration::from_secs(1);

/// An open socket. Nothing here waits; what is due when is said by [`Wire::send_at`].
pub(super) struct Wire {
    socket: Socket,
    pace: Pace,
    clock: Clock,
    inbox: Vec<Message>,
    outgoing: VecDeque<String>,
    /// Not before then, by the clock's `elapsed`, may the next frame go out.
    send_at: Duration,
    /// The socket takes nothing now; it will wake us.
    is_blocked: bool,
    is_unflushed: bool,
    /// A frame of any kind came.
    has_heard: bool,
    /// Why nothing more will come.
    ended: Option<String>,
    tap: Option<ConnectionTap>,
}

impl Wire {
    pub fn new(socket: Socket, profile: &Profile, clock: &Clock, tap: Option<ConnectionTap>) -> Self {
        Self {
            socket,
            pace: Pace::new(profile.pace(), clock),
            clock: clock.clone(),
            inbox: Vec::new(),
            outgoing: VecDeque::new(),
            send_at: clock.elapsed(),
            is_blocked: false,
            is_unflushed: false,
            has_heard: false,
            ended: None,
            tap,
        }
    }

    /// Sends frames when their turn comes.
    pub fn send(&mut self, frames: impl IntoIterator<Item = String>) {
        self.outgoing.extend(frames);
    }

    /// When [`Wire::poll`] shall be called even if the socket does not wake us.
    pub fn send_at(&self) -> Option<Duration> {
        (!self.outgoing.is_empty() && !self.is_blocked).then_some(self.send_at)
    }

    /// Writes what may go out and reads what is there, up to a batch. Ready when there is something to take.
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
                        Message::Text(_) | Message::Binary(_) => {
                            if let Some(tap) = &self.tap {
                                tap.received(&message);
                            }
                            self.inbox.push(message);
                        }
                        // tungstenite answers pings as it reads on.
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
        if self.has_heard || self.ended.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether a frame of any kind came since this was asked last.
    pub fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.has_heard)
    }

    /// The data frames that came. Give the list back with [`Wire::reuse`].
    pub fn take_frames(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.inbox)
    }

    /// Takes back a list, so that the next batch needs no new one.
    pub fn reuse(&mut self, mut frames: Vec<Message>) {
        frames.clear();
        self.inbox = frames;
    }

    /// Why nothing more will come, once.
    pub fn take_ended(&mut self) -> Option<String> {
        self.ended.take()
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
            if let Err(at) = self.pace.take() {
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
