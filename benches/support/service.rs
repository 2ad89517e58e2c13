//! A service that only runs the API, without collectors.

use std::net::SocketAddr;
use std::sync::Arc;

use candlewick::api::{self, AccessConfig, ApiConfig, Deps, ServiceInfo};
use candlewick::cache::{self, Cache};
use candlewick::clock::Clock;
use candlewick::hub::{Hub, HubConfig};
use candlewick::lifecycle::Lifecycle;
use candlewick::market::{MarketService, Stores};
use candlewick::model::{Channel, ExchangeId, ExchangeState, FeedState, Instrument, Interval, MarketKind, Symbol};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, Store};
use candlewick::telemetry::metrics;
use tokio::net::TcpListener;

pub fn btc() -> Symbol {
    "BTC/USDT".parse().expect("a symbol")
}

/// Starts the API without collectors. Binance lists and collects BTC/USDT; `fill` adds data to the cache and the store.
pub async fn serve(fill: impl AsyncFnOnce(&Cache, &dyn CandleStore, &Clock)) -> (SocketAddr, Cache) {
    let clock = Clock::system();
    let cache = cache::memory(clock.clone());
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.expect("memory"));
    let now = clock.now();
    let instrument = Instrument::new(ExchangeId::BINANCE, btc(), "BTCUSDT");
    store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &[instrument], now).await.expect("memory");
    let state = ExchangeState {
        state: FeedState::Live,
        channels: Channel::ALL.to_vec(),
        intervals: Interval::ALL.to_vec(),
        symbols: vec![btc()],
        listed_at: Some(now),
        ..ExchangeState::initial(ExchangeId::BINANCE, now)
    };
    cache.states.put(state).await.expect("memory");
    let stores = Stores { real: Arc::clone(&store), simulated: None };
    let market = Arc::new(MarketService::new(vec![ExchangeId::BINANCE], stores, cache.clone(), clock.clone()));
    let info = ServiceInfo { version: "0", role: "all", store: "sqlite", cache: "memory", metrics: metrics::install() };
    let hub = Hub::new(&cache, clock.clone(), HubConfig::default());
    let lifecycle = Lifecycle::default();
    // The rate limiter runs, but its limit is never reached.
    let access = AccessConfig { per_minute: 60_000_000, ..AccessConfig::default() };
    let (limits, config) = (Arc::clone(&cache.limits), ApiConfig { access, ..ApiConfig::default() });
    let deps = Deps { market, hub, keys: Arc::default(), limits };
    let app = api::build(deps, lifecycle.clone(), clock.clone(), info, config);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    fill(&cache, &*store, &clock).await;
    tokio::spawn(api::serve(listener, app, lifecycle, clock));
    (address, cache)
}
