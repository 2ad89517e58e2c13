//! Repeated SIGKILL of the program while it streams. The simulated exchanges run in a separate process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use candlewick::clock::Clock;
use candlewick::model::{Interval, Number, TimeRange, Timestamp};
use futures_util::StreamExt;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::process::{Process, exchange_urls, merge_env};
use crate::support::{SPEED, wait_until};

/// Exchange, symbol and native symbol.
const MARKETS: [(&str, &str, &str); 9] = [
    ("binance", "BTC/USDT", "BTCUSDT"),
    ("binance", "ETH/USDT", "ETHUSDT"),
    ("binance", "SOL/USDT", "SOLUSDT"),
    ("kraken", "BTC/USD", "XBTUSD"),
    ("kraken", "ETH/USD", "ETHUSD"),
    ("kraken", "SOL/USD", "SOLUSD"),
    ("okx", "BTC/USDT", "BTC-USDT"),
    ("okx", "ETH/USDT", "ETH-USDT"),
    ("okx", "SOL/USDT", "SOL-USDT"),
];

/// When each run is killed: after this many closed candles, and then this many tickers.
const KILL_POINTS: [(i64, usize); 10] =
    [(0, 0), (0, 1), (0, 40), (1, 0), (1, 7), (0, 90), (2, 0), (2, 25), (0, 3), (1, 60)];

/// Open time; open, high, low, close, volume; number of trades if the exchange reports it.
type Row = (i64, [Decimal; 5], Option<Decimal>);

#[derive(Deserialize)]
struct Page {
    complete: bool,
    candles: Vec<Candle>,
}

#[derive(Deserialize)]
struct Candle {
    timestamp: i64,
    open: Number,
    high: Number,
    low: Number,
    close: Number,
    volume: Number,
    trades: Option<Number>,
    closed: bool,
}

#[derive(Deserialize)]
struct KrakenReply {
    result: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct OkxReply {
    data: Box<RawValue>,
}

/// The process of the simulated exchanges.
struct Exchanges {
    process: Process,
    origin: String,
    http: reqwest::Client,
}

impl Exchanges {
    async fn start(folder: &Path) -> Self {
        candlewick::upstream::install_crypto();
        let process =
            Process::spawn(folder, &["simulate", "--listen", "127.0.0.1:0", "--clock-speed", &SPEED.to_string()], &[]);
        let mut origin = None;
        wait_until("the simulator listens", async || {
            let lines = process.lines();
            origin = lines.iter().find_map(|line| line.split_once("on http://")).map(|(_, origin)| origin.to_owned());
            origin.is_some()
        })
        .await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { process, origin: origin.unwrap(), http }
    }

    async fn get(&self, path: &str) -> String {
        self.http.get(format!("http://{}{path}", self.origin)).send().await.unwrap().text().await.unwrap()
    }

    /// The 1m candles that the REST API of the exchange returns.
    async fn candles(&self, exchange: &str, native: &str, range: TimeRange) -> Vec<Row> {
        let (start, end) = (range.start().millis(), range.end().millis());
        let (rows, unit, volume, trades) = match exchange {
            "binance" => {
                let path = format!("/api/v3/klines?symbol={native}&interval=1m&startTime={start}&limit=1000");
                (self.get(&path).await, 1, 5, Some(8))
            }
            "kraken" => {
                let text = self.get(&format!("/0/public/OHLC?pair={native}&interval=1")).await;
                let reply: KrakenReply = serde_json::from_str(&text).unwrap();
                let (_, rows) = reply.result.into_iter().find(|(key, _)| key != "last").unwrap();
                (rows.get().to_owned(), 1_000, 6, Some(7))
            }
            "okx" => {
                let text = self.get(&format!("/api/v5/market/candles?instId={native}&bar=1m&limit=300")).await;
                let reply: OkxReply = serde_json::from_str(&text).unwrap();
                (reply.data.get().to_owned(), 1, 5, None)
            }
            other => panic!("the candle format of {other} is not implemented"),
        };
        let mut rows: Vec<Vec<Number>> = serde_json::from_str(&rows).unwrap();
        rows.sort_by_key(|row| row[0]);
        rows.iter()
            .map(|row| {
                let time = i64::try_from(row[0].0).unwrap() * unit;
                (time, [1, 2, 3, 4, volume].map(|at| row[at].0), trades.map(|at: usize| row[at].0))
            })
            .filter(|(time, ..)| (start..end).contains(time))
            .collect()
    }
}

/// One run of the program.
struct Run<'a> {
    process: Process,
    address: SocketAddr,
    http: &'a reqwest::Client,
}

