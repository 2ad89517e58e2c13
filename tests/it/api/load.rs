//! Expensive requests of one client do not delay others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// Markets listed per exchange.
const MARKETS: u32 = 3_000;

/// Unknown symbols per subscribe message.
const UNKNOWN_SYMBOLS: usize = 4_096;

/// Subscribe messages per socket.
const REPEATS: usize = 5;

async fn start_with_many_markets() -> TestService {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let service =
        TestService::with_store(store, ApiConfig { max_topics: UNKNOWN_SYMBOLS, ..ApiConfig::default() }).await;
    let now = service.clock.now() + Duration::from_millis(1);
    for exchange in ExchangeId::all() {
        let instruments: Vec<Instrument> = (0..MARKETS)
            .map(|n| Instrument::new(exchange, format!("Z{n}/USDT").parse().unwrap(), format!("Z{n}USDT")))
            .collect();
        service.store.put_instruments(exchange, MarketKind::Spot, &instruments, now).await.unwrap();
        service.put_state(exchange, Vec::new(), now).await;
    }
    service
}

/// Polls `/livez` on its own thread until `stop` is set. Returns the latencies of the responses, longest first.
fn poll_livez(address: SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Duration>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let clock = Clock::system();
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let started = clock.elapsed();
                let response = client.get(format!("http://{address}/livez")).send().await.unwrap();
                assert_eq!(response.status(), 200);
                latencies.push(clock.elapsed().saturating_sub(started));
                clock.sleep(Duration::from_millis(1)).await;
            }
            latencies.sort_unstable_by(|a, b| b.cmp(a));
            latencies
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_unknown_symbols_do_not_delay_other_requests() {
    let service = start_with_many_markets().await;
    // Warm up: the first request reads the listings from the store.
    expect_problem(service.get("/v1/ticker?symbol=NOBODY/USDT").await, 404, "unknown_symbol").await;
    let stop = Arc::new(AtomicBool::new(false));
    let poller = poll_livez(service.address, Arc::clone(&stop));
    let clients = (0..3).map(|client| {
        let url = format!("ws://{}/v1/stream", service.address);
        tokio::spawn(async move {
            let symbols: Vec<String> =
                (0..UNKNOWN_SYMBOLS).map(|n| format!("Y{n}/{}", ["USD", "EUR", "GBP"][client])).collect();
            let subscribe = serde_json::json!({"op": "subscribe", "channel": "ticker", "symbols": symbols});
            let (mut socket, _) = connect_async(url).await.unwrap();
            for _ in 0..REPEATS {
                socket.send(Message::text(subscribe.to_string())).await.unwrap();
                let response = loop {
                    let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] == "subscribed" {
                        break message;
                    }
                };
                let rejected = response["rejected"].as_array().unwrap();
                assert_eq!(rejected.len(), UNKNOWN_SYMBOLS);
                assert!(rejected.iter().all(|one| one["code"] == "unknown_symbol"));
            }
        })
    });
    let results = Clock::system().timeout(Duration::from_mins(1), futures_util::future::join_all(clients)).await;
    for result in results.expect("thousands of unknown symbols are rejected within a minute") {
        result.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let latencies = poller.join().unwrap();
    // 98th percentile: the machine itself may delay some.
    let worst = latencies[latencies.len() / 50];
    assert!(
        worst < Duration::from_millis(50),
        "{:?} of {} responses",
        &latencies[..latencies.len().min(10)],
        latencies.len()
    );
    service.shut_down().await;
}

#[tokio::test]
async fn single_unknown_symbol_gets_a_suggestion() {
    let service = start_with_many_markets().await;
    let rejection_detail = async |symbol: &str| {
        let response = service.get(&format!("/v1/ticker?exchange=kraken&symbol={symbol}")).await;
        expect_problem(response, 404, "unknown_symbol").await["detail"].as_str().unwrap().to_owned()
    };
    let detail = rejection_detail("Z12/USDC").await;
    assert!(detail.contains("did you mean") && detail.contains("Z12/USDT on kraken"), "{detail}");
    // A stream request with a single unknown symbol gets a suggestion, too.
    let response = service.get("/v1/events?topics=ticker:kraken:Z12/USDC").await;
    let detail = expect_problem(response, 404, "unknown_symbol").await;
    assert!(detail["detail"].as_str().unwrap().contains("Z12/USDT on kraken"), "{detail}");
    service.shut_down().await;
}

#[tokio::test]
async fn long_listing_is_paginated() {
    let service = start_with_many_markets().await;
    let mut path = "/v1/instruments?q=z29&limit=50".to_owned();
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = service.json(&path).await;
        let symbols = page["instruments"].as_array().unwrap().iter();
        seen.extend(symbols.map(|one| format!("{} {}", one["exchange"], one["symbol"])));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/instruments?q=z29&limit=50&cursor={}", cursor.replace('/', "%2F"));
    }
    let unique: std::collections::BTreeSet<_> = seen.iter().collect();
    // Z29, Z290 to Z299 and Z2900 to Z2999 of each exchange.
    assert_eq!((unique.len(), seen.len(), pages), (111 * 5, 111 * 5, 12));
    service.shut_down().await;
}
