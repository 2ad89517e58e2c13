//! Copies raw traffic for a recorder. Without a tap nothing is copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::clock::Clock;
use crate::model::Timestamp;

/// Sends a copy of all traffic to a recorder.
#[derive(Clone, Debug)]
pub struct Tap {
    traffic: mpsc::Sender<TrafficEvent>,
    dropped: Arc<AtomicU64>,
    clock: Clock,
}

/// One frame, response or connect.
#[derive(Clone, Debug)]
pub struct TrafficEvent {
    pub at: Timestamp,
    pub kind: TrafficKind,
}

/// Kinds of [`TrafficEvent`]. `connection` is the name in the exchange's state: `binance.1`.
#[derive(Clone, Debug)]
pub enum TrafficKind {
    /// A WebSocket was opened.
    Connected { connection: Arc<str>, address: String },
    /// A text frame was sent.
    Sent { connection: Arc<str>, text: String },
    /// A text frame was received.
    Received { connection: Arc<str>, text: String },
    /// A binary frame was received.
    ReceivedBinary { connection: Arc<str>, bytes: Bytes },
    /// An HTTP response was received.
    Response { url: String, status: u16, body: Bytes },
}

impl Tap {
    /// A tap and the receiver of its traffic. Events above `capacity` are dropped and counted.
    #[must_use]
    pub fn new(capacity: usize, clock: Clock) -> (Self, mpsc::Receiver<TrafficEvent>) {
        let (traffic, receiver) = mpsc::channel(capacity);
        (Self { traffic, dropped: Arc::default(), clock }, receiver)
    }

    /// Number of events dropped since the last call.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    pub(super) fn record(&self, kind: TrafficKind) {
        if self.traffic.try_send(TrafficEvent { at: self.clock.now(), kind }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The tap of one connection.
#[derive(Debug)]
pub(super) struct ConnectionTap {
    tap: Tap,
    connection: Arc<str>,
}

impl ConnectionTap {
    pub fn new(tap: &Tap, connection: &str, address: String) -> Self {
        let connection: Arc<str> = connection.into();
        tap.record(TrafficKind::Connected { connection: Arc::clone(&connection), address });
        Self { tap: tap.clone(), connection }
    }

    pub fn sent(&self, text: &str) {
        self.tap.record(TrafficKind::Sent { connection: Arc::clone(&self.connection), text: text.to_owned() });
    }

    pub fn received(&self, message: &Message) {
        let connection = Arc::clone(&self.connection);
        match message {
            Message::Text(text) => {
                self.tap.record(TrafficKind::Received { connection, text: text.as_str().to_owned() });
            }
            Message::Binary(bytes) => {
                self.tap.record(TrafficKind::ReceivedBinary { connection, bytes: bytes.clone() });
            }
            _ => {}
        }
    }
}
