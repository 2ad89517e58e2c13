//! A service with nothing but its doors.

use std::net::SocketAddr;
use std::sync::Arc;

use candlewick::api::{self, About, AccessConfig, ApiConfig, Behind};
use candlewick::cache::{self, Cache};
use candlewick::clock::Clock;
use candlewick::hub::{Hub, HubConfig};
use candlewick::lifecycle::Lifecycle;
use candlewick::market::{Market, Stores};
use candlewick::model::{
    Channel, ExchangeId, ExchangeState, FeedState, Instrument, InstrumentStatus, Interval, Symbol,
};
use candlewick::store::CandleStore;
use candlewick::store::sqlite::SqliteStore;
use candlewick::telemetry::metrics;
use tokio::net::TcpListener;

pub fn btc() -> Symbol {
    "BTC/USDT".parse().expect("a symbol")
}

/// Starts a service with nothing but its doors. Binance lists and collects BTC/USDT; what else is known of it `fill` says.
pub async fn serve(fill: impl AsyncFnOnce(&Cache, &dyn CandleStore, &Clock)) -> (SocketAddr, Cache) {
    let clock = Clock::system();
    let cache = cache::memory(clock.clone());
    let store: Arc<dyn CandleStore> = Arc::new(SqliteStore::in_memory().await.expect("memory"));
    let now = clock.now();
    let instrument = Instrument {
        exchange: ExchangeId::Binance,
        symbol: btc(),
        native: "BTCUSDT".to_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: InstrumentStatus::Trading,
    };
    store.put_instruments(ExchangeId::Binance, &[instrument], now).await.expect("memory");
    let state = ExchangeState {
        state: FeedState::Live,
        channels: Channel::ALL.to_vec(),
        intervals: Interval::ALL.to_vec(),
        symbols: vec![btc()],
        listed_at: Some(now),
        ..ExchangeState::unheard(ExchangeId::Binance, now)
    };
    cache.states.put(state).await.expect("memory");
    let stores = Stores { kept: Arc::clone(&store), simulated: None };
    let market = Arc::new(Market::new(vec![ExchangeId::Binance], stores, cache.clone(), clock.clone()));
    let about = About { version: "0", role: "all", store: "sqlite", cache: "memory", metrics: metrics::install() };
    let hub = Hub::new(&cache, clock.clone(), HubConfig::default());
    let life = Lifecycle::default();
    // A limit that nothing here reaches, but that is counted.
    let access = AccessConfig { per_minute: 60_000_000, ..AccessConfig::default() };
    let (limits, config) = (Arc::clone(&cache.limits), ApiConfig { access, ..ApiConfig::default() });
    let behind = Behind { market, hub, keys: Arc::default(), limits };
    let front = api::build(behind, life.clone(), clock.clone(), about, config);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    fill(&cache, &*store, &clock).await;
    tokio::spawn(api::serve(listener, front, life, clock));
    (address, cache)
}