impl<'a> Run<'a> {
    async fn start(folder: &Path, exchanges: &'a Exchanges) -> Self {
        let simulated = exchange_urls(&exchanges.origin);
        let own = [("CANDLEWICK__DATA", "live"), ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0")];
        let environment = merge_env(&own, &simulated);
        let mut process = Process::spawn(folder, &["--clock-speed", &SPEED.to_string()], &environment);
        let address = process.address().await;
        Self { process, address, http: &exchanges.http }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let reply = self.http.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        (reply.status() == 200).then_some(reply.text().await.unwrap())
    }

    async fn page(&self, exchange: &str, symbol: &str, select: &str) -> Option<Page> {
        let text = self.get(&format!("/v1/history?exchange={exchange}&symbol={symbol}&{select}")).await?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Waits until a market has a closed candle with an open time of `open` or later.
    async fn wait_until_closed(&self, exchange: &str, symbol: &str, open: Timestamp) {
        wait_until(&format!("the candle {open} of {exchange} {symbol} has closed"), async || {
            let newest = self.page(exchange, symbol, "limit=5").await;
            newest.is_some_and(|page| page.candles.iter().any(|c| c.closed && c.timestamp >= open.millis()))
        })
        .await;
    }

    /// Receives `count` tickers from a WebSocket.
    async fn receive_tickers(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut socket = None;
        wait_until("the market accepts subscribers", async || {
            socket = Box::pin(connect_async(format!("ws://{}/ws/subscribe/BTC-USDT", self.address))).await.ok();
            socket.is_some()
        })
        .await;
        let (mut socket, _) = socket.unwrap();
        let mut received = 0;
        while received < count {
            received += usize::from(matches!(socket.next().await.unwrap().unwrap(), Message::Text(_)));
        }
    }

    /// Waits until the 1m candles of a range are complete and returns them.
    async fn complete_candles(&self, exchange: &str, symbol: &str, range: TimeRange) -> Vec<Row> {
        let select = format!("start={}&end={}&limit=5000", range.start().millis(), range.end().millis());
        let mut page = None;
        wait_until(&format!("{exchange} {symbol} is complete"), async || {
            page = self.page(exchange, symbol, &select).await.filter(|page| page.complete);
            page.is_some()
        })
        .await;
        let row = |candle: Candle| {
            assert!(candle.closed);
            let Candle { open, high, low, close, volume, trades, .. } = candle;
            (candle.timestamp, [open, high, low, close, volume].map(|number| number.0), trades.map(|number| number.0))
        };
        page.unwrap().candles.into_iter().map(row).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_leave_no_gap_and_no_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::scaled(SPEED);
    let mut exchanges = Exchanges::start(folder.path()).await;
    let start = Interval::M1.back(clock.now(), 30);
    for (candles, tickers) in KILL_POINTS {
        let started = Interval::M1.floor(clock.now());
        let mut run = Run::start(folder.path(), &exchanges).await;
        if candles > 0 {
            let open = Timestamp::from_millis(started.millis() + candles * 60_000);
            run.wait_until_closed("binance", "BTC/USDT", open).await;
        }
        run.receive_tickers(tickers).await;
        run.process.kill();
    }

    let mut run = Run::start(folder.path(), &exchanges).await;
    let range = TimeRange::new(start, Interval::M1.next(Interval::M1.next(clock.now())));
    run.wait_until_closed("binance", "BTC/USDT", Interval::M1.back(range.end(), 1)).await;
    let mut stored = Vec::new();
    for (exchange, symbol, native) in MARKETS {
        // The exchange has no candles for minutes without trades.
        let candles = run.complete_candles(exchange, symbol, range).await;
        assert!(candles.is_sorted_by(|one, next| one.0 < next.0), "{exchange} {symbol}: {candles:?}");
        assert_eq!(candles, exchanges.candles(exchange, native, range).await, "{exchange} {symbol}");
        stored.push(candles);
    }
    let open_times = stored[0].iter().map(|row| row.0);
    assert!(open_times.eq(Interval::M1.open_times(range).map(Timestamp::millis)), "{:?}", stored[0]);
    let coverage = format!("/v1/coverage?exchange=binance&symbol=BTC/USDT&start={}", start.millis());
    let coverage = run.get(&coverage).await.unwrap();
    assert!(coverage.contains("observed") && coverage.contains("fetched"), "no gap had to be repaired: {coverage}");

    // A last run without the exchanges returns the same candles, so they are stored.
    run.process.signal("TERM");
    assert_eq!(run.process.wait_for_exit().await, Some(0), "{:#?}", run.process.lines());
    drop(run);
    exchanges.process.kill();
    let run = Run::start(folder.path(), &exchanges).await;
    for ((exchange, symbol, _), stored) in MARKETS.into_iter().zip(stored) {
        assert_eq!(run.complete_candles(exchange, symbol, range).await, stored, "{exchange} {symbol}");
    }
}
