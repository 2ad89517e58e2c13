//! The simulated exchanges as a client sees them: over real sockets, mostly on a clock that the test moves.
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
    let simulator = Simulator::new(SimulatorConfig { seed, faults: Vec::new() }, clock.clone());
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

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let [one, same, other] = [1, 1, 2].map(|seed| world_on(Clock::manual(START), seed));
    let (one, same, other) = (one.await, same.await, other.await);
    for path in [
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000",
        "/api/v3/klines?symbol=ETHBTC&interval=1d&limit=3",
        "/api/v3/ticker/24hr?symbol=ADAUSDT",
        "/api/v3/ticker/bookTicker",
        "/0/public/OHLC?pair=XBTUSD",
        "/0/public/Ticker?pair=XBTUSDT,SOLUSD",
    ] {
        let bytes = one.text(path).await;
        assert_eq!(bytes, same.text(path).await, "{path}");
        assert_ne!(bytes, other.text(path).await, "{path}");
    }
    let streams = ["btcusdt@trade", "btcusdt@kline_1m", "btcusdt@ticker", "btcusdt@bookTicker"];
    let mut frames = Vec::new();
    for world in [&one, &same] {
        frames.push(world.binance(&streams).await.until(closes).await);
    }
    assert!(frames[0].len() > 100);
    assert_eq!(frames[0], frames[1]);
}

#[tokio::test]
async fn binances_streams_agree_with_its_history() {
    let world = world().await;
    let mut socket = world.binance(&["ethusdt@trade", "ethusdt@aggTrade", "ethusdt@kline_1m", "ethusdt@ticker"]).await;
    socket.until(closes).await;
    let heard = socket.until(closes).await;
    let candle = &heard.last().unwrap()["data"]["k"];
    let open = candle["t"].as_i64().unwrap();
    let truth = world.truth(BINANCE, "ETH/USDT", open);
    let told = ["o", "h", "l", "c", "v"].map(|name| decimal(&candle[name]));
    assert_eq!((told, candle["n"].as_u64()), essence(&truth));
    assert_eq!(decimal(&candle["q"]), truth.quote_volume.unwrap());

    for (kind, id) in [("trade", "t"), ("aggTrade", "a")] {
        let trades: Vec<&Value> = heard.iter().map(|frame| &frame["data"]).filter(|data| data["e"] == kind).collect();
        assert_eq!(trades.len() as u64, truth.trades.unwrap());
        assert_eq!(trades.iter().map(|trade| decimal(&trade["q"])).sum::<Decimal>(), truth.volume);
        assert!(trades.is_sorted_by_key(|trade| trade[id].as_i64()));
    }
    let path = format!("/api/v3/klines?symbol=ETHUSDT&interval=1m&startTime={open}&endTime={open}");
    let row = &world.json(&path).await[0];
    assert_eq!([1, 2, 3, 4, 5].map(|place| decimal(&row[place])), told);

    let ticker = heard.iter().rev().find(|frame| frame["data"]["e"] == "24hrTicker").unwrap();
    let (at, start) = (ticker["data"]["E"].as_i64().unwrap(), ticker["data"]["O"].as_i64().unwrap());
    assert_eq!(start, at / MINUTE * MINUTE - 1_440 * MINUTE);
    let high = ticker["data"]["h"].clone();
    let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(at / MINUTE * MINUTE));
    let day = world.simulator.market().candles(BINANCE, &"ETH/USDT".parse().unwrap(), Interval::M1, range);
    assert!(decimal(&high) >= aggregate(range.start(), &day).unwrap().high);
}

#[tokio::test]
async fn krakens_stream_agrees_with_its_history() {
    let world = world().await;
    let mut socket = world.kraken("ohlc").await;
    let begins = |frame: &Value, time: &str| {
        frame["data"][0]["interval_begin"].as_str().is_some_and(|begin| begin.contains(time))
    };
    socket.until(|frame| begins(frame, "21:01:00")).await;
    let heard = socket.until(|frame| begins(frame, "21:02:00")).await;
    let last = heard.iter().rev().find(|frame| begins(frame, "21:01:00")).unwrap();
    let candle = &last["data"][0];
    let truth = world.truth(KRAKEN, "BTC/USD", START.millis() / MINUTE * MINUTE + MINUTE);
    let told = ["open", "high", "low", "close", "volume"].map(|name| decimal(&candle[name]));
    assert_eq!((told, candle["trades"].as_u64()), essence(&truth));
    let history = world.json("/0/public/OHLC?pair=XBTUSD").await;
    let rows = history["result"]["XXBTZUSD"].as_array().unwrap();
    let row = rows.iter().find(|row| row[0] == truth.timestamp.millis() / 1_000).unwrap();
    assert_eq!([1, 2, 3, 4, 6].map(|place| decimal(&row[place])), told);
}

