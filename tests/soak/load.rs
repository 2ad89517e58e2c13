//! Minutes at half of what it can: 1,000 sockets, questions without pause, and exchanges that go wrong. Memory must stay where
//! it is, and the log must have no error.
//!
//! `LOAD_MINUTES` says how many minutes; `make soak` makes it ten.

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

use crate::support::process::{Process, all_exchanges_at, with};
use crate::support::{World, markets};

const SOCKETS: usize = 1_000;
const CONNECTIONS: u64 = 16;
const SECOND: Duration = Duration::from_secs(1);

/// What befalls an exchange, each few seconds another one, and for how many seconds.
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

/// Asks over one connection until it is told to stop, with at least `pause` from one question to the next.
async fn ask(address: SocketAddr, pause: Duration, stop: CancellationToken) -> Vec<Duration> {
    let clock = Clock::system();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut took, mut buffer) = (Vec::new(), vec![0; 256 * 1024]);
    let mut next = clock.elapsed();
    while !stop.is_cancelled() {
        let path = match took.len() % 4 {
            0 => "/v1/history?exchange=binance&symbol=BTC/USDT&limit=100",
            1 => "/v1/ticker?exchange=kraken&symbol=BTC/USD",
            2 => "/v1/ticker?exchange=binance&symbol=ETH/USDT",
            _ => "/v1/tickers?exchange=okx&symbols=BTC/USDT,ETH/USDT",
        };
        let asked = clock.elapsed();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut have = 0;
        loop {
            let read = stream.read(&mut buffer[have..]).await.unwrap();
            assert!(read > 0, "the connection was closed");
            have += read;
            let Some(head) = buffer[..have].windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let status: u16 = text[9..12].parse().unwrap();
            // An exchange that is away for a moment may have no answer.
            assert!(matches!(status, 200 | 503), "{path}: {text}");
            let length: usize =
                text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
            if have >= head + 4 + length {
                break;
            }
        }
        took.push(clock.elapsed().saturating_sub(asked));
        next += pause;
        clock.sleep(next.saturating_sub(clock.elapsed())).await;
    }
    took
}

/// Asks over all connections for so long; gives how long each answer took, ascending.
async fn load(address: SocketAddr, pause: Duration, lasts: Duration) -> Vec<Duration> {
    let stop = CancellationToken::new();
    let asking: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(ask(address, pause, stop.clone()))).collect();
    Clock::system().sleep(lasts).await;
    stop.cancel();
    let mut all = Vec::new();
    for asking in asking {
        all.extend(asking.await.unwrap());
    }
    all.sort_unstable();
    all
}

/// How much memory it has, as Linux counts it.
fn resident_bytes(process: &Process) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", process.id())).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Listens to a market with a new connection whenever the last one is gone.
async fn listen(address: SocketAddr, number: usize, frames: Arc<AtomicU64>) {
    let (exchange, symbol) = markets().nth(number % 5).unwrap();
    let (mut socket, _) = connect_async(format!("ws://{address}/v1/stream")).await.unwrap();
    for channel in ["ticker", "trades"] {
        let wish =
            format!(r#"{{"op":"subscribe","channel":"{channel}","exchange":"{exchange}","symbols":["{symbol}"]}}"#);
        socket.send(Message::text(wish)).await.unwrap();
    }
    while let Some(Ok(_)) = socket.next().await {
        frames.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_at_half_of_what_it_can() {
    let minutes: u64 = std::env::var("LOAD_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let (world, folder) = (World::paced(1.0).await, tempfile::tempdir().unwrap());
    let exchanges = all_exchanges_at(&world.address.to_string());
    let own = [
        ("CANDLEWICK__DATA", "live"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__LIMITS__PER_MINUTE", "0"),
    ];
    let mut process = Process::spawn(folder.path(), &[], &with(&own, &exchanges));
    let address = process.address().await;
    process.logged("ready").await;

    let frames = Arc::<AtomicU64>::default();
    let sockets: Vec<_> =
        (0..SOCKETS).map(|number| tokio::spawn(listen(address, number, Arc::clone(&frames)))).collect();
    let warm = load(address, Duration::ZERO, 5 * SECOND).await;
    let ceiling = load(address, Duration::ZERO, 10 * SECOND).await.len() as u64 / 10;
    let pause = Duration::from_nanos(2_000_000_000 * CONNECTIONS / ceiling);
    println!("with {SOCKETS} sockets: {ceiling} answers/s at most ({} to warm up)", warm.len());

    let stop = CancellationToken::new();
    let (going_wrong, stopped) = (world, stop.clone());
    let faults = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(7);
        while stopped.run_until_cancelled(going_wrong.pass(5 * SECOND)).await.is_some() {
            let (fault, seconds) = *FAULTS.choose(&mut random).unwrap();
            let exchange = ExchangeId::ALL[random.random_range(0..ExchangeId::ALL.len())];
            going_wrong.fault(exchange, fault, Duration::from_secs(seconds));
        }
    });
    let mut resident = Vec::new();
    for minute in 0..minutes {
        let before = frames.load(Ordering::Relaxed);
        let took = load(address, pause, 60 * SECOND).await;
        let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1_000];
        let told = (frames.load(Ordering::Relaxed) - before) / 60;
        resident.push(resident_bytes(&process));
        println!(
            "minute {minute}: {} answers/s, p50 {:?}, p99 {:?}, max {:?}; {told} frames/s; {} MB resident",
            took.len() / 60,
            at(500),
            at(990),
            at(1_000),
            resident[resident.len() - 1] / 1_000_000,
        );
    }
    stop.cancel();
    faults.await.unwrap();
    let ended = sockets.iter().filter(|socket| socket.is_finished()).count();
    assert_eq!(ended, 0, "no socket was lost");
    // The first minutes fill what is kept: rings, candles.
    let (early, late) = (resident[resident.len() / 3], resident[resident.len() - 1]);
    assert!(late < early + early / 10 + 4_000_000, "memory grows: {resident:?}");
    let errors: Vec<_> = process.log().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for socket in &sockets {
        socket.abort();
    }
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
}
