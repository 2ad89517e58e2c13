//! Raw traffic, for whoever records it. Where nobody does there is no tap, and nothing is copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::clock::Clock;
use crate::model::Timestamp;

/// Hands on what comes and goes, to one who records.
#[derive(Clone, Debug)]
pub struct Tap {
    traffic: mpsc::Sender<Traffic>,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

/// Something that came or went.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub at: Timestamp,
    pub what: What,
}

/// Kinds of [`Traffic`]. A connection is named as in the state of its exchange: `binance.1`.
#[derive(Clone, Debug)]
pub enum What {
    /// A WebSocket was opened.
    Connected { connection: Arc<str>, address: String },
    /// A text frame was sent.
    Sent { connection: Arc<str>, text: String },
    /// A text frame came.
    Received { connection: Arc<str>, text: String },
    /// A binary frame came.
    ReceivedBinary { connection: Arc<str>, bytes: Bytes },
    /// A request was answered.
    Answered { url: String, status: u16, body: Bytes },
}

impl Tap {
    /// A tap, and where its traffic comes out. So much may wait there; more is counted and let go.
    #[must_use]
    pub fn new(most: usize, clock: Clock) -> (Self, mpsc::Receiver<Traffic>) {
        let (traffic, out) = mpsc::channel(most);
        (Self { traffic, lost: Arc::default(), clock }, out)
    }

    /// How much was let go since this was asked last.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    pub(super) fn tell(&self, what: What) {
        if self.traffic.try_send(Traffic { at: self.clock.now(), what }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
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
        tap.tell(What::Connected { connection: Arc::clone(&connection), address });
        Self { tap: tap.clone(), connection }
    }

    pub fn sent(&self, text: &str) {
        self.tap.tell(What::Sent { connection: Arc::clone(&self.connection), text: text.to_owned() });
    }

    pub fn received(&self, message: &Message) {
        let connection = Arc::clone(&self.connection);
        match message {
            Message::Text(text) => self.tap.tell(What::Received { connection, text: text.as_str().to_owned() }),
            Message::Binary(bytes) => self.tap.tell(What::ReceivedBinary { connection, bytes: bytes.clone() }),
            _ => {}
        }
    }
}