#[tokio::test]
async fn a_time_lapse_streams_a_minute_each_tenth_of_a_second() {
    let world = world_on(Clock::scaled(600.0), 1).await;
    let (mut stream, _) = connect_async(format!("ws://{}/ws/btcusdt@kline_1m", world.address)).await.unwrap();
    let mut closed: Vec<i64> = Vec::new();
    while closed.len() < 3 {
        if let Message::Text(text) = stream.next().await.unwrap().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["k"]["x"] == true {
                let open = frame["k"]["t"].as_i64().unwrap();
                assert_eq!(decimal(&frame["k"]["v"]), world.truth(BINANCE, "BTC/USDT", open).volume);
                closed.push(open);
            }
        }
    }
    assert!(closed.windows(2).all(|pair| pair[1] == pair[0] + MINUTE), "none is left out: {closed:?}");
}

#[tokio::test]
async fn binance_acknowledges_and_refuses_in_its_own_way() {
    let world = world().await;
    let mut socket = world.socket("/ws").await;
    socket.say(json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nosuch@trade"], "id": "a"})).await;
    assert_eq!(socket.hear().await, Some(json!({"result": null, "id": "a"})));
    assert_eq!(socket.hear().await.unwrap()["e"], "trade", "raw streams are not wrapped");
    socket.say(json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 2})).await;
    socket.until(|frame| frame["id"] == 2).await;
    socket.say(json!({"method": "LIST_SUBSCRIPTIONS", "id": 3})).await;
    assert_eq!(socket.hear().await, Some(json!({"result": ["nosuch@trade"], "id": 3})));
    for (text, code) in
        [("{", 3), ("{\"method\":\"FLY\",\"id\":1}", 2), ("{\"method\":\"SUBSCRIBE\",\"params\":[1],\"id\":1}", 2)]
    {
        world.clock.advance(Duration::from_secs(1)).await;
        socket.stream.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.hear().await.unwrap()["code"], code, "{text}");
    }
    let too_many: Vec<String> = (0..1_025).map(|n| format!("x{n}@trade")).collect();
    world.clock.advance(Duration::from_secs(1)).await;
    socket.say(json!({"method": "SUBSCRIBE", "params": too_many, "id": 4})).await;
    assert_eq!(socket.hear().await, Some(json!({"close": 1008})));
}

#[tokio::test]
async fn binance_cuts_who_talks_too_much_and_who_does_not_answer() {
    let world = world().await;
    let mut loud = world.socket("/ws").await;
    for id in 0..12 {
        loud.say(json!({"method": "LIST_SUBSCRIPTIONS", "id": id})).await;
    }
    let heard = loud.until(|frame| frame["close"] == 1008).await;
    assert_eq!((heard.len(), world.simulator.stats().binance.messages_over_rate), (7, 1));

    let mut absent = world.binance(&[]).await;
    // Nobody reads, so nobody answers the pings.
    world.clock.advance(Duration::from_secs(90)).await;
    assert_eq!(world.simulator.stats().binance.sockets_open, 0);
    while absent.hear().await.is_some_and(|frame| frame["close"] != 1008) {}

    let mut present = world.binance(&["btcusdt@kline_1m"]).await;
    for _ in 0..3 {
        present.until(closes).await;
    }
    let stats = world.simulator.stats().binance;
    assert_eq!((stats.sockets_opened, stats.sockets_open), (3, 1));
}

