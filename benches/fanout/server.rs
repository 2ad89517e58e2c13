//! Our service with nothing but its doors, and raw sockets.

use std::sync::Arc;

use candlewick::api::{self, About, ApiConfig};
use candlewick::cache::{self, BusEvent, BusEventKind, Cache};
use candlewick::clock::Clock;
use candlewick::hub::{Hub, HubConfig, put_text_frame};
use candlewick::lifecycle::Lifecycle;
use candlewick::market::{Market, Stores};
use candlewick::model::{Channel, ExchangeId, ExchangeState, FeedState, Instrument, Topic, wire};
use candlewick::store::CandleStore;
use candlewick::store::sqlite::SqliteStore;
use candlewick::telemetry::metrics;
use tokio::net::{TcpListener, TcpStream};

use crate::{Load, PADDING};

const TOPIC: &str = "trades:binance:BTC/USDT";

/// An event's data, with the time at which it was made.
fn data() -> Vec<u8> {
    let clock = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    format!("{{\"t\":{:020},\"x\":\"{}\"}}", clock.as_nanos(), "x".repeat(PADDING)).into_bytes()
}

fn topic() -> Topic {
    TOPIC.parse().expect("a topic")
}

/// A frame as our clients get it.
pub fn frame(seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    put_text_frame(&mut out, &wire::data_frame(&topic(), "1.bench", 1_000_000_000 + seq, &data()));
    out
}

/// Raw sockets to `count` clients.
pub async fn bare(count: usize) -> (Vec<TcpStream>, Load) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let load = Load::spawn("bare", listener.local_addr().expect("an address"), count);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let (socket, _) = listener.accept().await.expect("a client");
        socket.set_nodelay(true).expect("a socket");
        sockets.push(socket);
    }
    let (load, _) = load.wait().await;
    (sockets, load)
}

/// A service that nobody collects for.
pub struct Ours {
    cache: Cache,
    topic: Topic,
    seq: u64,
}

impl Ours {
    pub async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.seq += 1;
            let kind = BusEventKind::Data(data().into());
            let event = BusEvent { epoch: Arc::from("1.bench"), seq: self.seq, kind };
            self.cache.bus.publish(&self.topic, event).await.expect("memory");
        }
    }
}

/// Our service with `count` clients of one topic.
pub async fn ours(count: usize) -> (Ours, Load) {
    let clock = Clock::system();
    let cache = cache::memory(clock.clone());
    let store: Arc<dyn CandleStore> = Arc::new(SqliteStore::in_memory().await.expect("memory"));
    let now = clock.now();
    let symbol = topic().symbol().clone();
    let instrument = Instrument {
        exchange: ExchangeId::Binance,
        symbol: symbol.clone(),
        native: "BTCUSDT".to_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        active: true,
    };
    store.put_instruments(ExchangeId::Binance, &[instrument], now).await.expect("memory");
    let state = ExchangeState {
        state: FeedState::Live,
        channels: Channel::ALL.to_vec(),
        symbols: vec![symbol],
        listed_at: Some(now),
        ..ExchangeState::unheard(ExchangeId::Binance, now)
    };
    cache.states.put(state).await.expect("memory");
    let stores = Stores { kept: store, simulated: None };
    let market = Arc::new(Market::new(vec![ExchangeId::Binance], stores, cache.clone(), clock.clone()));
    let about = About { version: "0", role: "all", store: "sqlite", cache: "memory", metrics: metrics::install() };
    let hub = Hub::new(&cache, clock.clone(), HubConfig::default());
    let life = Lifecycle::default();
    let front = api::build(market, hub, life.clone(), clock.clone(), about, ApiConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(api::serve(listener, front, life, clock));
    let (load, _) = Load::spawn("ours", address, count).wait().await;
    (Ours { cache, topic: topic(), seq: 1_000_000_000 }, load)
}
