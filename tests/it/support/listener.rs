//! A client of `/v1/stream` that keeps account of every number of a topic, over any number of connections.

use std::net::SocketAddr;

use candlewick::clock::Clock;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;

/// What a client knows of one topic.
pub struct Listener {
    subscription: Value,
    /// The last number that it saw or that a gap named, with its epoch.
    last: Option<(String, u64)>,
    /// A gap was told that ends with the next number.
    is_open: bool,
    pub epochs: usize,
    pub events: usize,
    pub gaps: Vec<Value>,
    pub snapshots: usize,
}

impl Listener {
    /// `subscription` without `op`.
    pub fn new(subscription: Value) -> Self {
        Self { subscription, last: None, is_open: false, epochs: 0, events: 0, gaps: Vec::new(), snapshots: 0 }
    }

    /// Connects, goes on where it was, and hangs up after so many events. `false` where that could not be.
    pub async fn listen(&mut self, address: SocketAddr, events: usize) -> bool {
        // A client of a WebSocket is large.
        let listening = Box::pin(async {
            let Ok((mut socket, _)) = connect_async(format!("ws://{address}/v1/stream")).await else { return false };
            let mut wish = self.subscription.clone();
            wish["op"] = "subscribe".into();
            if let Some((epoch, seq)) = &self.last {
                wish["resume"] = json!({"epoch": epoch, "seq": seq});
            }
            if socket.send(Message::text(wish.to_string())).await.is_err() {
                return false;
            }
            let until = self.events + events;
            while self.events < until {
                let Some(Ok(message)) = socket.next().await else { return false };
                let Message::Text(text) = message else { continue };
                self.take(&serde_json::from_str(&text).unwrap());
            }
            true
        });
        Clock::system().timeout(PATIENCE, listening).await.expect("events came")
    }

    fn take(&mut self, frame: &Value) {
        let number = |name: &str| frame[name].as_u64();
        match frame["type"].as_str().unwrap() {
            "subscribed" => assert_eq!(frame["rejected"], json!([]), "{frame}"),
            "ticker" | "trade" | "candle" => {
                self.events += 1;
                self.note(frame, number("seq").unwrap(), number("seq"));
            }
            "gap" => {
                self.gaps.push(frame.clone());
                self.note(frame, number("from_seq").unwrap(), number("to_seq"));
            }
            "snapshot" => self.snapshots += 1,
            "heartbeat" => {}
            other => panic!("{other}: {frame}"),
        }
    }

    /// Each number follows the one before it, a new epoch begins with its first.
    fn note(&mut self, frame: &Value, from: u64, to: Option<u64>) {
        let epoch = frame["epoch"].as_str().unwrap();
        let same = self.last.as_ref().filter(|(last, _)| last == epoch);
        let expected = match (&self.last, same) {
            (_, Some((_, last))) => Some(last + 1),
            (Some(_), None) => Some(1),
            (None, None) => None,
        };
        self.epochs += usize::from(same.is_none());
        let follows =
            if self.is_open { expected <= Some(from) } else { expected.is_none_or(|expected| expected == from) };
        assert!(follows, "after {:?} came {frame}", self.last);
        match to {
            Some(to) => {
                self.is_open = false;
                self.last = Some((epoch.to_owned(), to));
            }
            None => self.is_open = true,
        }
    }
}

/// Asks, and gives the first answer that is no heartbeat.
pub async fn ask(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, message: &Value) -> Value {
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