#[tokio::test]
async fn kraken_acknowledges_and_refuses_in_its_own_way() {
    let world = world().await;
    let mut socket = world.socket("/v2").await;
    socket.hear().await;
    let params = json!({"channel": "ticker", "symbol": ["BTC/USD", "XBT/USD"], "event_trigger": "bbo"});
    socket.say(json!({"method": "subscribe", "params": params})).await;
    let ack = socket.hear().await.unwrap();
    assert_eq!((&ack["success"], &ack["result"]["event_trigger"]), (&json!(true), &json!("bbo")));
    let snapshot = socket.hear().await.unwrap();
    assert_eq!((&snapshot["type"], &snapshot["data"][0]["symbol"]), (&json!("snapshot"), &json!("BTC/USD")));
    let refusal = socket.hear().await.unwrap();
    assert_eq!((&refusal["success"], &refusal["symbol"]), (&json!(false), &json!("XBT/USD")));
    assert_eq!(refusal["error"], "Currency pair not supported XBT/USD");
    let update = socket.hear().await.unwrap();
    assert!(update["type"] == "update" && decimal(&update["data"][0]["bid"]) < decimal(&update["data"][0]["ask"]));
    socket.say(json!({"method": "ping", "req_id": 101})).await;
    let pong = socket.until(|frame| frame["method"] == "pong").await;
    assert_eq!(pong.last().unwrap()["req_id"], 101);
    for channel in ["trade", "ohlc"] {
        let params = json!({"channel": channel, "symbol": ["SOL/USDT"], "snapshot": true});
        socket.say(json!({"method": "subscribe", "params": params})).await;
        let snapshot = socket.until(|frame| frame["channel"] == channel).await.pop().unwrap();
        assert_eq!(snapshot["type"], "snapshot");
        let expected = if channel == "trade" { 50..=50 } else { 2..=10 };
        assert!(expected.contains(&snapshot["data"].as_array().unwrap().len()));
    }
    let mut quiet = world.kraken("trade").await;
    let heard = quiet.during(30_000).await;
    assert!(heard.iter().filter(|frame| frame["channel"] == "heartbeat").count() > 10);
}

#[tokio::test]
async fn binance_meters_warns_and_bans() {
    let world = world().await;
    for used in 1..=75 {
        let reply = world.get("/api/v3/ticker/24hr").await.unwrap();
        assert_eq!((reply.status().as_u16(), &reply.headers()["x-mbx-used-weight-1m"]), (200, &(used * 80).into()));
    }
    let warned = world.get("/api/v3/ping").await.unwrap();
    assert_eq!((warned.status().as_u16(), warned.headers()["retry-after"].as_bytes()), (429, &b"50"[..]));
    assert!(warned.text().await.unwrap().contains("-1003"));
    for _ in 0..9 {
        assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 429);
    }
    let banned = world.get("/api/v3/ping").await.unwrap();
    assert_eq!((banned.status().as_u16(), banned.headers()["retry-after"].as_bytes()), (418, &b"120"[..]));
    let stats = world.simulator.stats().binance;
    assert_eq!((stats.rest_requests, stats.limit_violations, stats.bans), (86, 11, 1));
    world.clock.advance(Duration::from_mins(2)).await;
    assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 200);
}

#[tokio::test]
async fn kraken_says_its_errors_with_status_200() {
    let world = world().await;
    let reply = world.get("/0/public/OHLC?pair=NOSUCH").await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.text().await.unwrap(), r#"{"error":["EQuery:Unknown asset pair"]}"#);
    for _ in 0..15 {
        assert_eq!(world.json("/0/public/Time").await["error"], json!([]));
    }
    assert_eq!(world.json("/0/public/Time").await, json!({"error": ["EGeneral:Too many requests"]}));
    assert_eq!(world.json("/0/public/OHLC?pair=XBTUSD").await["error"], json!([]), "pairs are metered apart");
    assert_eq!(world.simulator.stats().kraken.limit_violations, 1);
    assert_eq!(world.get("/nothing").await.unwrap().status(), 404);
}

