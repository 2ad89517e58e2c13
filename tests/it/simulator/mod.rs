//! The simulated exchanges as a client sees them: over real sockets, mostly on a clock that the test moves.

mod agreement;
mod bybit;
mod coinbase;
mod dialects;
mod faults;
mod okx;

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
const BINANCE: ExchangeId = ExchangeId::Binance;
const KRAKEN: ExchangeId = ExchangeId::Kraken;
const OKX: ExchangeId = ExchangeId::Okx;

struct World {
    simulator: Simulator,
    clock: Clock,
    address: String,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// Simulated exchanges on a clock that stands still.
async fn world() -> World {
    world_on(Clock::manual(START), 1).await
}

async fn world_on(clock: Clock, seed: u64) -> World {
    let simulator = Simulator::new(SimulatorConfig { seed, ..SimulatorConfig::default() }, clock.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let (serving, stopping) = (simulator.clone(), stop.clone());
    tokio::spawn(async move { serving.serve(listener, stopping).await.unwrap() });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    World { simulator, clock, address, http, _stop: stop.drop_guard() }
}

impl World {
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
        Socket { world: self, stream }
    }

    /// A Binance socket with these streams, acknowledged.
    async fn binance(&self, streams: &[&str]) -> Socket<'_> {
        let mut socket = self.socket("/stream").await;
        socket.say(json!({"method": "SUBSCRIBE", "params": streams, "id": 7})).await;
        assert_eq!(socket.hear().await, Some(json!({"result": null, "id": 7})));
        socket
    }

    /// A Kraken socket with one subscription of BTC/USD, acknowledged.
    async fn kraken(&self, channel: &str) -> Socket<'_> {
        let mut socket = self.socket("/v2").await;
        assert_eq!(socket.hear().await.unwrap()["data"][0]["system"], "online");
        let params = json!({"channel": channel, "symbol": ["BTC/USD"], "snapshot": false});
        socket.say(json!({"method": "subscribe", "params": params, "req_id": 5})).await;
        let ack = socket.hear().await.unwrap();
        assert_eq!(
            (&ack["success"], &ack["result"]["symbol"], &ack["req_id"]),
            (&json!(true), &json!("BTC/USD"), &json!(5))
        );
        socket
    }

    fn truth(&self, exchange: ExchangeId, symbol: &str, open: i64) -> Candle {
        let open = Timestamp::from_millis(open);
        let symbol: Symbol = symbol.parse().unwrap();
        self.simulator.market().candles(exchange, &symbol, Interval::M1, Interval::M1.span(open))[0]
    }
}

struct Socket<'a> {
    world: &'a World,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket<'_> {
    async fn say(&mut self, value: Value) {
        self.stream.send(Message::text(value.to_string())).await.unwrap();
    }

    /// The next message, moving the clock while there is none; `None` when the connection ended.
    async fn message(&mut self) -> Option<Message> {
        for _ in 0..40_000 {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Some(Some(Ok(message))) => return Some(message),
                Some(_) => return None,
                None => self.world.clock.advance(Duration::from_millis(50)).await,
            }
        }
        panic!("nothing was heard for half an hour");
    }

    async fn hear(&mut self) -> Option<Value> {
        match self.message().await? {
            Message::Text(text) => {
                Some(serde_json::from_str(&text).unwrap_or_else(|_| json!({"broken": text.as_str()})))
            }
            Message::Close(frame) => Some(json!({"close": frame.map(|frame| u16::from(frame.code))})),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// All messages until one that `ends`, which is the last.
    async fn until(&mut self, mut ends: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear().await.expect("the connection stands"));
            if ends(heard.last().unwrap()) {
                return heard;
            }
        }
    }

    /// What was sent already, and in the next `millis`.
    async fn during(&mut self, millis: i64) -> Vec<Value> {
        let until = self.world.clock.now() + Duration::from_millis(millis.unsigned_abs());
        let mut heard = Vec::new();
        let mut quiet = 0;
        while quiet < 20 {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(Message::Text(text)))) => {
                    heard.push(serde_json::from_str(&text).unwrap_or_else(|_| json!({"broken": text.as_str()})));
                }
                Some(Some(Ok(_))) => {}
                Some(_) => break,
                None if self.world.clock.now() < until => self.world.clock.advance(Duration::from_millis(50)).await,
                None => {
                    quiet += 1;
                    self.world.clock.advance(Duration::ZERO).await;
                }
            }
        }
        heard
    }
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().unwrap()
}

fn closes(value: &Value) -> bool {
    value["data"]["k"]["x"] == true
}

/// Open, high, low, close, volume, trades.
fn essence(candle: &Candle) -> ([Decimal; 5], Option<u64>) {
    ([candle.open, candle.high, candle.low, candle.close, candle.volume], candle.trades)
}
