//! Tests of the simulated exchanges over real sockets, mostly with a manual clock.

mod bybit;
mod coinbase;
mod consistency;
mod faults;
mod okx;
mod protocols;

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::{Candle, ExchangeId, Interval, Symbol, TimeRange, Timestamp, aggregate};
use candlewick::simulator::{Fault, FaultKind, Simulator, SimulatorConfig};
use futures_util::{FutureExt, SinkExt, StreamExt};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

/// 2025-11-20T21:00:10Z
const START: Timestamp = Timestamp::from_millis(1_763_672_410_000);
const MINUTE: i64 = 60_000;
const BINANCE: ExchangeId = ExchangeId::BINANCE;
const KRAKEN: ExchangeId = ExchangeId::KRAKEN;
const OKX: ExchangeId = ExchangeId::OKX;

struct SimulatorFixture {
    simulator: Simulator,
    clock: Clock,
    address: String,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// Simulated exchanges with a manual clock.
async fn fixture() -> SimulatorFixture {
    fixture_with(Clock::manual(START), 1).await
}

async fn fixture_with(clock: Clock, seed: u64) -> SimulatorFixture {
    let simulator = Simulator::new(SimulatorConfig { seed, ..SimulatorConfig::default() }, clock.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let (server, stopped) = (simulator.clone(), stop.clone());
    tokio::spawn(async move { server.serve(listener, stopped).await.unwrap() });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    SimulatorFixture { simulator, clock, address, http, _stop: stop.drop_guard() }
}

impl SimulatorFixture {
    async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.http.get(format!("http://{}{path}", self.address)).send().await
    }

    async fn text(&self, path: &str) -> String {
        self.get(path).await.unwrap().text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    fn inject(&self, exchange: ExchangeId, fault: FaultKind, for_ms: u64) {
        self.simulator.inject(Fault { exchange, after_ms: 0, fault, for_ms });
    }

    async fn socket(&self, path: &str) -> Socket<'_> {
        let (stream, _) = connect_async(format!("ws://{}{path}", self.address)).await.unwrap();
        Socket { fixture: self, stream }
    }

    /// Opens a Binance socket, subscribes to these streams and checks the acknowledgement.
    async fn subscribe_binance(&self, streams: &[&str]) -> Socket<'_> {
        let mut socket = self.socket("/stream").await;
        socket.send(json!({"method": "SUBSCRIBE", "params": streams, "id": 7})).await;
        assert_eq!(socket.receive().await, Some(json!({"result": null, "id": 7})));
        socket
    }

    /// Opens a Kraken socket, subscribes to a channel of BTC/USD and checks the acknowledgement.
    async fn subscribe_kraken(&self, channel: &str) -> Socket<'_> {
        let mut socket = self.socket("/v2").await;
        assert_eq!(socket.receive().await.unwrap()["data"][0]["system"], "online");
        let params = json!({"channel": channel, "symbol": ["BTC/USD"], "snapshot": false});
        socket.send(json!({"method": "subscribe", "params": params, "req_id": 5})).await;
        let ack = socket.receive().await.unwrap();
        assert_eq!(
            (&ack["success"], &ack["result"]["symbol"], &ack["req_id"]),
            (&json!(true), &json!("BTC/USD"), &json!(5))
        );
        socket
    }

    /// The exchange's 1m candle with this open time in milliseconds.
    fn expected_candle(&self, exchange: ExchangeId, symbol: &str, open: i64) -> Candle {
        let open = Timestamp::from_millis(open);
        let symbol: Symbol = symbol.parse().unwrap();
        self.simulator.market().candles(exchange, &symbol, Interval::M1, Interval::M1.span(open))[0]
    }
}

struct Socket<'a> {
    fixture: &'a SimulatorFixture,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket<'_> {
    async fn send(&mut self, value: Value) {
        self.stream.send(Message::text(value.to_string())).await.unwrap();
    }

    /// Receives the next message and advances the clock while there is none. `None` if the connection is closed.
    async fn receive_message(&mut self) -> Option<Message> {
        for _ in 0..40_000 {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Some(Some(Ok(message))) => return Some(message),
                Some(_) => return None,
                None => self.fixture.clock.advance(Duration::from_millis(50)).await,
            }
        }
        panic!("no message for half an hour");
    }

    /// The next frame as JSON: `{"broken": TEXT}` for invalid JSON, `{"close": CODE}` for a close frame.
    async fn receive(&mut self) -> Option<Value> {
        match self.receive_message().await? {
            Message::Text(text) => {
                Some(serde_json::from_str(&text).unwrap_or_else(|_| json!({"broken": text.as_str()})))
            }
            Message::Close(frame) => Some(json!({"close": frame.map(|frame| u16::from(frame.code))})),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Receives frames up to and including the first one that matches.
    async fn receive_until(&mut self, mut matches: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.receive().await.expect("the connection is open"));
            if matches(frames.last().unwrap()) {
                return frames;
            }
        }
    }

    /// Receives the frames that were already sent and those of the next `millis` milliseconds.
    async fn receive_for(&mut self, millis: i64) -> Vec<Value> {
        let until = self.fixture.clock.now() + Duration::from_millis(millis.unsigned_abs());
        let mut frames = Vec::new();
        let mut quiet = 0;
        while quiet < 20 {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(Message::Text(text)))) => {
                    frames.push(serde_json::from_str(&text).unwrap_or_else(|_| json!({"broken": text.as_str()})));
                }
                Some(Some(Ok(_))) => {}
                Some(_) => break,
                None if self.fixture.clock.now() < until => self.fixture.clock.advance(Duration::from_millis(50)).await,
                None => {
                    quiet += 1;
                    self.fixture.clock.advance(Duration::ZERO).await;
                }
            }
        }
        frames
    }
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().unwrap()
}

fn is_closed_kline(value: &Value) -> bool {
    value["data"]["k"]["x"] == true
}

/// Open, high, low, close and volume, and the number of trades.
fn candle_values(candle: &Candle) -> ([Decimal; 5], Option<u64>) {
    ([candle.open, candle.high, candle.low, candle.close, candle.volume], candle.trades)
}