#[tokio::test]
async fn dropped_sockets_end_without_a_word() {
    let world = world().await;
    let (mut binance, mut kraken) = (world.binance(&["btcusdt@trade"]).await, world.kraken("trade").await);
    world.inject(BINANCE, FaultKind::Drop, 60_000);
    world.clock.advance(Duration::from_secs(1)).await;
    while let Some(frame) = binance.hear().await {
        assert_eq!(frame["close"], Value::Null);
    }
    let refused = connect_async(format!("ws://{}/stream", world.address)).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 200, "REST goes on");
    world.clock.advance(Duration::from_mins(1)).await;
    world.binance(&["btcusdt@trade"]).await;
    assert!(kraken.hear().await.is_some(), "the other exchange goes on");
}

#[tokio::test]
async fn darkness_refuses_everything() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    world.inject(KRAKEN, FaultKind::Dark, 5_000);
    assert!(world.get("/0/public/Time").await.is_err());
    assert!(connect_async(format!("ws://{}/v2", world.address)).await.is_err());
    world.clock.advance(Duration::from_secs(1)).await;
    while socket.hear().await.is_some() {}
    assert_eq!(world.get("/api/v3/ping").await.unwrap().status(), 200);
    world.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(world.json("/0/public/Time").await["error"], json!([]));
    world.kraken("trade").await;
    world.inject(KRAKEN, FaultKind::Dark, 0);
    world.clock.advance(Duration::from_secs(9)).await;
    assert!(world.get("/0/public/Time").await.is_err(), "once means one request");
    assert!(world.get("/0/public/Time").await.is_ok());
}

#[tokio::test]
async fn silent_sockets_stay_and_say_nothing() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    socket.during(0).await;
    world.inject(KRAKEN, FaultKind::Silent, 30_000);
    assert_eq!(socket.during(29_000).await, Vec::<Value>::new(), "not even heartbeats");
    assert!(!socket.during(10_000).await.is_empty());
    world.inject(KRAKEN, FaultKind::Silent, 0);
    socket.during(500).await;
    assert_eq!(socket.during(120_000).await, Vec::<Value>::new());
    assert!(!world.kraken("trade").await.during(2_000).await.is_empty(), "new ones speak");
}

#[tokio::test]
async fn malformed_frames_and_bodies_are_mixed_in() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::Malformed, 20_000);
    let heard = socket.during(20_000).await;
    let broken = heard.iter().filter(|frame| frame["broken"].is_string()).count();
    assert!(broken > 1 && broken * 2 <= heard.len() + 1, "{broken} of {}", heard.len());
    world.inject(BINANCE, FaultKind::Malformed, 1_000);
    assert!(serde_json::from_str::<Value>(&world.text("/api/v3/time").await).is_err());
}

#[tokio::test]
async fn rest_fails_as_scripted() {
    let world = world().await;
    for (fault, status) in [(FaultKind::Http429, 429), (FaultKind::Http418, 418), (FaultKind::Http500, 500)] {
        for exchange in ExchangeId::ALL {
            let path = if exchange == BINANCE { "/api/v3/ping" } else { "/0/public/Time" };
            world.inject(exchange, fault, 0);
            let reply = world.get(path).await.unwrap();
            assert_eq!((reply.status().as_u16(), reply.headers().contains_key("retry-after")), (status, status != 500));
            assert_eq!(world.get(path).await.unwrap().status(), 200, "once means one request");
        }
    }
}

#[tokio::test]
async fn slow_answers_come_late() {
    let world = world().await;
    world.inject(KRAKEN, FaultKind::Slow, 0);
    let reply = world.get("/0/public/Time");
    tokio::pin!(reply);
    let status = loop {
        tokio::select! {
            biased;
            reply = &mut reply => break reply.unwrap().status(),
            () = world.clock.advance(Duration::from_millis(100)) => {}
        }
    };
    assert_eq!(status, 200);
    assert!(world.clock.now().since(START) >= Duration::from_secs(4));
}

#[tokio::test]
async fn a_skipped_candle_is_in_rest_only() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@kline_1m", "btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::SkipCandle, 0);
    let heard = socket.until(closes).await;
    let first = START.millis() / MINUTE * MINUTE;
    assert_eq!(heard.last().unwrap()["data"]["k"]["t"], first + MINUTE);
    assert!(heard.iter().all(|frame| frame["data"]["k"]["t"] != first));
    assert!(heard.iter().any(|frame| frame["data"]["e"] == "trade"), "trades go on");
    let path = format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={first}&limit=1");
    assert_eq!(world.json(&path).await[0][0], first);
}

