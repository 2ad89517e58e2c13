//! A client of `/v1/stream` that checks every sequence number of a topic across any number of connections.

use std::net::SocketAddr;

use candlewick::clock::Clock;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::TIMEOUT;

/// A client of one topic. It resumes after each reconnect.
pub struct StreamClient {
    subscription: Value,
    /// Epoch and sequence number of the last event, or the end of the last gap.
    last: Option<(String, u64)>,
    /// The last gap has no end: it extends to the next event.
    has_open_gap: bool,
    pub epochs: usize,
    pub events: usize,
    pub gaps: Vec<Value>,
    pub snapshots: usize,
}

impl StreamClient {
    /// `subscription` is a subscribe message without `op`.
    pub fn new(subscription: Value) -> Self {
        Self { subscription, last: None, has_open_gap: false, epochs: 0, events: 0, gaps: Vec::new(), snapshots: 0 }
    }

    /// Connects, resumes, receives `count` events and disconnects. Returns `false` if the connection fails or closes.
    pub async fn receive_events(&mut self, address: SocketAddr, count: usize) -> bool {
        // Boxed because the future of a WebSocket client is large.
        let receiving = Box::pin(async {
            let Ok((mut socket, _)) = connect_async(format!("ws://{address}/v1/stream")).await else { return false };
            let mut request = self.subscription.clone();
            request["op"] = "subscribe".into();
            if let Some((epoch, seq)) = &self.last {
                request["resume"] = json!({"epoch": epoch, "seq": seq});
            }
            if socket.send(Message::text(request.to_string())).await.is_err() {
                return false;
            }
            let target = self.events + count;
            while self.events < target {
                let Some(Ok(message)) = socket.next().await else { return false };
                let Message::Text(text) = message else { continue };
                self.handle(&serde_json::from_str(&text).unwrap());
            }
            true
        });
        Clock::system().timeout(TIMEOUT, receiving).await.expect("events arrive")
    }

    fn handle(&mut self, frame: &Value) {
        let number = |name: &str| frame[name].as_u64();
        match frame["type"].as_str().unwrap() {
            "subscribed" => assert_eq!(frame["rejected"], json!([]), "{frame}"),
            "ticker" | "trade" | "candle" => {
                self.events += 1;
                self.check_sequence(frame, number("seq").unwrap(), number("seq"));
            }
            "gap" => {
                self.gaps.push(frame.clone());
                self.check_sequence(frame, number("from_seq").unwrap(), number("to_seq"));
            }
            "snapshot" => self.snapshots += 1,
            "heartbeat" => {}
            other => panic!("{other}: {frame}"),
        }
    }

    /// Checks that `from` follows the last sequence number, or is 1 in a new epoch. `to` is `None` for an open gap.
    fn check_sequence(&mut self, frame: &Value, from: u64, to: Option<u64>) {
        let epoch = frame["epoch"].as_str().unwrap();
        let same = self.last.as_ref().filter(|(last, _)| last == epoch);
        let expected = match (&self.last, same) {
            (_, Some((_, last))) => Some(last + 1),
            (Some(_), None) => Some(1),
            (None, None) => None,
        };
        self.epochs += usize::from(same.is_none());
        let follows =
            if self.has_open_gap { expected <= Some(from) } else { expected.is_none_or(|expected| expected == from) };
        assert!(follows, "{frame} does not follow {:?}", self.last);
        match to {
            Some(to) => {
                self.has_open_gap = false;
                self.last = Some((epoch.to_owned(), to));
            }
            None => self.has_open_gap = true,
        }
    }
}

/// Sends a message and returns the first frame that is not a heartbeat.
pub async fn request(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, message: &Value) -> Value {
    socket.send(Message::text(message.to_string())).await.unwrap();
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] != "heartbeat" {
                return frame;
            }
        }
    }
}
