//! Throughput and latency of events to clients, compared to a baseline broadcast of the same bytes in the same run.
//!
//! `cargo bench --bench fanout`. The server runs on one thread; its clients run in a separate process. The baseline
//! writes the same frames to raw sockets. Two batch sizes: one event, which needs one write per event and client, and
//! 64 events, which may be written together. Goals: 0.8 of the baseline for both; p99 within 10 ms at half of the load;
//! 24 KiB per idle socket.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "approximate figures"
)]

mod clients;
#[path = "../support/load_generator.rs"]
mod load_generator;
mod server;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/socket.rs"]
mod socket;

use std::time::Duration;

use candlewick::clock::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use self::load_generator::LoadGenerator;
use self::server::CandlewickServer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Padding that makes a frame about as long as a ticker frame.
pub const PADDING: usize = 190;

const CLIENTS: [usize; 3] = [1, 100, 1_000];
const ROUND: Duration = Duration::from_secs(3);

/// Latencies that the clients measured, in microseconds.
struct Latencies {
    p50: u64,
    p99: u64,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {} us, p99 {} us", self.p50, self.p99)
    }
}

async fn receive_latencies(load: LoadGenerator) -> (LoadGenerator, Latencies) {
    let (load, line) = load.receive().await;
    let mut numbers = line.split(' ').map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("two numbers");
    (load, Latencies { p50: next(), p99: next() })
}

/// A server that sends events to all clients.
enum Server {
    Baseline(Vec<TcpStream>),
    Candlewick(Box<CandlewickServer>),
}

impl Server {
    /// Sends `count` events, in one write if possible.
    async fn send(&mut self, count: usize) {
        match self {
            Self::Candlewick(service) => service.publish(count).await,
            Self::Baseline(sockets) => {
                let frames: Vec<u8> = (0..count).flat_map(|_| server::frame(1)).collect();
                for socket in sockets {
                    socket.write_all(&frames).await.expect("the clients read");
                }
            }
        }
    }
}

/// Delivered frames per second if the next batch is sent as soon as all clients received the previous one.
async fn throughput(
    server: &mut Server,
    mut load: LoadGenerator,
    clients: usize,
    batch_size: usize,
) -> (LoadGenerator, f64) {
    let clock = Clock::system();
    let started = clock.elapsed();
    let mut events = 0;
    while clock.elapsed().saturating_sub(started) < ROUND {
        load.send(&(clients * batch_size).to_string());
        server.send(batch_size).await;
        (load, _) = receive_latencies(load).await;
        events += batch_size;
    }
    let took = clock.elapsed().saturating_sub(started);
    (load, (events * clients) as f64 / took.as_secs_f64())
}

/// Latencies at `rate` events per second. Events that are due are sent together, as from the socket of an exchange.
async fn latency(
    server: &mut Server,
    mut load: LoadGenerator,
    clients: usize,
    rate: f64,
) -> (LoadGenerator, Latencies) {
    let clock = Clock::system();
    let events = (rate * ROUND.as_secs_f64()).max(1.0) as usize;
    load.send(&(clients * events).to_string());
    let started = clock.elapsed();
    let mut sent = 0;
    while sent < events {
        let passed = clock.elapsed().saturating_sub(started).as_secs_f64();
        let due = ((passed * rate) as usize + 1).min(events) - sent;
        if due > 0 {
            server.send(due).await;
            sent += due;
            tokio::task::yield_now().await;
        } else {
            let next = started + Duration::from_secs_f64(sent as f64 / rate);
            clock.sleep(next.saturating_sub(clock.elapsed())).await;
        }
    }
    receive_latencies(load).await
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}

async fn run() {
    println!("{:<22} {:>12} {:>12} {:>6}", "frames/s delivered", "candlewick", "baseline", "ratio");
    for clients in CLIENTS {
        let (baseline, baseline_load) = server::baseline(clients).await;
        let before = resident_kib();
        let (service, mut service_load) = server::service(clients).await;
        let memory = (resident_kib() - before) / clients as f64;
        let (mut baseline, mut service) = (Server::Baseline(baseline), Server::Candlewick(Box::new(service)));
        let mut baseline_load = baseline_load;
        let mut single_rate = 0.0;
        for batch_size in [1, 64] {
            let (mut best_baseline, mut best_service) = (0.0_f64, 0.0_f64);
            for _ in 0..2 {
                let rate;
                (baseline_load, rate) = throughput(&mut baseline, baseline_load, clients, batch_size).await;
                best_baseline = best_baseline.max(rate);
                let rate;
                (service_load, rate) = throughput(&mut service, service_load, clients, batch_size).await;
                best_service = best_service.max(rate);
            }
            if batch_size == 1 {
                single_rate = best_baseline;
            }
            let shape = format!("{clients} clients, batch of {batch_size}");
            println!("{shape:<22} {best_service:>12.0} {best_baseline:>12.0} {:>6.2}", best_service / best_baseline);
        }
        let mut rates = vec![(single_rate / 2.0 / clients as f64).min(10_000.0)];
        if clients == 100 {
            rates.push(10_000.0);
        }
        for rate in rates {
            let (baseline_latency, service_latency);
            (baseline_load, baseline_latency) = latency(&mut baseline, baseline_load, clients, rate).await;
            (service_load, service_latency) = latency(&mut service, service_load, clients, rate).await;
            println!("{clients} clients at {rate:.0} events/s: {service_latency}; baseline {baseline_latency}");
        }
        if clients > 100 {
            println!("{clients} idle sockets: {memory:.1} KiB each, measured on the server process");
            let before = resident_kib();
            let _stalled = server::stalled(&service).await;
            let (rate, service_latency);
            (service_load, rate) = throughput(&mut service, service_load, clients, 64).await;
            (service_load, service_latency) =
                latency(&mut service, service_load, clients, single_rate / 2.0 / clients as f64).await;
            let grown = resident_kib() - before;
            println!(
                "with one more client that does not read: {rate:.0} frames/s, batch of 64; {service_latency}; memory \
                 {grown:+.0} KiB"
            );
        }
        drop((baseline_load, service_load));
    }
}

fn main() {
    if let Some([kind, address, count]) = LoadGenerator::arguments().as_deref() {
        let (address, count) = (address.parse().expect("an address"), count.parse().expect("a number"));
        return clients::run(kind, address, count);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}
