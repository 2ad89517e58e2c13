//! What one client asks for does not hold up others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// How many markets each exchange lists here.
const LISTED: u32 = 3_000;

/// How many symbols a socket asks for that nobody lists.
const UNKNOWN: usize = 4_096;

/// How often each socket asks.
const TIMES: usize = 5;

async fn crowded() -> House {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let house = House::with(store, ApiConfig { max_topics: UNKNOWN, ..ApiConfig::default() }).await;
    let now = house.clock.now() + Duration::from_millis(1);
    for exchange in ExchangeId::ALL {
        let listed: Vec<Instrument> = (0..LISTED)
            .map(|n| Instrument {
                exchange,
                symbol: format!("Z{n}/USDT").parse().unwrap(),
                native: format!("Z{n}USDT"),
                stream_native: None,
                price_step: None,
                amount_step: None,
                status: candlewick::model::InstrumentStatus::Trading,
            })
            .collect();
        house.store.put_instruments(exchange, &listed, now).await.unwrap();
        house.told(exchange, Vec::new(), now).await;
    }
    house
}

/// Asks for `/livez` again and again, on a thread of its own, until it is told to stop; how long each answer took, the
/// longest first.
fn watch(address: SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Duration>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let clock = Clock::system();
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = clock.elapsed();
                let answer = client.get(format!("http://{address}/livez")).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                took.push(clock.elapsed().saturating_sub(begun));
                clock.sleep(Duration::from_millis(1)).await;
            }
            took.sort_unstable_by(|one, other| other.cmp(one));
            took
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_symbols_do_not_hold_up_others() {
    let house = crowded().await;
    // The listings are read once.
    problem(house.get("/v1/ticker?symbol=NOBODY/USDT").await, 404, "unknown_symbol").await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(house.address, Arc::clone(&stop));
    let asking = (0..3).map(|socket| {
        let url = format!("ws://{}/v1/stream", house.address);
        tokio::spawn(async move {
            let symbols: Vec<String> =
                (0..UNKNOWN).map(|n| format!("Y{n}/{}", ["USD", "EUR", "GBP"][socket])).collect();
            let wanted = serde_json::json!({"op": "subscribe", "channel": "ticker", "symbols": symbols});
            let (mut socket, _) = connect_async(url).await.unwrap();
            for _ in 0..TIMES {
                socket.send(Message::text(wanted.to_string())).await.unwrap();
                let answer = loop {
                    let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] == "subscribed" {
                        break message;
                    }
                };
                let rejected = answer["rejected"].as_array().unwrap();
                assert_eq!(rejected.len(), UNKNOWN);
                assert!(rejected.iter().all(|one| one["code"] == "unknown_symbol"));
            }
        })
    });
    let asked = Clock::system().timeout(Duration::from_mins(1), futures_util::future::join_all(asking)).await;
    for asked in asked.expect("thousands of unknown symbols are answered soon") {
        asked.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let took = watching.join().unwrap();
    // The machine itself may hold up one in fifty.
    let worst = took[took.len() / 50];
    assert!(worst < Duration::from_millis(50), "{:?} of {} answers", &took[..took.len().min(10)], took.len());
    house.close().await;
}

#[tokio::test]
async fn one_question_gets_a_hint() {
    let house = crowded().await;
    let ask = async |symbol: &str| {
        let refused = house.get(&format!("/v1/ticker?exchange=kraken&symbol={symbol}")).await;
        problem(refused, 404, "unknown_symbol").await["detail"].as_str().unwrap().to_owned()
    };
    let detail = ask("Z12/USDC").await;
    assert!(detail.contains("did you mean") && detail.contains("Z12/USDT on kraken"), "{detail}");
    // An unknown symbol of a stream is told with a hint, too: there is one.
    let refused = house.get("/v1/events?topics=ticker:kraken:Z12/USDC").await;
    let detail = problem(refused, 404, "unknown_symbol").await;
    assert!(detail["detail"].as_str().unwrap().contains("Z12/USDT on kraken"), "{detail}");
    house.close().await;
}

#[tokio::test]
async fn long_listings_come_in_pages() {
    let house = crowded().await;
    let mut path = "/v1/instruments?q=z29&limit=50".to_owned();
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = house.json(&path).await;
        let symbols = page["instruments"].as_array().unwrap().iter();
        seen.extend(symbols.map(|one| format!("{} {}", one["exchange"], one["symbol"])));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/instruments?q=z29&limit=50&cursor={}", cursor.replace('/', "%2F"));
    }
    let unique: std::collections::BTreeSet<_> = seen.iter().collect();
    // Z29, Z290 to Z299 and Z2900 to Z2999 of each exchange.
    assert_eq!((unique.len(), seen.len(), pages), (111 * 5, 111 * 5, 12));
    house.close().await;
}
