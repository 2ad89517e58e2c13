//! The HTTP and WebSocket API over real sockets. The tests fill store and cache; no collector runs.

mod abuse;
mod access;
mod asyncapi;
mod compression;
mod contracts;
mod events;
mod load;
mod pages;
mod problems;
mod rest;
mod serving;
mod sockets;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candlewick::api::{self, ApiConfig, Deps, KeyRegistry, ServiceInfo};
use candlewick::cache::{self, BusEvent, BusEventKind, Cache, CachedTicker, Version};
use candlewick::clock::Clock;
use candlewick::hub::{Hub, HubConfig};
use candlewick::lifecycle::Lifecycle;
use candlewick::market::{MarketService, Stores};
use candlewick::model::{
    Candle, Channel, CoverageState, CoveredRange, ExchangeId, ExchangeState, FeedState, Instrument, Interval,
    MarketEvent, MarketKind, Series, Source, Symbol, Ticker, TickerPatch, TimeRange, Timestamp, Topic, wire,
};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, SeriesWrite, Store};
use candlewick::telemetry::metrics;
use reqwest::{Method, Response};
use rust_decimal::Decimal;
use serde_json::Value;

/// A service with only the API: no collector and no exchange.
struct TestService {
    address: SocketAddr,
    lifecycle: Lifecycle,
    cache: Cache,
    keys: Arc<KeyRegistry>,
    store: Arc<dyn Store>,
    clock: Clock,
    client: reqwest::Client,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Minutes of stored history, up to the last closed candle.
const MINUTES: u32 = 30;

impl TestService {
    async fn start() -> Self {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        Self::with_store(store, ApiConfig { shutdown_notice: Duration::from_millis(200), ..ApiConfig::default() }).await
    }

    async fn with_store(store: Arc<dyn Store>, config: ApiConfig) -> Self {
        Self::with_clock(Clock::system(), store, config).await
    }

    async fn with_clock(clock: Clock, store: Arc<dyn Store>, config: ApiConfig) -> Self {
        let cache = cache::memory(clock.clone());
        let lifecycle = Lifecycle::default();
        let stores = Stores { real: Arc::clone(&store), simulated: None };
        let market = Arc::new(MarketService::new(ExchangeId::all().collect(), stores, cache.clone(), clock.clone()));
        let info = ServiceInfo {
            version: "1.2.3",
            role: "all",
            store: "sqlite",
            cache: "memory",
            metrics: metrics::install(),
        };
        let hub = Hub::new(&cache, clock.clone(), HubConfig::default());
        let keys = Arc::<KeyRegistry>::default();
        let deps = Deps { market, hub, keys: Arc::clone(&keys), limits: Arc::clone(&cache.limits) };
        let endpoint = api::build(deps, lifecycle.clone(), clock.clone(), info, config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(api::serve(listener, endpoint, lifecycle.clone(), clock.clone()));
        let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
        let service = Self { address, lifecycle, cache, keys, store, clock, client, server };
        service.seed().await;
        service.lifecycle.set_ready();
        service
    }

    /// Binance lists two markets and has a ticker and candles of one. Kraken has no listing yet.
    async fn seed(&self) {
        let now = self.clock.now();
        let instruments = ["BTC/USDT", "ETH/USDT"].map(|symbol| Instrument {
            price_step: Some(Decimal::new(1, 2)),
            ..Instrument::new(ExchangeId::BINANCE, symbol.parse().unwrap(), symbol.replace('/', ""))
        });
        self.store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &instruments, now).await.unwrap();
        self.put_state(ExchangeId::BINANCE, vec![btc()], now).await;
        self.publish_ticker(1, 67_000).await;
        let end = Interval::M1.floor(now);
        let range = TimeRange::new(Interval::M1.back(end, MINUTES), end);
        let candles = Interval::M1.open_times(range).map(candle).collect();
        let claims = vec![CoveredRange { range, state: CoverageState::Observed }];
        let series = Series { exchange: ExchangeId::BINANCE, symbol: btc(), interval: Interval::M1 };
        self.store.write(&[SeriesWrite { series, candles, claims }]).await.unwrap();
    }

    /// Stores the state that a collector reports for an exchange whose listing it read at `listed_at`.
    async fn put_state(&self, exchange: ExchangeId, symbols: Vec<Symbol>, listed_at: Timestamp) {
        let state = ExchangeState {
            exchange,
            state: FeedState::Live,
            since: listed_at,
            simulated: false,
            channels: Channel::ALL.to_vec(),
            intervals: vec![Interval::M1, Interval::M5],
            symbols,
            on_demand_capacity: 10,
            ended: Vec::new(),
            connections: Vec::new(),
            budgets: Vec::new(),
            clock: None,
            exchange_time: None,
            listed_at: Some(listed_at),
            detail: None,
        };
        self.cache.states.put(state).await.unwrap();
    }

    /// Caches a ticker and publishes it, as a collector does.
    async fn publish_ticker(&self, seq: u64, last: i64) {
        let values = TickerPatch { last: Some(last.into()), ..TickerPatch::default() };
        let (exchange, received_at) = (ExchangeId::BINANCE, self.clock.now());
        let ticker = Ticker { exchange, symbol: btc(), values, received_at, source: Source::Stream };
        let data = Bytes::from(wire::event_data(&MarketEvent::Ticker(ticker.clone()), false));
        let json = data.slice(..data.len() - 1);
        let cached = CachedTicker { ticker, simulated: false, version: Version { token: 1, seq }, json };
        self.cache.tickers.put(cached, Duration::from_mins(1)).await.unwrap();
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

    /// Shuts the service down and checks that server and sockets end in time.
    async fn shut_down(self) {
        self.lifecycle.drain();
        let result = self.clock.timeout(Duration::from_secs(8), self.server).await;
        result.expect("the server ends").unwrap().unwrap();
        self.clock.timeout(Duration::from_secs(8), self.lifecycle.stopped()).await.expect("the sockets end");
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

/// Checks that a response is a problem with this status and code. Returns its body.
async fn expect_problem(response: Response, status: u16, code: &str) -> Value {
    let headers = response.headers().clone();
    let (url, actual_status) = (response.url().clone(), response.status());
    let text = response.text().await.unwrap();
    assert_eq!(actual_status, status, "{url}: {text}");
    assert_eq!(headers["content-type"], "application/problem+json", "{url}");
    assert!(headers.contains_key("x-request-id"), "{url}");
    assert_eq!(headers.contains_key("retry-after"), matches!(status, 429 | 503), "{url}");
    assert_eq!(headers.contains_key("www-authenticate"), matches!(status, 401 | 403), "{url}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()), "{url}: {body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.len() < 500), "{url}: {body}");
    body
}
