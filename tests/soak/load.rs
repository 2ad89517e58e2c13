//! Load test at half of the maximum request rate, with 1,000 WebSocket clients and faulty exchanges. Memory must not
//! grow, and the log must have no error.
//!
//! `LOAD_MINUTES` is the duration in minutes; `make soak` sets it to ten.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::support::process::{Process, exchange_urls, merge_env};
use crate::support::{Simulation, markets};

const SOCKETS: usize = 1_000;
const CONNECTIONS: u64 = 16;
const SECOND: Duration = Duration::from_secs(1);

/// Faults and their durations in seconds. Every five seconds one of them starts on one exchange.
const FAULTS: [(FaultKind, u64); 8] = [
    (FaultKind::Drop, 0),
    (FaultKind::Silent, 20),
    (FaultKind::Malformed, 5),
    (FaultKind::Slow, 10),
    (FaultKind::Http429, 10),
    (FaultKind::Http500, 10),
    (FaultKind::Duplicate, 10),
    (FaultKind::LateTrade, 0),
];

/// Sends requests over one connection until it is cancelled, and returns the response times. Requests start at least
/// `interval` apart.
async fn send_requests(address: SocketAddr, interval: Duration, stop: CancellationToken) -> Vec<Duration> {
    let clock = Clock::system();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut times, mut buffer) = (Vec::new(), vec![0; 256 * 1024]);
    let mut next = clock.elapsed();
    while !stop.is_cancelled() {
        let path = match times.len() % 4 {
            0 => "/v1/history?exchange=binance&symbol=BTC/USDT&limit=100",
            1 => "/v1/ticker?exchange=kraken&symbol=BTC/USD",
            2 => "/v1/ticker?exchange=binance&symbol=ETH/USDT",
            _ => "/v1/tickers?exchange=okx&symbols=BTC/USDT,ETH/USDT",
        };
        let sent_at = clock.elapsed();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut received = 0;
        loop {
            let read = stream.read(&mut buffer[received..]).await.unwrap();
            assert!(read > 0, "the connection was closed");
            received += read;
            let Some(head) = buffer[..received].windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let status: u16 = text[9..12].parse().unwrap();
            // 503: an exchange may be unreachable because of a fault.
            assert!(matches!(status, 200 | 503), "{path}: {text}");
            let length: usize =
                text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
            if received >= head + 4 + length {
                break;
            }
        }
        times.push(clock.elapsed().saturating_sub(sent_at));
        next += interval;
        clock.sleep(next.saturating_sub(clock.elapsed())).await;
    }
    times
}

/// Sends requests over all connections for `duration`. Returns the response times, ascending.
async fn load(address: SocketAddr, interval: Duration, duration: Duration) -> Vec<Duration> {
    let stop = CancellationToken::new();
    let tasks: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(send_requests(address, interval, stop.clone()))).collect();
    Clock::system().sleep(duration).await;
    stop.cancel();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort_unstable();
    all
}

/// Resident memory of a process, from `/proc`.
fn resident_bytes(process: &Process) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", process.id())).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Subscribes to ticker and trades of one market and counts the frames.
async fn subscribe(address: SocketAddr, number: usize, frames: Arc<AtomicU64>) {
    let (exchange, symbol) = markets().nth(number % ExchangeId::all().len()).unwrap();
    let (mut socket, _) = connect_async(format!("ws://{address}/v1/stream")).await.unwrap();
    for channel in ["ticker", "trades"] {
        let request =
            format!(r#"{{"op":"subscribe","channel":"{channel}","exchange":"{exchange}","symbols":["{symbol}"]}}"#);
        socket.send(Message::text(request)).await.unwrap();
    }
    while let Some(Ok(_)) = socket.next().await {
        frames.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_stable_at_half_of_maximum_load() {
    let minutes: u64 = std::env::var("LOAD_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let (simulation, folder) = (Simulation::with_speed(1.0).await, tempfile::tempdir().unwrap());
    let exchanges = exchange_urls(&simulation.address.to_string());
    let own = [
        ("CANDLEWICK__DATA", "live"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__LIMITS__PER_MINUTE", "0"),
    ];
    let mut process = Process::spawn(folder.path(), &[], &merge_env(&own, &exchanges));
    let address = process.address().await;
    process.wait_for_log("ready").await;

    let frames = Arc::<AtomicU64>::default();
    let sockets: Vec<_> =
        (0..SOCKETS).map(|number| tokio::spawn(subscribe(address, number, Arc::clone(&frames)))).collect();
    let warm_up = load(address, Duration::ZERO, 5 * SECOND).await;
    let max_rate = load(address, Duration::ZERO, 10 * SECOND).await.len() as u64 / 10;
    let interval = Duration::from_nanos(2_000_000_000 * CONNECTIONS / max_rate);
    println!("with {SOCKETS} sockets: at most {max_rate} responses/s ({} during warm-up)", warm_up.len());

    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let faults = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(7);
        while stopped.run_until_cancelled(simulation.sleep(5 * SECOND)).await.is_some() {
            let (fault, seconds) = *FAULTS.choose(&mut random).unwrap();
            let exchange = ExchangeId::all().nth(random.random_range(0..ExchangeId::all().len())).unwrap();
            simulation.inject_fault(exchange, fault, Duration::from_secs(seconds));
        }
    });
    let mut resident = Vec::new();
    for minute in 0..minutes {
        let before = frames.load(Ordering::Relaxed);
        let times = load(address, interval, 60 * SECOND).await;
        let percentile = |per_mille: usize| times[(times.len() - 1) * per_mille / 1_000];
        let frame_rate = (frames.load(Ordering::Relaxed) - before) / 60;
        resident.push(resident_bytes(&process));
        println!(
            "minute {minute}: {} responses/s, p50 {:?}, p99 {:?}, max {:?}; {frame_rate} frames/s; {} MB resident",
            times.len() / 60,
            percentile(500),
            percentile(990),
            percentile(1_000),
            resident[resident.len() - 1] / 1_000_000,
        );
    }
    stop.cancel();
    faults.await.unwrap();
    let closed = sockets.iter().filter(|socket| socket.is_finished()).count();
    assert_eq!(closed, 0, "no socket was closed");
    // Ring buffers and cached candles fill in the first minutes.
    let (early, late) = (resident[resident.len() / 3], resident[resident.len() - 1]);
    assert!(late < early + early / 10 + 4_000_000, "memory grows: {resident:?}");
    let errors: Vec<_> = process.log().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for socket in &sockets {
        socket.abort();
    }
    process.signal("TERM");
    assert_eq!(process.wait_for_exit().await, Some(0));
}