#[tokio::test]
async fn a_late_trade_changes_a_closed_candle() {
    let world = world().await;
    let mut socket = world.binance(&["btcusdt@kline_1m", "btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::LateTrade, 0);
    let told = socket.until(closes).await.pop().unwrap()["data"]["k"].clone();
    let open = told["t"].as_i64().unwrap();
    let late =
        socket.until(|frame| frame["data"]["e"] == "trade" && frame["data"]["T"].as_i64() < Some(open + MINUTE)).await;
    assert_eq!(late.last().unwrap()["data"]["T"], open + MINUTE - 1);
    let path = format!("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={open}&limit=2");
    let row = world.json(&path).await[0].clone();
    assert_eq!(row[8].as_i64().unwrap(), told["n"].as_i64().unwrap() + 1);
    assert_ne!(row[4], told["c"]);
    assert_eq!(decimal(&row[5]), world.truth(BINANCE, "BTC/USDT", open).volume);
    let next = socket.until(closes).await.pop().unwrap()["data"]["k"].clone();
    assert_eq!(decimal(&next["v"]), world.truth(BINANCE, "BTC/USDT", open + MINUTE).volume, "only one minute changes");
}

#[tokio::test]
async fn duplicates_come_twice() {
    let world = world().await;
    let mut socket = world.kraken("trade").await;
    world.inject(KRAKEN, FaultKind::Duplicate, 60_000);
    let heard = socket.during(40_000).await;
    let trades: Vec<&Value> = heard.iter().filter(|frame| frame["channel"] == "trade").collect();
    assert!(trades.len() > 3);
    assert!(trades.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]));
}

#[tokio::test]
async fn a_refused_subscription_is_refused_once() {
    let world = world().await;
    world.inject(BINANCE, FaultKind::Refuse, 0);
    let mut socket = world.socket("/stream").await;
    let request = json!({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1});
    socket.say(request.clone()).await;
    let refusal = socket.hear().await.unwrap();
    assert_eq!((&refusal["code"], &refusal["id"]), (&json!(2), &json!(1)));
    socket.say(request).await;
    assert_eq!(socket.hear().await, Some(json!({"result": null, "id": 1})));

    world.inject(KRAKEN, FaultKind::Refuse, 0);
    let mut socket = world.socket("/v2").await;
    socket.hear().await;
    socket
        .say(json!({"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["ETH/USD"], "interval": 1}}))
        .await;
    assert_eq!(socket.hear().await.unwrap()["success"], false);
}

#[tokio::test]
async fn a_shutdown_is_announced_and_then_happens() {
    let world = world().await;
    let mut binance = world.binance(&["btcusdt@trade"]).await;
    world.inject(BINANCE, FaultKind::ShutdownNotice, 0);
    // What began before a socket opened does not befall it.
    world.inject(KRAKEN, FaultKind::ShutdownNotice, 0);
    let mut heard = binance.until(|frame| frame.get("close").is_some()).await;
    assert_eq!(heard.pop(), Some(json!({"close": 1001})));
    assert!(heard.iter().any(|frame| frame["data"]["e"] == "serverShutdown"));
    let mut kraken = world.kraken("trade").await;
    world.simulator.inject(Fault { exchange: KRAKEN, after_ms: 1_000, fault: FaultKind::ShutdownNotice, for_ms: 0 });
    let heard = kraken.until(|frame| frame.get("close").is_some()).await;
    assert!(heard.iter().any(|frame| frame["data"][0]["system"] == "maintenance"));
}

#[tokio::test]
async fn stopping_says_goodbye() {
    let clock = Clock::manual(START);
    let simulator = Simulator::new(SimulatorConfig::default(), clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (serving, stopping) = (simulator.clone(), stop.clone());
    let served = tokio::spawn(async move { serving.serve(listener, stopping).await });
    let (mut stream, _) = connect_async(format!("ws://{address}/v2")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    stop.cancel();
    let Message::Close(Some(frame)) = stream.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1001);
    assert!(stream.next().await.is_none());
    served.await.unwrap().unwrap();
    assert_eq!(simulator.stats().kraken.sockets_open, 0);
}
