//! The doors over real sockets, before a market whose store and cache are filled by hand and that nobody collects.

mod abuse;
mod access;
mod asyncapi;
mod compression;
mod events;
mod load;
mod pages;
mod refusals;
mod rest;
mod serving;
mod sockets;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candlewick::api::{self, About, ApiConfig, Behind, Keyring};
use candlewick::cache::{self, BusEvent, BusEventKind, Cache, KeptTicker, Position};
use candlewick::clock::Clock;
use candlewick::hub::{Hub, HubConfig};
use candlewick::lifecycle::Lifecycle;
use candlewick::market::{Market, Stores};
use candlewick::model::{
    Candle, Channel, CoveredRange, ExchangeId, ExchangeState, FeedState, Instrument, InstrumentStatus, Interval,
    Knowledge, MarketEvent, Series, Source, Symbol, Ticker, TickerPatch, TimeRange, Timestamp, Topic, wire,
};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, SeriesWrite};
use candlewick::telemetry::metrics;
use reqwest::{Method, Response};
use rust_decimal::Decimal;
use serde_json::Value;

/// A service with the doors only.
struct House {
    address: SocketAddr,
    life: Lifecycle,
    cache: Cache,
    keys: Arc<Keyring>,
    store: Arc<dyn CandleStore>,
    clock: Clock,
    client: reqwest::Client,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// How many minutes of history the house has, up to the last that closed.
const MINUTES: u32 = 30;

impl House {
    async fn open() -> Self {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        Self::with(store, ApiConfig { notice: Duration::from_millis(200), ..ApiConfig::default() }).await
    }

    async fn with(store: Arc<dyn CandleStore>, config: ApiConfig) -> Self {
        Self::at(Clock::system(), store, config).await
    }

    async fn at(clock: Clock, store: Arc<dyn CandleStore>, config: ApiConfig) -> Self {
        let cache = cache::memory(clock.clone());
        let life = Lifecycle::default();
        let stores = Stores { kept: Arc::clone(&store), simulated: None };
        let market = Arc::new(Market::new(ExchangeId::ALL.to_vec(), stores, cache.clone(), clock.clone()));
        let about =
            About { version: "1.2.3", role: "all", store: "sqlite", cache: "memory", metrics: metrics::install() };
        let hub = Hub::new(&cache, clock.clone(), HubConfig::default());
        let keys = Arc::<Keyring>::default();
        let behind = Behind { market, hub, keys: Arc::clone(&keys), limits: Arc::clone(&cache.limits) };
        let front = api::build(behind, life.clone(), clock.clone(), about, config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(api::serve(listener, front, life.clone(), clock.clone()));
        let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
        let house = Self { address, life, cache, keys, store, clock, client, server };
        house.fill().await;
        house.life.set_ready();
        house
    }

    /// Binance lists two markets and has a ticker and candles of one; of Kraken nothing is known.
    async fn fill(&self) {
        let now = self.clock.now();
        let listed = ["BTC/USDT", "ETH/USDT"].map(|symbol| Instrument {
            exchange: ExchangeId::Binance,
            symbol: symbol.parse().unwrap(),
            native: symbol.replace('/', ""),
            stream_native: None,
            price_step: Some(Decimal::new(1, 2)),
            amount_step: None,
            status: InstrumentStatus::Trading,
        });
        self.store.put_instruments(ExchangeId::Binance, &listed, now).await.unwrap();
        self.told(ExchangeId::Binance, vec![btc()], now).await;
        self.put_ticker(1, 67_000).await;
        let end = Interval::M1.floor(now);
        let range = TimeRange::new(Interval::M1.back(end, MINUTES), end);
        let candles = Interval::M1.opens(range).map(candle).collect();
        let claims = vec![CoveredRange { range, state: Knowledge::Observed }];
        let series = Series { exchange: ExchangeId::Binance, symbol: btc(), interval: Interval::M1 };
        self.store.write(&[SeriesWrite { series, candles, claims }]).await.unwrap();
    }

    /// What a collector would tell of an exchange whose listing was read at `listed_at`.
    async fn told(&self, exchange: ExchangeId, symbols: Vec<Symbol>, listed_at: Timestamp) {
        let state = ExchangeState {
            exchange,
            state: FeedState::Live,
            since: listed_at,
            simulated: false,
            channels: Channel::ALL.to_vec(),
            intervals: vec![Interval::M1, Interval::M5],
            symbols,
            room: 10,
            ended: Vec::new(),
            connections: Vec::new(),
            budgets: Vec::new(),
            clock: None,
            listed_at: Some(listed_at),
            detail: None,
        };
        self.cache.states.put(state).await.unwrap();
    }

    /// A tick, as a collector would put it: kept, then on the bus.
    async fn put_ticker(&self, seq: u64, last: i64) {
        let values = TickerPatch { last: Some(last.into()), ..TickerPatch::default() };
        let (exchange, received_at) = (ExchangeId::Binance, self.clock.now());
        let ticker = Ticker { exchange, symbol: btc(), values, received_at, source: Source::Stream };
        let data = Bytes::from(wire::event_data(&MarketEvent::Ticker(ticker.clone()), false));
        let json = data.slice(..data.len() - 1);
        let kept = KeptTicker { ticker, simulated: false, position: Position { token: 1, seq }, json };
        self.cache.tickers.put(kept, Duration::from_mins(1)).await.unwrap();
        let event = BusEvent { epoch: "1.e".into(), seq, kind: BusEventKind::Data(data) };
        self.cache.bus.publish(&Topic::Ticker { exchange, symbol: btc() }, event).await.unwrap();
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        self.client.request(method, format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path).await
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    /// Ends the service; it must be quick.
    async fn close(self) {
        self.life.drain();
        let ended = self.clock.timeout(Duration::from_secs(8), self.server).await;
        ended.expect("the server ends").unwrap().unwrap();
        self.clock.timeout(Duration::from_secs(8), self.life.stopped()).await.expect("the sockets end");
    }
}

fn btc() -> Symbol {
    "BTC/USDT".parse().unwrap()
}

fn candle(timestamp: Timestamp) -> Candle {
    let price = Decimal::new(670_001, 1);
    Candle {
        timestamp,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Decimal::ONE,
        quote_volume: None,
        trades: Some(2),
        closed: true,
        revision: 0,
    }
}

/// Checks that an answer is a problem with that code, and gives its body.
async fn problem(response: Response, status: u16, code: &str) -> Value {
    let headers = response.headers().clone();
    let (url, got) = (response.url().clone(), response.status());
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{url}: {text}");
    assert_eq!(headers["content-type"], "application/problem+json", "{url}");
    assert!(headers.contains_key("x-request-id"), "{url}");
    assert_eq!(headers.contains_key("retry-after"), matches!(status, 429 | 503), "{url}");
    assert_eq!(headers.contains_key("www-authenticate"), matches!(status, 401 | 403), "{url}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()), "{url}: {body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.len() < 500), "{url}: {body}");
    body
}
